"""Signs of life of a run, from a thread beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from cosmotok.errors import CosmotokError

__all__ = ["heartbeat"]


@contextmanager
def heartbeat(beat: Callable[[], None], seconds: float) -> Iterator[None]:
    """Calls `beat` every so many seconds, first after that time, until the block ends. One that cannot be written is
    left out."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(seconds):
            with suppress(CosmotokError, OSError):
                beat()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
