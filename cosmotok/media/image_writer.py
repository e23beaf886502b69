"""`write_image`: one picture to a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cosmotok.errors import InputError
from cosmotok.paths import as_path
from cosmotok.writing import Together, output_file, write_error

__all__ = ["check_pixels", "write_image"]

_SAVE: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "lossless": True},
    ".bmp": {"format": "BMP"},
    ".tif": {"format": "TIFF", "compression": "tiff_deflate"},
    ".tiff": {"format": "TIFF", "compression": "tiff_deflate"},
    ".ppm": {"format": "PPM"},
}


def check_pixels(pixels: np.ndarray, width: int | None = None, height: int | None = None) -> np.ndarray:
    """`pixels` C-contiguous, if they are uint8 (H, W, 3) of the given size; else `InputError`."""
    expected = f"uint8 ({height or 'H'}, {width or 'W'}, 3)"
    if not isinstance(pixels, np.ndarray):
        raise InputError(f"pixels: expected a numpy array, {expected}, got {type(pixels).__name__}")
    shape = pixels.shape
    fits = len(shape) == 3 and shape[2] == 3 and shape[0] in (height, height or shape[0])
    if pixels.dtype != np.uint8 or not fits or 0 in shape or (width is not None and shape[1] != width):
        raise InputError(f"pixels: expected {expected}, got {pixels.dtype} {shape}")
    return np.ascontiguousarray(pixels)


def write_image(path: str | Path, pixels: np.ndarray, *, together: Together | None = None) -> None:
    """Write uint8 (H, W, 3) RGB as the picture the suffix names; atomic.

    .png, .webp, .bmp, .tif and .ppm are lossless; .jpg has quality 95 with full colour resolution.

    Raises `InputError` for other pixels or an unknown suffix, `MediaError` where the file cannot be written.
    """
    target = as_path(path)
    settings = _SAVE.get(target.suffix.lower())
    if settings is None:
        known = " ".join(sorted(_SAVE))
        raise InputError(f"{target}: cannot tell the image format from {target.suffix!r}; use one of {known}")
    image = Image.fromarray(check_pixels(pixels))
    with output_file(target, together=together) as file:
        content = io.BytesIO()  # Pillow would write past `file`, to its descriptor
        try:
            image.save(content, **settings)
        except (OSError, ValueError, KeyError, OverflowError) as error:
            raise write_error(target, error) from error
        file.write(content.getbuffer())
