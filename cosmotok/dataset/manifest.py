"""`manifest.json`: what a data set is, how it was made and what is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from cosmotok.dataset.schema import LatentDtype
from cosmotok.errors import InputError
from cosmotok.foreign import one_line
from cosmotok.spec import TokenizerSpec

__all__ = ["MANIFEST", "Counts", "Manifest", "Shard", "Statistics"]

MANIFEST = "manifest.json"
FORMAT, VERSION = "cosmotok-dataset", 1


@dataclass(frozen=True)
class Shard:
    """One Parquet file."""

    name: str
    """Below the data set's folder, such as data/00000-00000.parquet."""
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Counts:
    """planned = done + quarantined, once a run has ended."""

    planned: int = 0
    """Inputs."""
    done: int = 0
    filtered: int = 0
    """Of those done: too short or too small for any segment."""
    quarantined: int = 0
    rows: int = 0
    frames: int = 0
    """Of all rows."""
    tokens: int = 0
    bytes: int = 0
    """Of all shards."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values(), strict=True)))


@dataclass(frozen=True)
class Statistics:
    """Of all latents, for each channel: what to subtract and to divide by before training on them."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Manifest:
    """Everything that a reader of a data set needs besides its shards."""

    model: str
    """As `--model` had it."""
    fingerprint: str
    """Of the model's weights; see `BaseTokenizer.fingerprint`."""
    spec: TokenizerSpec
    latent_dtype: LatentDtype
    options: Mapping[str, Any]
    """What else rows depend on: shaping, precision, attention context, batches."""
    sources: tuple[str, ...]
    """As they were named."""
    signals: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Shape of each for one frame."""
    counts: Counts = Counts()
    statistics: Statistics | None = None
    shards: tuple[Shard, ...] = ()
    complete: bool = False
    """Whether all that was planned is done or quarantined."""

    def dump(self) -> str:
        """As JSON; the same manifest is the same text."""
        return json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def parse(cls, text: str, name: str) -> Manifest:
        """The manifest in a file called `name`.

        Raises:
            InputError: where it is none, damaged, or of a later version.
        """
        try:
            values = json.loads(text)
            if values.pop("format") != FORMAT:
                raise ValueError(f"format: expected {FORMAT}")
            version = values.pop("version")
            if version != VERSION:
                raise InputError(f"{name}: version {one_line(version)}, expected {VERSION}; update cosmotok to read it")
            values["spec"] = _record(TokenizerSpec, values["spec"])
            values["counts"] = _record(Counts, values["counts"])
            values["shards"] = tuple(_record(Shard, shard) for shard in values["shards"])
            values["sources"] = tuple(values["sources"])
            values["signals"] = {key: tuple(shape) for key, shape in values["signals"].items()}
            if (found := values["statistics"]) is not None:
                values["statistics"] = Statistics(tuple(found["mean"]), tuple(found["std"]))
            return _record(cls, values)
        except InputError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            reason = one_line(f"{type(error).__name__}: {error}", 160)
            raise InputError(f"{name}: not the manifest of a data set, or damaged ({reason})") from None


def _record(kind: type, values: Mapping[str, Any]) -> Any:
    names = {each.name for each in fields(kind)}
    if set(values) != names:
        raise ValueError(f"{kind.__name__}: expected the fields {', '.join(sorted(names))}")
    return kind(**values)
