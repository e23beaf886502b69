"""Which optimiser sees to which weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cosmotok.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = [
    "OptimizerOptions",
    "apply_gradients",
    "clip_gradients",
    "make_discriminator_optimizer",
    "make_optimizers",
    "set_rates",
]


@dataclass(frozen=True)
class OptimizerOptions:
    """The optimiser; by default as published: AdamW for everything.

    With "muon", Muon updates matrices and kernels, and AdamW the rest, whose weights then do not decay. Linear
    shortcuts are AdamW's always: they start at an optimum and their weights are far smaller than the others'.

    Raises:
        ConfigError: where values make no sense.
    """

    name: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-4
    vector_rate: float | None = None
    """Of biases and norms; null for the same."""
    shortcut_rate: float | None = None
    """Of linear shortcuts; null for the same."""
    discriminator_rate: float | None = None
    """Of the discriminators, which are AdamW's; null for the same."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Of AdamW."""
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        for name in ("learning_rate", "vector_rate", "shortcut_rate", "discriminator_rate"):
            rate = getattr(self, name)
            if rate is not None and not rate > 0:
                raise ConfigError(f"optimizer.{name}={rate}: expected above 0")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"optimizer.betas={list(self.betas)}: expected two numbers of at least 0 and below 1")
        if not self.weight_decay >= 0:
            raise ConfigError(f"optimizer.weight_decay={self.weight_decay}: expected 0 or more")


def make_optimizers(network: nn.Module, options: OptimizerOptions) -> list[torch.optim.Optimizer]:
    """Optimisers for all weights of `network` that take gradients; `set_rates` sets their learning rates."""
    import torch

    named = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    shortcuts = [weight for name, weight in named.items() if "_shortcut." in name]
    others = [weight for name, weight in named.items() if "_shortcut." not in name]
    vectors = [weight for weight in others if weight.ndim == 1]
    matrices = [weight for weight in others if weight.ndim > 1]
    rate, decay = options.learning_rate, options.weight_decay
    muon = options.name == "muon"
    groups = [
        (vectors, options.vector_rate or rate, 0.0 if muon else decay),
        (shortcuts, options.shortcut_rate or rate, 0.0 if muon else decay),
    ]
    if not muon:
        groups.insert(0, (matrices, rate, decay))
    adam: list[dict[str, Any]] = [
        {"params": weights, "rate": group_rate, "weight_decay": group_decay}
        for weights, group_rate, group_decay in groups
        if weights
    ]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(adam, lr=rate, betas=options.betas)] if adam else []
    if muon and matrices:
        from cosmotok.training.muon import Muon

        optimizers.insert(0, Muon([{"params": matrices, "rate": rate}], lr=rate, weight_decay=decay))
    return optimizers


def make_discriminator_optimizer(module: nn.Module, options: OptimizerOptions) -> torch.optim.Optimizer:
    """AdamW for the discriminators."""
    import torch

    weights = [weight for weight in module.parameters() if weight.requires_grad]
    rate = options.discriminator_rate or options.learning_rate
    group = {"params": weights, "rate": rate}
    return torch.optim.AdamW([group], lr=rate, betas=options.betas, weight_decay=options.weight_decay)


def set_rates(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Sets all learning rates to `factor` of the full ones."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * factor


def clip_gradients(
    module: nn.Module, optimizers: Iterable[torch.optim.Optimizer], limit: float, scaler: torch.amp.GradScaler | None
) -> Tensor:
    """Clips a module's gradients to the norm `limit`; returns their norm before.

    Args:
        optimizers: of the module, whose gradients `scaler` has scaled.
    """
    import torch

    if scaler is not None:
        for optimizer in optimizers:
            scaler.unscale_(optimizer)
    return torch.nn.utils.clip_grad_norm_(module.parameters(), limit)


def apply_gradients(
    optimizers: Iterable[torch.optim.Optimizer], scaler: torch.amp.GradScaler | None, fine: bool
) -> None:
    """The optimisers' steps, unless something was not finite (`fine`)."""
    for optimizer in optimizers if fine else ():
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
    if scaler is not None:
        scaler.update()
