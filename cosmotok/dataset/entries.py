"""Inputs as a plan has them: without secrets, with hashes that tell whether they are the ones that they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cosmotok.addresses import public
from cosmotok.dataset.hashing import hashes
from cosmotok.dataset.sources import ENTRIES, Source
from cosmotok.dataset.sources.names import from_address

__all__ = ["COLUMNS", "SUSPECT", "identities", "planned", "planned_entries"]

COLUMNS = pa.schema(
    [
        *ENTRIES,
        pa.field("source", pa.int32(), nullable=False),
        pa.field("key_hash", pa.uint64(), nullable=False),
        pa.field("hash", pa.uint64(), nullable=False),
    ]
)
"""`hash` is of key and stamp together: whether an input is the one that it was."""
SUSPECT = r"(?s)://.*[@?]"
"""Texts that may have secrets: URLs with a login or a query."""


def planned_entries(sources: Sequence[Source], full: dict[str, str]) -> Iterator[pa.Table]:
    """What the sources have, with all columns of a plan and without secrets, which go to `full`."""
    for number, source in enumerate(sources):
        for batch in source.entries():
            yield planned(batch, pa.array(np.full(len(batch), number, np.int32)), full)


def planned(batch: pa.RecordBatch, source: pa.Array, full: dict[str, str]) -> pa.Table:
    """Inputs with all columns of a plan, as `planned_entries` gives them."""
    batch = _public(batch, full)
    own = (source, *map(pa.array, identities(batch.column("key"), batch.column("stamp"))))
    return pa.Table.from_arrays([*batch.columns, *own], schema=COLUMNS)


def identities(keys: pa.Array, stamps: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Of keys, and of keys and stamps."""
    key_hash = hashes(keys)
    with np.errstate(over="ignore"):
        return key_hash, key_hash * np.uint64(31) + hashes(stamps)


def _public(batch: pa.RecordBatch, full: dict[str, str]) -> pa.RecordBatch:
    """Entries without secrets; addresses that had any go to `full`, by what they are now."""
    known: dict[str, str] = {}  # keys of links are their addresses
    for name in ("key", "address", "metadata"):
        column = batch.column(name)
        suspect = pc.match_substring_regex(column, SUSPECT)
        if not pc.any(suspect).as_py():
            continue
        before = column.filter(suspect).to_pylist()
        known = {text: known.get(text) or public(text) for text in before}
        now = pc.replace_with_mask(column, suspect, pa.array([known[text] for text in before]))
        batch = batch.set_column(batch.schema.get_field_index(name), ENTRIES.field(name), now)
        if name == "address":
            full.update((from_address(b)[0], from_address(a)[0]) for a, b in known.items() if a != b)
    return batch
