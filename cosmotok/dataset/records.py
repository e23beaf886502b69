"""What became of a shard: written once its data is in place, so that no later run makes it again."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from cosmotok.dataset.manifest import Counts, Shard, Statistics
from cosmotok.dataset.storage import PLAN, Storage
from cosmotok.errors import InputError
from cosmotok.foreign import one_line

__all__ = ["DATA", "Quarantined", "Record", "Sums", "finished", "statistics_of"]

DATA, DONE = "data", f"{PLAN}/done"
READERS = 32
"""Records that are read at a time: an object store answers late, but many at once."""


@dataclass(frozen=True)
class Quarantined:
    """An input of which there are no tokens."""

    key: str
    stamp: str
    reason: str


@dataclass
class Sums:
    """Of latents, for each channel."""

    values: int = 0
    """Per channel."""
    total: list[float] = field(default_factory=list)
    squares: list[float] = field(default_factory=list)

    def add(self, latents: Tensor) -> None:
        """Latents (C, T', H', W')."""
        flat = latents.detach().cpu().flatten(1).to(torch.float64)
        self.merge(Sums(flat.shape[1], flat.sum(1).tolist(), flat.square().sum(1).tolist()))

    def merge(self, other: Sums) -> None:
        if not self.values:
            self.total, self.squares = [0.0] * len(other.total), [0.0] * len(other.total)
        self.values += other.values
        self.total = [a + b for a, b in zip(self.total, other.total, strict=True)] if other.values else self.total
        self.squares = (
            [a + b for a, b in zip(self.squares, other.squares, strict=True)] if other.values else self.squares
        )


@dataclass(frozen=True)
class Record:
    """A shard that is done."""

    task: str
    counts: Counts
    shard: Shard | None
    """None where no input of it gave a row."""
    sums: Sums
    quarantined: tuple[Quarantined, ...] = ()

    def write(self, storage: Storage) -> None:
        storage.write(f"{DONE}/{self.task}.json", (json.dumps(asdict(self)) + "\n").encode())

    @classmethod
    def parse(cls, text: str | bytes) -> Record:
        """A record from JSON; raises ValueError, KeyError or TypeError where it is none."""
        values: dict[str, Any] = json.loads(text)
        return cls(
            values["task"],
            Counts(**values["counts"]),
            None if values["shard"] is None else Shard(**values["shard"]),
            Sums(**values["sums"]),
            tuple(Quarantined(**each) for each in values["quarantined"]),
        )

    @classmethod
    def read(cls, storage: Storage, task: str) -> Record:
        """The record of a shard that is done.

        Raises:
            InputError: where it is damaged.
        """
        name = f"{DONE}/{task}.json"
        try:
            return cls.parse(storage.read(name))
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{storage.name}/{name}: damaged ({one_line(error, 80)}); delete it, and its shard is made again"
            ) from None


def finished(storage: Storage, tasks: Iterable[str]) -> dict[str, Record]:
    """The records of the shards that are done and whose data is there, whole."""
    done, data = storage.sizes(DONE), storage.sizes(DATA)
    with ThreadPoolExecutor(READERS) as pool:
        records = pool.map(lambda task: Record.read(storage, task), (task for task in tasks if f"{task}.json" in done))
        return {
            record.task: record
            for record in records
            if record.shard is None or data.get(f"{record.task}.parquet") == record.shard.bytes
        }


def forget(storage: Storage, tasks: Iterable[str]) -> None:
    """Shards that are no part of the data set any more go."""
    done, data = storage.sizes(DONE), storage.sizes(DATA)
    for task in tasks:
        if f"{task}.json" in done:
            storage.remove(f"{DONE}/{task}.json")
        if f"{task}.parquet" in data:
            storage.remove(f"{DATA}/{task}.parquet")


def statistics_of(records: Sequence[Record]) -> Statistics | None:
    """Mean and standard deviation of each channel, over all latents; None of indices, or of nothing."""
    every = Sums()
    for record in records:
        if record.sums.values:
            every.merge(record.sums)
    if not every.values:
        return None
    mean = [total / every.values for total in every.total]
    spread = [
        math.sqrt(max(0.0, squares / every.values - m * m)) for squares, m in zip(every.squares, mean, strict=True)
    ]
    return Statistics(tuple(mean), tuple(spread))
