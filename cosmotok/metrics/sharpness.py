"""How much fine detail a reconstruction has, relative to its source."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cosmotok.errors import InputError

__all__ = ["RunningSharpness", "high_frequency_ratio"]

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
LAPLACIAN = ((0, 1, 0), (1, -4, 1), (0, 1, 0))


def high_frequency_ratio(reconstruction: Tensor, source: Tensor) -> float:
    """Energy of the Laplacian of the reconstruction's luma over that of the source's.

    sum (L * y')^2 / sum (L * y)^2, with L the 3 x 3 kernel [0 1 0; 1 -4 1; 0 1 0] on all pixels but the border, and
    the sums over all frames. 1 is as sharp as the source, less is blurred; noise counts as detail, so look at PSNR
    or LPIPS beside it.

    Args:
        reconstruction, source: (..., 3, T, H, W) of one shape, at least 3 x 3; any scale of values that both share.

    Returns:
        At least 0; NaN where the source is flat.

    Raises:
        InputError: for tensors of other shapes.
    """
    shape = tuple(source.shape)
    if tuple(reconstruction.shape) != shape or len(shape) < 4 or shape[-4] != 3 or min(shape[-2:]) < 3:
        raise InputError(
            f"reconstruction {tuple(reconstruction.shape)} and source {shape}: "
            "expected (..., 3, T, H, W) of one shape, at least 3 x 3"
        )
    energy = laplacian_energy(source)
    return laplacian_energy(reconstruction) / energy if energy else math.nan


def laplacian_energy(video: Tensor) -> float:
    """Sum of the squared Laplacian of the luma of (..., 3, T, H, W), in float64."""
    video = video.detach().double()
    luma = torch.einsum("...cthw,c->...thw", video, video.new_tensor(LUMA))
    kernel = luma.new_tensor(LAPLACIAN)[None, None]
    return float(F.conv2d(luma.flatten(0, -3)[:, None], kernel).square().sum())


class RunningSharpness:
    """`high_frequency_ratio` of 8-bit frames that come one by one, in exact whole numbers."""

    def __init__(self) -> None:
        self.source = 0
        self.reconstruction = 0

    def update(self, source: np.ndarray, reconstruction: np.ndarray) -> None:
        """Adds one frame, both uint8 (H, W, 3)."""
        self.source += frame_energy(source)
        self.reconstruction += frame_energy(reconstruction)

    @property
    def sharpness(self) -> float | None:
        """1 is as sharp as the source; None where that is flat or below 3 x 3, and before the first frame."""
        return self.reconstruction / self.source if self.source else None


def frame_energy(frame: np.ndarray) -> int:
    """Sum of the squared Laplacian of the luma of uint8 (H, W, 3), in millionths."""
    luma = frame.astype(np.int32) @ np.rint(np.multiply(LUMA, 1000)).astype(np.int32)
    inner = -4 * luma[1:-1, 1:-1] + luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return int(np.square(inner, dtype=np.int64).sum())
