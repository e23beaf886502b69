"""Operations of a model in its direct algorithms, counted on shapes alone."""

from __future__ import annotations

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cosmotok.interface import Clip, Outline

__all__ = ["count_operations"]


@torch.no_grad()
def count_operations(outline: Outline, clip: Clip) -> tuple[int, int]:
    """Floating-point operations of encoding and of decoding `clip`: convolutions and matrix products, a multiplication
    and an addition being two.

    Args:
        outline: on PyTorch's "meta" device, so that neither memory nor a faster algorithm is used.
    """
    video = torch.empty(1, 3, clip.frames, clip.height, clip.width, device="meta")
    # attention in its plain form, whose products are counted in every version of PyTorch
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as encoding:
        latents = outline.encode(video)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as decoding:
        outline.decode(latents)
    return encoding.get_total_flops(), decoding.get_total_flops()
