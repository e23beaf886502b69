"""How much fine detail a reconstruction has, relative to its source."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cosmotok.errors import InputError

__all__ = ["high_frequency_ratio"]

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
