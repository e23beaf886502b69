"""Pictures of reconstructions: grids of original, reconstruction and difference, and clips side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cosmotok.errors import InputError, missing_extra
from cosmotok.frames import DIFFERENCE_GAIN, in_a_row
from cosmotok.media import VideoWriter, write_image
from cosmotok.metrics.quality import RunningQuality

__all__ = ["Sample", "write_clip", "write_grid"]

CELL_WIDTH, CELL_HEIGHT = 360, 300
"""The most that one picture of a grid takes; all of one grid's columns are of equal width."""
MARGIN, GAP, LINE = 28, 12, 30
TITLES = ("original", "reconstruction", f"difference, {DIFFERENCE_GAIN}×")
PAPER, INK, QUIET = "#ffffff", "#1f2933", "#66717d"


@dataclass(frozen=True)
class Sample:
    """A picture and what came back of it, both uint8 (H, W, 3)."""

    label: str
    original: np.ndarray
    reconstruction: np.ndarray

    def __post_init__(self) -> None:
        shape = self.original.shape
        fine = self.original.dtype == self.reconstruction.dtype == np.uint8 and self.reconstruction.shape == shape
        if not fine or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise InputError(
                f"{self.label}: expected two equal pictures, uint8 (H, W, 3), got {self.original.dtype} {shape} "
                f"and {self.reconstruction.dtype} {self.reconstruction.shape}"
            )

    @property
    def psnr(self) -> float:
        """Of this picture, dB; infinity where nothing was lost."""
        quality = RunningQuality()
        quality.update(self.original, self.reconstruction)
        return quality.psnr


def write_grid(path: Path, samples: Sequence[Sample]) -> None:
    """A row per sample: original, reconstruction, amplified difference (grey where equal), label and PSNR.

    Large pictures are scaled down to fit; the PSNR is that of the whole ones. The suffix of `path` names the format.

    Raises:
        InputError: for no samples.
        MediaError: where the file cannot be written.
        MissingExtraError: without the `train` extra, whose matplotlib has the font.
    """
    if not samples:
        raise InputError(f"{path}: expected at least one sample for a grid of pictures, got none")
    scales = [fitting_scale(sample.original) for sample in samples]
    sizes = [scaled_size(sample.original, scale) for sample, scale in zip(samples, scales, strict=True)]
    column = max(CELL_WIDTH // 2, *(width for width, _ in sizes))
    width = 2 * MARGIN + 3 * column + 2 * GAP
    height = 2 * MARGIN + LINE + sum(h + LINE + GAP for _, h in sizes) - GAP
    page = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(page)
    title, label, number = font(16, bold=True), font(14), font(14)
    lefts = [MARGIN + i * (column + GAP) for i in range(3)]
    for left, text in zip(lefts, TITLES, strict=True):
        draw.text((left + column / 2, MARGIN), text, font=title, fill=INK, anchor="mt")
    top = MARGIN + LINE
    for sample, (w, h) in zip(samples, sizes, strict=True):
        for left, picture in zip(lefts, np.split(in_a_row(sample.original, sample.reconstruction), 3, 1), strict=True):
            page.paste(scaled(picture, (w, h)), (left + (column - w) // 2, top))
        middle = top + h + LINE / 2
        quality = "no error" if math.isinf(sample.psnr) else f"PSNR {sample.psnr:.2f} dB"
        full = sample.original.shape
        size = f"{full[1]} × {full[0]}" + ("" if full[1] == w else f", shown at {100 * w / full[1]:.0f}%")
        right = width - MARGIN
        name = shortened(sample.label, label, column)
        draw.text((MARGIN, middle), name, font=label, fill=INK, anchor="lm")
        draw.text((lefts[1] + column / 2, middle), size, font=label, fill=QUIET, anchor="mm")
        draw.text((right, middle), quality, font=number, fill=INK, anchor="rm")
        top += h + LINE + GAP
    write_image(path, np.asarray(page))


def write_clip(
    path: Path,
    original: Sequence[np.ndarray] | np.ndarray,
    reconstruction: Sequence[np.ndarray] | np.ndarray,
    frame_rate: Fraction | float | None = None,
) -> None:
    """A video, .mp4 or another suffix that `VideoWriter` knows: original on the left, reconstruction on the right.

    Args:
        original, reconstruction: equally many frames, uint8 (H, W, 3), all of one size.
        frame_rate: frames per second; 24 where nobody knows.

    Raises:
        InputError: for no frames, or clips that differ in length or size.
        MediaError: where the file cannot be written.
    """
    if len(original) == 0 or len(original) != len(reconstruction):
        raise InputError(
            f"{path}: expected equally many frames, at least one, got {len(original)} and {len(reconstruction)}"
        )
    height, width = original[0].shape[:2]
    gap = np.full((height, 4, 3), 255, np.uint8)
    with VideoWriter(path, width=2 * width + 4, height=height, frame_rate=frame_rate or Fraction(24)) as writer:
        for left, right in zip(original, reconstruction, strict=True):
            Sample(path.name, left, right)  # refuses what does not match
            writer.write(np.concatenate((left, gap, right), axis=1))


def fitting_scale(picture: np.ndarray) -> float:
    """The scale at which a picture fits its cell: any below 1, or a whole number for small pictures."""
    height, width = picture.shape[:2]
    scale = min(CELL_WIDTH / width, CELL_HEIGHT / height)
    return scale if scale < 1 else math.floor(scale)


def scaled_size(picture: np.ndarray, scale: float) -> tuple[int, int]:
    height, width = picture.shape[:2]
    return max(1, round(width * scale)), max(1, round(height * scale))


def scaled(picture: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Smooth where smaller; where larger, with pixels that stay squares."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    smaller = size[0] < image.width
    return image.resize(size, Image.Resampling.LANCZOS if smaller else Image.Resampling.NEAREST)


def shortened(text: str, face: Any, width: float) -> str:
    """`text` on one line of at most `width` pixels, with an ellipsis in its middle if need be."""
    text = "".join(letter if letter.isprintable() else "�" for letter in text)
    kept = len(text)
    short = text
    while face.getlength(short) > width and kept > 2:
        kept -= 1
        short = text[: (kept + 1) // 2] + "…" + text[len(text) - kept // 2 :]
    return short


@cache
def font(size: int, bold: bool = False) -> Any:
    """DejaVu Sans, which comes with matplotlib, so that pictures look alike on all machines."""
    try:
        import matplotlib
    except ImportError:
        raise missing_extra("pictures need matplotlib", "train") from None
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
