"""The `cosmotok` command as a process: Ctrl-C and SIGTERM are taken care of before anything is imported.

Either ends the command with exit code 130 and one line, whatever it is doing, and nothing half-written stays. While
modules are imported and nothing is being written, it ends on the spot: an exception there would be swallowed or come
out as another one. Else it is a `KeyboardInterrupt`, by which all that is begun is undone. A second signal does not
wait for that.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from types import FrameType
from typing import Any

from cosmotok.language import speak, translate

__all__ = ["STOPPED", "main"]

STOPPED = 130
WORDS = "stopped; nothing half-written is left"
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class Stops:
    """The handler of all signals that end the command."""

    def __init__(self) -> None:
        self.running = False
        self.received = False

    def listen(self) -> None:
        for name in SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` leaves it
                signal.signal(number, self.receive)
                # At its very end Python gives signals back to the system, which would end it with another code.
                atexit.register(signal.signal, number, signal.SIG_IGN)
        sys.unraisablehook = self.unraisable

    def receive(self, number: int, frame: FrameType | None) -> None:
        again, self.received = self.received, True
        if again or not self.running or (is_importing(frame) and not has_work()):
            end_now()
        raise KeyboardInterrupt

    def unraisable(self, what: sys.UnraisableHookArgs) -> None:
        """Of an exception in a finalizer or in a call from C, which nobody would see: an interrupt there ends it."""
        if self.received and issubclass(what.exc_type, KeyboardInterrupt):
            end_now()
        sys.__unraisablehook__(what)


def is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def loaded(module: str, name: str) -> Any:
    """What is there already; nothing is imported while another import may be under way."""
    return getattr(sys.modules.get(module), name, lambda: None)


def has_work() -> bool:
    """Whether files or processes would be left behind."""
    return bool(loaded("cosmotok.writing.hidden", "busy")() or loaded("multiprocessing.process", "active_children")())


def end_now() -> None:
    loaded("cosmotok.writing.hidden", "clear")()
    os.write(sys.stderr.fileno(), f"{translate(WORDS)}\n".encode())
    os._exit(STOPPED)


def silence_libraries() -> None:
    """Leaves standard error to Python: decoders in C write there what their users are not to see."""
    own = os.dup(2)
    sys.stderr = os.fdopen(own, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)


def main() -> None:
    """Runs the command, and ends the process with its exit code."""
    if "--debug" not in sys.argv:
        silence_libraries()
    stops = Stops()
    stops.listen()
    speak()  # before typer is imported, some of whose words are chosen then
    code: Any = STOPPED
    try:
        from cosmotok.cli import main as run

        stops.running = True
        run(lambda: stops.received)
        code = 0
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        print(translate(WORDS), file=sys.stderr)
    except Exception:
        if not stops.received:  # else it is what became of the interrupt
            raise
    finally:
        stops.running = False
        loaded("cosmotok.writing.hidden", "clear")()
    sys.exit(STOPPED if stops.received else code)
