"""A linear path around encoder and decoder, for our own small models (off in every published one).

One matrix maps the wavelet sub-bands under a latent position to the latent, another maps back. Initialised with the
Karhunen-Loeve transform of real clips, while the networks' output layers start at zero, training begins at the
quality of the best linear transform instead of at noise.
"""

from __future__ import annotations

from torch import Tensor

from cosmotok.network.causal import Pointwise
from cosmotok.network.state import Causal, StreamState, is_start, repeat_first

__all__ = ["LinearDecoderShortcut", "LinearEncoderShortcut"]


class LinearEncoderShortcut(Causal):
    """Sub-bands (B, T, H, W, bands) to (B, T/t, H/s, W/s, z_channels); the first frame is a group of its own."""

    def __init__(self, bands: int, z_channels: int, space: int, time: int) -> None:
        super().__init__()
        self.space, self.time = space, time
        self.linear = Pointwise(bands * space * space * time, z_channels)

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        return self.linear(self.gather(x, state))

    def gather(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        """The sub-bands that belong to each latent position, side by side in the channels."""
        if is_start(state):
            x = repeat_first(x, self.time - 1)
        x = x.unflatten(3, (-1, self.space)).unflatten(2, (-1, self.space)).unflatten(1, (-1, self.time))
        # (B, T, time, H, space, W, space, bands) to (B, T, H, W, time, space, space, bands)
        return x.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4)


class LinearDecoderShortcut(Causal):
    """Inverse arrangement: (B, T', H', W', z_channels) to (B, T, H, W, bands)."""

    def __init__(self, bands: int, z_channels: int, space: int, time: int) -> None:
        super().__init__()
        self.space, self.time = space, time
        self.linear = Pointwise(z_channels, bands * space * space * time)

    def forward(self, z: Tensor, state: StreamState | None = None) -> Tensor:
        x = self.linear(z).unflatten(4, (self.time, self.space, self.space, -1))
        x = x.permute(0, 1, 4, 2, 5, 3, 6, 7).flatten(5, 6).flatten(3, 4).flatten(1, 2)
        return x[:, self.time - 1 :] if is_start(state) else x
