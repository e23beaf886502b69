"""diffusers' `AutoencoderKLCosmos` beside our network: configs, names and shapes of parameters.

What does not go over:
- Models that diffusers' class does not have: image, discrete, `legacy_mode`, `linear_shortcut`, `z_channels` other
  than `latent_channels`. Its own options that no published model uses: attention inside stages, `rearrange` patches.
- diffusers' config may give latent statistics per channel *and* latent frame. They are pooled into one mean and
  standard deviation per channel, every frame with the same weight (`pooled_statistics`). Statistics per channel alone,
  which is what `write_diffusers` writes, pass unchanged, and its pipelines take either; unknown ones are `null`.
- `scaling_factor`, which no Cosmos pipeline uses: 1 when written, ignored when read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from cosmotok.checkpoint.contents import Checkpoint
from cosmotok.checkpoint.fit import fit, shapes_of
from cosmotok.config import TokenizerConfig, find_model, list_models, suggest
from cosmotok.errors import ConfigError
from cosmotok.network import HALVES

__all__ = [
    "CLASS",
    "config_from_diffusers",
    "config_to_diffusers",
    "diffusers_key",
    "fit_diffusers",
    "obstacles",
    "tensors_from_diffusers",
    "tensors_to_diffusers",
]

CLASS = "AutoencoderKLCosmos"

# What a config that leaves a key out means by that. Statistics are the exception: diffusers falls back on those of one
# published model there, which say nothing about the weights at hand.
DEFAULTS: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 16,
    "encoder_block_out_channels": (128, 256, 512, 512),
    "decode_block_out_channels": (256, 512, 512, 512),
    "attention_resolutions": (32,),
    "resolution": 1024,
    "num_layers": 2,
    "patch_size": 4,
    "patch_type": "haar",
    "scaling_factor": 1.0,
    "spatial_compression_ratio": 8,
    "temporal_compression_ratio": 8,
    "latents_mean": None,
    "latents_std": None,
}

# Our name of a parameter to diffusers', applied in this order.
RULES = [
    (r"^encoder\.stages\.(\d+)\.blocks\.", r"encoder.down_blocks.\1.resnets."),
    (r"^decoder\.stages\.(\d+)\.blocks\.", r"decoder.up_blocks.\1.resnets."),
    (r"^encoder\.stages\.(\d+)\.resample\.spatial\.", r"encoder.down_blocks.\1.downsamplers.0.conv1."),
    (r"^encoder\.stages\.(\d+)\.resample\.temporal\.", r"encoder.down_blocks.\1.downsamplers.0.conv2."),
    (r"^encoder\.stages\.(\d+)\.resample\.mix\.", r"encoder.down_blocks.\1.downsamplers.0.conv3."),
    (r"^decoder\.stages\.(\d+)\.resample\.temporal\.", r"decoder.up_blocks.\1.upsamplers.0.conv1."),
    (r"^decoder\.stages\.(\d+)\.resample\.spatial\.", r"decoder.up_blocks.\1.upsamplers.0.conv2."),
    (r"^decoder\.stages\.(\d+)\.resample\.mix\.", r"decoder.up_blocks.\1.upsamplers.0.conv3."),
    (r"\.middle\.block_1\.", r".mid_block.resnets.0."),
    (r"\.middle\.block_2\.", r".mid_block.resnets.1."),
    (r"\.middle\.attention\.0\.", r".mid_block.attentions.0."),
    (r"\.middle\.attention\.1\.", r".mid_block.temp_attentions.0."),
    (r"\.(q|k|v)\.(weight|bias)$", r".to_\1.\2"),
    (r"\.proj_out\.", r".to_out.0."),
    (r"\.shortcut\.", r".conv_shortcut."),
    (r"\.spatial\.", r".conv_s."),
    (r"\.temporal\.", r".conv_t."),
    (r"\.(norm\w*)\.(weight|bias)$", r".\1.norm.\2"),
]

# diffusers keeps every kernel as one of three axes: (out, in, time, height, width).
KERNELS = {2: (1, 1, 1), 3: (3, 1, 1), 4: (1, 3, 3)}
"""By the number of axes of our weight: 1x1x1, temporal, spatial."""

LARGEST = 2**20
"""Of the numbers in a config: more is a mistake, and would overflow sizes."""


# Configs --------------------------------------------------------------------------------------------------------------


def config_from_diffusers(values: Mapping[str, Any]) -> TokenizerConfig:
    """Our config of what diffusers' config describes.

    Raises:
        ConfigError: for unknown keys and wrong types, and where our network does not compute the same.
    """
    known = {key: value for key, value in values.items() if not key.startswith("_")}
    for key in known:
        if key not in DEFAULTS:
            raise ConfigError(f"unknown key {key!r}{suggest(key, DEFAULTS)}; a newer diffusers may have written it")
    known = DEFAULTS | known

    def require(fine: bool, key: str, expected: str) -> None:
        if not fine:
            raise ConfigError(f"{key}={known[key]!r}: expected {expected}")

    for key, default in DEFAULTS.items():
        if isinstance(default, int):
            require(is_count(known[key]), key, f"a whole number in 1..{LARGEST}")
        elif isinstance(default, tuple):
            fine = isinstance(known[key], Sequence) and all(is_count(n) for n in known[key])
            require(fine, key, f"a list of whole numbers in 1..{LARGEST}")
    require(known["in_channels"] == 3, "in_channels", "3")
    require(known["out_channels"] == 3, "out_channels", "3")
    require(known["patch_type"] == "haar", "patch_type", "'haar'; our network has no other patches")
    widths, decoder_widths = known["encoder_block_out_channels"], known["decode_block_out_channels"]
    for key in ("encoder_block_out_channels", "decode_block_out_channels"):
        require(len(known[key]) >= 2, key, "at least 2 widths")
        multiples = all(width % widths[0] == 0 for width in known[key])
        require(multiples, key, f"multiples of {widths[0]}, the encoder's first width")
    require(decoder_widths[-1] == decoder_widths[-2], "decode_block_out_channels", "the same width twice at the end")
    require(not any_stage_attends(known), "attention_resolutions", "none that a stage has; ours attends in the middle")
    mean, std = pooled_statistics(known["latents_mean"], known["latents_std"], known["latent_channels"])
    space, time = known["spatial_compression_ratio"], known["temporal_compression_ratio"]
    config = TokenizerConfig(
        variant=f"CV{time}x{space}x{space}",
        spatial_factor=space,
        temporal_factor=time,
        patch=known["patch_size"],
        channels=widths[0],
        encoder_multipliers=tuple(width // widths[0] for width in widths[1:]),
        decoder_multipliers=tuple(width // widths[0] for width in decoder_widths[:-1]),
        blocks=known["num_layers"],
        z_channels=known["latent_channels"],
        latent_channels=known["latent_channels"],
    )
    return replace(config, variant=published_name(config), latents_mean=mean, latents_std=std)


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST


def any_stage_attends(values: Mapping[str, Any]) -> bool:
    """Whether diffusers puts attention into a stage: where the stage's nominal resolution is one of those listed."""
    resolution = values["resolution"] // values["patch_size"]
    encoder = [resolution // 2**i for i in range(len(values["encoder_block_out_channels"]) - 1)]
    stages = len(values["decode_block_out_channels"]) - 1
    decoder = [resolution // 2 ** (stages - 1) * 2**i for i in range(stages)]
    return bool({*encoder, *decoder} & set(values["attention_resolutions"]))


def published_name(config: TokenizerConfig) -> str:
    """The newest published name of the same network, else the config's own."""
    entries = [find_model(name) for name in list_models()]
    same = [entry.name for entry in entries if replace(entry.config, variant=config.variant) == config]
    return same[-1] if same else config.variant


def pooled_statistics(mean: Any, std: Any, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, from those of each channel and latent frame.

    Every frame has the same weight: the variance is the mean of their variances plus the variance of their means.

    Args:
        mean, std: n numbers each, channel by channel, n a multiple of `channels`; or both None, for unknown.
    """
    if mean is None and std is None:
        return (), ()
    for key, value in (("latents_mean", mean), ("latents_std", std)):
        numbers = isinstance(value, Sequence) and all(
            isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x) for x in value
        )
        if not numbers or not value or len(value) % channels or len(mean) != len(std):
            raise ConfigError(
                f"{key}: expected as many numbers in latents_mean as in latents_std, a multiple of "
                f"latent_channels={channels}, or null in both"
            )
    if len(mean) == channels:
        return tuple(map(float, mean)), tuple(map(float, std))
    means, stds = (np.asarray(value, np.float64).reshape(channels, -1) for value in (mean, std))
    return tuple(means.mean(1).tolist()), tuple(np.sqrt((stds**2).mean(1) + means.var(1)).tolist())


def config_to_diffusers(config: TokenizerConfig) -> dict[str, Any]:
    """The content of diffusers' `config.json` for a config that it can express."""
    widths = [config.channels * m for m in config.encoder_multipliers]
    decoder_widths = [config.channels * m for m in config.decoder_multipliers]
    return {
        "_class_name": CLASS,
        "_diffusers_version": "0.34.0",  # the first with this class
        **DEFAULTS,
        "latent_channels": config.latent_channels,
        "encoder_block_out_channels": [config.channels, *widths],
        "decode_block_out_channels": [*decoder_widths, decoder_widths[-1]],
        "attention_resolutions": [],
        "num_layers": config.blocks,
        "patch_size": config.patch,
        "spatial_compression_ratio": config.spatial_factor,
        "temporal_compression_ratio": config.temporal_factor,
        "latents_mean": list(config.latents_mean) or None,
        "latents_std": list(config.latents_std) or None,
    }


# Tensors --------------------------------------------------------------------------------------------------------------


def diffusers_key(name: str) -> str:
    """diffusers' name of our parameter `name`, e.g. `encoder.mid_block.resnets.0.conv1.conv_s.weight`."""
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    return name


def diffusers_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """diffusers' shape of a parameter of ours."""
    return (*shape[:2], *KERNELS[len(shape)]) if len(shape) > 1 else tuple(shape)


def fit_diffusers(tensors: Mapping[str, Tensor], config: TokenizerConfig, source: str) -> dict[str, str]:
    """Our names of all parameters to diffusers' keys, once `tensors`, by diffusers' keys, are known to fit.

    Raises:
        CheckpointError: naming what is missing, unexpected, or of another shape or type.
    """
    return fit(tensors, config, source, key=diffusers_key, shape=diffusers_shape, halves=HALVES)


def tensors_from_diffusers(tensors: Mapping[str, Tensor], config: TokenizerConfig, source: str) -> dict[str, Tensor]:
    """diffusers' tensors under our names and in our shapes.

    Raises:
        CheckpointError: as `fit_diffusers`.
    """
    keys, shapes = fit_diffusers(tensors, config, source), shapes_of(config)
    return {name: tensors[key].reshape(shapes[name]) for name, key in keys.items()}


def tensors_to_diffusers(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Our tensors under diffusers' names and in its shapes.

    Raises:
        CheckpointError: where they do not fit the checkpoint's config.
    """
    fit(checkpoint.tensors, checkpoint.config, checkpoint.source, halves=HALVES)
    return {
        diffusers_key(name): tensor.detach().cpu().reshape(diffusers_shape(tensor.shape)).contiguous()
        for name, tensor in checkpoint.tensors.items()
    }


def obstacles(config: TokenizerConfig, halves: Collection[str] = tuple(HALVES)) -> dict[str, bool]:
    """Why diffusers' class might not express a model, and whether it is so."""
    return {
        "an image model": config.kind == "image",
        "discrete": config.is_discrete,
        "legacy_mode": config.legacy_mode,
        "linear_shortcut": config.linear_shortcut,
        f"z_channels={config.z_channels} and latent_channels={config.latent_channels} differ": (
            not config.is_discrete and config.z_channels != config.latent_channels
        ),
        **{f"its {half} is missing": half not in halves for half in HALVES},
    }
