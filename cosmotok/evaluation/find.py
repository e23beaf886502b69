"""Contestants by their names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from cosmotok.baselines import CODECS, find_codec, is_codec
from cosmotok.config import suggest
from cosmotok.contestants import Contestant, Traits
from cosmotok.errors import CosmotokError, InputError, UnknownModelError
from cosmotok.evaluation.tokenizers import LATENT_BITS, TokenizerContestant
from cosmotok.families import family_of, find_among, known_names

__all__ = ["find_contestants", "nominal_rate"]


def find_contestants(
    names: Sequence[str], *, fit: Path | None = None, frames: int | None = None, dtype: str = "float32"
) -> list[Contestant]:
    """Contestants by name, in the order of the names.

    Args:
        names: of tokenizers as `cosmotok.families.find` takes them, with their real weights; or a codec with a rate
            (`h264@0.25bpp`) or a quality (`jpeg@q80`, `av1@crf40`). A codec alone stands for one contestant at
            each of the rates that the tokenizers beside it have on the kind of data that it takes.
        fit: folder of images and videos for what has to be fitted to data, such as `klt:4x8x8:16`.
        frames: length of clips, for these rates, since the first frame costs a tokenizer more; None: of long ones.
        dtype: that tokenizers compute in.

    Raises:
        UnknownModelError: for a name that nothing has; suggests the nearest.
        InputError: for no names, a name that comes twice, a `fit` that nothing is fitted to, or a codec without a rate
            where no tokenizer tells one.
        MissingExtraError: for a family whose package is missing.
    """
    if not names:
        raise InputError("models: expected at least one name such as cv4x8x8-tiny, diffusers:Wan or h264@0.25bpp")
    if fit is not None and not any(takes_fit(name) for name in names):
        raise InputError(f"--fit {fit}: only a klt is fitted, and there is none among {', '.join(names)}; leave it out")
    alone = {name: find_contestant(name, fit, dtype) for name in names if name.lower() not in CODECS}
    rated = known_traits(alone.values()) if len(alone) < len(names) else []
    found: list[Contestant] = []
    for name in names:
        found += [alone[name]] if name in alone else at_rates(name, rated, frames)
    for name in (contestant.name for contestant in found):
        if [contestant.name for contestant in found].count(name) > 1:
            raise InputError(f"models: {name} is named twice")
    return found


def find_contestant(name: str, fit: Path | None, dtype: str) -> Contestant:
    if is_codec(name):
        return find_codec(name)
    try:
        model = find_among(name, fit=fit if takes_fit(name) else None)
    except UnknownModelError:
        known, base = [*known_names(), *CODECS], name.partition("@")[0]
        suggestion = suggest(base, known)
        if base in known or not suggestion or ":" in base:
            raise
        raise UnknownModelError(
            f"unknown model {name!r}{suggestion} (`cosmotok models` lists all; a path or Hub id works too; codecs are "
            f"{', '.join(CODECS)})"
        ) from None
    return TokenizerContestant(model, dtype)


def takes_fit(name: str) -> bool:
    return not is_codec(name) and "fit" in family_of(name).options


def known_traits(contestants: Iterable[Contestant]) -> list[Traits]:
    """Of those that can tell them; what is wrong with the others is found when they are loaded."""
    found = []
    for contestant in contestants:
        try:
            found.append(contestant.traits)
        except CosmotokError:
            continue
    return found


def at_rates(codec: str, tokenizers: Iterable[Traits], frames: int | None) -> Iterator[Contestant]:
    """A codec at each rate that tokenizers have on the kind of data that it takes."""
    takes = find_codec(f"{codec}@1bpp").traits
    kind: Literal["image", "video"] = "video" if takes.video else "image"
    rates = {nominal_rate(traits, kind, frames) for traits in tokenizers}
    texts = dict.fromkeys(f"{rate:.3g}" for rate in sorted(rate for rate in rates if rate is not None))
    if not texts:
        raise InputError(
            f"models: {codec} alone takes the bits per pixel of tokenizers beside it that take {kind}s, and there are "
            f"none; say a rate, such as {codec}@0.25bpp"
        )
    for text in texts:
        yield find_codec(f"{codec}@{text}bpp")


def nominal_rate(traits: Traits, kind: Literal["image", "video"], frames: int | None = None) -> float | None:
    """Bits per pixel of a tokenizer on images or clips whose sides its factor divides; None where it has none.

    Args:
        frames: of clips; None: of clips so long that their first frame does not count.
    """
    takes = traits.image if kind == "image" else traits.video
    if not takes or traits.space is None or traits.time is None:
        return None
    if traits.vocab_size is not None:
        bits = math.log2(traits.vocab_size)
    elif traits.channels is not None:
        bits = float(LATENT_BITS * traits.channels)
    else:
        return None
    if kind == "image":
        share = 1.0
    elif frames is None:
        share = 1 / traits.time
    else:
        share = (1 + math.ceil((frames - 1) / traits.time)) / frames
    return bits * share / traits.space**2
