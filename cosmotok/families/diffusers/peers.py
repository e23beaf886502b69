"""Autoencoders of diffusers that can be measured beside ours: their published shapes, and what clips they take."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cosmotok.errors import missing_extra
from cosmotok.spec import TokenizerSpec

__all__ = ["PEERS", "PREFIX", "Peer", "import_diffusers"]

PREFIX = "diffusers:"


@dataclass(frozen=True)
class Peer:
    """One of diffusers' autoencoders.

    It takes `first + n * time * latents` frames, and heights and widths that `space` divides. An image autoencoder
    takes the frames of a clip one by one.
    """

    name: str
    cls: str
    """diffusers' class."""
    published: str
    """Whose shape `config` is."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the class's defaults."""
    first: int = 1
    time: int = 4
    """Frames per latent frame."""
    latents: int = 1
    """Latent frames that go together."""
    space: int = 8
    """Pixels per latent position, in height and in width."""
    images: bool = False
    note: str = ""

    hub: tuple[str, str] | None = None
    """Repository and folder of the weights that its name stands for."""
    causal: bool = False
    """Its paper calls both halves causal. LTX-Video's encoder is, its decoder is not; Allegro is in neither."""

    def spec(self, name: str, channels: int) -> TokenizerSpec:
        """Its facts as those of a tokenizer; clips are one step, images some at a time."""
        return TokenizerSpec(
            name,
            self.space,
            self.time,
            channels,
            clips=not self.images,
            causal=self.causal,
            chunk=8 if self.images else None,
            first=self.first,
            group=self.latents,
        )


def import_diffusers() -> Any:
    """diffusers, quiet.

    Raises:
        MissingExtraError: without diffusers.
    """
    try:
        import diffusers
    except ImportError:
        raise missing_extra("measuring peers needs diffusers", "diffusers") from None
    warnings.filterwarnings("ignore", "The `local_dir_use_symlinks` argument", UserWarning)  # diffusers passes it
    diffusers.utils.logging.set_verbosity(logging.CRITICAL)  # errors are raised, too
    diffusers.utils.logging.disable_progress_bar()
    return diffusers


_STABLE_DIFFUSION = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
}
_ATTENTION_LATE = ["ResBlock"] * 3 + ["EfficientViTBlock"] * 3
_ALL = (
    Peer(
        "Cosmos",
        "AutoencoderKLCosmos",
        "Cosmos-1.0 CV8x8x8",
        time=8,
        hub=("nvidia/Cosmos-1.0-Diffusion-7B-Text2World", "vae"),
        causal=True,
    ),
    Peer(
        "CogVideoX",
        "AutoencoderKLCogVideoX",
        "CogVideoX 4x8x8",
        latents=2,
        hub=("THUDM/CogVideoX-2b", "vae"),
        causal=True,
    ),
    Peer("Wan", "AutoencoderKLWan", "Wan 2.1", hub=("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "vae"), causal=True),
    Peer("LTX", "AutoencoderKLLTXVideo", "LTX-Video 0.9", time=8, space=32, hub=("Lightricks/LTX-Video", "vae")),
    Peer(
        "Hunyuan",
        "AutoencoderKLHunyuanVideo",
        "HunyuanVideo",
        note="more than 16 frames in overlapping pieces, as is its default",
        hub=("hunyuanvideo-community/HunyuanVideo", "vae"),
        causal=True,
    ),
    Peer("Mochi", "AutoencoderKLMochi", "Mochi 1", time=6, hub=("genmo/mochi-1-preview", "vae"), causal=True),
    Peer(
        "Allegro",
        "AutoencoderKLAllegro",
        "Allegro",
        first=4,
        note="without diffusers' tiles, which take 24 frames of 320x320 and no less",
        hub=("rhymes-ai/Allegro", "vae"),
    ),
    Peer("VidTok", "AutoencoderVidTok", "VidTok KL causal 4x8x8, 4 channels", causal=True),
    Peer(
        "DC-AE",
        "AutoencoderDC",
        "DC-AE f32c32 of SANA 1.0",
        {
            "encoder_block_types": _ATTENTION_LATE,
            "decoder_block_types": _ATTENTION_LATE,
            "downsample_block_type": "conv",
            "upsample_block_type": "interpolate",
        },
        time=1,
        space=32,
        images=True,
        hub=("mit-han-lab/dc-ae-f32c32-sana-1.0-diffusers", ""),
    ),
    Peer(
        "SD",
        "AutoencoderKL",
        "Stable Diffusion 1 and 2, 4 channels",
        _STABLE_DIFFUSION,
        time=1,
        images=True,
        hub=("stabilityai/sd-vae-ft-mse", ""),
    ),
    Peer(
        "FLUX",
        "AutoencoderKL",
        "FLUX.1, 16 channels",
        {**_STABLE_DIFFUSION, "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False},
        time=1,
        images=True,
        hub=("black-forest-labs/FLUX.1-schnell", "vae"),
    ),
    Peer(
        "TAESD",
        "AutoencoderTiny",
        "TAESD for Stable Diffusion 1 and 2, 4 channels",
        time=1,
        images=True,
        hub=("madebyollin/taesd", ""),
    ),
)
PEERS = {peer.name: peer for peer in _ALL}
