"""Latents of mean 0 and deviation 1 for diffusion training, and back, by statistics that travel with the model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cosmotok.errors import InputError

__all__ = ["denormalize_latents", "normalize_latents"]


def normalize_latents(latents: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(latents - mean) / std, channel by channel.

    Args:
        latents: (B, C, T', H', W'), or of images (B, C, H', W'); floating point.
        mean, std: one number per channel; or one per channel and latent frame, channel by channel, of at least T'
            frames, as some diffusers models have them.

    Returns:
        Of the same shape and dtype.

    Raises:
        InputError: for no statistics, or ones that do not fit the latents.
    """
    centre, spread = _shaped(latents, mean, std)
    return (latents - centre) / spread


def denormalize_latents(latents: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """latents * std + mean, the way back from `normalize_latents`; same arguments, result and errors."""
    centre, spread = _shaped(latents, mean, std)
    return latents * spread + centre


def _shaped(latents: Tensor, mean: Sequence[float], std: Sequence[float]) -> list[Tensor]:
    """`mean` and `std` as tensors that broadcast with `latents`."""
    if not len(mean) or not len(std):
        raise InputError(
            "latents: this model has no statistics to normalise them by; measure them once with "
            "`cosmotok stats DATA --model MODEL -o FOLDER` and load FOLDER"
        )
    if latents.ndim not in (4, 5) or not latents.is_floating_point():
        raise InputError(
            f"latents: expected floating point (B, C, T', H', W') or (B, C, H', W'), got {latents.dtype} "
            f"{tuple(latents.shape)}"
        )
    channels, frames = latents.shape[1], latents.shape[2] if latents.ndim == 5 else 1
    of_each = len(mean) // channels if channels else 0  # latent frames that have statistics of their own
    if len(mean) != len(std) or of_each * channels != len(mean) or 1 < of_each < frames:
        raise InputError(
            f"latents: expected statistics of {channels} channels, or of {channels} x {frames} channels and latent "
            f"frames, got {len(mean)} means and {len(std)} deviations"
        )
    shape = (1, channels, -1, 1, 1)
    values = [
        torch.tensor(x, dtype=latents.dtype, device=latents.device).view(shape)[:, :, :frames] for x in (mean, std)
    ]
    return values if latents.ndim == 5 else [value[:, :, 0] for value in values]
