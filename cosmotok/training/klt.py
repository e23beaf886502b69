"""Start a network with a linear shortcut at the quality of the best linear transform.

The Karhunen-Loeve transform (principal components) of the wavelet sub-bands under a latent position is the linear
code that loses least. Training from there is worth hours from noise, on the small budgets of our own models.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cosmotok.errors import InputError
from cosmotok.network import Autoencoder

__all__ = ["initialise_with_klt", "principal_components"]


def principal_components(x: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (D,), directions (count, D) and standard deviations (count,) of the rows of `x` (N, D), float64."""
    x = x.double()
    mean = x.mean(dim=0)
    centred = x - mean
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(x))
    return mean, directions.T.flip(0)[:count], variances.flip(0)[:count].clamp_min(1e-12).sqrt()


@torch.no_grad()
def initialise_with_klt(network: Autoencoder, clips: list[Tensor]) -> None:
    """Sets the shortcuts of `network` to the KLT of `clips`, and its output layers to zero.

    Latents then are uncorrelated, with mean 0 and variance 1. For a discrete network the way back is fitted by
    least squares to the quantised codes.

    Args:
        clips: each (B, 3, T, H, W) in [-1, 1].

    Raises:
        InputError: for a network without shortcuts.
    """
    encoder, decoder = network.encoder_shortcut, network.decoder_shortcut
    if encoder is None or decoder is None:
        raise InputError("expected a network with linear shortcuts: set linear_shortcut=True in its config")
    gathered = [encoder.gather(network.wavelet(clip.movedim(1, -1).contiguous())) for clip in clips]
    rows = torch.cat([g.flatten(0, -2) for g in gathered]).double()
    latents = network.quant_conv.out_features
    mean, directions, deviations = principal_components(rows, latents)

    analysis = directions / deviations[:, None]
    embed(encoder.linear, analysis, -analysis @ mean)
    embed(network.quant_conv, torch.eye(latents), torch.zeros(latents))
    embed(network.post_quant_conv, torch.eye(latents), torch.zeros(latents))

    codes = (rows - mean) @ analysis.T
    if network.quantizer is not None:
        codes = network.quantizer.quantize(codes.float()).double()
    synthesis = torch.linalg.lstsq(torch.cat((codes, torch.ones(len(codes), 1)), dim=1), rows).solution
    embed(decoder.linear, synthesis[:-1].T, synthesis[-1])

    for layer in (network.encoder.conv_out, network.decoder.conv_out):
        for parameter in list(layer.parameters())[-2:]:  # weight and bias of its last convolution
            nn.init.zeros_(parameter)


def embed(linear: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Writes a smaller map into the corner of `linear`; the rest becomes zero."""
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    linear.weight[: weight.shape[0], : weight.shape[1]] = weight
    linear.bias[: bias.shape[0]] = bias
