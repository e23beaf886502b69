"""The average of the weights over the last steps, in float32: what a run is saved and measured as."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

__all__ = ["ExponentialAverage"]


class ExponentialAverage:
    """average <- d average + (1 - d) weights, with d = min(decay, (1 + n) / (10 + n)) at the n-th update.

    It would remember the start for long if it did not forget faster at first.

    Args:
        weights: averaged from here on; may be sharded (DTensor).
        decay: in (0, 1).
        into: tensors of the same shapes that hold the average, set to the weights now; new ones in float32 if None.
    """

    def __init__(self, weights: Iterable[Tensor], decay: float, into: Iterable[Tensor] | None = None) -> None:
        self.weights = list(weights)
        self.decay = decay
        if into is None:
            self.values = [weight.detach().clone().float() for weight in self.weights]
        else:
            self.values = [value.detach() for value in into]
            self.load(weight.detach() for weight in self.weights)

    @torch.no_grad()
    def load(self, values: Iterable[Tensor]) -> None:
        """Forgets what was: the average becomes `values`."""
        for own, value in zip(self.values, values, strict=True):
            own.copy_(value)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes the weights in after the `step`-th step, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(self.values, [weight.detach().float() for weight in self.weights], step)
