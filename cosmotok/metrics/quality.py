"""PSNR, SSIM and temporal consistency of 8-bit video, frame by frame in constant memory."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["PLACES", "ErrorByPlace", "RunningError", "RunningQuality", "RunningSSIM", "RunningTemporal", "psnr", "ssim"]

SSIM_WINDOW = 7
PLACES = {"1": 1, "2-17": 17, "18-33": 33, "34-81": 81, "82+": math.inf}
"""Places in a clip by their frames, from 1, and the last frame of each: the first frame, which causal tokenizers
code by itself; the first 16 that follow, which every training sees; as many again; what lies well beyond; the rest."""


def psnr(squared_error: int, values: int) -> float:
    """20 log10(255 / rms error), dB; infinity without error.

    Args:
        squared_error: sum of the squared errors of 8-bit values.
        values: how many they are, at least 1.
    """
    return math.inf if squared_error == 0 else 10 * math.log10(255**2 * values / squared_error)


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


class RunningError:
    """Squared error of a clip or of many, whose sums are whole numbers and so exact.

    Args:
        wrapped: subtract and square in uint8, modulo 256, as TokenBench's first code did.
    """

    def __init__(self, wrapped: bool = False) -> None:
        self.wrapped = wrapped
        self.squared_error = 0
        self.values = 0
        self.frames = 0
        self.decibels = 0.0
        """PSNRs of single frames, added up."""

    def update(self, source: np.ndarray, reconstruction: np.ndarray) -> None:
        """Adds one frame, both uint8 (H, W, 3)."""
        difference = (source if self.wrapped else source.astype(np.int32)) - reconstruction
        squared_error = int((difference * difference).sum(dtype=np.int64))
        self.squared_error += squared_error
        self.values += difference.size
        self.frames += 1
        self.decibels += psnr(squared_error, difference.size)

    @property
    def psnr(self) -> float | None:
        """Of all frames together, dB; infinity for equal clips, None before the first frame."""
        return psnr(self.squared_error, self.values) if self.frames else None

    @property
    def mean_psnr(self) -> float | None:
        """Mean of the PSNRs of single frames, dB; infinity as soon as one frame is equal, None before the first."""
        return self.decibels / self.frames if self.frames else None


class ErrorByPlace:
    """The error of a clip by place in it: whether quality holds as a stream goes on.

    Args:
        wrapped: as in `RunningError`.
    """

    def __init__(self, wrapped: bool = False) -> None:
        self.frames = 0
        self.places = {name: RunningError(wrapped) for name in PLACES}

    def update(self, source: np.ndarray, reconstruction: np.ndarray) -> None:
        """Adds the next frame, both uint8 (H, W, 3)."""
        self.frames += 1
        name = next(name for name, last in PLACES.items() if self.frames <= last)
        self.places[name].update(source, reconstruction)

    def skip(self) -> None:
        """Leaves out the next frame."""
        self.frames += 1

    @property
    def whole(self) -> RunningError:
        """Of all frames."""
        total = RunningError()
        for part in self.places.values():
            total.squared_error += part.squared_error
            total.values += part.values
            total.frames += part.frames
            total.decibels += part.decibels
        return total


class RunningSSIM:
    """SSIM of a clip, as the mean over its frames."""

    def __init__(self) -> None:
        self.similarities = 0.0
        self.frames = 0
        self.measurable = True

    def update(self, source: np.ndarray, reconstruction: np.ndarray) -> None:
        """Adds one frame, both uint8 (H, W, 3)."""
        similarity = ssim(source, reconstruction)
        self.frames += 1
        if similarity is None:
            self.measurable = False
        else:
            self.similarities += similarity

    @property
    def ssim(self) -> float | None:
        """Mean over frames; None for frames below 7 x 7, and before the first."""
        return self.similarities / self.frames if self.measurable and self.frames else None


class RunningTemporal:
    """PSNR of the differences between neighbouring frames: how well change is kept, flicker above all.

    With source x and reconstruction r, 20 log10(255 / rms of (r_t - r_(t-1)) - (x_t - x_(t-1))) over all values of a
    clip. An error that stays the same from frame to frame does not count.
    """

    def __init__(self) -> None:
        self.squared_error = 0
        self.values = 0
        self.last: np.ndarray | None = None

    def update(self, source: np.ndarray, reconstruction: np.ndarray) -> None:
        """Adds one frame, both uint8 (H, W, 3)."""
        error = reconstruction.astype(np.int32) - source
        if self.last is not None:
            change = error - self.last
            self.squared_error += int((change * change).sum(dtype=np.int64))
            self.values += change.size
        self.last = error

    @property
    def temporal(self) -> float | None:
        """dB; infinity where all changes are kept, None below two frames."""
        return psnr(self.squared_error, self.values) if self.values else None


class RunningQuality:
    """PSNR and SSIM of a video by the TokenBench protocol, frame by frame, in constant memory."""

    def __init__(self) -> None:
        self.error = RunningError()
        self.similarity = RunningSSIM()

    def update(self, source: np.ndarray, reconstruction: np.ndarray) -> None:
        """Adds one frame, both uint8 (H, W, 3)."""
        self.error.update(source, reconstruction)
        self.similarity.update(source, reconstruction)

    @property
    def frames(self) -> int:
        return self.error.frames

    @property
    def psnr(self) -> float:
        """20 log10(255 / rms error over all frames), dB; infinity for equal videos, and before the first frame."""
        return psnr(self.error.squared_error, self.error.values)

    @property
    def ssim(self) -> float | None:
        """Mean over frames; None for frames below 7 x 7."""
        return self.similarity.ssim
