"""A row of a data set as the tokens of a clip, to decode or to write to a token file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from torch import Tensor

from cosmotok.dataset.manifest import Manifest
from cosmotok.dataset.reading.samples import Samples
from cosmotok.dataset.reading.shards import Row, Shards
from cosmotok.errors import InputError
from cosmotok.foreign import whole_number
from cosmotok.tokenfile import TICKS, StoredTokens, TokenInfo

__all__ = ["RowTokens", "token_info"]

NEAR = 1e-9
"""By which a rate may differ from 30000/1001 and the like, relative to it, and still be meant as such."""


class RowTokens(StoredTokens):
    """The tokens of one row.

    Raises:
        InputError: where there is no such data set or row, or it is damaged.
    """

    def __init__(self, place: str | os.PathLike[str], number: int) -> None:
        shards = Shards(place)
        if not 0 <= number < len(shards):
            raise InputError(f"row {number}: {shards.name} has rows 0 to {len(shards) - 1:,}")
        manifest, row = shards.manifest, shards.row(number)
        self.label, self.path = f"{shards.name}, row {number}", Path(shards.name)
        self.name = "indices" if manifest.spec.is_discrete else "latents"
        self._tokens: Tensor = Samples(manifest, shards.name, None).make(number, row)["tokens"]
        self.shape = tuple(self._tokens.shape)
        self.bits = 8 if manifest.latent_dtype == "int8" else 16
        self.info = token_info(row, manifest)

    def __iter__(self) -> Iterator[Tensor]:
        tokens = self._tokens.int() if self.name == "indices" else self._tokens
        yield from tokens.unsqueeze(0).split(self.info.chunk or self.shape[-3], dim=-3)


def token_info(row: Row, manifest: Manifest) -> TokenInfo:
    """What a token file would say of a row.

    Raises:
        InputError: where the manifest's options are not as cosmotok writes them.
    """
    context = manifest.options.get("attention_context")
    try:
        if context is not None:
            whole_number("attention context", context, 1, 2**31 - 1)
    except ValueError as error:
        raise InputError(f"manifest of the data set: {error}") from None
    rate, times = row["frame_rate"], row["times"]
    return TokenInfo(
        model=manifest.model,
        fingerprint=manifest.fingerprint,
        kind="image" if rate is None else "video",
        size=(row["frames"], row["height"], row["width"]),
        frame_rate=None if rate is None else fraction_of(rate),
        times=None if times is None else tuple(round(time * TICKS) for time in times),
        attention_context=context,
        chunk=manifest.spec.chunk,
    )


def fraction_of(rate: float) -> Fraction:
    """A frame rate as a fraction: 30000/1001 of 29.97002997002997."""
    simple = Fraction(rate).limit_denominator(1001)
    return simple if abs(simple - Fraction(rate)) <= NEAR * rate else Fraction(rate).limit_denominator(10**6)
