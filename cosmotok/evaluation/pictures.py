"""Examples of reconstructions, cut and written for pages."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from cosmotok.frames import DIFFERENCE_GAIN, in_a_row
from cosmotok.metrics.quality import RunningError, psnr

__all__ = ["DIFFERENCE_GAIN", "Example", "cut", "data_address", "difference_map", "to_webp"]


@dataclass(frozen=True, eq=False)
class Example:
    """A frame, and what a contestant made of it."""

    model: str
    file: str
    """Relative to the data's folder."""
    frame: int
    """From 0."""
    original: np.ndarray
    """uint8 (H, W, 3)."""
    reconstruction: np.ndarray
    """Of the same shape."""

    @property
    def psnr(self) -> float:
        """Of this frame alone, dB; infinity for equal pixels."""
        error = RunningError()
        error.update(self.original, self.reconstruction)
        return psnr(error.squared_error, error.values)


def difference_map(original: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """Reconstruction minus original, `DIFFERENCE_GAIN` times, grey where equal: uint8 (H, W, 3)."""
    return np.split(in_a_row(original, reconstruction), 3, axis=1)[2]


def cut(picture: np.ndarray, most: int) -> np.ndarray:
    """The middle of a picture (H, W, 3), at most `most` pixels wide and high. Pixels stay as they are."""
    top, left = (max(0, (size - most) // 2) for size in picture.shape[:2])
    return picture[top : top + most, left : left + most]


def to_webp(picture: np.ndarray, quality: Literal["exact", "good"]) -> bytes:
    """A picture (H, W, 3), uint8, as WebP: with every pixel as it is, or smaller."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", lossless=quality == "exact", quality=85, method=4)
    return buffer.getvalue()


def data_address(kind: str, content: bytes) -> str:
    """Content of a MIME type as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
