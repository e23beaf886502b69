"""List files: .txt with a path on each line, .csv and .jsonl with a path, a caption and anything else in columns."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc

from cosmotok.addresses import public
from cosmotok.dataset.sources.base import AT_ONCE, ENTRIES, Opened, Source
from cosmotok.dataset.sources.columns import Columns
from cosmotok.dataset.sources.files import holder_of, open_file
from cosmotok.dataset.sources.jsontext import json_of, objects, parsed
from cosmotok.dataset.sources.names import folder_of, is_url, joined, label_of, normal, suffix_of
from cosmotok.dataset.sources.places import place_of
from cosmotok.errors import InputError, MediaError
from cosmotok.foreign import one_line

__all__ = ["LISTS", "ListFile"]

LISTS = (".txt", ".lst", ".csv", ".tsv", ".jsonl", ".ndjson")
"""Suffixes."""

BLOCK = 1 << 24
"""Bytes that are read at once."""
LONGEST_LINE = 1 << 24
MOST_COLUMNS = 1000
HELD = r"(?i)\.(tar|parquet)$"
ODD = r"(^|/)\.{1,2}(/|$)|//"
"""A path that can be written shorter."""
MISSING = "missing"
"""Stamp of a file that is not there: it changes when it comes."""


@dataclass(frozen=True)
class ListFile(Source):
    """What a list names; paths are relative to the list.

    Columns called `bytes` and `stamp` save a look at each file, of which ten million take half a minute; a file at a
    URL is not looked at, so that without `stamp` a changed one does not show.
    """

    name: str
    """As the user had it; of a URL, without secrets."""
    path: str
    """The same, absolute; or a URL."""
    columns: Columns = field(default_factory=Columns)

    def entries(self) -> Iterator[pa.RecordBatch]:
        empty = True
        row = 0
        try:
            with place_of(self.path).reading(self.path) as file:
                for table in self._tables(file):
                    for start in range(0, table.num_rows, AT_ONCE):
                        empty = False
                        yield from self._entries(table.slice(start, AT_ONCE), row + start)
                    row += table.num_rows
        except MediaError as error:
            raise InputError(str(error)) from None
        if empty:
            raise InputError(f"{self.name}: the list names nothing; expected a path on each line")

    def open(self, key: str, address: str) -> contextlib.AbstractContextManager[Opened]:
        return open_file(key, address)

    def _tables(self, file: IO[bytes]) -> Iterator[pa.Table]:
        """Columns, a block at a time."""
        suffix = suffix_of(self.path)
        if suffix in (".csv", ".tsv"):
            return self._separated(file, "," if suffix == ".csv" else "\t")
        return self._objects(file) if suffix in (".jsonl", ".ndjson") else self._plain(file)

    def _plain(self, file: IO[bytes]) -> Iterator[pa.Table]:
        for first, lines in _lines(file, self.name):
            try:
                texts = [line.decode().strip() for line in lines]
            except UnicodeDecodeError:
                raise InputError(f"{self.name}: expected names in UTF-8 from line {first} on") from None
            found = [text for text in texts if text and not text.startswith("#")]
            yield pa.table({"path": pa.array(found, pa.string())})

    def _separated(self, file: IO[bytes], delimiter: str) -> Iterator[pa.Table]:
        from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, open_csv

        names = self._header(file, delimiter)
        self.columns.chosen(self.name, names)
        try:
            # All as text: what is 007 stays so, and no type is guessed from the first lines.
            reader = open_csv(
                file,
                ReadOptions(column_names=names, skip_rows=1, block_size=BLOCK),
                ParseOptions(delimiter=delimiter, newlines_in_values=True),
                ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""],
                    quoted_strings_can_be_null=True,
                ),
            )  # fmt: skip
            for batch in reader:
                yield pa.Table.from_batches([batch])
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):
                return
            if "straddling" in str(error):  # a row, or all from a quote that is never closed
                raise InputError(
                    f"{self.name}: a row of more than {BLOCK:,} bytes; close its quotes, or make it shorter"
                ) from None
            raise InputError(f"{self.name}: not a table that can be read ({one_line(error, 160)})") from None

    def _header(self, file: IO[bytes], delimiter: str) -> list[str]:
        first = file.readline(1 << 20)
        file.seek(0)
        try:
            names = next(csv.reader(io.StringIO(first.decode("utf-8-sig")), delimiter=delimiter), [])
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{self.name}: the first line is no list of columns ({one_line(error, 120)})") from None
        if len(names) > MOST_COLUMNS:
            raise InputError(f"{self.name}: {len(names):,} columns; expected at most {MOST_COLUMNS:,}")
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{self.name}: two columns are called {one_line(twice)!r}; rename one of them")
        return names

    def _objects(self, file: IO[bytes]) -> Iterator[pa.Table]:
        for first, lines in _lines(file, self.name):
            table = _simple(lines)
            if table is None:
                table = self._of_rows(list(self._parsed(first, lines)))
            if table.num_rows:
                yield table

    def _parsed(self, first: int, lines: list[bytes]) -> Iterator[dict[str, Any]]:
        """The objects of lines that begin with number `first`."""
        for number, line in enumerate(lines, first):
            if not line.strip():
                continue
            try:
                row = parsed(line)
                if not isinstance(row, dict):
                    raise ValueError(f"expected an object, got {one_line(row, 40)}")
            except ValueError as error:
                raise InputError(f"{self.name}, line {number}: no JSON ({one_line(error, 120)})") from None
            yield row

    def _of_rows(self, rows: list[dict[str, Any]]) -> pa.Table:
        """What is in objects of any shape."""
        if not rows:
            return pa.table({})
        media, caption = self.columns.chosen(self.name, dict.fromkeys(name for row in rows for name in row))
        known = {name: [_text(row.pop(name, None)) for row in rows] for name in (media, "bytes", "stamp")}
        captions = [_text(row.pop(caption, None)) if caption else None for row in rows]
        told = ({"caption": text, **row} for text, row in zip(captions, rows, strict=True))
        rest = [json_of({name: value for name, value in each.items() if value is not None}) for each in told]
        return pa.table({**{name: pa.array(values, pa.string()) for name, values in known.items()}, REST: rest})

    def _entries(self, table: pa.Table, row: int) -> Iterator[pa.RecordBatch]:
        """Of a block of rows that begins with number `row`, from 0."""
        columns = {name: table[name].combine_chunks() for name in table.column_names}
        columns = {name: column for name, column in columns.items() if not pa.types.is_null(column.type)}
        media, caption = self.columns.chosen(self.name, [name for name in columns if name != REST])
        keys, paths = self._places(columns.pop(media).cast(pa.string()), row)
        stamps, sizes = columns.pop("stamp", None), columns.pop("bytes", None)
        sizes = None if sizes is None else self._whole(sizes, row)
        if REST in columns:
            metadata = columns[REST]
        else:
            captions = {"caption": columns.pop(caption)} if caption else {}
            metadata = objects({**captions, **columns}, table.num_rows)
        stamps, sizes = _facts(paths, stamps, sizes)
        made = pa.RecordBatch.from_arrays([keys, stamps, paths, sizes, metadata], schema=ENTRIES)
        held = pc.match_substring_regex(paths, HELD)
        if not pc.any(held).as_py():
            yield made
            return
        for index, holds in enumerate(held.to_pylist()):
            one = made.slice(index, 1)
            if not holds:
                yield one
                continue
            path = paths[index].as_py()
            yield from holder_of(path).entries(public(keys[index].as_py()), place_of(path).found(path), self.columns)

    def _places(self, names: pa.Array, row: int) -> tuple[pa.Array, pa.Array]:
        """Keys and addresses of what is named."""
        names = pc.utf8_trim_whitespace(names)
        wrong = pc.fill_null(pc.or_(pc.equal(names, ""), pc.match_substring(names, "\0")), True)
        if pc.any(wrong).as_py():
            at = row + pc.index(wrong, True).as_py() + 1
            raise InputError(f"{self.name}, row {at}: expected the path of an image or a video, got none")
        label, folder = posixpath.dirname(label_of(self.name)), folder_of(self.path)
        if is_url(self.path):
            label = folder
        rooted = pc.match_substring_regex(names, r"^/|^[A-Za-z][A-Za-z0-9+.-]*:/")
        keys, paths = (
            pc.if_else(rooted, names, pc.binary_join_element_wise(joined(base, ""), names, "")) if base else names
            for base in (label, folder)
        )
        return _shortest(keys), paths

    def _whole(self, texts: pa.Array, row: int) -> pa.Array:
        try:
            return pc.fill_null(texts.cast(pa.int64()), 0)
        except pa.ArrowInvalid as error:
            raise InputError(
                f"{self.name}: column bytes, from row {row + 1} on: expected whole numbers ({one_line(error, 80)})"
            ) from None


SIMPLE = {pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.null()}
FEW = 100
REST = "\0rest"
"""Column of what is JSON already."""


def _lines(file: IO[bytes], name: str) -> Iterator[tuple[int, list[bytes]]]:
    """Blocks of lines, with the number of the first."""
    number, rest = 1, b""
    while block := file.read(BLOCK):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        if len(rest) > LONGEST_LINE:
            raise InputError(f"{name}, line {number + len(lines)}: more than {LONGEST_LINE:,} bytes long; no list?")
        if number == 1 and lines and lines[0].startswith(b"\xef\xbb\xbf"):
            lines[0] = lines[0][3:]
        yield number, lines
        number += len(lines)
    if rest:
        yield number, [rest.removeprefix(b"\xef\xbb\xbf") if number == 1 else rest]


def _simple(lines: list[bytes]) -> pa.Table | None:
    """The columns of objects of text and numbers alone, ten times as fast; None where there is anything else."""
    from pyarrow.json import ReadOptions, read_json

    if not all(map(_is_flat, lines)):  # it ends the process where brackets are nested deeply
        return None
    block = b"\n".join(lines) + b"\n"
    try:
        block.decode()  # which pyarrow takes on trust
        table = read_json(io.BytesIO(block), ReadOptions(use_threads=False, block_size=len(block)))
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    return table if table.num_columns <= MOST_COLUMNS and {*table.schema.types} <= SIMPLE else None


def _is_flat(line: bytes) -> bool:
    """Whether a line is empty, or an object that ends where it ends, with few brackets: none are nested over lines."""
    line = line.strip()
    return not line or (line[:1] == b"{" and line[-1:] == b"}" and line.count(b"{") + line.count(b"[") <= FEW)


def _text(value: Any) -> str | None:
    """As a cell."""
    return value if value is None or isinstance(value, str) else json_of(value)


def _shortest(keys: pa.Array) -> pa.Array:
    odd = pc.and_(pc.match_substring_regex(keys, ODD), pc.invert(pc.match_substring(keys, "://")))
    return pa.array([normal(key) for key in keys.to_pylist()], pa.string()) if pc.any(odd).as_py() else keys


def _facts(paths: pa.Array, stamps: pa.Array | None, sizes: pa.Array | None) -> tuple[pa.Array, pa.Array]:
    """Stamps and sizes: of the list itself, or of the files, where they are on this machine."""
    if stamps is None:
        found = [_stat(path) for path in paths.to_pylist()]
        stamps = pa.array([stamp for stamp, _ in found], pa.string())
        sizes = pa.array([size for _, size in found], pa.int64()) if sizes is None else sizes
    if sizes is None:
        sizes = pa.repeat(pa.scalar(0, pa.int64()), len(paths))
    return pc.fill_null(stamps.cast(pa.string()), ""), sizes


def _stat(path: str) -> tuple[str, int]:
    if "://" in path:
        return "", 0
    try:
        facts = os.stat(path)  # noqa: PTH116 - ten million of them
    except (OSError, ValueError):
        return MISSING, 0
    return f"{facts.st_size}-{facts.st_mtime_ns}", facts.st_size
