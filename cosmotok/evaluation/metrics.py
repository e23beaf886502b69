"""PSNR and SSIM of 8-bit video, by the TokenBench protocol."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["RunningQuality", "ssim"]

SSIM_WINDOW = 7


def ssim(a: np.ndarray, b: np.ndarray) -> float | None:
    """Structural similarity of two frames (H, W, 3), uint8 (Wang et al. 2004).

    As `skimage.metrics.structural_similarity(a, b, data_range=255, channel_axis=-1)` has it: uniform 7 x 7 windows
    inside the frame, unbiased variances, mean over windows and channels. None for frames below 7 x 7.
    """
    if min(a.shape[:2]) < SSIM_WINDOW:
        return None
    x, y = (np.ascontiguousarray(frame.transpose(2, 0, 1), np.int32) for frame in (a, b))
    sums = window_sums(window_sums(np.stack((x, y, x * x + y * y, x * y)), axis=2), axis=3)
    sum_x, sum_y, sum_squares, sum_xy = sums
    # all that cancels is in whole numbers, which fit into 32 bits: means times n, (co)variances times n (n - 1)
    n = SSIM_WINDOW**2
    c1, c2 = (0.01 * 255 * n) ** 2, (0.03 * 255) ** 2 * n * (n - 1)
    product, squares = sum_x * sum_y, sum_x * sum_x + sum_y * sum_y
    above = (2 * product + c1) * (2 * (n * sum_xy - product) + c2)
    below = (squares + c1) * (n * sum_squares - squares + c2)
    return float((above / below).mean())


def window_sums(maps: np.ndarray, axis: int) -> np.ndarray:
    """Sums over all windows of 7 along an axis: of four, two and one."""
    maps = np.moveaxis(maps, axis, 0)
    pairs = maps[:-1] + maps[1:]
    fours = pairs[:-2] + pairs[2:]
    return np.moveaxis(fours[:-3] + pairs[4:-1] + maps[6:], 0, axis)


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
