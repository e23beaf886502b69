"""WebDataset shards: members that are images or videos, with the caption and the metadata of the same name."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from itertools import chain, groupby
from typing import IO, Any

import pyarrow as pa

from cosmotok.dataset.sources.base import Entry, Opened, in_batches
from cosmotok.dataset.sources.columns import Columns
from cosmotok.dataset.sources.files import Holder, NoMediaError, is_media, sidecar
from cosmotok.dataset.sources.names import key_of, to_address
from cosmotok.dataset.sources.places import BLOCK, SIDECARS, Found, copied, place_of
from cosmotok.errors import MediaError
from cosmotok.shards import members_of

__all__ = ["Shards"]

Member = tuple[str, int, int]


class Shards(Holder):
    """Tar archives. Nothing is unpacked by its name, so that none can lead anywhere; headers alone are read to plan."""

    def entries(self, key: str, found: Found, columns: Columns) -> Iterator[pa.RecordBatch]:
        with place_of(found.path).reading(found.path) as file:
            members = members_of(file, key, found.bytes)
            times: Counter[str] = Counter()
            entries = (
                entry
                for _, group in groupby(members, key=_sample)
                for entry in _entries(key, found, list(group), times)
            )
            first = next(entries, None)
            if first is None:
                raise NoMediaError(f"{key}: no images or videos in this shard")
            yield from in_batches(chain([first], entries))

    @contextlib.contextmanager
    def open(self, key: str, path: str, inside: str) -> Iterator[Opened]:
        media, *others = inside.split(" ")
        metadata: dict[str, Any] = {}
        name = key.rpartition("::")[2]
        with place_of(path).reading(path) as file:
            for other in others:
                suffix, span = other.split(":")
                content = b"".join(_blocks(file, span, key))
                metadata |= sidecar(key.removesuffix(name) + _sample((name, 0, 0)) + suffix, content)
            with copied(key, name, _blocks(file, media, key)) as copy:
                yield Opened(copy, metadata=metadata)


def _sample(member: Member) -> str:
    """What members of one sample have in common: all before the first dot in the last part of the name."""
    folder, slash, name = member[0].rpartition("/")
    return folder + slash + name.split(".", 1)[0]


def _entries(key: str, found: Found, members: list[Member], times: Counter[str]) -> Iterator[Entry]:
    """Of a sample; `times` that each name was there, since an archive may have one again."""
    beside = ""
    for suffix in SIDECARS:
        for name, first, size in members:
            if name == _sample((name, 0, 0)) + suffix:
                beside += f" {suffix}:{first}+{size}"
                break
    for name, first, size in members:
        if is_media(name) and not name.rpartition("/")[2].startswith("."):
            inside = f"{first}+{size}{beside}"
            times[name] += 1
            again = f"#{times[name]}" if times[name] > 1 else ""
            yield Entry(f"{key}::{key_of(name)}{again}", found.stamp, to_address(found.path, inside), size)


def _blocks(file: IO[bytes], span: str, key: str) -> Iterator[bytes]:
    first, left = map(int, span.split("+"))
    file.seek(first)
    while left:
        block = file.read(min(left, BLOCK))
        if not block:
            raise MediaError(f"{key}: the shard is shorter than it was; fetch or make it again")
        left -= len(block)
        yield block
