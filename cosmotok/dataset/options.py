"""What the rows of a data set depend on, besides its inputs and its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cosmotok.dataset.schema import LATENT_DTYPES, LatentDtype
from cosmotok.dataset.shaping import Shaping
from cosmotok.defaults import ATTENTION_CONTEXT, DTYPES, MAX_PIXELS
from cosmotok.errors import InputError
from cosmotok.foreign import one_line

__all__ = ["Options", "differences"]


@dataclass(frozen=True)
class Options:
    """Two runs on one data set have to agree on all of it.

    Raises:
        InputError: for a value that is out of range.
    """

    shaping: Shaping = field(default_factory=Shaping)
    latent_dtype: LatentDtype = "float16"
    attention_context: int | None = ATTENTION_CONTEXT
    dtype: str = "float32"
    """That the model computes in."""
    precision: str | None = None
    """ "int8" or "compiled"; None: as `dtype` has it."""
    batch: int = 1
    """Clips of one size that the model takes at once; rounding may depend on it."""
    max_pixels: int = MAX_PIXELS
    shard_inputs: int = 1000
    """Most inputs of a shard."""
    shard_bytes: int = 1_000_000_000
    """Of its inputs together, from which on a shard takes no more."""

    def __post_init__(self) -> None:
        if self.latent_dtype not in LATENT_DTYPES:
            raise InputError(f"latent dtype {self.latent_dtype!r}: expected one of {', '.join(LATENT_DTYPES)}")
        if self.dtype not in DTYPES:
            raise InputError(f"dtype {self.dtype!r}: expected one of {', '.join(DTYPES)}")
        for name in ("batch", "max_pixels", "shard_inputs", "shard_bytes"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise InputError(
                    f"{name.replace('_', ' ')}: expected a whole number from 1, got {getattr(self, name)!r}"
                )

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> Options:
        """Options from `record`.

        Raises:
            InputError: where they are none.
        """
        try:
            return cls(**{**record, "shaping": Shaping(**record["shaping"])})
        except (TypeError, KeyError) as error:
            raise InputError(f"options of the data set: not as cosmotok writes them ({one_line(error, 80)})") from None

    def record(self) -> Mapping[str, Any]:
        """As it stands in the manifest, all of it numbers, texts and lists."""
        shaping = {
            key: [list(each) if isinstance(each, tuple) else each for each in value]
            if isinstance(value, tuple)
            else value
            for key, value in asdict(self.shaping).items()
        }
        return {**asdict(self), "shaping": shaping}


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs, as "name: old, not new"."""
    found: list[str] = []
    for name in sorted({*old, *new}):
        before, now = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            found += differences(before, now, f"{prefix}{name}.")
        elif before != now:
            found.append(f"{prefix}{name}: {_shown(before)}, not {_shown(now)}")
    return found


def _shown(value: Any) -> str:
    """A size as 64x48, and several with commas; any other value as it is."""
    if not isinstance(value, (list, tuple)):
        return str(value)
    if value and all(isinstance(each, (list, tuple)) for each in value):
        return ", ".join(map(_shown, value))
    return "x".join(map(str, value)) or "none"
