"""Which file goes into which batch: a pure function of the seed and the number of the batch."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Draw", "Plan"]

_EPOCHS_KEPT = 4


class Draw(NamedTuple):
    """One use of a file: its number, and which of its uses this is, from 0."""

    file: int
    epoch: int


class _Epoch(NamedTuple):
    members: list[np.ndarray]
    """Of each group, its files in the order of this epoch."""
    batches: list[tuple[int, int]]
    """Group, and number within the group, of the batches that become full in this epoch."""


class Plan:
    """Endless batches in which every file comes once per epoch, in a new order each time.

    Each epoch is a permutation of all files. Going through it, files gather in their groups; as soon as a group has
    enough for a batch, that is the next batch. What is left of a group at the end of an epoch goes into its first batch
    of the next one, so that nothing is left out or repeated. All of it can be computed for any batch on its own.

    Args:
        groups: numbers of the files that may share a batch; every group has some.
        batch: files per batch.
        seed: whole numbers from 0.
    """

    def __init__(self, groups: Sequence[np.ndarray], batch: int, seed: Sequence[int]) -> None:
        self._files = np.concatenate(groups)
        self._group_of = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        self._sizes = [len(group) for group in groups]
        self.batch = batch
        self._seed = list(seed)
        self._epochs: OrderedDict[int, _Epoch] = OrderedDict()

    def __getitem__(self, number: int) -> tuple[int, list[Draw]]:
        """The group of a batch, and its files."""
        last = (number + len(self._sizes)) * self.batch // len(self._files) + 1
        epoch = bisect_right(range(last + 1), number, key=self._full_by) - 1
        group, rank = self._epoch(epoch).batches[number - self._full_by(epoch)]
        size, first = self._sizes[group], rank * self.batch
        draws = []
        for place in range(first, first + self.batch):
            use, position = divmod(place, size)
            draws.append(Draw(int(self._epoch(use).members[group][position]), use))
        return group, draws

    def _full_by(self, epoch: int) -> int:
        """How many batches are full before `epoch` begins."""
        return sum(epoch * size // self.batch for size in self._sizes)

    def _epoch(self, epoch: int) -> _Epoch:
        if epoch in self._epochs:
            self._epochs.move_to_end(epoch)
            return self._epochs[epoch]
        order = np.random.default_rng([*self._seed, epoch]).permutation(len(self._files))
        group_of = self._group_of[order]
        members, ends = [], []
        for group, size in enumerate(self._sizes):
            places = np.flatnonzero(group_of == group)
            members.append(self._files[order[places]])
            filled = epoch * size + np.arange(1, size + 1)
            full = np.flatnonzero(filled % self.batch == 0)
            ends += [(int(places[i]), group, int(filled[i]) // self.batch - 1) for i in full]
        self._epochs[epoch] = _Epoch(members, [(group, rank) for _, group, rank in sorted(ends)])
        if len(self._epochs) > _EPOCHS_KEPT:
            self._epochs.popitem(last=False)
        return self._epochs[epoch]
