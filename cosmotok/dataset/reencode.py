"""Encodes rows of a data set once more from their sources, and compares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Literal, NamedTuple

from torch import Tensor

from cosmotok.addresses import public
from cosmotok.checkpoint.fingerprint import other_maker
from cosmotok.dataset.job import Job
from cosmotok.dataset.manifest import Manifest
from cosmotok.dataset.options import Options
from cosmotok.dataset.plan import Plan, Task, entries_of, read_entries
from cosmotok.dataset.reading.shards import Row, Shards
from cosmotok.dataset.schema import unpack
from cosmotok.dataset.sources import Source
from cosmotok.dataset.sources.find import find_sources
from cosmotok.dataset.worker import Begin, Clip, End, Making, Piece, Worker
from cosmotok.errors import CosmotokError, InputError, SourceLostError
from cosmotok.foreign import one_line
from cosmotok.interface import BaseTokenizer

__all__ = ["Fate", "Reencoder"]

MOST_OTHER = 0.05
"""Share of indices, or of a latent's deviation, by which tokens may differ that other processors or batches made."""

LONGEST = 4096
"""Characters of a key, or of a reason."""


class Fate(NamedTuple):
    """What became of a row that was encoded once more."""

    row: int
    what: Literal["same", "close", "other", "not_reached"]
    reason: str = ""


class Reencoder:
    """Encodes as the data set's run did.

    Raises:
        InputError: where `tokenizer` did not make the data set.
    """

    def __init__(self, place: str, manifest: Manifest, tokenizer: BaseTokenizer) -> None:
        wrong = other_maker(
            *(public(place), manifest.model, manifest.fingerprint), tokenizer.spec.name, tokenizer.fingerprint
        )
        if wrong is not None:
            raise InputError(wrong)
        self.manifest, self.tokenizer = manifest, tokenizer
        self.options = Options.parse(manifest.options)
        self.place = place

    def encode(self, shards: Shards, numbers: Sequence[int]) -> Iterator[Fate]:
        """What becomes of rows, by their numbers in order."""
        plan = Plan(shards.storage)
        for shard, same_shard in groupby(numbers, lambda number: shards.find(number)[0]):
            task = task_of(self.manifest.shards[shard].name)
            rows = {number: shards.row(number) for number in same_shard}
            try:
                names = plan.parts[task.part].sources
                sources = tuple(find_sources(names))
                entries = {entry[0]: entry for entry in entries_of(read_entries(shards.storage, task))}
            except (CosmotokError, IndexError) as error:
                reason = "it has no plan" if isinstance(error, IndexError) else one_line(error, LONGEST)
                yield from (Fate(number, "not_reached", reason) for number in rows)
                continue
            for key, same_key in groupby(rows.items(), lambda item: public(item[1]["key"])):
                yield from self._input(sources, entries.get(key), dict(same_key), shards.name)

    def _input(
        self, sources: tuple[Source, ...], entry: tuple[str, str, str, str, int] | None, rows: dict[int, Row], name: str
    ) -> Iterator[Fate]:
        """Of some rows of one input."""
        if entry is None:
            for number, row in rows.items():
                yield Fate(
                    number, "other", f"{name}: row {number} is of {one_line(row['key'], LONGEST)}, which is not planned"
                )
            return
        wanted = {row["segment"] for row in rows.values()}
        found, reason = self._encoded(sources, entry, wanted)
        for number, row in rows.items():
            if reason is not None:
                yield Fate(number, "not_reached", reason)
            elif row["segment"] not in found:
                yield Fate(number, "other", f"{name}: row {number}: {row['key']} has no segment {row['segment']}")
            else:
                yield self._compared(number, row, found[row["segment"]], name)

    def _encoded(
        self, sources: tuple[Source, ...], entry: tuple[str, str, str, str, int], wanted: set[int]
    ) -> tuple[dict[int, Row], str | None]:
        """The wanted segments of an input as rows, or why there are none."""
        manifest = self.manifest
        job = Job(
            *(self.place, manifest.model, self.tokenizer.fingerprint, manifest.spec, self.options),
            str(self.tokenizer.device),
            {0: sources},
            manifest.signals,
        )
        rows = _Rows()
        making = Making(Worker(job, self.tokenizer), rows, [entry])  # type: ignore[arg-type]
        try:
            making.take(only(making.events(0), wanted))
        except SourceLostError as error:
            return {}, one_line(error, LONGEST)
        refused = making.quarantined
        return rows.found, refused[0].reason if refused else None

    def _compared(self, number: int, row: Row, again: Row, name: str) -> Fate:
        spec, dtype = self.manifest.spec, self.manifest.latent_dtype
        one, other = unpack(row, spec, dtype), unpack(again, spec, dtype)
        apart = distance(one, other) if one.shape == other.shape else 1.0
        if apart == 0:
            return Fate(number, "same")
        if apart <= MOST_OTHER:
            return Fate(number, "close")
        what = (
            f"{apart:.0%} of its tokens differ" if spec.is_discrete else f"it differs by {apart:.0%} of its deviation"
        )
        if one.shape != other.shape:
            what = f"it has the shape {tuple(other.shape)}, not {tuple(one.shape)}"
        key = one_line(row["key"], LONGEST)
        reason = f"{name}: row {number}, encoded once more, is another: {what}; {key} has changed since"
        return Fate(number, "other", reason)


class _Rows:
    """Takes rows as a shard would."""

    def __init__(self) -> None:
        self.found: dict[int, Row] = {}

    def write(self, row: dict[str, Any]) -> None:
        self.found[row["segment"]] = row


def only(events: Iterator[Begin | Clip | Piece | End], wanted: set[int]) -> Iterator[Begin | Clip | Piece | End]:
    """Of an input, the segments that are wanted."""
    for event in events:
        if not isinstance(event, (Clip, Piece)) or event.segment.number in wanted:
            yield event
        elif event.segment.number > max(wanted):
            yield End(event.input, None)
            return


def distance(one: Tensor, other: Tensor) -> float:
    """Share of indices that differ; or how far latents are apart, as a share of their size."""
    if not one.is_floating_point():
        return float((one != other).float().mean())
    return float((one - other).norm() / one.norm().clamp_min(1e-12))


def task_of(shard: str) -> Task:
    """The plan's name of a shard, such as data/00000-00003.parquet."""
    part, _, index = shard.removeprefix("data/").removesuffix(".parquet").partition("-")
    return Task(int(part), int(index))
