"""Decoded videos in memory, shared by the processes that prepare batches."""

from __future__ import annotations

import mmap
import multiprocessing
import sys
from typing import Any

import numpy as np

__all__ = ["ClipCache"]

_LARGEST = 8  # one video takes at most this part of the memory
_SHARE = 0.5  # of the memory that is free
_WAIT = 1.0  # seconds; only a process that was killed holds the lock for so long


class ClipCache:
    """Decoded videos by number; processes forked off after this was made share one memory.

    What is in stays in: files come once per epoch, so whatever were thrown out would be the next one needed. Memory is
    taken from the system as it fills. Where processes are not forked but started anew, each fills a part of its own.

    Args:
        count: numbers are below this.
        megabytes: at most so much, and at most half of what is free; 0 keeps nothing.
        parts: by how many processes the memory is divided, where it cannot be shared.
    """

    def __init__(self, count: int, megabytes: int, parts: int = 1) -> None:
        self._arguments = count, megabytes, parts
        self._size = min(megabytes * 2**20, _affordable())
        try:
            self._memory = mmap.mmap(-1, max(1, self._size))
        except (OSError, ValueError, MemoryError):  # the system gives no such amount
            self._memory, self._size = mmap.mmap(-1, 1), 0
        # Bytes in use; then, for each video, the number of the byte after its last one (0: not here) and its shape.
        self._table = np.frombuffer(mmap.mmap(-1, 8 * (1 + 4 * count)), np.int64)
        self._lock = multiprocessing.Lock()

    def __reduce__(self) -> Any:
        count, megabytes, parts = self._arguments
        return ClipCache, (count, megabytes // parts)

    def has_room(self, size: int) -> bool:
        """Whether a video of `size` bytes would be kept."""
        return size <= self._size // _LARGEST and int(self._table[0]) + size <= self._size

    def get(self, number: int) -> np.ndarray | None:
        """A view, not to be changed, of the frames (T, H, W, 3) of a video; None where they are not kept."""
        row = self._row(number)
        if row[0] == 0 or not self._lock.acquire(timeout=_WAIT):
            return None
        try:
            end, *shape = (int(value) for value in row)
        finally:
            self._lock.release()
        size = int(np.prod(shape)) * 3
        return np.frombuffer(self._memory, np.uint8, size, end - size).reshape(*shape, 3)

    def put(self, number: int, frames: np.ndarray) -> None:
        """Keeps the frames (T, H, W, 3) of a video if there is room."""
        if not self._lock.acquire(timeout=_WAIT):
            return
        try:
            row = self._row(number)
            if row[0] or not self.has_room(frames.nbytes):
                return
            begin = int(self._table[0])
            end = begin + frames.nbytes
            target = np.frombuffer(self._memory, np.uint8, frames.nbytes, begin)
            target.reshape(frames.shape)[:] = frames
            row[1:] = frames.shape[:3]
            row[0] = end
            self._table[0] = end
        finally:
            self._lock.release()

    def _row(self, number: int) -> np.ndarray:
        return self._table[1 + 4 * number : 5 + 4 * number]


def _affordable() -> int:
    """Bytes that may be taken at most."""
    try:
        import psutil
    except ImportError:
        return sys.maxsize
    return int(psutil.virtual_memory().available * _SHARE)
