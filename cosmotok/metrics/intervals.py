"""Means over files with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosmotok.errors import InputError

__all__ = ["CONFIDENCE", "RESAMPLES", "Interval", "mean_interval"]

RESAMPLES = 5000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over files, and where 95 of 100 such means would lie."""

    mean: float
    low: float
    high: float
    count: int
    """Files."""


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean over files, and its 95 % interval by the percentile bootstrap (Efron 1979), the same in every run.

    Files are drawn anew with replacement, so the interval says how much the mean depends on which files were taken;
    with fewer than ten or so it is too narrow. Infinite values, PSNRs of equal pixels, make the mean infinite.

    Raises:
        InputError: without any value, or for one that is not a number.
    """
    sample = np.asarray(values, np.float64)
    if sample.ndim != 1 or not len(sample) or np.isnan(sample).any():
        raise InputError("mean_interval: expected one number per file, at least one")
    rng = np.random.default_rng(0)
    step = max(1, 1_000_000 // len(sample))  # resamples at a time: bounded memory
    parts = [min(step, RESAMPLES - done) for done in range(0, RESAMPLES, step)]
    means = np.concatenate([sample[rng.integers(0, len(sample), (count, len(sample)))].mean(1) for count in parts])
    means.sort()
    # a mean that was drawn, never one between two: those could lie at infinity
    low = means[round((1 - CONFIDENCE) / 2 * (RESAMPLES - 1))]
    high = means[round((1 + CONFIDENCE) / 2 * (RESAMPLES - 1))]
    return Interval(float(sample.mean()), float(low), float(high), len(sample))
