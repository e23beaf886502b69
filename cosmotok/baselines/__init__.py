"""What tokenizers are compared with that needs no weights: the best linear transform (KLT) and classical codecs."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cosmotok.errors import InputError, UnknownModelError

from .images import IMAGE_CODECS, ImageCodec
from .rates import parse_setting
from .videos import VIDEO_CODECS, VideoCodec

if TYPE_CHECKING:
    from cosmotok.config import TokenizerConfig
    from cosmotok.evaluation.contestants import Contestant

__all__ = ["CODECS", "find_baseline", "is_baseline", "klt_name"]

CODECS: dict[str, ImageCodec | VideoCodec] = {**IMAGE_CODECS, **VIDEO_CODECS}
"""By name: of images jpeg, webp, avif, jxl; of clips h264, hevc, vp9, av1. Some may not be installed."""

_KLT = re.compile(r"klt:((?P<time>[1-9][0-9]*)x)?(?P<height>[1-9][0-9]*)x(?P<width>[1-9][0-9]*):(?P<count>[1-9][0-9]*)")
_KLT_EXAMPLE = "klt:4x8x8:16 (frames x height x width of a block, coefficients) or klt:8x8:16"


def is_baseline(name: str) -> bool:
    """Whether a name is meant for one of these: `jpeg`, `h264@0.25bpp`, `klt:4x8x8:16`; it may still be wrong."""
    return re.split("[:@]", name)[0] in {"klt", *CODECS}


def klt_name(config: TokenizerConfig, kind: Literal["image", "video"]) -> str:
    """The transform with a tokenizer's latents: as many coefficients, for the pixels of one latent position.

    Args:
        kind: of what is measured. Of images, and in the first frame of a clip, these pixels are of a single frame.
    """
    space = [config.spatial_factor] * 2
    block = space if kind == "image" else [config.temporal_factor, *space]
    return f"klt:{'x'.join(map(str, block))}:{config.latent_channels}"


def find_baseline(name: str, *, fit: Path | None = None) -> Contestant:
    """The contestant of that name.

    Args:
        name: `klt:TxHxW:K` or `klt:HxW:K`: the linear transform of pixel blocks to K coefficients. `CODEC@RATEbpp`,
            `jpeg@q80` or `h264@crf28`: a codec of `CODECS`, each file at the best quality within a rate in bits per
            pixel, or all at one quality.
        fit: folder of clips and images that a KLT is fitted to, here and now.

    Raises:
        UnknownModelError: for a name of another kind, with the nearest.
        InputError: for a KLT without `fit` or of an impossible size, a codec without setting or out of its range.
        MediaError: where `fit` cannot be read.
    """
    kind, _, setting = name.partition("@")
    if kind.partition(":")[0] == "klt":
        return _klt(name, fit)
    if kind not in CODECS:
        near = difflib.get_close_matches(kind.lower(), ["klt", *CODECS], n=1, cutoff=0.5)
        guess = f"did you mean {near[0]}? " if near else ""
        raise UnknownModelError(f"{name}: no such baseline; {guess}There are klt:4x8x8:16 and {', '.join(CODECS)}")
    codec = CODECS[kind]
    low, high = sorted(codec.settings)
    parsed = parse_setting(setting)
    if parsed is None or parsed.unit not in ("bpp", codec.unit):
        raise InputError(
            f"{name}: expected a rate or a quality, such as {kind}@0.25bpp or {kind}@{codec.unit}{(low + high) // 2}"
        )
    if parsed.unit != "bpp" and not low <= parsed.value <= high:
        raise InputError(f"{name}: expected {kind}@{codec.unit}{low} to {kind}@{codec.unit}{high}")
    return codec.contestant(name, parsed)


def _klt(name: str, fit: Path | None) -> Contestant:
    match = _KLT.fullmatch(name)
    if match is None:
        raise InputError(f"{name}: expected {_KLT_EXAMPLE}")
    if fit is None:
        raise InputError(f"{name}: a KLT is fitted to data: give a folder of clips or images (--fit FOLDER)")
    from .klt import KLT

    block = (int(match["time"] or 1), int(match["height"]), int(match["width"]))
    return KLT.fit(name, block, int(match["count"]), Path(fit), clips=match["time"] is not None)
