"""From a config to its network."""

from __future__ import annotations

from cosmotok.config import TokenizerConfig
from cosmotok.network import IMAGE, VIDEO, Autoencoder

__all__ = ["build_network"]


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
