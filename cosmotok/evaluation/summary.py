"""The figures of all files of a contestant from those of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from cosmotok.contestants import Traits
from cosmotok.evaluation.protocols import Protocol
from cosmotok.evaluation.results import FIGURES, ModelResult, Totals
from cosmotok.evaluation.store import Finished
from cosmotok.metrics.codes import CodeUsage
from cosmotok.metrics.frechet import frechet_distance
from cosmotok.metrics.intervals import CONFIDENCE, RESAMPLES, Interval, mean_interval
from cosmotok.metrics.quality import PLACES, psnr

__all__ = ["model_result"]


def model_result(
    name: str,
    traits: Traits,
    finished: Sequence[Finished],
    protocol: Protocol,
    failed: dict[str, str],
    error: str | None,
) -> ModelResult:
    """A contestant's files, and the totals of its images and of its videos."""
    usage = merged(one.codes for one in finished if one.codes is not None)
    return ModelResult(
        name=name,
        traits=traits,
        files=[one.row.result for one in finished],
        images=totals([one for one in finished if one.row.result.kind == "image"], protocol, "inception"),
        videos=totals([one for one in finished if one.row.result.kind == "video"], protocol, "i3d"),
        code_usage=usage.usage if usage else None,
        perplexity=usage.perplexity if usage else None,
        failed=failed,
        error=error,
    )


def totals(finished: Sequence[Finished], protocol: Protocol, view: str) -> Totals | None:
    """The figures of files of one kind; `view` names the features that their Frechet distance is of."""
    if not finished:
        return None
    results = [one.row.result for one in finished]
    figures = {}
    for name in FIGURES:
        values = [value for value in (getattr(result, name) for result in results) if value is not None]
        if values:
            figures[name] = mean_interval(values)
    places = {}
    for name in PLACES:
        if reached := [result.places[name] for result in results if name in result.places]:
            places[name] = mean_interval(reached)
    if protocol.pooled and "psnr" in figures:
        figures["psnr"] = pooled([one for one in finished if one.row.result.psnr is not None])
    pixels = [one.row.encoded * one.row.result.width * one.row.result.height for one in finished]
    coded = [(r.bits_per_pixel, n) for r, n in zip(results, pixels, strict=True) if r.bits_per_pixel is not None]
    timed = [(r.seconds, one.row.encoded, n) for one, r, n in zip(finished, results, pixels, strict=True) if r.seconds]
    seconds = sum(one[0] or 0.0 for one in timed)
    return Totals(
        files=len(finished),
        frames=sum(result.frames for result in results),
        figures=figures,
        bits_per_pixel=sum(bits * n for bits, n in coded) / sum(n for _, n in coded) if coded else None,
        frames_per_second=sum(frames for _, frames, _ in timed) / seconds if timed else None,
        megapixels_per_second=sum(n for _, _, n in timed) / seconds / 1e6 if timed else None,
        places=places,
        frechet=frechet([one.features[view] for one in finished if view in one.features]),
    )


def pooled(finished: Sequence[Finished]) -> Interval:
    """PSNR of the mean squared error over all values of all files, and its 95 % bootstrap interval over files."""
    errors, values = np.array([(one.row.squared_error, one.row.values) for one in finished], np.float64).T
    rng = np.random.default_rng(0)
    drawn = (rng.integers(0, len(errors), len(errors)) for _ in range(RESAMPLES))
    samples = sorted(psnr(errors[which].sum(), values[which].sum()) for which in drawn)
    low, high = (samples[round((1 + sign * CONFIDENCE) / 2 * (RESAMPLES - 1))] for sign in (-1, 1))
    return Interval(psnr(errors.sum(), values.sum()), low, high, len(errors))


def frechet(features: Sequence[np.ndarray]) -> float | None:
    """rFID or rFVD of features (2, N, D) of each file; None of fewer than two samples."""
    if sum(one.shape[1] for one in features) < 2:
        return None
    originals, results = np.concatenate(features, axis=1)
    return frechet_distance(originals, results)


def merged(histograms: Iterable[np.ndarray]) -> CodeUsage | None:
    """The counts of all files; None of none."""
    usage: CodeUsage | None = None
    for histogram in histograms:
        usage = usage or CodeUsage(len(histogram))
        usage.histogram += torch.from_numpy(histogram)
    return usage
