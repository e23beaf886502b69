"""Distance of two sets of features."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from cosmotok.errors import InputError

__all__ = ["frechet_distance"]


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance of the Gaussians fitted to two sets of features, as FID and FVD take it (Heusel et al. 2017).

    |mean_a - mean_b|^2 + tr(A) + tr(B) - 2 tr((A B)^(1/2)), with A and B the unbiased covariances, in float64.

    Args:
        a, b: (N, D) and (M, D). With fewer samples than dimensions the covariances are singular; the result is then
            still that of the formula, yet says more about the number of samples than about the sets.

    Returns:
        At least 0.

    Raises:
        InputError: for other shapes, fewer than two samples, or values that are not finite.
    """
    a, b = (np.asarray(features, np.float64) for features in (a, b))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise InputError(f"features: expected (N, D) and (M, D), got {a.shape} and {b.shape}")
    if min(len(a), len(b)) < 2:
        raise InputError(f"features: expected two samples or more, got {len(a)} and {len(b)}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError("features: expected finite values; the network or its input is damaged")
    root_a, root_b = root(a), root(b)
    # A = Ra' Ra and B = Rb' Rb: the eigenvalues of A B are the squared singular values of Ra Rb', real by nature
    trace = torch.linalg.svdvals(root_a @ root_b.T).sum()
    means = a.mean(0) - b.mean(0)
    return max(0.0, float(means @ means + root_a.square().sum() + root_b.square().sum() - 2 * trace))


def root(features: np.ndarray) -> Tensor:
    """R of at most D rows, such that R' R is the covariance of features (N, D)."""
    centred = torch.from_numpy((features - features.mean(0)) / math.sqrt(len(features) - 1))
    return centred if len(centred) <= centred.shape[1] else torch.linalg.qr(centred, mode="r").R
