"""Copies of remote files that hold many inputs: the last few stay, for whoever comes next."""

from __future__ import annotations

import atexit
import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cosmotok.dataset.sources.places import Local, place_of

__all__ = ["kept"]

MOST = 2


@dataclass
class Copy:
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    path: Path | None = None
    users: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


_copies: OrderedDict[str, Copy] = OrderedDict()
_lock = threading.Lock()


@contextlib.contextmanager
def kept(path: str) -> Iterator[Path]:
    """As `Place.local`; a copy goes when `MOST` others were wanted after it, or this process ends."""
    place = place_of(path)
    if isinstance(place, Local):
        with place.local(path) as local:
            yield local
        return
    with _lock:
        copy = _copies.pop(path, None) or Copy()
        _copies[path] = copy
        copy.users += 1
    try:
        with copy.lock:
            if copy.path is None:
                copy.path = copy.stack.enter_context(place.local(path))
        yield copy.path
    finally:
        with _lock:
            copy.users -= 1
            _drop(MOST)


def _drop(most: int) -> None:
    for path, copy in list(_copies.items()):
        if len(_copies) <= most:
            return
        if not copy.users:
            del _copies[path]
            copy.stack.close()


@atexit.register
def _clear() -> None:
    with _lock:
        _drop(0)
