"""Folders, globs and single names: images and videos, and files that hold many of them."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

import pyarrow as pa

from cosmotok.addresses import public
from cosmotok.dataset.sources.base import Entry, Opened, Source, in_batches
from cosmotok.dataset.sources.columns import Columns
from cosmotok.dataset.sources.jsontext import parsed
from cosmotok.dataset.sources.names import from_address, is_url, joined, key_of, label_of, normal, suffix_of, to_address
from cosmotok.dataset.sources.places import Found, Place, place_of
from cosmotok.errors import InputError, MediaError
from cosmotok.foreign import one_line
from cosmotok.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from cosmotok.shards import expand_braces

__all__ = ["Files", "Holder", "NoMediaError", "holder_of", "is_media", "open_file", "sidecar"]

HELD = (".tar", ".parquet")
"""Suffixes of files that hold many inputs."""
BROKEN = "!"
"""Before what is wrong with a file that cannot be read, in the address of the one entry that stands for it."""
LONGEST_SIDECAR = 1 << 22
"""Bytes."""


class NoMediaError(InputError):
    """An archive or a table has no images or videos."""


class Holder(ABC):
    """A kind of file that holds many inputs; their keys are its own, "::" and where they are in it."""

    @abstractmethod
    def entries(self, key: str, found: Found, columns: Columns) -> Iterator[pa.RecordBatch]:
        """What is in the file. Raises InputError where it is damaged, NoMediaError where it has nothing."""

    @abstractmethod
    def open(self, key: str, path: str, inside: str) -> contextlib.AbstractContextManager[Opened]:
        """As `Source.open`."""


def holder_of(name: str) -> Holder:
    """Whose business the file of this name is, which is one of those that hold many."""
    if suffix_of(name) == ".tar":
        from cosmotok.dataset.sources.tars import Shards

        return Shards()
    from cosmotok.dataset.sources.tables import Tables

    return Tables()


def is_media(name: str) -> bool:
    suffix = suffix_of(name)
    return suffix in VIDEO_SUFFIXES or suffix in IMAGE_SUFFIXES


def is_wanted(name: str) -> bool:
    return is_media(name) or suffix_of(name) in HELD


@dataclass(frozen=True)
class Files(Source):
    """What is below a folder, matches a pattern, or is one of some files."""

    name: str
    """As the user had it; of a URL, without secrets."""
    path: str
    """The same, absolute; or a URL."""
    how: Literal["folder", "pattern", "braces", "file"]
    columns: Columns = field(default_factory=Columns)
    more: tuple[tuple[str, str], ...] = ()
    """Names and paths of further files."""

    def entries(self) -> Iterator[pa.RecordBatch]:
        nothing = InputError(f"{self.name}: {self._nothing()}")
        broken: list[Entry] = []
        empty = True
        for is_held, group in groupby(self._found(), key=lambda each: suffix_of(each[1].path) in HELD):
            if not is_held:
                for batch in in_batches(entry_of(key, found) for key, found in group):
                    empty = False
                    yield batch
                continue
            for key, found in group:
                try:
                    for batch in holder_of(found.path).entries(key, found, self.columns):
                        empty = False
                        yield batch
                except NoMediaError as error:  # a folder of videos may have a table of something else
                    nothing = error
                except (InputError, MediaError) as error:
                    nothing = InputError(str(error))
                    broken.append(Entry(key, found.stamp, to_address(found.path, BROKEN + str(error)), found.bytes))
        if empty:
            raise nothing
        yield from in_batches(broken)

    def open(self, key: str, address: str) -> contextlib.AbstractContextManager[Opened]:
        return open_file(key, address)

    def _found(self) -> Iterator[tuple[str, Found]]:
        place, label = place_of(self.path), label_of(self.name)
        try:
            if self.how == "folder":
                yield from self._below(place, label, self.path)
            elif self.how == "pattern":
                for match in place.glob(self.path):
                    key = self._matched(match)
                    if place.kind(match) == "folder":
                        yield from self._below(place, key, match)
                    elif is_wanted(match):
                        yield key_of(normal(key)), place.found(match)
            elif self.how == "braces":
                for key, path in zip(expand_braces(label), expand_braces(self.path), strict=True):
                    yield key_of(normal(key)), place.found(path)
            else:
                for name, path in ((self.name, self.path), *self.more):
                    yield key_of(normal(label_of(name))), place_of(path).found(path)
        except MediaError as error:
            raise InputError(str(error)) from None

    def _below(self, place: Place, label: str, folder: str) -> Iterator[tuple[str, Found]]:
        start = len(joined(folder, ""))
        label = normal(label)
        for found in place.find(folder, is_wanted):
            yield key_of(joined(label, found.path[start:])), found

    def _matched(self, match: str) -> str:
        """A match as it would have been named by the user."""
        if is_url(match):
            return public(match)
        label = label_of(self.name)
        return match[len(self.path) - len(label) :] if self.path.endswith(label) else match

    def _nothing(self) -> str:
        if self.how == "pattern":
            return "nothing matches this pattern; expected images, videos, .tar or .parquet files, or their folders"
        if self.how == "folder":
            return "no images or videos in this folder, nor in .tar or .parquet files; are they hidden?"
        return "no image or video in it"


def entry_of(key: str, found: Found, metadata: str = "{}") -> Entry:
    return Entry(key, found.stamp, to_address(found.path, found.beside or None), found.bytes, metadata)


@contextlib.contextmanager
def open_file(key: str, address: str) -> Iterator[Opened]:
    """The input at an address, as `Source.open`."""
    path, inside = from_address(address)
    if inside is not None and inside.startswith(BROKEN):
        raise MediaError(inside.removeprefix(BROKEN))
    if inside is not None and suffix_of(path) in HELD:
        with holder_of(path).open(key, path, inside) as opened:
            yield opened
        return
    place = place_of(path)
    metadata: dict[str, Any] = {}
    for suffix in (inside or "").split(".")[1:]:
        name = path[: -len(suffix_of(path))] + "." + suffix
        with place.reading(name) as file:
            metadata |= sidecar(name, file.read(LONGEST_SIDECAR + 1))
    with place.local(path) as local:
        yield Opened(local, metadata=metadata)


def sidecar(name: str, content: bytes) -> dict[str, Any]:
    """What a .txt or .json file beside an input says of it: its caption, or a JSON object of anything.

    Raises:
        MediaError: where it is neither, or more than 4 MB.
    """
    try:
        if len(content) > LONGEST_SIDECAR:
            raise ValueError(f"more than {LONGEST_SIDECAR:,} bytes")
        text = content.decode("utf-8-sig")
        if suffix_of(name) == ".txt":
            return {"caption": text.strip()}
        values = parsed(text)
        return values if isinstance(values, dict) else {"json": values}
    except ValueError as error:
        what = "a caption in UTF-8" if suffix_of(name) == ".txt" else "metadata in JSON"
        raise MediaError(f"{one_line(name, 200)}: expected {what} ({one_line(error, 120)})") from None
