"""Classical image codecs through Pillow, at a quality or at the rate of a tokenizer."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, features

from cosmotok.contestants import Source, Tally, Traits
from cosmotok.errors import MediaError, MissingExtraError

from .rates import Setting, largest_within

__all__ = ["IMAGE_CODECS", "ImageCodec", "ImageContestant"]

TRIES = 20
"""Encodings per picture at most; enough to find the one best quality."""


@dataclass(frozen=True)
class ImageCodec:
    """An image codec and how it is set; what a file costs is all of it, headers included."""

    name: str
    format: str
    """Pillow's name."""
    text: str
    """Settings, for people."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of Pillow's `save`, beside the quality."""
    feature: str | None = None
    """Of Pillow, that not every build has."""
    plugin: tuple[str, str] | None = None
    """Module that adds the format to Pillow, and its package."""
    unit: str = "q"
    settings: tuple[int, int] = (0, 100)
    """Least and best quality."""
    steps: int = 1
    """Per unit of quality, where a rate is matched."""

    @property
    def available(self) -> bool:
        if self.plugin is not None:
            try:
                importlib.import_module(self.plugin[0])
            except ImportError:
                return False
        return self.feature is None or bool(features.check(self.feature))

    def require(self) -> None:
        """Raises MissingExtraError where this Pillow lacks the codec."""
        if self.available:
            return
        if self.plugin is not None:
            raise MissingExtraError(f"{self.name}: Pillow needs a plugin for it: pip install {self.plugin[1]}")
        have = ", ".join(codec.name for codec in IMAGE_CODECS.values() if codec.available)
        raise MissingExtraError(f"{self.name}: this Pillow has it not, but {have}: pip install -U pillow")

    def contestant(self, name: str, setting: Setting) -> ImageContestant:
        return ImageContestant(name, self, setting)


IMAGE_CODECS = {
    codec.name: codec
    for codec in (
        ImageCodec(
            "jpeg",
            "JPEG",
            "libjpeg-turbo, progressive, optimised Huffman tables, 4:2:0",
            {"subsampling": "4:2:0", "progressive": True, "optimize": True},
            settings=(1, 100),
        ),
        ImageCodec("webp", "WEBP", "libwebp, lossy, method 6, 4:2:0", {"method": 6}, feature="webp", steps=8),
        ImageCodec(
            "avif",
            "AVIF",
            "libaom through libavif, speed 6, tuned for PSNR, 4:2:0, full range",
            {
                "codec": "aom",
                "speed": 6,
                "subsampling": "4:2:0",
                "range": "full",
                "max_threads": 1,
                "advanced": {"tune": "psnr"},
            },
            feature="avif",
        ),
        ImageCodec(
            "jxl",
            "JXL",
            "libjxl, lossy, effort 7, 4:4:4 (XYB)",
            {"effort": 7},
            plugin=("pillow_jxl", "pillow-jxl-plugin"),
            settings=(0, 99),
        ),
    )
}
"""By name. Quality 100 of JPEG-XL would be its lossless mode, which is another codec."""


@dataclass(frozen=True)
class ImageContestant:
    """An image codec at a setting."""

    name: str
    codec: ImageCodec
    setting: Setting

    @property
    def traits(self) -> Traits:
        note = self.codec.text
        if self.setting.unit == "bpp":
            note += "; the best quality within the rate, or the least there is where none is"
        return Traits(family="codec", image=True, video=False, causal=True, streaming=True, note=note)

    def load(self, device: str) -> LoadedImageCodec:
        self.codec.require()
        return LoadedImageCodec(self.codec, self.setting)


@dataclass(frozen=True)
class CodedImage:
    """An encoded picture."""

    data: bytes

    @property
    def bits(self) -> int:
        return 8 * len(self.data)


class LoadedImageCodec:
    """Encodes picture by picture."""

    def __init__(self, codec: ImageCodec, setting: Setting) -> None:
        self._codec, self._setting = codec, setting

    def reconstruct(self, frames: Iterable[np.ndarray], source: Source, tally: Tally) -> Iterator[np.ndarray]:
        tally.bits = 0.0
        for pixels in frames:
            picture = self._encode(Image.fromarray(pixels))
            tally.bits += picture.bits
            with Image.open(io.BytesIO(picture.data)) as image:
                yield np.array(image.convert("RGB"))

    def _encode(self, image: Image.Image) -> CodedImage:
        (least, best), steps = self._codec.settings, self._codec.steps
        if self._setting.unit != "bpp":
            return self._at(image, self._setting.value)
        return largest_within(
            lambda level: self._at(image, least + level / steps),
            self._setting.value * image.width * image.height,
            levels=(best - least) * steps + 1,
            first=(best - least) * steps // 2,
            growth=0.03 / steps,
            tries=TRIES,
        )

    def _at(self, image: Image.Image, quality: float) -> CodedImage:
        data = io.BytesIO()
        quality = quality if self._codec.steps > 1 else int(quality)
        try:
            image.save(data, self._codec.format, quality=quality, **self._codec.options)
        except (OSError, ValueError) as error:
            size = f"{image.width}x{image.height}"
            raise MediaError(f"{self._codec.name}: cannot encode a picture of {size} ({error})") from error
        return CodedImage(data.getvalue())
