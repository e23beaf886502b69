"""Whether a data set is what its manifest says: its files and counts, and some of its rows encoded once more."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod

from cosmotok.dataset.manifest import Counts, Manifest
from cosmotok.dataset.reading.samples import shape_of
from cosmotok.dataset.reading.shards import Shards
from cosmotok.dataset.records import DATA
from cosmotok.dataset.reencode import Reencoder
from cosmotok.dataset.run import QUARANTINE, running
from cosmotok.dataset.storage import Storage, hash_of
from cosmotok.errors import InputError
from cosmotok.interface import BaseTokenizer

__all__ = ["Verified", "verify"]

COUNTED = ["frames", "height", "width", "latent_frames", "latent_height", "latent_width"]
"""Columns."""


@dataclass(frozen=True)
class Verified:
    """What was found. `same` and what follows are of rows that were encoded once more."""

    shards: int
    rows: int
    """Of the shards that are whole."""
    faults: tuple[str, ...]
    """A line each; none of a sound data set."""
    same: int = 0
    close: int = 0
    """But for rounding."""
    other: int = 0
    not_reached: int = 0
    """Whose source is not to be had here."""
    remarks: tuple[str, ...] = ()
    """Why; a line for each reason."""


def verify(
    place: str,
    tokenizer: BaseTokenizer | None = None,
    *,
    sample: int = 0,
    seed: int = 0,
    begin: Callable[[int], None] = lambda count: None,
    advance: Callable[[int], None] = lambda count: None,
) -> Verified:
    """Checks the data set at a folder or URL: that all files are there with the manifest's sizes and hashes, that rows
    have the shapes that their sizes tell, and that counts add up.

    Args:
        tokenizer: the data set's model, to encode a sample.
        sample: how many rows to encode once more from their sources, drawn by the seed. The sources are read where the
            data set says that they are.
        begin, advance: told how many shards and sampled rows there are, and of each that is through.

    Raises:
        InputError: where there is no data set, or one that a run is writing, or `tokenizer` did not make it.
        SourceLostError: where the data set cannot be reached.
    """
    shards = Shards(place, check=False)
    manifest, storage = shards.manifest, shards.storage
    if running(storage) is not None:
        raise InputError(f"{storage.name}: is being written; verify it when `cosmotok tokenize` has ended")
    encoder = None if tokenizer is None or not sample else Reencoder(place, manifest, tokenizer)
    begin(len(manifest.shards) + (0 if encoder is None else min(sample, len(shards))))
    faults = [*loose_ends(storage, manifest)]
    counts, whole = Counts(), []
    for number in range(len(manifest.shards)):
        try:
            counts += count(shards, number)
            whole.append(number)
        except InputError as error:
            faults.append(str(error))
        advance(1)
    if len(whole) == len(manifest.shards):
        faults += sums(storage, manifest, counts)
    found, remarks = Verified(len(manifest.shards), counts.rows, ()), list[str]()
    if encoder is not None:
        rows = [row for number in whole for row in range(shards.starts[number], shards.starts[number + 1])]
        for fate in encoder.encode(shards, sorted(random.Random(seed).sample(rows, min(sample, len(rows))))):
            found = replace(found, **{fate.what: getattr(found, fate.what) + 1})
            faults += [fate.reason] if fate.what == "other" else []
            remarks += [fate.reason] if fate.what == "not_reached" else []
            advance(1)
    return replace(found, faults=tuple(faults), remarks=tuple(dict.fromkeys(remarks)))


def loose_ends(storage: Storage, manifest: Manifest) -> Iterator[str]:
    """What speaks against a data set before its shards are read."""
    name, counts = storage.name, manifest.counts
    if not manifest.complete:  # files of a run that has not ended are no faults
        yield f"{name}: is not complete; run `cosmotok tokenize` as it was begun until it ends"
        return
    for file in sorted(storage.sizes(DATA).keys() - {shard.name.removeprefix(f"{DATA}/") for shard in manifest.shards}):
        if not file.startswith("."):  # hidden, as what a killed run left: nobody reads it
            yield f"{name}/{DATA}/{file}: is no part of the data set; remove it, as readers of all files would read it"
    if counts.planned != counts.done + counts.quarantined:
        yield (
            f"{name}: {counts.done:,} inputs done and {counts.quarantined:,} quarantined do not add up to "
            f"{counts.planned:,} planned"
        )
    listed = len(storage.read(QUARANTINE).splitlines()) if QUARANTINE in storage.sizes("") else 0
    if listed != counts.quarantined:
        yield f"{name}/{QUARANTINE}: names {listed:,} inputs, not the {counts.quarantined:,} of the manifest"


def count(shards: Shards, number: int) -> Counts:
    """Rows, frames, tokens and bytes of a shard.

    Raises:
        InputError: where it is missing, or not what was written.
    """
    shard, spec = shards.manifest.shards[number], shards.manifest.spec
    with shards.storage.open(shard.name) as file:
        sha256, size = hash_of(file)
    if size != shard.bytes:
        raise shards.damage(number, f"has {size:,} bytes, not the {shard.bytes:,} of the manifest")
    if sha256 != shard.sha256:
        raise shards.damage(number, "has another hash than in the manifest")
    counts = Counts(rows=shard.rows, bytes=size)
    row = 0
    while row < shard.rows:
        group = shards.group(number, row)
        for each in shards.read(group, COUNTED):
            frames, *sides = (each[name] for name in COUNTED[:3])
            if shape_of(each) != spec.grid(frames, *sides):
                raise shards.damage(number, f"has a row of {frames} frames with tokens of shape {shape_of(each)}")
            counts += Counts(frames=frames, tokens=prod(shape_of(each)))
        row = group.rows.stop
    return counts


def sums(storage: Storage, manifest: Manifest, found: Counts) -> Iterator[str]:
    """Where the manifest's counts are not those of the shards."""
    for name in ("rows", "frames", "tokens", "bytes"):
        here, there = getattr(found, name), getattr(manifest.counts, name)
        if here != there:
            yield f"{storage.name}: the shards have {here:,} {name}, not the {there:,} of the manifest"
