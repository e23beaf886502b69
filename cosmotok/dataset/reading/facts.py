"""What a data set is, in a few lines."""

from __future__ import annotations

from typing import Any

from cosmotok.dataset.options import Options, differences
from cosmotok.dataset.reading.shards import read_manifest
from cosmotok.dataset.storage import storage_at

__all__ = ["changed_options", "facts_of"]


def facts_of(place: str) -> dict[str, Any]:
    """What `cosmotok info` tells of the data set at a folder or URL; `options` as its manifest has them.

    Raises:
        InputError: where there is none.
    """
    storage = storage_at(place)
    manifest = read_manifest(storage)
    spec, counts, statistics = manifest.spec, manifest.counts, manifest.statistics
    tokens = {"vocab_size": spec.vocab_size}
    if not spec.is_discrete:
        tokens = {"latent_channels": spec.latent_channels, "latent_dtype": manifest.latent_dtype}  # type: ignore[dict-item]
    return {
        "what": "data set",
        "name": storage.name,
        "model": manifest.model,
        "fingerprint": manifest.fingerprint,
        "compression": spec.shape,
        **tokens,
        "complete": manifest.complete,
        "inputs": counts.planned,
        "filtered": counts.filtered,
        "quarantined": counts.quarantined,
        "rows": counts.rows,
        "frames": counts.frames,
        "tokens": counts.tokens,
        "bytes": counts.bytes,
        "shards": len(manifest.shards),
        "sources": list(manifest.sources),
        "signals": {name: list(shape) for name, shape in manifest.signals.items()},
        "options": dict(manifest.options),
        "mean": None if statistics is None else list(statistics.mean),
        "std": None if statistics is None else list(statistics.std),
    }


def changed_options(options: dict[str, Any]) -> list[str]:
    """Those that are not the defaults, such as "segment 17"."""
    found = differences(Options().record(), options)
    pairs = (line.partition(": ") for line in found)
    return [
        f"{name.removeprefix('shaping.').replace('_', ' ')} {text.partition(', not ')[2]}" for name, _, text in pairs
    ]
