"""Frechet distances against scipy's matrix root and closed forms; intervals against scipy's bootstrap."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from cosmotok.errors import InputError
from cosmotok.metrics.frechet import frechet_distance
from cosmotok.metrics.intervals import mean_interval


def features(samples, dimensions, seed=0, mean=0.0):
    """Correlated features with variances over four decades, as networks have them."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((dimensions, dimensions)) * np.logspace(0, -2, dimensions)
    return rng.standard_normal((samples, dimensions)) @ mixing + mean


def moments(x):
    return x.mean(0), np.cov(x, rowvar=False)


@pytest.mark.parametrize(("dimensions", "samples"), [(3, (40, 40)), (24, (100, 60)), (64, (300, 1000))])
def test_against_the_matrix_root_of_scipy(dimensions, samples):
    a, b = features(samples[0], dimensions), features(samples[1], dimensions, seed=1, mean=0.3)
    (mean_a, cov_a), (mean_b, cov_b) = moments(a), moments(b)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    expected = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(a.astype(np.float32), b.astype(np.float32)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("samples", [(2, 2), (5, 12), (12, 200), (30, 29)])
def test_fewer_samples_than_dimensions(samples):
    a, b = features(samples[0], 30), features(samples[1], 30, seed=1, mean=0.3)
    (mean_a, cov_a), (mean_b, cov_b) = moments(a), moments(b)
    values, vectors = np.linalg.eigh(cov_a)
    root_a = vectors * np.sqrt(values.clip(0)) @ vectors.T
    inner = np.sqrt(np.linalg.eigvalsh(root_a @ cov_b @ root_a).clip(0)).sum()
    expected = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * inner
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_closed_forms():
    a, b = features(50, 1), features(70, 1, seed=1, mean=2)
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)
    wide = features(50, 8)
    assert frechet_distance(wide, 3 * wide + 1) == pytest.approx(
        ((2 * wide.mean(0) + 1) ** 2).sum() + 4 * np.trace(np.cov(wide, rowvar=False)), rel=1e-12
    )


@given(st.integers(2, 20), st.integers(2, 20), st.integers(1, 12), st.integers(0, 999))
def test_what_any_distance_of_gaussians_obeys(n, m, dimensions, seed):
    rng = np.random.default_rng(seed)
    a, b = features(n, dimensions, seed), features(m, dimensions, seed + 1)
    scale = np.trace(np.atleast_2d(np.cov(a, rowvar=False) + np.cov(b, rowvar=False)))
    d, close = frechet_distance(a, b), {"rel": 1e-9, "abs": 1e-7 * scale}
    assert isinstance(d, float)
    assert d >= 0
    assert frechet_distance(a, a) == pytest.approx(0, **close)
    assert frechet_distance(b, a) == pytest.approx(d, **close)
    assert frechet_distance(rng.permutation(a), b) == pytest.approx(d, **close)
    turn = scipy.stats.ortho_group.rvs(dimensions, random_state=seed) if dimensions > 1 else np.array([[-1.0]])
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(d, **close)
    move = rng.standard_normal(dimensions)
    assert frechet_distance(a, a + move) == pytest.approx((move**2).sum(), **close)


def test_bad_features():
    good = features(5, 3)
    for a, b, message in [
        (good[:1], good, "two samples or more, got 1 and 5"),
        (good, features(5, 4), r"expected \(N, D\) and \(M, D\)"),
        (good[0], good, r"expected \(N, D\)"),
        (good, np.full((5, 3), np.nan), "finite"),
    ]:
        with pytest.raises(InputError, match=message):
            frechet_distance(a, b)


# Intervals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [5, 30, 400])
def test_the_interval_is_that_of_scipy(count):
    values = np.random.default_rng(0).gamma(3, 2, count)
    ours = mean_interval(list(values))
    theirs = scipy.stats.bootstrap((values,), np.mean, method="percentile", random_state=1).confidence_interval
    width = theirs.high - theirs.low
    assert ours.mean == pytest.approx(values.mean(), rel=1e-12)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.04 * width)
    assert ours.count == count
    assert mean_interval(list(values)) == ours


def test_the_interval_holds_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = [(i := mean_interval(list(rng.normal(30, 4, 40)))).low <= 30 <= i.high for _ in range(150)]
    assert 0.89 <= np.mean(hits) <= 0.99


def test_intervals_of_few_and_of_infinite_values():
    one = mean_interval([31.5])
    assert (one.mean, one.low, one.high, one.count) == (31.5, 31.5, 31.5, 1)
    some = mean_interval([30.0, 32.0, math.inf, 31.0])
    assert (some.mean, some.high) == (math.inf, math.inf)
    assert 30 <= some.low < math.inf
    assert mean_interval([math.inf] * 3).low == math.inf
    for values in ([], [1.0, math.nan]):
        with pytest.raises(InputError, match="one number per file"):
            mean_interval(values)
