"""Who reads which rows of an epoch, and in which order: arithmetic alone, the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

__all__ = ["Mixer", "Share", "shuffled"]


@dataclass(frozen=True)
class Share:
    """One of all who read: a worker of a rank."""

    rank: int = 0
    world_size: int = 1
    worker: int = 0
    workers: int = 1

    def of(self, rows: int, even: bool) -> range:
        """Its rows of an epoch of so many: neighbours, so that nearly all files are read by one alone.

        All shares together are all rows, each once; no two differ by more than a row within a rank, nor two ranks.
        With `even`, none differ at all, and the last rows, fewer than there are shares, are nobody's.
        """
        if even:
            rows -= rows % (self.world_size * self.workers)
        first, last = (rows * rank // self.world_size for rank in (self.rank, self.rank + 1))
        begin, end = ((last - first) * worker // self.workers for worker in (self.worker, self.worker + 1))
        return range(first + begin, first + end)


def shuffled(count: int, seed: str) -> list[int]:
    """The numbers below `count` in an order of the seed's."""
    rng = Random(seed)  # of which `random` alone is the same in every version of Python
    keys = [rng.random() for _ in range(count)]
    return sorted(range(count), key=keys.__getitem__)


class Mixer(Iterator[int]):
    """The numbers below `count`, each once: always one of the next `buffer` that are left, drawn by the seed.

    Args:
        buffer: 1 leaves them in order.
        taken: how many have been taken before; the rest is as it would have been.
    """

    def __init__(self, count: int, buffer: int, seed: str, taken: int = 0) -> None:
        self.count, self.taken = count, 0
        self.waiting = list(range(min(buffer, count)))
        """To draw from; all numbers from `next` on are behind them."""
        self.next = len(self.waiting)
        self._rng = Random(seed)
        while self.taken < taken:
            next(self)

    def __next__(self) -> int:
        if not self.waiting:
            raise StopIteration
        self.taken += 1
        place = int(self._rng.random() * len(self.waiting))
        drawn = self.waiting[place]
        if self.next < self.count:
            self.waiting[place] = self.next
            self.next += 1
        else:
            self.waiting[place] = self.waiting[-1]
            self.waiting.pop()
        return drawn
