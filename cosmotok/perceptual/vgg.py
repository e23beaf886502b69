"""VGG's features (Simonyan and Zisserman 2014), and LPIPS, the distance learned on them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cosmotok.errors import InputError, missing_extra
from cosmotok.perceptual.pretrained import Frozen, pretrained

__all__ = ["LPIPS", "MINIMUM_SIZE", "VGG", "at_least_float32"]

DEPTHS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)
MINIMUM_SIZE = 16

# Of photographs in [0, 1], as the networks were trained (torchvision's transforms).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class VGG(Frozen):
    """The five convolutional blocks of VGG-16 or VGG-19 (Simonyan and Zisserman 2014), without the classifier.

    Args:
        name: vgg16 or vgg19.
        weights_path: as `pretrained` takes it; `option` is what the user calls it.
        recompute: keep no activations within a block for the backward pass; compute them again.

    Raises:
        CheckpointError: where the weights cannot be had.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, name: str, weights_path: str | None, option: str, recompute: bool = False) -> None:
        super().__init__()
        self.recompute = recompute
        layers = pretrained(lambda: Convolutions(DEPTHS[name]), name, weights_path, option).features
        pools = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        bounds = [0, *pools, len(layers)]
        self.blocks = nn.ModuleList(layers[bounds[i] : bounds[i + 1]] for i in range(len(WIDTHS)))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION).view(3, 1, 1))
        self.freeze()

    def forward(self, frames: Tensor) -> list[Tensor]:
        """The last ReLU of each block, i = 0..4, as (N, C, H / 2^i, W / 2^i).

        Args:
            frames: (N, 3, H, W) in [-1, 1].

        Raises:
            InputError: for frames below 16 x 16.
        """
        height, width = frames.shape[-2:]
        if min(height, width) < MINIMUM_SIZE:
            raise InputError(
                f"crops of {width}x{height}: the losses through VGG need {MINIMUM_SIZE}x{MINIMUM_SIZE} or more"
            )
        x = ((frames + 1) / 2 - self.mean) / self.deviation
        features = []
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.recompute and x.requires_grad else block(x)
            features.append(x)
        return features


class Convolutions(nn.Module):
    """The layers by torchvision's names, with random weights that keep the signal's scale."""

    def __init__(self, depths: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for depth, width in zip(depths, WIDTHS, strict=True):
            layers += [nn.MaxPool2d(2)] if layers else []
            for _ in range(depth):
                convolution = nn.Conv2d(channels, width, 3, padding=1)
                nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
                layers += [convolution, nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers)


class LPIPS(Frozen):
    """Learned perceptual distance (Zhang et al. 2018), version 0.1 on VGG-16: equal to the lpips package's.

    Args:
        weights_path: of VGG-16, as `pretrained` takes it; `option` is what the user calls it.

    Raises:
        CheckpointError: where the weights cannot be had.
        MissingExtraError: without the lpips package, which holds the linear weights.
    """

    def __init__(self, weights_path: str | None, recompute: bool = False, option: str = "lpips_weights_path") -> None:
        super().__init__()
        spec = find_spec("lpips")
        if spec is None or spec.origin is None:
            raise missing_extra("lpips is not installed", "train")
        self.vgg = VGG("vgg16", weights_path, option, recompute)
        file = Path(spec.origin).parent / "weights" / "v0.1" / "vgg.pth"
        linear = torch.load(file, map_location="cpu", weights_only=True)
        self.linear = nn.ParameterList(linear[f"lin{i}.model.1.weight"].view(-1, 1, 1) for i in range(len(WIDTHS)))
        self.freeze()

    def forward(self, reconstruction: Tensor, source: Tensor) -> Tensor:
        """Mean over frames, both (N, 3, H, W) in [-1, 1]."""
        with torch.no_grad():
            wanted = self.vgg(source)
        layers = zip(self.vgg(reconstruction), wanted, self.linear, strict=True)
        # every frame has as many positions as the next, so that the mean over all is the mean over frames
        terms = [(weight * (unit(r) - unit(s)).square()).sum(dim=1).mean() for r, s, weight in layers]
        return torch.stack(terms).sum()


def unit(features: Tensor) -> Tensor:
    """Features (N, C, H, W) at length 1 over channels; zeros stay zeros."""
    return F.normalize(at_least_float32(features), dim=1, eps=1e-10)


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision widened, since means over a batch need it."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
