"""Animated pictures (GIF, WebP, PNG, AVIF) through Pillow."""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from cosmotok.errors import MediaError

from .info import MediaInfo, RawFrame, ReadOptions
from .stills import open_image, oriented_size, readable, rgb_of

__all__ = ["AnimationSource", "is_animated"]

_ANIMATED = {"GIF", "WEBP", "PNG", "AVIF"}
_DEFAULT_DELAY = Fraction(1, 10)  # what browsers give an animation frame that says 0


class AnimationSource:
    """An animated GIF, WebP, PNG or AVIF, with the times its own frames have."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self._path = path
        self._options = options
        with readable(path, "the animation"), open_image(path) as image:
            options.check(path, *image.size)
            self._size = oriented_size(image)
            codec, mode = (image.format or "unknown").lower(), image.mode
        count, duration = 0, Fraction(0)
        with contextlib.suppress(MediaError):  # damage is reported when its place is reached
            for image in self._walk():
                count, duration = count + 1, duration + _delay(image)
        if not count:
            raise MediaError(f"{path}: no frame of the animation can be read; make or fetch it again")
        width, height = options.size or self._size
        self.info = MediaInfo(
            path=path,
            kind="video",
            width=width,
            height=height,
            frame_rate=count / duration,
            frame_count=count,
            duration=duration,
            has_audio=False,
            codec=codec,
            pixel_format=mode,
        )

    def scaled(self, size: tuple[int, int]) -> AnimationSource:
        other = copy.copy(self)
        other.info = replace(self.info, width=size[0], height=size[1])
        other._options = replace(self._options, size=size)
        return other

    def decode(self) -> Iterator[RawFrame]:
        time = Fraction(0)
        for image in self._walk():
            yield RawFrame(time, partial(self._pixels, image))
            time += _delay(image)

    def _walk(self) -> Iterator[Image.Image]:
        """The one image object at each of its frames in turn, decoded: a frame may be drawn on the last."""
        with readable(self._path, "the animation"), open_image(self._path) as image:
            first = 1 if image.info.get("default_image") else 0  # a PNG's picture for who cannot animate
            for index in itertools.count(first):
                done = index - first
                with readable(self._path, f"frame {done} of the animation (frames :{done} can be read)"):
                    try:
                        image.seek(index)
                    except EOFError:
                        return
                    image.load()
                yield image

    def _pixels(self, image: Image.Image) -> np.ndarray:
        with readable(self._path, "the animation"):
            return rgb_of(self._path, image, self._options.size or self._size)


def _delay(image: Image.Image) -> Fraction:
    """Seconds that the current frame of an animation is shown."""
    milliseconds = Fraction(image.info.get("duration") or 0).limit_denominator(1000)
    return milliseconds / 1000 if milliseconds > 0 else _DEFAULT_DELAY


def is_animated(image: Image.Image) -> bool:
    """Whether the picture has several frames that play as a video (pages of a TIFF do not)."""
    return image.format in _ANIMATED and bool(getattr(image, "is_animated", False))
