"""PSNR and SSIM of 8-bit video, by the TokenBench protocol."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["RunningQuality", "ssim"]

SSIM_WINDOW = 7


def ssim(a: np.ndarray, b: np.ndarray) -> float | None:
    """Structural similarity of two frames (H, W, 3), uint8 (Wang et al. 2004).

    As `skimage.metrics.structural_similarity(a, b, data_range=255, channel_axis=-1)` has it: uniform 7 x 7 windows
    inside the frame, unbiased variances, mean over windows and channels. None for frames below 7 x 7.
    """
    if min(a.shape[:2]) < SSIM_WINDOW:
        return None
    x, y = (torch.from_numpy(frame).permute(2, 0, 1).double() for frame in (a, b))
    maps = torch.stack((x, y, x * x, y * y, x * y))
    mean_x, mean_y, xx, yy, xy = box_mean(maps)
    unbiased = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    var_x = unbiased * (xx - mean_x * mean_x)
    var_y = unbiased * (yy - mean_y * mean_y)
    covariance = unbiased * (xy - mean_x * mean_y)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x.square() + mean_y.square() + c1) * (var_x + var_y + c2)
    return float(similarity.mean())


def box_mean(maps: Tensor) -> Tensor:
    """Means over all 7 x 7 windows of (..., H, W)."""
    return F.avg_pool2d(F.avg_pool2d(maps, (1, SSIM_WINDOW), stride=1), (SSIM_WINDOW, 1), stride=1)


class RunningQuality:
    """PSNR and SSIM of a video, frame by frame, in constant memory."""

    def __init__(self) -> None:
        self.squared_error = 0  # of 8-bit values: whole numbers, exact
        self.values = 0
        self.similarities: float = 0.0
        self.frames = 0
        self.measurable = True

    def update(self, source: np.ndarray, reconstruction: np.ndarray) -> None:
        """Adds one frame, both uint8 (H, W, 3)."""
        difference = source.astype(np.int32) - reconstruction
        self.squared_error += int((difference * difference).sum(dtype=np.int64))
        self.values += difference.size
        self.frames += 1
        similarity = ssim(source, reconstruction)
        if similarity is None:
            self.measurable = False
        else:
            self.similarities += similarity

    @property
    def psnr(self) -> float:
        """20 log10(255 / rms error over all frames), dB; infinity for equal videos."""
        if self.squared_error == 0:
            return math.inf
        return 10 * math.log10(255**2 * self.values / self.squared_error)

    @property
    def ssim(self) -> float | None:
        """Mean over frames; None for frames below 7 x 7."""
        return self.similarities / self.frames if self.measurable and self.frames else None
