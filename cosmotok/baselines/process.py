"""Video coding in a process of its own: encoders print, take over the scheduling of a process, or abort it."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np

from cosmotok.errors import CosmotokError, MediaError

from .coding import Job, coder_for

__all__ = ["CodingProcess"]

PATIENCE = 5.0
"""Seconds that a process gets to end by itself."""


class CodingProcess:
    """Codes one clip after another. Not `multiprocessing`: its daemons, which may use this, must not have children."""

    def __init__(self) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "SVT_LOG": "0",  # silent
        }
        command = [sys.executable, "-m", __name__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def code(self, job: Job, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray | int]:
        """The frames that come back, and at last the bits they took.

        Raises:
            CosmotokError: where the codec fails; the process is then of no more use.
        """
        self._send(job)
        for pixels in frames:
            self._send(pixels)
            yield from self._receive()
        self._send(None)
        answer = None
        while not isinstance(answer, int):
            answer = self._receive()
            yield answer

    def _send(self, message: Any) -> None:
        try:
            send(self._process.stdin, message)
        except OSError:
            self._receive()  # raises the reason, if one was given
            raise self._lost() from None

    def _receive(self) -> Any:
        try:
            answer = receive(self._process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            raise self._lost() from None
        if isinstance(answer, CosmotokError):
            raise answer
        return answer

    def _lost(self) -> MediaError:
        self.close()
        code = self._process.returncode
        why = "most likely out of memory" if code == -9 else "see above"
        return MediaError(f"the encoder ended with exit code {code}, {why}; try a smaller clip or another codec")

    def close(self, *, idle: bool = True) -> None:
        """Ends the process; one that is not idle is not waited for."""
        if not idle:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was still to be written finds no reader
                    pipe.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def send(pipe: BinaryIO | Any, message: Any) -> None:
    pickle.dump(message, pipe, protocol=5)
    pipe.flush()


def receive(pipe: BinaryIO | Any) -> Any:
    return pickle.load(pipe)


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Codes clip after clip, until one fails."""
    while True:
        job = receive(source)
        try:
            code(job, source, sink)
        except CosmotokError as error:
            return send(sink, error)
        except Exception as error:
            text = " ".join(str(error).split()) or type(error).__name__
            what = f"{job.encoder.name}: cannot code a clip of {job.width}x{job.height}"
            return send(sink, MediaError(f"{what} ({text}); try another codec"))


def code(job: Job, source: BinaryIO, sink: BinaryIO) -> None:
    """Answers each frame with a list of those that are ready; after the last, sends the rest, and the bits."""
    coder = coder_for(job)
    pushed = returned = 0
    while (pixels := receive(source)) is not None:
        ready = list(coder.push(pixels))
        pushed, returned = pushed + 1, returned + len(ready)
        send(sink, ready)
    for pixels in coder.finish() if pushed else ():
        returned += 1
        send(sink, pixels)
    if returned != pushed:
        raise MediaError(f"{job.encoder.name}: {returned} frames came back of {pushed}; try another codec")
    send(sink, coder.bits)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who waits
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what encoders print must not come between the frames
    with contextlib.suppress(EOFError, BrokenPipeError):  # the other end has closed
        serve(sys.stdin.buffer, sink)


if __name__ == "__main__":
    main()
