"""All losses between a reconstruction and its source, weighted by step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cosmotok.errors import InputError
from cosmotok.perceptual.vgg import LPIPS, VGG, at_least_float32
from cosmotok.training.losses.features import gram_loss, perceptual_loss
from cosmotok.training.losses.flow import FlowLoss
from cosmotok.training.losses.options import RECONSTRUCTION_TERMS, LossOptions, is_ever_on, weight_at
from cosmotok.training.losses.pixel import charbonnier, l1, l2

__all__ = ["ReconstructionLoss", "check_pair", "frames_of"]


class ReconstructionLoss(nn.Module):
    """The terms of `LossOptions` that need no discriminator. It has no parameters that train, and no state.

    Each term is a mean over samples: over processes with batches of one size, the mean of their losses is the loss
    of all samples together.

    Raises:
        CheckpointError: where a frozen network's weights cannot be had.
        MissingExtraError: without torchvision or lpips, where they are needed.
    """

    def __init__(self, options: LossOptions) -> None:
        super().__init__()
        self.options = options
        self.vgg: VGG | None = None
        self.lpips: LPIPS | None = None
        self.flow: FlowLoss | None = None
        if is_ever_on(options.perceptual) or is_ever_on(options.gram):
            path = options.perceptual_weights_path
            self.vgg = VGG(options.perceptual_network, path, "perceptual_weights_path", options.checkpoint)
        if is_ever_on(options.lpips):
            self.lpips = LPIPS(options.lpips_weights_path, options.checkpoint)
        if is_ever_on(options.flow):
            self.flow = FlowLoss(
                options.flow_network,
                options.flow_weights_path,
                options.flow_scale,
                options.flow_updates,
                options.checkpoint,
            )

    def forward(self, reconstruction: Tensor, source: Tensor, step: int) -> dict[str, Tensor]:
        """Each active term, weighted; their sum is the loss.

        Args:
            reconstruction, source: (B, 3, T, H, W) in [-1, 1]. A single frame has no flow.

        Raises:
            InputError: for tensors of other shapes.
        """
        check_pair(reconstruction, source)
        y, x = at_least_float32(reconstruction), at_least_float32(source)
        terms: dict[str, Callable[[], Tensor]] = {
            "l1": lambda: l1(y, x),
            "charbonnier": lambda: charbonnier(y, x, self.options.charbonnier_epsilon),
            "l2": lambda: l2(y, x),
        }
        weights = {name: weight_at(getattr(self.options, name), step) for name in RECONSTRUCTION_TERMS}
        if self.vgg is not None and (weights["perceptual"] or weights["gram"]):
            terms |= self.feature_terms(self.vgg, y, x)
        if self.lpips is not None:
            lpips = self.lpips
            terms["lpips"] = lambda: lpips(frames_of(y), frames_of(x))
        if self.flow is not None and x.shape[2] > 1:
            flow = self.flow
            terms["flow"] = lambda: flow(y, x)
        return {name: weights[name] * term() for name, term in terms.items() if weights[name]}

    def feature_terms(self, vgg: VGG, y: Tensor, x: Tensor) -> dict[str, Callable[[], Tensor]]:
        """The two losses that share VGG's features."""
        with torch.no_grad():
            wanted = vgg(frames_of(x))
        got = vgg(frames_of(y))
        layer_weights = self.options.perceptual_layer_weights
        return {
            "perceptual": lambda: perceptual_loss(got, wanted, layer_weights),
            "gram": lambda: gram_loss(got, wanted, layer_weights, clips=len(x)),
        }


def frames_of(video: Tensor) -> Tensor:
    """(B, 3, T, H, W) as (B * T, 3, H, W)."""
    return video.transpose(1, 2).flatten(0, 1)


def check_pair(reconstruction: Tensor, source: Tensor) -> None:
    """Two videos of one shape.

    Raises:
        InputError: otherwise.
    """
    if source.ndim != 5 or source.shape[1] != 3 or reconstruction.shape != source.shape:
        raise InputError(
            f"reconstruction {tuple(reconstruction.shape)} and source {tuple(source.shape)}: "
            "expected (B, 3, T, H, W), both of one shape"
        )
