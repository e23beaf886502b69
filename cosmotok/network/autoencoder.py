"""The whole network: wavelet, encoder, quantiser or not, decoder, inverse wavelet (paper section 3.1, Fig. 6)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cosmotok.network.causal import Pointwise
from cosmotok.network.fsq import FSQ
from cosmotok.network.shortcut import LinearDecoderShortcut, LinearEncoderShortcut
from cosmotok.network.stages import Decoder, Encoder, Parts
from cosmotok.network.state import Past, StreamState, name_causal_layers
from cosmotok.network.wavelet import HaarTransform, InverseHaarTransform

__all__ = ["HALVES", "Autoencoder"]

HALVES = {
    "encoder": ("wavelet", "encoder", "encoder_shortcut", "quant_conv"),
    "decoder": ("post_quant_conv", "decoder", "decoder_shortcut", "inverse_wavelet"),
}
"""The modules of an `Autoencoder` by its halves; the quantiser, which has no parameters, serves both."""


class Autoencoder(nn.Module):
    """Video (B, 3, T, H, W) in [-1, 1] to latents (B, C, T', H', W') and back.

    T, H and W are what the compression factors divide: T = 1 + a multiple at the start of a stream, a multiple
    later on. `Tokenizer` pads to that, and cuts long clips into chunks.

    Args:
        parts: `VIDEO` or `IMAGE`.
        patch: down-sampling of the wavelet.
        channels, encoder_multipliers, decoder_multipliers: widths are channels * multiplier, stage by stage.
        blocks: residual blocks per encoder stage; the decoder has one more.
        z_channels, latent_channels: width at the encoder's end, and of the latents.
        levels: of the FSQ quantiser; empty for continuous latents.
        space, time: how often the stages halve these, after the wavelet.
        legacy: whether the decoder doubles time from its first stage on, as the oldest checkpoints do.
        linear_shortcut: whether to add the linear path of `cosmotok.network.shortcut`.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        patch: int,
        channels: int,
        encoder_multipliers: Sequence[int],
        decoder_multipliers: Sequence[int],
        blocks: int,
        z_channels: int,
        latent_channels: int,
        levels: tuple[int, ...],
        space: int,
        time: int,
        legacy: bool,
        linear_shortcut: bool,
    ) -> None:
        super().__init__()
        down_axes = parts.downsampling(len(encoder_multipliers), space, time)
        up_axes = parts.upsampling(len(decoder_multipliers), space, time, legacy)
        bands = 3 * patch ** (3 if parts.temporal else 2)
        self.wavelet = HaarTransform(patch, parts.temporal)
        self.encoder = Encoder(parts, bands, channels, encoder_multipliers, blocks, z_channels, down_axes)
        self.quant_conv = Pointwise(z_channels, latent_channels)
        self.quantizer = FSQ(levels) if levels else None
        self.post_quant_conv = Pointwise(latent_channels, z_channels)
        self.decoder = Decoder(parts, bands, channels, decoder_multipliers, blocks + 1, z_channels, up_axes)
        self.inverse_wavelet = InverseHaarTransform(patch, parts.temporal)
        self.encoder_shortcut: LinearEncoderShortcut | None = None
        self.decoder_shortcut: LinearDecoderShortcut | None = None
        if linear_shortcut:
            self.encoder_shortcut = LinearEncoderShortcut(bands, z_channels, 2**space, 2**time)
            self.decoder_shortcut = LinearDecoderShortcut(bands, z_channels, 2**space, 2**time)
        name_causal_layers(self)

    def drop(self, half: str) -> None:
        """Forgets the modules of a half, "encoder" or "decoder", for use of the other one alone."""
        for name in HALVES[half]:
            setattr(self, name, None)

    def encode(self, video: Tensor, state: StreamState | None = None) -> Tensor:
        """Video (B, 3, T, H, W) to latents (B, C, T', H', W'), before quantisation."""
        x = self.wavelet(video.permute(0, 2, 3, 4, 1).contiguous(), state)
        z = self.encoder(x, state)
        if self.encoder_shortcut is not None:
            z = z + self.encoder_shortcut(x, state)
        z = self.quant_conv(z)
        if state is not None:
            state.started = True
        return z.permute(0, 4, 1, 2, 3)

    def decode(self, latents: Tensor, state: StreamState | None = None) -> Tensor:
        """Latents or FSQ codes (B, C, T', H', W') to video (B, 3, T, H, W), not clipped."""
        z = self.post_quant_conv(latents.permute(0, 2, 3, 4, 1).contiguous())
        x = self.decoder(z, state)
        if self.decoder_shortcut is not None:
            x = x + self.decoder_shortcut(z, state)
        video = self.inverse_wavelet(x, state)
        if state is not None:
            state.started = True
        return video.permute(0, 4, 1, 2, 3)

    def forward(self, video: Tensor, past: int = 0) -> Tensor:
        """Reconstruction, differentiable; for training.

        Args:
            video: (B, 3, T, H, W), a whole clip at once.
            past: frames at its beginning, 1 + a multiple of the temporal factor, that are only remembered, as in the
                middle of a stream: they get no gradients, and are not among the T - past frames that come back.
        """
        if not past:
            return self._through(video, None, None)
        return self._through(video[:, :, past:], *self.remember(video[:, :, :past]))

    @torch.no_grad()
    def remember(self, video: Tensor) -> tuple[Past, Past]:
        """What encoder and decoder know of a stream after its first frames (B, 3, T, H, W), for one more chunk."""
        encoded, decoded = StreamState(), StreamState()
        for frames in (video[:, :, :1], video[:, :, 1:]):
            if frames.shape[2]:
                self._through(frames, encoded, decoded)
        # older PyTorch's autocast keeps the weights that it has cast, and these have no gradients
        torch.clear_autocast_cache()
        return Past(encoded), Past(decoded)

    def _through(self, video: Tensor, encoded: StreamState | None, decoded: StreamState | None) -> Tensor:
        """Encoded with one state, quantised, decoded with the other."""
        z = self.encode(video, encoded)
        if self.quantizer is not None:
            z = self.quantizer.quantize(z.movedim(1, -1)).movedim(-1, 1)
        return self.decode(z, decoded)
