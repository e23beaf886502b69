"""The rows of a share of an epoch, in its order, from wherever it was left."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from cosmotok.dataset.reading.order import Mixer, Share, shuffled
from cosmotok.dataset.reading.shards import Row, Shards

__all__ = ["Epoch", "RowStream"]


@dataclass(frozen=True)
class Epoch:
    """Once through all rows, as one share of them goes."""

    number: int
    shuffle: bool
    seed: int
    buffer: int
    even: bool
    share: Share


class RowStream(Iterator[tuple[int, Row]]):
    """Rows with their places in the share; each row group is read once, and its rows are held until their turn.

    Args:
        taken: rows that were taken before.
        again: places of those among them that come once more, first.
    """

    def __init__(self, shards: Shards, epoch: Epoch, taken: int = 0, again: Sequence[int] = ()) -> None:
        self.shards = shards
        count, seed = len(shards.manifest.shards), f"{epoch.seed} {epoch.number}"
        self._shards = shuffled(count, seed) if epoch.shuffle else list(range(count))
        self._starts = [0, *accumulate(shards.manifest.shards[shard].rows for shard in self._shards)]
        self._span = epoch.share.of(len(shards), epoch.even)
        share = epoch.share
        self._mixer = Mixer(
            len(self._span),
            epoch.buffer if epoch.shuffle else 1,
            f"{seed} {share.rank} {share.world_size} {share.worker} {share.workers}",
            taken,
        )
        self.again = list(again)
        self._left = {*self._mixer.waiting, *again}
        self._from = self._mixer.next
        """From this place on all are left to read."""
        self._rows: dict[int, Row] = {}

    @property
    def taken(self) -> int:
        """Rows, from the epoch's beginning."""
        return self._mixer.taken

    def __next__(self) -> tuple[int, Row]:
        place = self.again.pop(0) if self.again else next(self._mixer)
        if place not in self._rows:
            self._load(place)
        return place, self._rows.pop(place)

    def number(self, place: int) -> int:
        """Of the row at a place, among all of the data set."""
        shard, row = self._locate(place)
        return self.shards.starts[shard] + row

    def _locate(self, place: int) -> tuple[int, int]:
        """Shard and row of a place."""
        at = self._span.start + place
        index = bisect_right(self._starts, at) - 1
        return self._shards[index], at - self._starts[index]

    def _load(self, place: int) -> None:
        shard, row = self._locate(place)
        group = self.shards.group(shard, row)
        for number, found in zip(group.rows, self.shards.read(group), strict=True):
            its = place + number - row
            if 0 <= its < len(self._span) and (its >= self._from or its in self._left):
                self._rows[its] = found
