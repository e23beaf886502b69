"""Which inputs make which shard: fixed before anything is encoded, and kept beside the data.

A plan has parts, one for each run that found something new. A part is one Parquet file whose row groups are its
shards, so that ten million inputs are read a shard at a time.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosmotok.addresses import public
from cosmotok.dataset.entries import COLUMNS, SUSPECT, identities, planned, planned_entries
from cosmotok.dataset.options import Options
from cosmotok.dataset.sources import ENTRIES, Source
from cosmotok.dataset.storage import PLAN, Storage
from cosmotok.errors import InputError
from cosmotok.foreign import one_line

__all__ = ["Changes", "Part", "Plan", "Task", "read_entries"]

ABOUT = b"cosmotok"
BUFFER = 1 << 20
"""Bytes of a part that are written at a time."""
NAMED = 3
"""Keys that a message names."""


@dataclass(frozen=True)
class Task:
    """A shard to make."""

    part: int
    index: int

    @property
    def name(self) -> str:
        return f"{self.part:05}-{self.index:05}"


@dataclass(frozen=True)
class Part:
    """What one run planned."""

    number: int
    sources: tuple[str, ...]
    shards: int
    inputs: int
    retired: tuple[str, ...]
    """Names of earlier shards that hold changed or vanished inputs: what is left of them is planned anew here."""
    public: bool
    """Whether its keys have no secrets; those that earlier versions wrote may have."""


@dataclass(frozen=True)
class Changes:
    """What differs between the sources and the plan."""

    added: int = 0
    changed: tuple[str, ...] = ()
    """Keys; the first few."""
    vanished: tuple[str, ...] = ()
    changed_count: int = 0
    vanished_count: int = 0

    def __str__(self) -> str:
        parts = []
        for count, keys, what in (
            (self.changed_count, self.changed, "changed"),
            (self.vanished_count, self.vanished, "vanished"),
        ):
            if count:
                more = f" and {count - len(keys):,} more" if count > len(keys) else ""
                parts.append(f"{count:,} {what} ({', '.join(one_line(public(key), 300) for key in keys)}{more})")
        return ", ".join(parts)


class Plan:
    """The parts of a data set's plan.

    Args:
        storage: of the data set.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        names = sorted(name for name in storage.sizes(PLAN) if name.startswith("part-"))
        self.parts = [_part(storage, number, name) for number, name in enumerate(names)]
        self.full: dict[str, str] = {}
        """Of the inputs that `extend` found, addresses with secrets by those that are written, which have none."""

    @property
    def retired(self) -> set[str]:
        return {name for part in self.parts for name in part.retired}

    def tasks(self) -> list[Task]:
        """All shards that count."""
        retired = self.retired
        every = (Task(part.number, index) for part in self.parts for index in range(part.shards))
        return [task for task in every if task.name not in retired]

    def inputs(self, tasks: Sequence[Task]) -> int:
        """Of shards; read from the parts' footers."""
        total = 0
        for part in self.parts:
            mine = {task.index for task in tasks if task.part == part.number}
            if len(mine) == part.shards:
                total += part.inputs
            elif mine:
                with self.storage.open(_path(part.number)) as file:
                    groups = pq.ParquetFile(file).metadata
                    total += sum(groups.row_group(index).num_rows for index in mine)
        return total

    def extend(
        self,
        names: Sequence[str],
        sources: Sequence[Source],
        options: Options,
        renew: bool | None,
        begin: Callable[[], None] = lambda: None,
    ) -> Changes:
        """Plans what the sources have and the plan has not.

        Args:
            names: of the sources, as they were given.
            renew: what to do about inputs that changed or vanished: True plans their shards anew, False keeps what
                was made of them, None refuses.
            begin: called where there is something new, before it is part of the plan.

        Raises:
            InputError: where the sources have nothing, or have one key twice, or inputs changed or vanished.
        """
        known = self._known()
        number = len(self.parts)
        changes, written = Changes(), False
        with (
            contextlib.suppress(_NothingNewError),
            self.storage.create(_path(number)) as file,
            contextlib.closing(_PartWriter(file, options)) as writer,
        ):
            found = _Found(known)
            for table in planned_entries(sources, self.full):
                writer.write(found.new_of(table))
            twice = found.twice()
            if twice is not None:
                raise InputError(
                    f"data set: the sources have {one_line(_name_of(sources, twice), 300)} twice; name each folder, "
                    "list or file once, and give rows of a list different paths"
                )
            changes = self._changes(found, known)
            retired: list[str] = []
            if changes.changed_count or changes.vanished_count:
                if renew is None:
                    raise InputError(
                        f"{self.storage.name}: of its inputs, {changes}; --changed keep goes on with the tokens that "
                        "were made of them, --changed renew makes their shards anew"
                    )
                if renew:
                    shards = np.unique(known.shard[~found.seen | found.differs])
                    retired = [known.names[shard] for shard in shards]
                    inside = pa.array(known.keys[np.isin(known.shard, shards)])
                    for table in planned_entries(sources, self.full):  # once more, since only now it is known which
                        writer.write(table.filter(pc.is_in(table["key_hash"], inside)))
            if not writer.inputs and not retired:
                raise _NothingNewError
            writer.finish([public(name) for name in names], retired)
            begin()
            written = True
        if written:
            self.parts.append(_part(self.storage, number, _name(number)))
        return changes

    def _known(self) -> _Known:
        """Hashes of all that was planned, shard by shard."""
        keys, full, shard = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)], [np.empty(0, np.uint32)]
        names: list[str] = []
        retired = self.retired
        for part in self.parts:
            with self.storage.open(_path(part.number)) as opened:
                file = pq.ParquetFile(opened)
                key_hash, both = _hashes_of(file, part)
                lengths = [file.metadata.row_group(index).num_rows for index in range(part.shards)]
            alive = np.array([Task(part.number, index).name not in retired for index in range(part.shards)], bool)
            kept = np.repeat(alive, lengths)
            keys.append(key_hash[kept])
            full.append(both[kept])
            shard.append(np.repeat(np.arange(len(names), len(names) + part.shards, dtype=np.uint32), lengths)[kept])
            names += [Task(part.number, index).name for index in range(part.shards)]
        every = _joined(keys)
        order = np.argsort(every)
        return _Known(every[order], _joined(full)[order], _joined(shard)[order], names)

    def _changes(self, found: _Found, known: _Known) -> Changes:
        gone = ~found.seen
        vanished: list[str] = []
        for name in dict.fromkeys(known.names[shard] for shard in np.unique(known.shard[gone])[:NAMED]):
            table = read_entries(self.storage, _task(name))
            missing = pc.is_in(table["key_hash"], pa.array(known.keys[gone]))
            vanished += table.filter(missing)["key"].slice(0, NAMED).to_pylist()
        return Changes(
            found.added,
            tuple(found.changed[:NAMED]),
            tuple(vanished[:NAMED]),
            int(found.differs.sum()),
            int(gone.sum()),
        )


@dataclass(frozen=True)
class _Known:
    """Sorted by key's hash."""

    keys: np.ndarray
    full: np.ndarray
    shard: np.ndarray
    names: list[str]


class _Found:
    """Goes through what the sources have, and tells new from known."""

    def __init__(self, known: _Known) -> None:
        self.known = known
        self.seen = np.zeros(len(known.keys), bool)
        self.differs = np.zeros(len(known.keys), bool)
        self.added = 0
        self.changed: list[str] = []
        self._keys = [np.empty(0, np.uint64)]

    def new_of(self, table: pa.Table) -> pa.Table:
        """Those that were not planned before."""
        known, keys = self.known, table["key_hash"].to_numpy()
        self._keys.append(keys)
        new = table
        if len(known.keys):
            order = np.argsort(keys)  # searched in order, neighbours are in the processor's cache
            place = np.empty(len(keys), np.int64)
            place[order] = np.searchsorted(known.keys, keys[order]).clip(max=len(known.keys) - 1)
            old = known.keys[place] == keys
            differs = old & (known.full[place] != table["hash"].to_numpy())
            self.seen[place[old]] = True
            self.differs[place[differs]] = True
            if len(self.changed) < NAMED:
                self.changed += table.filter(pa.array(differs))["key"].slice(0, NAMED).to_pylist()
            new = table.filter(pa.array(~old))
        self.added += len(new)
        return new

    def twice(self) -> np.uint64 | None:
        """The hash of a key that two inputs have. Raises InputError where nothing was found."""
        every = _joined(self._keys)
        every.sort()
        if not len(every):
            raise InputError("data set: expected images or videos in the sources, found none")
        same = every[1:][every[1:] == every[:-1]]
        return same[0] if len(same) else None


def _name_of(sources: Sequence[Source], key_hash: np.uint64) -> str:
    """Of an input that is there, by the hash of its key."""
    for table in planned_entries(sources, {}):
        place = np.flatnonzero(table["key_hash"].to_numpy() == key_hash)
        if len(place):
            return str(table["key"][int(place[0])])
    return "an input"  # gone meanwhile


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """All in one array. The list is emptied, so that memory does not hold ten million numbers twice for long."""
    whole = np.concatenate(parts)
    parts.clear()
    return whole


class _PartWriter:
    """Cuts entries into shards and writes them as row groups."""

    def __init__(self, file: io.FileIO, options: Options) -> None:
        self.inputs, self.shards = 0, 0
        self._options = options
        self._waiting: list[pa.Table] = []
        self._rows, self._bytes = 0, 0
        self._buffer = io.BufferedWriter(file, BUFFER)
        self._writer = pq.ParquetWriter(
            self._buffer, COLUMNS, compression="zstd", use_dictionary=False, write_statistics=False
        )

    def write(self, table: pa.Table) -> None:
        """Adds entries; whole shards are written."""
        self.inputs += len(table)
        sizes = np.cumsum(table["bytes"].to_numpy())
        begin = 0
        while begin < len(table):
            before = sizes[begin - 1] if begin else 0
            full = np.searchsorted(sizes, before + self._options.shard_bytes - self._bytes) + 1
            end = int(min(full, begin + self._options.shard_inputs - self._rows, len(table)))
            end = max(end, begin + 1)
            self._waiting.append(table.slice(begin, end - begin))
            self._rows += end - begin
            self._bytes += int(sizes[end - 1] - before)
            begin = end
            if self._rows >= self._options.shard_inputs or self._bytes >= self._options.shard_bytes:
                self._cut()

    def _cut(self) -> None:
        if self._waiting:
            shard = pa.concat_tables(self._waiting).combine_chunks()
            self._writer.write_table(shard, row_group_size=len(shard))
            self.shards += 1
        self._waiting, self._rows, self._bytes = [], 0, 0

    def finish(self, names: Sequence[str], retired: Sequence[str]) -> None:
        """Writes what is left, and what the part says of itself."""
        self._cut()
        about = {
            "sources": list(names),
            "shards": self.shards,
            "inputs": self.inputs,
            "retired": list(retired),
            "public": True,
        }
        self._writer.add_key_value_metadata({ABOUT: json.dumps(about).encode()})

    def close(self) -> None:
        """Ends the file, which is the caller's to close."""
        self._writer.close()
        self._buffer.detach()


class _NothingNewError(Exception):
    """There is no part to write."""


def _hashes_of(file: pq.ParquetFile, part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Of all that a part planned."""
    if not part.public and any(
        pc.any(pc.match_substring_regex(batch["key"], SUSPECT)).as_py() for batch in file.iter_batches(columns=["key"])
    ):
        found = [
            identities(pa.array(list(map(public, batch["key"].to_pylist()))), batch["stamp"])
            for batch in file.iter_batches(columns=["key", "stamp"])
        ]
        return np.concatenate([keys for keys, _ in found]), np.concatenate([both for _, both in found])
    table = file.read(columns=["key_hash", "hash"])
    return table["key_hash"].to_numpy(), table["hash"].to_numpy()


def read_entries(storage: Storage, task: Task) -> pa.Table:
    """The entries of a shard, with the columns of a plan."""
    with storage.open(_path(task.part)) as file:
        table = pq.ParquetFile(file).read_row_group(task.index).combine_chunks()
    # once more, since earlier versions wrote secrets, and had fewer bits for a source
    entries = table.select(ENTRIES.names).to_batches()[0].cast(ENTRIES)
    return planned(entries, table["source"].combine_chunks().cast(pa.int32()), {})


def _name(number: int) -> str:
    return f"part-{number:05}.parquet"


def _path(number: int) -> str:
    return f"{PLAN}/{_name(number)}"


def _task(name: str) -> Task:
    part, _, index = name.partition("-")
    return Task(int(part), int(index))


def _part(storage: Storage, number: int, name: str) -> Part:
    try:
        with storage.open(f"{PLAN}/{name}") as file:
            about = json.loads(pq.read_metadata(file).metadata[ABOUT])
        return Part(
            *(number, tuple(about["sources"]), about["shards"], about["inputs"], tuple(about["retired"])),
            public=about.get("public") is True,
        )
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{storage.name}/{PLAN}/{name}: damaged ({one_line(error, 80)}); the data set cannot be extended, "
            "choose another output"
        ) from None


def entries_of(table: pa.Table) -> Iterator[tuple[str, str, str, str, int]]:
    """(key, stamp, address, metadata, source) of each row."""
    columns = (table[name].to_pylist() for name in ("key", "stamp", "address", "metadata", "source"))
    return zip(*columns, strict=True)
