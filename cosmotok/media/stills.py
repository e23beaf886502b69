"""Still pictures, and folders of them, through Pillow."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from cosmotok.errors import CosmotokError, MediaError

from .info import DEFAULT_RATE, MediaInfo, RawFrame, ReadOptions

__all__ = ["StillSource", "is_picture", "open_image", "oriented_size", "readable", "rgb_of"]

# Only formats that are plain pictures: others (EPS, WMF) start foreign programs or are containers.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_open_lock = threading.Lock()


@cache
def _formats() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def open_image(path: Path) -> Image.Image:
    """The picture at `path`, header read only; `UnidentifiedImageError` if it is none that Pillow knows."""
    formats = _formats()
    # Pillow's own limit on pixels is a global; ours is checked by the callers, right after this.
    with _open_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextlib.contextmanager
def readable(path: Path, what: str = "the image") -> Iterator[None]:
    """Turn whatever Pillow raises on bad files into a `MediaError`; it raises nearly every class there is."""
    try:
        yield
    except (CosmotokError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise MediaError(f"{path}: no such file") from error
    except PermissionError as error:
        raise MediaError(f"{path}: no permission to read it") from error
    except UnidentifiedImageError as error:
        raise MediaError(f"{path}: not an image that can be read (PNG, JPEG, WebP, GIF, TIFF, BMP...)") from error
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MediaError(f"{path}: {what} is damaged or cut short ({reason}); make or fetch it again") from error


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a broken EXIF block does not make the pixels worse
        return 1


def oriented_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if _orientation(image) in (5, 6, 7, 8) else (width, height)


def _scaled_to_8_bits(image: Image.Image) -> Image.Image:
    """Integer and float pictures to mode L: 0..65535 and 0..1 become 0..255, rounded, nothing clipped."""
    values = np.asarray(image)
    if image.mode == "F":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise MediaError("floating-point values outside 0..1; save it with 8 or 16 bits per channel")
        return Image.fromarray((values * 255 + 0.5).astype(np.uint8))
    if values.min() < 0 or values.max() > 65535:
        raise MediaError("integer values outside 0..65535; save it with 8 or 16 bits per channel")
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _to_rgb(image: Image.Image, size: tuple[int, int] | None) -> np.ndarray:
    """uint8 (H, W, 3) of a decoded picture: upright, over white where transparent, scaled to `size`."""
    orientation = _orientation(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = _scaled_to_8_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, coloured)
    image = image.convert("RGB")
    if orientation in _TRANSPOSE:
        image = image.transpose(_TRANSPOSE[orientation])
    if size is not None and image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    return np.array(image, dtype=np.uint8, order="C")


def rgb_of(path: Path, image: Image.Image, size: tuple[int, int] | None) -> np.ndarray:
    try:
        return _to_rgb(image, size)
    except MediaError as error:
        raise MediaError(f"{path}: {error}") from error


def _load(path: Path, options: ReadOptions, expected: tuple[int, int] | None = None) -> np.ndarray:
    """The pixels of the still at `path`; `expected` is the (width, height) the frames before it had."""
    with readable(path), open_image(path) as image:
        options.check(path, *image.size)
        found = oriented_size(image)
        if expected is not None and found != expected:
            raise MediaError(
                f"{path}: this frame is {found[0]}x{found[1]}, the first one {expected[0]}x{expected[1]}; "
                "all frames of a folder or pattern must have one size"
            )
        return rgb_of(path, image, options.size)


class StillSource:
    """One picture, or several as the frames of a video at 24 frames per second."""

    def __init__(self, path: Path, files: Sequence[Path], options: ReadOptions, *, video: bool) -> None:
        self._files = files
        self._options = options
        with readable(files[0]), open_image(files[0]) as image:
            options.check(files[0], *image.size)
            self._size = oriented_size(image)
            codec, mode = (image.format or "unknown").lower(), image.mode
        width, height = options.size or self._size
        self.info = MediaInfo(
            path=path,
            kind="video" if video else "image",
            width=width,
            height=height,
            frame_rate=DEFAULT_RATE if video else None,
            frame_count=len(files),
            duration=len(files) / DEFAULT_RATE if video else None,
            has_audio=False,
            codec=codec,
            pixel_format=mode,
        )

    def scaled(self, size: tuple[int, int]) -> StillSource:
        other = copy.copy(self)
        other.info = replace(self.info, width=size[0], height=size[1])
        other._options = replace(self._options, size=size)
        return other

    def decode(self) -> Iterator[RawFrame]:
        for index, file in enumerate(self._files):
            yield RawFrame(index / DEFAULT_RATE, partial(_load, file, self._options, self._size))


def is_picture(path: Path) -> bool:
    """Whether the file at `path` is a picture, still or animated; False where it is missing."""
    try:
        with open_image(path):
            return True
    except Exception:
        return False
