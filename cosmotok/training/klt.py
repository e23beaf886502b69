"""Start a network with a linear shortcut at the quality of the best linear transform.

The Karhunen-Loeve transform (principal components) of the wavelet sub-bands under a latent position is the linear
code that loses least. Training from there is worth hours from noise, on the small budgets of our own models.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cosmotok.errors import InputError
from cosmotok.families.klt.transform import principal_components
from cosmotok.network import FSQ, Autoencoder

__all__ = ["initialise_from_continuous", "initialise_with_klt"]


@torch.no_grad()
def initialise_with_klt(network: Autoencoder, clips: list[Tensor]) -> None:
    """Sets the shortcuts of `network` to the KLT of `clips`, and its output layers to zero.

    Latents then are uncorrelated, with mean 0 and variance 1. For a discrete network their scale is what suits the
    quantiser, and the way back is fitted by least squares to the quantised codes.

    Args:
        clips: each (B, 3, T, H, W) in [-1, 1].

    Raises:
        InputError: for a network without shortcuts.
    """
    encoder, decoder = network.encoder_shortcut, network.decoder_shortcut
    if encoder is None or decoder is None:
        raise InputError("expected a network with linear shortcuts: set linear_shortcut=True in its config")
    device = encoder.linear.weight.device
    gathered = [encoder.gather(network.wavelet(clip.to(device).movedim(1, -1).contiguous())) for clip in clips]
    rows = torch.cat([g.flatten(0, -2) for g in gathered]).double()
    latents = network.quant_conv.out_features
    mean, directions, deviations = principal_components(rows, latents)
    analysis = directions / deviations[:, None]
    scale, synthesis = fit_decoder((rows - mean) @ analysis.T, rows, network.quantizer)
    embed(encoder.linear, scale * analysis, -scale * analysis @ mean)
    embed(decoder.linear, synthesis[:-1].T, synthesis[-1])
    embed(network.quant_conv, torch.eye(latents), torch.zeros(latents))
    embed(network.post_quant_conv, torch.eye(latents), torch.zeros(latents))
    for layer in (network.encoder.conv_out, network.decoder.conv_out):
        for parameter in list(layer.parameters())[-2:]:  # weight and bias of its last convolution
            nn.init.zeros_(parameter)


@torch.no_grad()
def initialise_from_continuous(network: Autoencoder, continuous: Autoencoder, clips: list[Tensor]) -> None:
    """Starts a discrete network from a trained continuous one of the same shape.

    Encoder and decoder are taken over. Between them, the continuous latents are projected onto the few directions
    that matter most to the linear shortcut's picture, quantised, and brought back by least squares.

    Args:
        clips: each (B, 3, T, H, W) in [-1, 1].

    Raises:
        InputError: where the networks differ in more than the quantiser, or have no shortcuts.
    """
    if network.quantizer is None or continuous.decoder_shortcut is None:
        raise InputError("expected a discrete network to initialise, from a continuous one with linear shortcuts")
    taken = {name: p for name, p in continuous.state_dict().items() if "quant_conv." not in name}
    own = network.state_dict()
    if any(name not in own or own[name].shape != p.shape for name, p in taken.items()):
        raise InputError("expected two networks that differ in their quantiser alone")
    network.load_state_dict(taken, strict=False)

    device = network.quant_conv.weight.device
    latents = torch.cat([continuous.encode(clip.to(device)).movedim(1, -1).flatten(0, -2) for clip in clips]).double()
    to_features = continuous.post_quant_conv.double()
    features = to_features(latents)
    to_picture = continuous.decoder_shortcut.linear.weight.double()
    count = network.quant_conv.out_features
    mean, directions, deviations = principal_components(features @ to_picture.T, count)
    # (count, features): the picture's principal components, straight from the features
    analysis = directions @ to_picture / deviations[:, None]
    offset = -directions @ mean / deviations
    scale, synthesis = fit_decoder(features @ analysis.T + offset, features, network.quantizer)

    from_latents = scale * analysis @ to_features.weight
    encoder_end = continuous.quant_conv.double()
    bias = from_latents @ encoder_end.bias + scale * (analysis @ to_features.bias + offset)
    embed(network.quant_conv, from_latents @ encoder_end.weight, bias)
    embed(network.post_quant_conv, synthesis[:-1].T, synthesis[-1])
    for layer in (to_features, encoder_end):
        layer.float()


def fit_decoder(latents: Tensor, targets: Tensor, quantizer: FSQ | None) -> tuple[float, Tensor]:
    """Scale for latents of variance 1 in front of the quantiser, and least squares from the codes to the targets.

    Returns:
        The scale, and a matrix (channels + 1, D) whose last row is the bias.
    """
    fits = []
    for scale in (1.0,) if quantizer is None else (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2):
        codes = latents if quantizer is None else quantizer.quantize(scale * latents)
        codes = torch.cat((codes, codes.new_ones(len(codes), 1)), dim=1)
        synthesis = torch.linalg.lstsq(codes, targets).solution
        fits.append(((codes @ synthesis - targets).square().mean().item(), scale, synthesis))
    _, scale, synthesis = min(fits, key=lambda fit: fit[0])
    return scale, synthesis


def embed(linear: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Writes a smaller map into the corner of `linear`; the rest becomes zero."""
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    linear.weight[: weight.shape[0], : weight.shape[1]] = weight
    linear.bias[: bias.shape[0]] = bias
