"""Makes one of the calls by which everything is written fail."""

from __future__ import annotations

import errno
import os
from typing import Any

from cosmotok.writing.system import Calls, calls

NAMES = [name for name in vars(Calls) if not name.startswith("_")]


class Counter:
    """Counts the calls, and fails the chosen one.

    Args:
        number: which call fails, from 1; 0 for none.
        error: the system's number of its error.
        lasting: whether later calls that need room on the disk fail, too, as they do on one that is full.
    """

    def __init__(self, number: int, error: int, lasting: bool) -> None:
        self.number, self.error, self.lasting = number, error, lasting
        self.count = 0

    def wrap(self, name: str) -> Any:
        real = getattr(Calls, name)

        def call(*arguments: Any) -> Any:
            self.count += 1
            late = self.lasting and self.number and self.count > self.number and name in ("write", "mkdir")
            if self.count != self.number and not late:
                return real(*arguments)
            if name == "close":  # the file is closed all the same
                real(*arguments)
            if name == "write" and self.error == errno.ENOSPC and not late:
                real(arguments[0], arguments[1][: len(arguments[1]) // 2])
            raise OSError(self.error, os.strerror(self.error))

        return call


def install(number: int, error: int, lasting: bool) -> Counter:
    counter = Counter(number, error, lasting)
    for name in NAMES:
        setattr(calls, name, counter.wrap(name))
    return counter
