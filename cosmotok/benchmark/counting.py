"""Operations of a model in its direct algorithms, counted on shapes alone."""

from __future__ import annotations

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cosmotok.subjects import Clip, Codec

__all__ = ["count_operations"]


@torch.no_grad()
def count_operations(codec: Codec, clip: Clip) -> tuple[int, int]:
    """Floating-point operations of encoding and of decoding `clip`: convolutions and matrix products, a multiplication
    and an addition being two.

    Args:
        codec: on PyTorch's "meta" device, so that neither memory nor a faster algorithm is used.
    """
    video = torch.empty(1, 3, clip.frames, clip.height, clip.width, device="meta")
    # attention in its plain form, whose products are counted in every version of PyTorch
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as encoding:
        latents = codec.encode(video)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as decoding:
        codec.decode(latents)
    return encoding.get_total_flops(), decoding.get_total_flops()
