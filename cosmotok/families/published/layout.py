"""The same networks as the published code lays them out, in plain PyTorch: what ours is measured against.

Activations are (B, C, T, H, W), of image networks (B, C, H, W); kernels are 3-D convolutions; time is padded by copies
of the first frame; each frame's norm and attention reshape the whole clip; all (H W) x (H W) weights of the spatial
attention exist at once; a clip is computed in one piece. Modules have the names of the published parameters.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from torch import Tensor, nn

from cosmotok.config import TokenizerConfig
from cosmotok.families.published.layers import IMAGE_LAYERS, VIDEO_LAYERS, Haar, Layers, ResidualBlock, Swish
from cosmotok.network import FSQ, IMAGE, VIDEO

__all__ = ["PublishedLayout"]


class PublishedLayout(nn.Module):
    """The network of `config`, which has no linear shortcut; it loads what `to_reference_state_dict` gives.

    Clips have 1 + a multiple of `config.temporal_factor` frames, and sides that `config.spatial_factor` divides.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        layers, schedule = (VIDEO_LAYERS, VIDEO) if config.kind == "video" else (IMAGE_LAYERS, IMAGE)
        space, time = config.halvings
        axes = 3 if config.kind == "video" else 2
        bands = 3 * config.patch**axes
        down, up = config.encoder_multipliers, config.decoder_multipliers
        self.wavelet = Haar(config.patch, axes)
        self.encoder = encoder(layers, config, bands, schedule.downsampling(len(down), space, time))
        self.quant_conv = layers.point(config.z_channels, config.latent_channels)
        self.quantizer = FSQ(config.levels) if config.levels else None
        self.post_quant_conv = layers.point(config.latent_channels, config.z_channels)
        self.decoder = decoder(layers, config, bands, schedule.upsampling(len(up), space, time, config.legacy_mode))

    def encode(self, video: Tensor) -> Tensor:
        """(B, 3, T, H, W), or (B, 3, H, W) of an image network, to latents (B, C, T', H', W') or indices."""
        z: Tensor = self.quant_conv(self.encoder(self.wavelet(video)))
        return z if self.quantizer is None else self.quantizer.indices(z.movedim(1, -1))

    def decode(self, tokens: Tensor) -> Tensor:
        """Inverse of `encode`."""
        if self.quantizer is not None:
            codes = self.quantizer.indices_to_codes(tokens).movedim(-1, 1)
            tokens = codes.to(next(self.parameters()).dtype)
        return self.wavelet.inverse(self.decoder(self.post_quant_conv(tokens)))


def encoder(layers: Layers, config: TokenizerConfig, bands: int, axes: Iterable[tuple[bool, bool]]) -> nn.Sequential:
    widths = [config.channels * m for m in (1, *config.encoder_multipliers)]
    stages = [
        named(
            block=blocks(layers, widths[i], widths[i + 1], config.blocks),
            downsample=layers.down(widths[i + 1], *along) if any(along) else nn.Identity(),
        )
        for i, along in enumerate(axes)
    ]
    return named(
        conv_in=layers.conv(bands, widths[0]),
        down=nn.Sequential(*stages),
        mid=middle(layers, widths[-1]),
        norm_out=layers.norm(widths[-1]),
        swish=Swish(),
        conv_out=layers.conv(widths[-1], config.z_channels),
    )


def decoder(layers: Layers, config: TokenizerConfig, bands: int, axes: Iterable[tuple[bool, bool]]) -> nn.Sequential:
    deepest = config.decoder_multipliers[-1]
    widths = [config.channels * m for m in (deepest, *reversed(config.decoder_multipliers))]
    stages = [
        named(
            block=blocks(layers, widths[i], widths[i + 1], config.blocks + 1),
            upsample=layers.up(widths[i + 1], *along) if any(along) else nn.Identity(),
        )
        for i, along in enumerate(axes)
    ]
    last = len(stages) - 1
    return named(
        conv_in=layers.conv(config.z_channels, widths[0]),
        mid=middle(layers, widths[0]),
        up=named(**{str(last - i): stage for i, stage in enumerate(stages)}),  # numbered from the output
        norm_out=layers.norm(widths[-1]),
        swish=Swish(),
        conv_out=layers.conv(widths[-1], bands),
    )


def middle(layers: Layers, channels: int) -> nn.Sequential:
    return named(
        block_1=ResidualBlock(layers, channels, channels),
        attn_1=layers.attention(layers, channels),
        block_2=ResidualBlock(layers, channels, channels),
    )


def blocks(layers: Layers, in_channels: int, out_channels: int, count: int) -> nn.Sequential:
    rest = [ResidualBlock(layers, out_channels, out_channels) for _ in range(count - 1)]
    return nn.Sequential(ResidualBlock(layers, in_channels, out_channels), *rest)


def named(**modules: nn.Module) -> nn.Sequential:
    """One after the other, by these names."""
    return nn.Sequential(OrderedDict(modules))
