"""What may be encoded and decoded: checks of tensors and sizes, each with a message that says what was expected."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cosmotok.errors import InputError
from cosmotok.spec import TokenizerSpec

__all__ = ["check_size", "check_tensor", "check_tokens", "check_video"]

# A resized picture may overshoot a little; one in 0..255 is a mistake.
RANGE = 1.05
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def check_tensor(argument: str, value: object) -> None:
    """Raises InputError unless `value` is a tensor."""
    if not isinstance(value, Tensor):
        raise InputError(f"{argument}: expected a torch.Tensor, got {type(value).__name__}; torch.from_numpy makes one")
    strange = {
        "on the meta device": value.is_meta,
        "nested": value.is_nested,
        "quantized": value.is_quantized,
        "sparse": value.layout != torch.strided,
    }
    for what, holds in strange.items():
        if holds:
            raise InputError(f"{argument}: expected a tensor with plain values, got one that is {what}")


def check_video(video: Tensor) -> None:
    """Raises InputError unless `video` (B, 3, T, H, W) can be encoded; T = 0 is fine."""
    check_tensor("video", video)
    shape = tuple(video.shape)
    if video.ndim != 5 or shape[1] != 3:
        raise InputError(f"video: expected shape (B, 3, T, H, W), or (B, 3, H, W) for images, got {shape}")
    if 0 in (*shape[:2], *shape[3:]):
        raise InputError(f"video: expected B, H and W of at least 1, got shape {shape}")
    if video.dtype == torch.uint8:
        return
    if video.dtype not in FLOATS:
        raise InputError(f"video: expected floating point in [-1, 1] or uint8 in 0..255, got {video.dtype}")
    if video.numel() == 0:
        return
    low, high = (x.item() for x in torch.aminmax(video))
    if low != low or high != high:
        raise InputError("video: expected values in [-1, 1], got NaN")
    if low < -RANGE or high > RANGE:
        raise InputError(
            f"video: expected values in [-1, 1], got {low:.4g} to {high:.4g}; "
            "scale 0..255 by x / 127.5 - 1, clamp what overshoots"
        )


def check_tokens(tokens: Tensor, spec: TokenizerSpec) -> None:
    """Raises InputError unless `tokens` can be decoded; T' = 0 is fine."""
    check_tensor("tokens", tokens)
    shape = tuple(tokens.shape)
    if spec.vocab_size is not None:
        if tokens.ndim != 4 or 0 in (shape[0], *shape[2:]):
            raise InputError(f"tokens: expected indices of shape (B, T', H', W') or (B, H', W'), got {shape}")
        if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
            raise InputError(f"tokens: expected integer indices for {spec.name}, got {tokens.dtype}")
        if tokens.numel():
            # not every integer dtype has a minimum on every device
            low, high = (int(x) for x in torch.aminmax(tokens.to(torch.int64)))
            if low < 0 or high >= spec.vocab_size:
                raise InputError(f"tokens: expected indices in 0..{spec.vocab_size - 1}, got {low}..{high}")
        return
    channels = spec.latent_channels
    if tokens.ndim != 5 or shape[1] != channels or 0 in (shape[0], *shape[3:]):
        raise InputError(
            f"tokens: expected latents of shape (B, {channels}, T', H', W') or (B, {channels}, H', W'), got {shape}"
        )
    if tokens.dtype not in FLOATS:
        raise InputError(f"tokens: expected floating-point latents for {spec.name}, got {tokens.dtype}")
    if not bool(torch.isfinite(tokens).all()):
        raise InputError("tokens: expected finite latents, got NaN or infinity")


def check_size(size: Sequence[int], grid: tuple[int, int, int], spec: TokenizerSpec) -> tuple[int, int, int]:
    """`size` (T, H, W) as a tuple; raises InputError unless a clip of it has tokens on `grid` (T', H', W')."""
    whole = isinstance(size, Sequence) and all(isinstance(n, int) and n >= 1 for n in size)
    if not whole or len(size) != 3 or spec.grid(size[0], size[1], size[2]) != grid:
        most, space = spec.size(grid), spec.spatial_factor
        groups = spec.temporal_factor * spec.group if grid[0] > 1 else spec.first
        t, h, w = (f"{high - step + 1}..{high}" for high, step in zip(most, (groups, space, space), strict=True))
        raise InputError(
            f"size={size}: does not fit tokens of {' x '.join(map(str, grid))}; expected (T, H, W), or (H, W) for an "
            f"image, with T in {t}, H in {h}, W in {w}"
        )
    return size[0], size[1], size[2]
