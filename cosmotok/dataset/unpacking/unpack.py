"""From a data set to a folder of another format, whole or not at all."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from cosmotok.dataset.manifest import Manifest
from cosmotok.dataset.reading.samples import Samples
from cosmotok.dataset.reading.shards import Shards
from cosmotok.dataset.unpacking.writers import Flat, Tars, TokenFiles, Writer
from cosmotok.errors import InputError
from cosmotok.paths import as_path
from cosmotok.writing import output_folder, spare, write_file

__all__ = ["FORMATS", "unpack"]

ABOUT = "about.json"
FILES = re.compile(r"about\.json|tokens\.bin|index\.npy|rows\.jsonl|[0-9]+-[0-9]+\.tar|[0-9]{9,}\.safetensors")
"""Names of what is written."""
FORMATS: dict[str, type[Writer]] = {"bin": Flat, "webdataset": Tars, "safetensors": TokenFiles}


def unpack(
    place: str | os.PathLike[str],
    output: str | os.PathLike[str],
    to: str,
    *,
    begin: Callable[[int], None] = lambda count: None,
    advance: Callable[[int], None] = lambda count: None,
) -> int:
    """Writes the rows of a data set to a folder, in order, in the format `to`, with `about.json` beside them.

    Args:
        place: folder or URL of the data set.
        output: folder to write; a new one appears with all its files at once. The files of
            an earlier one are replaced.
        to: "bin" (`Flat`), "webdataset" (`Tars`) or "safetensors" (`TokenFiles`).
        begin, advance: told how many rows there are, and of each that is written.

    Returns:
        How many rows were written.

    Raises:
        InputError: where there is no data set or a row is damaged; for the data set itself as output, and for a
            format that does not exist or does not suit the tokens.
        MediaError: where the output cannot be written.
    """
    if to not in FORMATS:
        raise InputError(f"to: expected {', '.join(FORMATS)}, got {to!r}")
    if "://" in os.fspath(output):
        raise InputError(f"{os.fspath(output)}: expected a folder of this machine; copy it from there")
    target = as_path(output, "output")
    shards = Shards(place)
    spare(target, shards.name, Path(shards.name) / "data")
    samples = Samples(shards.manifest, shards.name, None)
    begin(len(shards))
    with output_folder(target, replaces=earlier(target)) as folder:
        with FORMATS[to](folder, shards.manifest) as writer:
            for number in range(len(shards)):
                row = shards.row(number)
                shard = shards.manifest.shards[shards.find(number)[0]].name
                writer.write(Path(shard).stem, row, samples.make(number, row))
                advance(1)
        write_file(folder / ABOUT, about(shards.manifest, to))
    return len(shards)


def earlier(target: Path) -> list[str]:
    """Names of the files that an earlier run wrote to a folder."""
    if not (target / ABOUT).is_file():
        return []
    return [path.name for path in target.iterdir() if FILES.fullmatch(path.name)]


def about(manifest: Manifest, to: str) -> str:
    """What a reader needs besides the rows, as JSON."""
    spec, statistics = manifest.spec, manifest.statistics
    facts = {
        "format": f"cosmotok-{to}",
        "version": 1,
        "model": manifest.model,
        "fingerprint": manifest.fingerprint,
        "temporal_factor": spec.temporal_factor,
        "spatial_factor": spec.spatial_factor,
        "vocab_size": spec.vocab_size,
        "latent_channels": None if spec.is_discrete else spec.latent_channels,
        "mean": None if statistics is None else statistics.mean,
        "std": None if statistics is None else statistics.std,
        "rows": manifest.counts.rows,
        "tokens": manifest.counts.tokens,
        "signals": dict(manifest.signals),
    }
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
