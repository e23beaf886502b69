"""Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal before each step.

On our short budgets it learns several times faster than AdamW; vectors and the linear shortcuts stay with AdamW.
`torch.optim` has a Muon for matrices alone, from version 2.9 on; here are convolutions, and versions from 2.6.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Muon", "orthogonalise"]

# A quintic whose iteration drives singular values towards 1 (Jordan et al.).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
    """(..., rows, columns), each with all singular values brought to about 1, by Newton-Schulz iterations.

    An iteration multiplies X by a polynomial of its Gram matrix X Xᵀ. All these polynomials commute, so they are
    multiplied among themselves, small as they are, and with X once.
    """
    a, b, c = COEFFICIENTS
    x = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    gram = x @ x.mT
    identity = torch.eye(gram.shape[-1], dtype=x.dtype, device=x.device)
    product = identity
    for iteration in range(iterations):
        polynomial = a * identity + b * gram + c * (gram @ gram)
        product = polynomial @ product
        if iteration + 1 < iterations:
            gram = polynomial @ gram @ polynomial
    x = product @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; a kernel (out, in, ...) counts as a matrix (out, in * ...).

    Args:
        params: of two dimensions or more.
        lr: size of a step; every singular value of a square matrix moves by about this much.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update from the gradients."""
        for group in self.param_groups:
            updates: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].mul_(group["momentum"]).add_(parameter.grad)
                update = parameter.grad.add(momentum, alpha=group["momentum"]).flatten(1)
                updates.setdefault(update.shape, []).append((parameter, update))
            for (rows, columns), entries in updates.items():  # those of one shape at once
                # a tall matrix has as many singular values as columns, yet should move its rows as much
                scale = max(1.0, rows / columns) ** 0.5
                steps = orthogonalise(torch.stack([update for _, update in entries]))
                for (parameter, _), step in zip(entries, steps, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(step.view_as(parameter), alpha=-group["lr"] * scale)
