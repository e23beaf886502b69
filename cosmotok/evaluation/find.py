"""Contestants by their names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from cosmotok.config import list_models, suggest
from cosmotok.errors import InputError, UnknownModelError
from cosmotok.evaluation.contestants import Contestant, Traits
from cosmotok.evaluation.tokenizers import LATENT_BITS, PUBLISHED, PeerTokenizer, StreamTokenizer
from cosmotok.subjects import PEERS, OurModel, PeerModel, find_subjects
from cosmotok.subjects.peers import PREFIX

__all__ = ["find_contestants", "nominal_rate"]


def find_contestants(
    names: Sequence[str], *, fit: Path | None = None, frames: int | None = None, dtype: str = "float32"
) -> list[Contestant]:
    """Contestants by name, in the order of the names.

    Args:
        names: ours as `Tokenizer.from_pretrained` takes them, also with `@int8` behind, with their real weights;
            `diffusers:NAME`, or `diffusers:PATH` for a folder or Hub id; `klt:4x8x8:16` or `klt:8x8:16`; a codec with a
            rate (`h264@0.25bpp`) or a quality (`jpeg@q80`, `av1@crf40`). A codec alone stands for one contestant at
            each of the rates that the tokenizers beside it have on the kind of data that it takes.
        fit: folder of images and videos for what has to be fitted to data, such as `klt`.
        frames: length of clips, for these rates, since the first frame costs a tokenizer more; None: of long ones.
        dtype: that tokenizers compute in.

    Raises:
        UnknownModelError: for a name that nothing has; suggests the nearest.
        InputError: for no names, a name that comes twice, or a codec without a rate where no tokenizer tells one.
        MissingExtraError: for peers without diffusers.
    """
    if not names:
        raise InputError("models: expected at least one name such as cv4x8x8-tiny, diffusers:Wan or h264@0.25bpp")
    bare = {name for name in names if is_bare_codec(name)}
    alone = {name: find_contestant(name, fit, dtype) for name in names if name not in bare}
    rated = [contestant.traits for contestant in alone.values()] if bare else []
    found: list[Contestant] = []
    for name in names:
        found += at_rates(name, rated, frames) if name in bare else [alone[name]]
    for name in (contestant.name for contestant in found):
        if [contestant.name for contestant in found].count(name) > 1:
            raise InputError(f"models: {name} is named twice")
    return found


def find_contestant(name: str, fit: Path | None, dtype: str) -> Contestant:
    from cosmotok.baselines import find_baseline, is_baseline

    if is_baseline(name):
        return find_baseline(name, fit=fit)
    try:
        (subject,) = find_subjects([name])
    except (UnknownModelError, InputError):
        known, base = known_names(), name.partition("@")[0]
        suggestion = suggest(base, known)
        if base in known or not suggestion:
            raise
        raise UnknownModelError(
            f"unknown model {name!r}{suggestion} (`cosmotok models` lists ours; a path or Hub id works too; peers are "
            f"{PREFIX}NAME; codecs and klt are in docs/baselines.md)"
        ) from None
    if isinstance(subject, PeerModel):
        return PeerTokenizer(with_weights(subject), dtype)
    if isinstance(subject, OurModel):
        return StreamTokenizer(subject, dtype)
    raise UnknownModelError(f"{name}: is of a kind that cannot be evaluated")


def with_weights(model: PeerModel) -> PeerModel:
    """The published weights where a name alone was given; nothing is downloaded yet."""
    if model.source:
        return model
    if model.peer.name not in PUBLISHED:
        raise UnknownModelError(
            f"{model.name}: no published weights of diffusers' format are known; give {PREFIX}PATH, a folder or Hub id"
        )
    source, subfolder = PUBLISHED[model.peer.name]
    return replace(model, source=source, subfolder=subfolder)


def is_bare_codec(name: str) -> bool:
    from cosmotok.baselines import CODECS

    return name.lower() in CODECS


def at_rates(codec: str, tokenizers: Iterable[Traits], frames: int | None) -> Iterator[Contestant]:
    """A codec at each rate that tokenizers have on the kind of data that it takes."""
    from cosmotok.baselines import find_baseline

    takes = find_baseline(f"{codec}@1bpp", fit=None).traits
    kind: Literal["image", "video"] = "video" if takes.video else "image"
    rates = {nominal_rate(traits, kind, frames) for traits in tokenizers}
    texts = dict.fromkeys(f"{rate:.3g}" for rate in sorted(rate for rate in rates if rate is not None))
    if not texts:
        raise InputError(
            f"models: {codec} alone takes the bits per pixel of tokenizers beside it that take {kind}s, and there are "
            f"none; say a rate, such as {codec}@0.25bpp"
        )
    for text in texts:
        yield find_baseline(f"{codec}@{text}bpp", fit=None)


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


def known_names() -> list[str]:
    from cosmotok.baselines import CODECS

    return [*list_models(), *(PREFIX + peer for peer in PEERS), *CODECS, "klt:4x8x8:16", "klt:8x8:16"]
