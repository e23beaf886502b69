"""Patch discriminators: for each patch of a frame, or of a clip, how much it looks like a real one."""

from __future__ import annotations

from torch import Tensor, nn

from cosmotok.errors import InputError

__all__ = ["PatchDiscriminator"]

SLOPE = 0.2
GROUP = 16
"""Channels that are normalised together."""


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola et al. 2017) on frames or, with three-dimensional kernels, on clips.

    Convolutions with LeakyReLU: `layers` of them halve height and width, one more mixes at that scale, the last gives
    a logit per patch. The three-dimensional one looks at three frames at a time and halves the frames with the first
    two layers. Group norm in place of batch norm: a sample's logits depend on that sample alone, so that any split of
    a batch over processes gives the same, and nothing but the parameters is state.

    Args:
        dimensions: 2 or 3.
        width: channels of the first layer; they double with each layer, up to eight times.
        layers: 3 has patches of 70 x 70 pixels.
    """

    def __init__(self, dimensions: int, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        self.dimensions, self.minimum_size = dimensions, 3 * 2**layers
        modules: list[nn.Module] = []
        channels = 3
        for layer in range(layers + 1):
            out = width * 2 ** min(layer, 3)
            halves = layer < layers
            modules.append(convolution(dimensions, channels, out, space=1 + halves, time=2 if layer < 2 else 1))
            if layer:
                modules.append(nn.GroupNorm(max(1, out // GROUP), out))
            modules.append(nn.LeakyReLU(SLOPE))
            channels = out
        modules.append(convolution(dimensions, channels, 1, space=1, time=1))
        self.layers = nn.Sequential(*modules)

    def forward(self, video: Tensor) -> Tensor:
        """Logits (N, 1, ..., h, w), positive for what looks real.

        Args:
            video: (B, 3, T, H, W) in [-1, 1]. With two dimensions each frame counts as a sample: N = B T.

        Raises:
            InputError: for crops too small for the number of layers.
        """
        height, width = video.shape[-2:]
        if min(height, width) < self.minimum_size:
            least = f"{self.minimum_size}x{self.minimum_size}"
            raise InputError(
                f"crops of {width}x{height}: this discriminator needs {least} or more; take fewer discriminator_layers"
            )
        logits: Tensor = self.layers(video if self.dimensions == 3 else video.transpose(1, 2).flatten(0, 1))
        return logits


def convolution(dimensions: int, channels: int, out: int, space: int, time: int) -> nn.Module:
    """4 x 4 in space and, in three dimensions, 3 in time; `space` and `time` are the strides."""
    if dimensions == 2:
        return nn.Conv2d(channels, out, 4, stride=space, padding=1)
    return nn.Conv3d(channels, out, (3, 4, 4), stride=(time, space, space), padding=1)
