"""Features of images for FID: Inception-v3 as TensorFlow's FID has it."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from cosmotok.errors import missing_extra
from cosmotok.perceptual.pretrained import Download, Frozen, pretrained

__all__ = ["FEATURES", "WEIGHTS", "Inception"]

FEATURES = 2048
SIZE = 299
CLASSES = 1008
"""Logits of the TensorFlow network of 2015: by these, its weights are told from torchvision's own."""

WEIGHTS = Download(
    "pytorch-fid's weights of Inception-v3",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    "6726825d",
)


class Inception(Frozen):
    """Inception-v3 (Szegedy et al. 2016) up to its last pooling, with the weights that FID is defined by.

    Torchvision's network, but for what pytorch-fid and torch-fidelity change to follow TensorFlow's graph of
    2015-12-05: average pools inside the blocks leave out the padding, and the last block pools by maximum.

    Args:
        weights_path: as `pretrained` takes it; `option` is what the user calls it.

    Raises:
        CheckpointError: where the weights cannot be had.
        MissingExtraError: without torchvision.
    """

    def __init__(self, weights_path: str | None, option: str = "inception_weights_path") -> None:
        super().__init__()
        self.network = pretrained(build, "inception_v3", weights_path, option, WEIGHTS)
        self.network.fc = nn.Identity()  # the pooled features come out as they are
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        """Pool features (N, 2048).

        Images are resized to 299 x 299 whatever their shape, bilinearly and without antialiasing, with pixel centres
        aligned (`align_corners=False`): as pytorch-fid does it.

        Args:
            images: (N, 3, H, W) in [0, 1].
        """
        resized = F.interpolate(images, (SIZE, SIZE), mode="bilinear", align_corners=False)
        return self.network(resized * 2 - 1)


def build() -> nn.Module:
    """The network by torchvision's names, with random weights that keep the signal's scale."""
    try:
        from torchvision.models import inception
    except ImportError:
        raise missing_extra("torchvision is not installed", "eval") from None

    def average(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)

    def maximum(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, stride=1, padding=1)

    def pooled(block: type[nn.Module], pool: Callable[[Tensor], Tensor]) -> type[nn.Module]:
        """A block of torchvision's whose last branch begins with another pooling."""

        class Pooled(block):  # type: ignore[misc,valid-type]
            def _forward(self, x: Tensor) -> list[Tensor]:
                *branches, _ = super()._forward(x)
                return [*branches, self.branch_pool(pool(x))]

        return Pooled

    blocks = [
        inception.BasicConv2d,
        pooled(inception.InceptionA, average),
        inception.InceptionB,
        pooled(inception.InceptionC, average),
        inception.InceptionD,
        pooled(inception.InceptionE, average),
        inception.InceptionAux,
    ]
    network = inception.Inception3(CLASSES, aux_logits=False, inception_blocks=blocks, init_weights=False)
    network.Mixed_7c = pooled(inception.InceptionE, maximum)(FEATURES)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network
