"""Ways to train a network that leave its code alone: a frozen encoder, recomputed activations, compiled steps."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from cosmotok.network import HALVES, Autoencoder
from cosmotok.network.blocks import ResidualBlock, SpatialAttention

__all__ = ["CHECKPOINTED", "checkpoint_activations", "compile_steps", "set_encoder_trains"]

CHECKPOINTED = (ResidualBlock, SpatialAttention)
"""Modules whose activations are computed again; nearly all of them are inside these. Attention over time is a kind of
`SpatialAttention`."""


def checkpoint_activations(network: nn.Module) -> None:
    """From now on, the backward pass computes the activations inside residual blocks and attentions again."""
    for module in network.modules():
        if isinstance(module, CHECKPOINTED):
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)  # type: ignore[method-assign]


def compile_steps(network: Autoencoder) -> None:
    """Compiles what runs with gradients; a clip's past has another length each time, and runs as it is."""
    network.remember = torch.compiler.disable(network.remember)  # type: ignore[method-assign]
    network.compile()


def set_encoder_trains(network: Autoencoder, trains: bool) -> None:
    """Whether the encoder's half takes gradients; the decoder's always does."""
    for name in HALVES["encoder"]:
        module = getattr(network, name)
        if module is not None:
            module.requires_grad_(trains)
