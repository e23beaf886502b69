"""The rows of a data set by number, out of its Parquet files."""

from __future__ import annotations

import hashlib
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from cosmotok.dataset.manifest import MANIFEST, Manifest
from cosmotok.dataset.schema import row_schema
from cosmotok.dataset.storage import Storage, storage_at
from cosmotok.errors import CosmotokError, InputError
from cosmotok.foreign import one_line

__all__ = ["Group", "Row", "Shards", "read_manifest"]

Row = dict[str, Any]
"""By column; numbers of a list as an array, and tokens as they are stored."""

OPEN = 8
"""Files that stay open."""

KEPT = 4
"""Groups that stay in memory, for rows that are asked for one by one."""


def read_manifest(storage: Storage) -> Manifest:
    """The manifest of the data set that is there.

    Raises:
        InputError: where there is none, or it is damaged.
    """
    name = f"{storage.name}/{MANIFEST}"
    try:
        text = storage.read(MANIFEST)
    except InputError:
        raise InputError(
            f"{storage.name}: no data set there, as it has no {MANIFEST}; expected a folder or URL that "
            "`cosmotok tokenize` wrote"
        ) from None
    return Manifest.parse(text.decode(errors="replace"), name)


class Group(NamedTuple):
    """Rows that are read at once: a row group of a shard."""

    shard: int
    number: int
    """Among the groups of the shard."""
    rows: range
    """Among the rows of the shard."""


class _File:
    """An open shard, and which rows its groups have."""

    def __init__(self, table: pq.ParquetFile) -> None:
        self.table = table
        counts = [table.metadata.row_group(index).num_rows for index in range(table.num_row_groups)]
        self.bounds = [0, *accumulate(counts)]


class _Opened:
    """What belongs to one process: open files have a position, which a fork would share."""

    def __init__(self, place: str) -> None:
        self.process = os.getpid()
        self.storage = storage_at(place)
        self.files: OrderedDict[int, _File] = OrderedDict()
        self.groups: OrderedDict[Group, list[Row]] = OrderedDict()
        self.lock = threading.RLock()


class Shards:
    """Reads rows; it can be sent to other processes, and used from several threads.

    Args:
        check: whether the data set has to be whole, by the sizes of its files.

    Raises:
        InputError: at once where there is no data set, or a shard is missing or has another size than the manifest's.
    """

    def __init__(self, place: str | os.PathLike[str], *, check: bool = True) -> None:
        self.place = os.fspath(place)
        self._mine: _Opened | None = None
        self.name = self.storage.name
        self.manifest = read_manifest(self.storage)
        if not self.manifest.shards and check:
            if not self.manifest.complete:
                raise InputError(f"{self.name}: is not complete; run `cosmotok tokenize` as it was begun until it ends")
            raise InputError(
                f"{self.name}: has no rows, as all inputs were left out: too short, too small, or named in its "
                "quarantine.jsonl with the reason; choose other inputs or options"
            )
        manifest = self.manifest
        self._columns = row_schema(manifest.spec, manifest.latent_dtype, manifest.signals).names
        if check:
            self._check_sizes()
        self.starts = [0, *accumulate(shard.rows for shard in self.manifest.shards)]
        """Number of the first row of each shard, and of all rows."""

    @property
    def fingerprint(self) -> str:
        """Changes with the rows."""
        return hashlib.sha256("".join(shard.sha256 for shard in self.manifest.shards).encode()).hexdigest()[:16]

    @property
    def storage(self) -> Storage:
        """Where the files are."""
        return self._opened.storage

    def _check_sizes(self) -> None:
        found = self.storage.sizes("data")
        if not found and self.name.startswith(("http:", "https:")):
            return  # a web server lists no files
        for number, shard in enumerate(self.manifest.shards):
            size = found.get(shard.name.removeprefix("data/"))
            if size is None:
                raise self.damage(number, "is missing")
            if size != shard.bytes:
                raise self.damage(number, f"has {size:,} bytes, not the {shard.bytes:,} of the manifest")

    def damage(self, number: int, what: str) -> InputError:
        """The error of a shard that is not as it should be."""
        return InputError(
            f"{self.name}/{self.manifest.shards[number].name}: {what}; remove the file, if it is there, and run "
            "`cosmotok tokenize` as before, which makes it anew"
        )

    @property
    def _opened(self) -> _Opened:
        if self._mine is None or self._mine.process != os.getpid():
            self._mine = _Opened(self.place)
        return self._mine

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mine": None}

    def __len__(self) -> int:
        return self.starts[-1]

    def find(self, number: int) -> tuple[int, int]:
        """Shard of a row of the data set, and the row's number in it."""
        shard = bisect_right(self.starts, number) - 1
        return shard, number - self.starts[shard]

    def group(self, shard: int, row: int) -> Group:
        """The group that a row of a shard is read with."""
        with self._opened.lock:
            bounds = self._file(shard).bounds
        number = bisect_right(bounds, row) - 1
        return Group(shard, number, range(bounds[number], bounds[number + 1]))

    def read(self, group: Group, columns: Sequence[str] | None = None) -> list[Row]:
        """The rows of a group, copied out of the file.

        Raises:
            InputError: where it is damaged.
            SourceLostError: where the data set cannot be reached.
        """
        with self._opened.lock:
            table = self._trying(
                group.shard, lambda: self._file(group.shard).table.read_row_group(group.number, columns=columns)
            )
        values = [_values(column.combine_chunks()) for column in table.columns]
        return [dict(zip(table.column_names, row, strict=True)) for row in zip(*values, strict=True)]

    def row(self, number: int) -> Row:
        """A row of the data set; its group is kept for those asked for next."""
        shard, row = self.find(number)
        group = self.group(shard, row)
        opened = self._opened
        with opened.lock:
            rows = opened.groups.pop(group, None) or self.read(group)
            opened.groups[group] = rows
            if len(opened.groups) > KEPT:
                opened.groups.popitem(last=False)
        return rows[row - group.rows.start]

    def _file(self, shard: int) -> _File:
        files = self._opened.files
        if shard in files:
            files.move_to_end(shard)
            return files[shard]
        entry = self.manifest.shards[shard]
        files[shard] = found = self._trying(shard, lambda: _File(pq.ParquetFile(self._opened.storage.open(entry.name))))
        if len(files) > OPEN:
            files.popitem(last=False)[1].table.close()
        if found.table.schema_arrow.names != self._columns:
            raise self.damage(shard, "does not have the columns of its manifest")
        if found.bounds[-1] != entry.rows:
            raise self.damage(shard, f"has {found.bounds[-1]:,} rows, not the {entry.rows:,} of the manifest")
        return found

    def _trying(self, shard: int, action: Callable[[], Any]) -> Any:
        """What `action` reads of a shard; the file is opened again where the connection broke."""

        def again() -> Any:
            try:
                return action()
            except OSError:
                self._opened.files.pop(shard, None)
                raise

        try:
            return self._opened.storage.patiently(again)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, CosmotokError):
                raise
            raise self.damage(shard, f"damaged ({one_line(error, 120)})") from None


def _values(column: pa.Array) -> Sequence[Any]:
    """A column's values by row, free of the memory that it was read to."""
    kind = column.type
    if not (pa.types.is_list(kind) and pa.types.is_primitive(kind.value_type)):
        return column.to_pylist()
    offsets, values = column.offsets.to_numpy(), column.values.to_numpy(zero_copy_only=False)
    missing = column.is_null().to_numpy(zero_copy_only=False)
    return [
        None if gone else values[begin:end].copy()
        for gone, begin, end in zip(missing, offsets[:-1], offsets[1:], strict=True)
    ]
