"""Small tokenizers of every kind, with seeded weights that make lively outputs, and random clips for them."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from cosmotok import Tokenizer, TokenizerConfig
from cosmotok.config import find_model, list_models

FSQ_LEVELS = (8, 8, 8, 5, 5, 5)


def video(space: int, time: int, multipliers: tuple[int, ...], **changes) -> TokenizerConfig:
    values = {"channels": 8, "blocks": 1, "z_channels": 8, "latent_channels": 4} | changes
    return TokenizerConfig(
        variant=f"small-{time}x{space}x{space}",
        spatial_factor=space,
        temporal_factor=time,
        encoder_multipliers=multipliers,
        decoder_multipliers=multipliers,
        **values,
    )


def image(space: int, multipliers: tuple[int, ...], **changes) -> TokenizerConfig:
    return video(space, 1, multipliers, kind="image", channels=32, chunk=3, **changes)


DISCRETE = {"levels": FSQ_LEVELS, "latent_channels": 6}
CONFIGS = {
    "cv4x8x8": video(8, 4, (1, 2), chunk=2),
    "cv8x8x8": video(8, 8, (1, 1, 2), chunk=1),
    "cv8x16x16": video(16, 8, (1, 2, 1), chunk=2),
    "cv4x8x8-patch2": video(8, 4, (1, 2, 1), patch=2, chunk=1),
    "cv8x8x8-legacy": video(8, 8, (1, 2), legacy_mode=True, chunk=1),
    "cv8x8x8-shortcut": video(8, 8, (1, 1, 1), linear_shortcut=True, chunk=1),
    "dv4x8x8": video(8, 4, (1, 2), chunk=3, **DISCRETE),
    "dv8x16x16-patch2": video(16, 8, (1, 1, 1, 1), patch=2, chunk=1, **DISCRETE),
    "ci8x8": image(8, (2, 2)),
    "ci16x16-patch2-shortcut": image(16, (1, 1, 2), patch=2, linear_shortcut=True),
    "di8x8": image(8, (2, 2), **DISCRETE),
}
KINDS = list(CONFIGS)
CONTINUOUS_KINDS = [kind for kind in KINDS if not CONFIGS[kind].is_discrete]
DISCRETE_KINDS = [kind for kind in KINDS if CONFIGS[kind].is_discrete]
VIDEO_KINDS = [kind for kind in KINDS if CONFIGS[kind].kind == "video"]
# One of each sort of token, for what does not depend on the network's shape.
FEW_KINDS = ["cv4x8x8", "dv4x8x8", "ci8x8", "di8x8"]
RELEASED = [name for name in list_models() if find_model(name).hub]
"""The published tokenizers, by name."""


def fresh(kind: str, seed: int = 0) -> Tokenizer:
    """A new tokenizer, for tests that change it."""
    tokenizer = Tokenizer(CONFIGS[kind])
    randomise(tokenizer.network, seed)
    return tokenizer


@cache
def small(kind: str) -> Tokenizer:
    """The tokenizer that all tests share; not to be changed."""
    return fresh(kind)


@torch.no_grad()
def randomise(network: nn.Module, seed: int) -> None:
    """Weights that keep the scale of what passes through them, so that latents are of size 1 or so."""
    noise = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        parameter.normal_(generator=noise)
        if parameter.ndim > 1:
            parameter.div_(math.sqrt(parameter[0].numel()))
        else:
            parameter.mul_(0.1).add_(1 if name.endswith("weight") else 0)


def clip(frames: int, height: int = 16, width: int = 16, batch: int = 1, seed: int = 0) -> Tensor:
    """Noise (B, 3, T, H, W) in [-1, 1]."""
    noise = np.random.default_rng(seed).uniform(-1, 1, (batch, 3, frames, height, width))
    return torch.from_numpy(noise.astype(np.float32))


def pixels(frames: int, height: int = 16, width: int = 16, batch: int = 1, seed: int = 0) -> Tensor:
    """The same as uint8 in 0..255."""
    noise = np.random.default_rng(seed).integers(0, 256, (batch, 3, frames, height, width), dtype=np.uint8)
    return torch.from_numpy(noise)


def tokens_for(tokenizer: Tokenizer, steps: int, height: int = 2, width: int = 2, seed: int = 0) -> Tensor:
    """Random latents or indices of `steps` latent frames."""
    rng, config = np.random.default_rng(seed), tokenizer.config
    if config.is_discrete:
        return torch.from_numpy(rng.integers(0, config.vocab_size, (1, steps, height, width), dtype=np.int32))
    latents = rng.standard_normal((1, config.latent_channels, steps, height, width))
    return torch.from_numpy(latents.astype(np.float32))


def time_axis(tokenizer: Tokenizer) -> int:
    return 1 if tokenizer.config.is_discrete else 2
