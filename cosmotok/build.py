"""From a config to its network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cosmotok.config import TokenizerConfig
from cosmotok.network import FSQ, HALVES, IMAGE, VIDEO, Autoencoder

__all__ = ["build_network", "network_of"]


def build_network(config: TokenizerConfig) -> Autoencoder:
    """The network that `config` describes, with fresh weights."""
    space, time = config.halvings
    return Autoencoder(
        VIDEO if config.kind == "video" else IMAGE,
        patch=config.patch,
        channels=config.channels,
        encoder_multipliers=config.encoder_multipliers,
        decoder_multipliers=config.decoder_multipliers,
        blocks=config.blocks,
        z_channels=config.z_channels,
        latent_channels=config.latent_channels,
        levels=config.levels,
        space=space,
        time=time,
        legacy=config.legacy_mode,
        linear_shortcut=config.linear_shortcut,
    )


def network_of(config: TokenizerConfig, weights: Mapping[str, Tensor]) -> Autoencoder:
    """The network that `config` describes, whose parameters become `weights` themselves, uncopied.

    No fresh weights are made, and no random numbers drawn. A half of which `weights` have nothing is left out.

    Args:
        weights: all parameters of a half, or of both, by name, in their shapes.
    """
    with torch.device("meta"):
        network = build_network(config)
    for half, modules in HALVES.items():
        if not any(name.startswith(tuple(f"{module}." for module in modules)) for name in weights):
            network.drop(half)
    network.load_state_dict(weights, assign=True)
    if network.quantizer is not None:  # its constants are no weights
        network.quantizer = FSQ(config.levels)
    return network
