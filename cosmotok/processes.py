"""Objects that live in processes of their own, and work when they are called: one call at a time."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any

from cosmotok.errors import CosmotokError, InputError

__all__ = ["MOST", "CallError", "Remote", "check_counts", "device_name", "reason"]

MOST = 1024
"""Of processes, of threads in each, and of other counts that people give: more is a mistake, or crashes PyTorch."""
PATIENCE = 5.0
"""Seconds that a process gets to end by itself."""


def check_counts(**counts: int | None) -> None:
    """Raises InputError for one that is not from 1 to `MOST`; None is left to whoever asked."""
    for name, count in counts.items():
        if count is not None and not 1 <= count <= MOST:
            raise InputError(f"{name}={count}: expected a whole number from 1 to {MOST}")


class CallError(CosmotokError):
    """A call failed in its process, or the process ended."""


class Remote:
    """What `make()` makes, in a fresh process; used in a `with` block.

    Args:
        make: can be pickled; called at the first call.
        threads: of PyTorch there; None leaves its default.
        tells: `make` is called with a function that sends notes, which `receive` gets, while a call runs.
    """

    def __init__(self, make: Callable[..., Any], threads: int | None = None, *, tells: bool = False) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, make, threads, tells), daemon=True)
        with deaf():
            self._process.start()
        other.close()
        self._idle = True

    @property
    def connection(self) -> Connection:
        """Has something to read once a call is through, or the process is gone."""
        return self._connection

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    def call(self, method: str, *arguments: Any) -> Any:
        """Waits for the result.

        Raises:
            CosmotokError: the one that was raised there; CallError for any other error, or where the process ended,
                saying why, in one line.
        """
        self.begin(method, *arguments)
        return self.finish()

    def begin(self, method: str, *arguments: Any) -> None:
        """A call whose result `finish` waits for."""
        self._idle = False
        # where the process is gone already, whoever waits for it learns why
        with suppress(OSError):
            self._connection.send((method, arguments))

    def finish(self) -> Any:
        """The result of the call that began, past all notes; raises as `call`."""
        while True:
            done, value = self.receive()
            if done:
                return value

    def receive(self) -> tuple[bool, Any]:
        """(False, a note), or (True, the result of the call that began); raises as `call`."""
        try:
            fine, value = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(PATIENCE)
            code = self._process.exitcode
            out_of_memory = code == -signal.SIGKILL if hasattr(signal, "SIGKILL") else False
            why = "most likely out of memory" if out_of_memory else "see above"
            raise CallError(f"its process ended with exit code {code}, {why}") from None
        if fine is None:
            return False, value
        self._idle = True
        if not fine:
            raise value
        return True, value

    def stop(self) -> None:
        """Has the process end, without waiting for it; a call that is under way undoes what it was writing."""
        self._connection.close()
        if not self._idle:
            self._process.terminate()

    def close(self) -> None:
        """Ends the process, which frees its memory."""
        self.stop()
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> Remote:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def serve(connection: Connection, make: Callable[..., Any], threads: int | None, tells: bool) -> None:
    """Runs in the process, until the other end closes."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who waits
    signal.signal(signal.SIGTERM, leave)
    threading.Thread(target=follow, daemon=True).start()
    if threads is not None:
        torch.set_num_threads(threads)
    made: Any = None
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:
            return
        try:
            if made is None:
                made = make(lambda note: connection.send((None, note))) if tells else make()
            answer = True, getattr(made, method)(*arguments)
        except CosmotokError as error:
            answer = False, error
        except Exception as error:
            answer = False, CallError(reason(error))
        try:
            connection.send(answer)
        except OSError:  # whoever asked is gone
            return


def leave(number: int, _: Any) -> None:
    """Ends the process, and undoes what it was writing."""
    signal.signal(number, signal.SIG_IGN)  # once is enough: a second one would end the undoing
    raise SystemExit(128 + number)


def follow() -> None:
    """Has the process leave when the one that it works for is gone, even if that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def reason(error: Exception) -> str:
    """One line on what went wrong."""
    import torch

    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    exhausted = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in text
    if exhausted or "bad_alloc" in text:
        return "out of memory"
    return text if isinstance(error, CosmotokError) else f"{type(error).__name__}: {text}"


@contextmanager
def deaf() -> Iterator[None]:
    """What begins in the block does not hear Ctrl-C, not even while it starts: that is for the one who waits."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def device_name(device: str) -> str:
    """What the processor or GPU is called."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
