"""`manifest.json`: what a data set is, how it was made and what is in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from typing import Any

from cosmotok.addresses import public
from cosmotok.dataset.schema import LATENT_DTYPES, LatentDtype
from cosmotok.errors import InputError
from cosmotok.foreign import one_line, whole_number
from cosmotok.spec import TokenizerSpec

__all__ = ["MANIFEST", "Counts", "Manifest", "Shard", "Statistics"]

MANIFEST = "manifest.json"
FORMAT, VERSION = "cosmotok-dataset", 1
SHARD = re.compile(r"data/[\w-]+\.parquet", re.ASCII)
"""Name of a shard: what a manifest says leads nowhere else."""
MOST, LONGEST = 2**53, 4096
"""Of anything that is counted; characters of a text."""


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
    """As they were named, without passwords and signatures."""
    signals: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Shape of each for one frame."""
    counts: Counts = Counts()
    statistics: Statistics | None = None
    shards: tuple[Shard, ...] = ()
    complete: bool = False
    """Whether all that was planned is done or quarantined; if not, the rest of it says what was there before."""

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
            values["spec"] = spec = _spec(values["spec"])
            values["counts"] = _counts(values["counts"])
            values["shards"] = tuple(map(_shard, values["shards"]))
            values["sources"] = tuple(public(_text("sources", source)) for source in values["sources"])
            values["signals"] = {
                key: tuple(whole_number(key, side, 0, MOST) for side in shape)
                for key, shape in values["signals"].items()
            }
            if (found := values["statistics"]) is not None:
                values["statistics"] = Statistics(_floats(found["mean"], spec), _floats(found["std"], spec))
            _text("model", values["model"])
            _text("fingerprint", values["fingerprint"])
            if not isinstance(values["options"], dict) or not isinstance(values["complete"], bool):
                raise ValueError("options or complete: of another type")
            if values["latent_dtype"] not in LATENT_DTYPES:
                raise ValueError(f"latents of type {values['latent_dtype']}")
            return cls(**_fields(cls, values))
        except InputError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            reason = one_line(f"{type(error).__name__}: {error}", 160)
            raise InputError(
                f"{name}: not the manifest of a data set, or damaged ({reason}); put back a copy of it, or run "
                "`cosmotok tokenize` with a new output"
            ) from None


def _fields(kind: type, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values, if they are those of all fields of a dataclass."""
    names = {each.name for each in fields(kind)}
    if set(values) != names:
        raise ValueError(f"{kind.__name__}: expected the fields {', '.join(sorted(names))}")
    return values


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST:
        raise ValueError(f"{name}: expected a text, got {one_line(value, 40)}")
    return value


def _floats(values: Any, spec: TokenizerSpec) -> tuple[float, ...]:
    """A finite number for each channel."""
    found = tuple(values)
    if len(found) != spec.latent_channels or not all(type(each) in (int, float) and isfinite(each) for each in found):
        raise ValueError(f"statistics: expected numbers for {spec.latent_channels} channels")
    return tuple(map(float, found))


def _counts(values: Any) -> Counts:
    return Counts(**{key: whole_number(key, value, 0, MOST) for key, value in _fields(Counts, values).items()})


def _shard(values: Any) -> Shard:
    shard = Shard(**_fields(Shard, values))
    if not SHARD.fullmatch(_text("shards", shard.name)):
        raise ValueError(f"{one_line(shard.name)} is no name of a shard, data/NAME.parquet")
    _text("sha256", shard.sha256)
    for name in ("rows", "bytes"):
        whole_number(name, getattr(shard, name), 1, MOST)
    return shard


def _spec(values: Any) -> TokenizerSpec:
    spec = TokenizerSpec(**_fields(TokenizerSpec, values))
    _text("name", spec.name)
    for name in ("spatial_factor", "temporal_factor", "latent_channels", "first", "group"):
        whole_number(name, getattr(spec, name), 1, 2**16)
    for name in ("vocab_size", "chunk"):
        if getattr(spec, name) is not None:
            whole_number(name, getattr(spec, name), 1, 2**31)
    if not all(isinstance(getattr(spec, name), bool) for name in ("clips", "causal", "attends")):
        raise ValueError("clips, causal, attends: expected true or false")
    return spec
