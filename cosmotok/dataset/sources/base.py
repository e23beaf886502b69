"""What any source of images and videos is to planning and to the worker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

__all__ = ["ENTRIES", "Entry", "Opened", "Source", "in_batches"]

ENTRIES = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("stamp", pa.string(), nullable=False),
        pa.field("address", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),
    ]
)
"""Columns of a plan: the fields of `Entry`."""

AT_ONCE = 65_536
"""Entries per batch."""


class Entry(NamedTuple):
    """One input: an image, a video, a member of an archive, a cell of a table, one camera of an episode."""

    key: str
    """Who it is, to people and to the plan, wherever it stands in a list: "clips/a.mp4", "s3://bucket/a.mp4",
    "train-000.tar::a.mp4". One key is one input of a data set."""
    stamp: str
    """Changes whenever its content may have: size and modification time, an object store's tag, or a hash."""
    address: str
    """What its source needs to find it again; its own business."""
    bytes: int
    """Size of the encoded media, by which shards are made of like size; 0 where it is not known."""
    metadata: str = "{}"
    """JSON object of what comes along. "caption" becomes a column of its own."""


@dataclass(frozen=True)
class Opened:
    """An input, as a file that is there."""

    path: Path
    """For `open_media`."""
    frames: slice = field(default_factory=lambda: slice(None))
    """Which of its frames the input is."""
    signals: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What was recorded with the frames, such as actions and states: (frames, ...) each, one row for every frame."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What is known only now; added to the entry's own."""


class Source(ABC):
    """A place that images and videos come from. It can be sent to the process that opens its entries."""

    @property
    def signals(self) -> Mapping[str, tuple[int, ...]]:
        """Shape, for one frame, of each signal that comes with the frames; the same for all entries."""
        return {}

    @abstractmethod
    def entries(self) -> Iterator[pa.RecordBatch]:
        """What is there, in an order that depends on nothing but what is there; batches of the schema `ENTRIES`.

        No media is opened. Ten million entries have to pass in less than a minute: whole columns where that can be.

        Raises:
            InputError: where the source is missing, unreadable or empty; says what was expected.
        """

    @abstractmethod
    def open(self, key: str, address: str) -> AbstractContextManager[Opened]:
        """One of the entries, for as long as the block lasts; copies that were made of it are gone after it.

        Raises:
            MediaError: where this input cannot be had: missing, no permission, damaged. Others go on.
            SourceLostError: where the place itself does not answer, after waiting and trying again. The run stops.
        """


def in_batches(entries: Iterable[Entry]) -> Iterator[pa.RecordBatch]:
    """Entries one by one to batches of columns."""
    coming = iter(entries)
    while some := list(islice(coming, AT_ONCE)):
        columns = [pa.array(column, field.type) for column, field in zip(zip(*some, strict=True), ENTRIES, strict=True)]
        yield pa.RecordBatch.from_arrays(columns, schema=ENTRIES)
