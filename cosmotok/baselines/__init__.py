"""Classical codecs, which tokenizers are compared with."""

from __future__ import annotations

from cosmotok.config import suggest
from cosmotok.contestants import Contestant
from cosmotok.errors import InputError, UnknownModelError

from .images import IMAGE_CODECS, ImageCodec
from .rates import parse_setting
from .videos import VIDEO_CODECS, VideoCodec

__all__ = ["CODECS", "find_codec", "is_codec"]

CODECS: dict[str, ImageCodec | VideoCodec] = {**IMAGE_CODECS, **VIDEO_CODECS}
"""By name: of images jpeg, webp, avif, jxl; of clips h264, hevc, vp9, av1. Some may not be installed."""


def is_codec(name: str) -> bool:
    """Whether a name is meant for one of these: `jpeg`, `h264@0.25bpp`; it may still be wrong."""
    return name.partition("@")[0] in CODECS


def find_codec(name: str) -> Contestant:
    """The contestant of that name.

    Args:
        name: `CODEC@RATEbpp`, `jpeg@q80` or `h264@crf28`: a codec of `CODECS`, each file at the best quality within a
            rate in bits per pixel, or all at one quality.

    Raises:
        UnknownModelError: for another codec, with the nearest.
        InputError: for one without setting or out of its range.
    """
    kind, _, setting = name.partition("@")
    if kind not in CODECS:
        raise UnknownModelError(f"{name}: no such codec{suggest(kind, CODECS)} (there are {', '.join(CODECS)})")
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
