"""Ctrl-C and other signals, where a library would swallow the KeyboardInterrupt that they raise."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["postponed"]

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


@contextmanager
def postponed() -> Iterator[None]:
    """Signals with a handler of Python's are handled after the block; for short blocks.

    PyAV writes through functions that C calls. An interrupt in one of these is printed and lost, with the bytes that
    were to be written, and the file would be kept as if it were whole.
    """
    if threading.current_thread() is not threading.main_thread():  # handlers run in the main thread alone
        yield
        return
    received: list[int] = []
    handlers: dict[int, Callable[[int, Any], Any]] = {}
    try:
        for number in (getattr(signal, name) for name in SIGNALS if hasattr(signal, name)):
            handler = signal.getsignal(number)
            if callable(handler):
                handlers[number] = handler
                signal.signal(number, lambda number, _: received.append(number))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if received:
            handlers[received[0]](received[0], None)
