"""Parquet tables with images or videos in their cells, as Hugging Face data sets have them, or with paths to them."""

from __future__ import annotations

import contextlib
import json
import posixpath
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosmotok.dataset.sources.base import ENTRIES, Opened
from cosmotok.dataset.sources.columns import CAPTIONS, MEDIA, Columns
from cosmotok.dataset.sources.files import Holder, NoMediaError
from cosmotok.dataset.sources.jsontext import objects
from cosmotok.dataset.sources.names import is_url, joined, to_address
from cosmotok.dataset.sources.places import Found, copied, place_of
from cosmotok.errors import CosmotokError, InputError, MediaError
from cosmotok.foreign import one_line

__all__ = ["Tables"]

ROWS = 8192
"""That are planned at once."""
CELLS = 4
"""That are read at once, each of which may be a whole video."""
CELL_TYPES = {"Image", "Video"}
OPEN = 4
"""Tables that stay open, to go on where the last reader stopped."""


class Tables(Holder):
    """Parquet files; an input is a cell, by the number of its row."""

    def entries(self, key: str, found: Found, columns: Columns) -> Iterator[pa.RecordBatch]:
        with place_of(found.path).reading(found.path) as file, _damage(key, InputError):
            table = pq.ParquetFile(file)
            schema = table.schema_arrow
            media = _media(key, schema, columns)
            if not table.metadata.num_rows:
                raise NoMediaError(f"{key}: a table without rows")
            rest = [field.name for field in schema if field.name not in media and not pa.types.is_binary(field.type)]
            caption = columns.caption or next((name for name in CAPTIONS if name in rest), None)
            first = 0
            for group in range(table.num_row_groups):
                size = _average(table.metadata.row_group(group), media)
                for count, named in _rows(table, group, rest):
                    numbers = pa.array(range(first, first + count)).cast(pa.string())
                    first += count
                    captions = {"caption": named.pop(caption)} if caption in named else {}
                    metadata = objects({**captions, **named}, count)
                    for column in media:
                        name = f"::{column}" if len(media) > 1 else ""
                        addresses = pc.binary_join_element_wise(to_address(found.path, ""), numbers, f":{column}", "")
                        keys = pc.binary_join_element_wise(key + "::", numbers, name, "")
                        stamps, sizes = pa.repeat(found.stamp, count), pa.repeat(pa.scalar(size, pa.int64()), count)
                        yield pa.RecordBatch.from_arrays([keys, stamps, addresses, sizes, metadata], schema=ENTRIES)

    @contextlib.contextmanager
    def open(self, key: str, path: str, inside: str) -> Iterator[Opened]:
        row, _, column = inside.partition(":")
        with _damage(key, MediaError):
            value = _cell(path, column, int(row))
        content, name = (value, None) if isinstance(value, bytes) else (None, value)
        if isinstance(value, Mapping):
            content, name = value.get("bytes"), value.get("path")
            name = name if isinstance(name, str) else None
            if not isinstance(content, bytes | None):
                raise MediaError(f"{key}: expected bytes, got {one_line(content, 40)}")
        if content is not None:
            with copied(key, name or "", iter([content])) as copy:
                yield Opened(copy)
            return
        if not isinstance(name, str) or not name:
            raise MediaError(f"{key}: nothing in this row")
        inner = posixpath.normpath(name)
        if is_url(name) or inner.startswith(("/", "../")) or inner == ".." or "\0" in name:
            raise MediaError(
                f"{key}: names {one_line(name, 100)!r}, which is not below the folder of the table; "
                "name such files in a list (.csv or .jsonl) to read them"
            )
        file = joined(posixpath.dirname(path), inner)
        with place_of(file).local(file) as local:
            yield Opened(local)


@contextlib.contextmanager
def _damage(key: str, kind: type[InputError] | type[MediaError]) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, CosmotokError):
            raise
        raise kind(
            f"{key}: not a Parquet table, or a damaged one ({one_line(error, 160)}); fetch or make it again"
        ) from None


def _media(key: str, schema: pa.Schema, columns: Columns) -> list[str]:
    """Columns of images or videos: those of Hugging Face's types, else of bytes or of paths by a usual name."""
    if columns.media is not None:
        return [columns.chosen(key, schema.names)[0]]
    features = _features(schema)
    cells = [field.name for field in schema if _is_cell(field.type) and features.get(field.name, "Image") in CELL_TYPES]
    if cells:
        return cells
    for is_kind in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_string, pa.types.is_large_string):
        found = {field.name.lower(): field.name for field in schema if is_kind(field.type)}
        for name in MEDIA:
            if name in found:
                return [found[name]]
    raise NoMediaError(
        f"{key}: no column with images or videos among {one_line(', '.join(schema.names[:20]), 200)}; expected one of "
        f"bytes and path as Hugging Face data sets have it, or one called {', '.join(MEDIA[:-1])} or {MEDIA[-1]}"
    )


def _features(schema: pa.Schema) -> dict[str, str]:
    """By column, the type that Hugging Face's `datasets` noted, as far as it is to be understood."""
    try:
        noted = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: str(facts.get("_type")) for name, facts in noted.items() if isinstance(facts, dict)}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _is_cell(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and {kind.field(index).name for index in range(kind.num_fields)} == {
        "bytes",
        "path",
    }


def _average(group: pq.RowGroupMetaData, media: list[str]) -> int:
    """Bytes of a cell."""
    sizes = [group.column(index) for index in range(group.num_columns)]
    whole = sum(each.total_uncompressed_size for each in sizes if each.path_in_schema.split(".")[0] in media)
    return whole // max(1, group.num_rows * len(media))


def _rows(table: pq.ParquetFile, group: int, names: list[str]) -> Iterator[tuple[int, dict[str, pa.Array]]]:
    """Numbers of rows, and their columns."""
    if not names:
        yield table.metadata.row_group(group).num_rows, {}
        return
    for batch in table.iter_batches(batch_size=ROWS, row_groups=[group], columns=names):
        yield batch.num_rows, dict(zip(batch.schema.names, batch.columns, strict=True))


class Cursor:
    """Reads the cells of a column, at its fastest those that follow each other."""

    def __init__(self, path: str, column: str) -> None:
        self._stack = contextlib.ExitStack()
        file = self._stack.enter_context(place_of(path).reading(path))
        self._table = pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
        self._column = column
        self._group = -1
        self._coming: Iterator[pa.RecordBatch] = iter(())
        self._first, self._cells = 0, pa.array([])
        self._lock = threading.Lock()

    def at(self, row: int) -> Any:
        """Raises pa.ArrowException or OSError where the table is damaged, or has no such row."""
        with self._lock:
            group, first = 0, 0
            groups = self._table.metadata.num_row_groups
            while group < groups and row >= first + (rows := self._table.metadata.row_group(group).num_rows):
                group, first = group + 1, first + rows
            if group == groups or self._column not in self._table.schema_arrow.names:
                raise pa.ArrowInvalid("it has changed since it was planned")
            if group != self._group or row < self._first:
                self._coming = self._table.iter_batches(batch_size=CELLS, row_groups=[group], columns=[self._column])
                self._group, self._first, self._cells = group, first, pa.array([])
            while row >= self._first + len(self._cells):
                self._first += len(self._cells)
                self._cells = pa.array([])
                batch = next(self._coming, None)
                if batch is None:  # after an error there are none
                    self._group = -1
                    raise pa.ArrowInvalid("the rows before cannot be read")
                self._cells = batch.column(0)
            return self._cells[row - self._first].as_py()

    def close(self) -> None:
        with self._lock:
            self._stack.close()


_cursors: OrderedDict[tuple[str, str], Cursor] = OrderedDict()
_lock = threading.Lock()


def _cell(path: str, column: str, row: int) -> Any:
    with _lock:
        cursor = _cursors.pop((path, column), None) or Cursor(path, column)
        _cursors[path, column] = cursor
        gone = _cursors.popitem(last=False)[1] if len(_cursors) > OPEN else None
    if gone is not None:
        gone.close()
    return cursor.at(row)
