"""Features of clips for FVD: the I3D network of StyleGAN-V, as TokenBench calls it."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cosmotok.errors import CheckpointError, InputError
from cosmotok.perceptual.pretrained import Download, Frozen, first_line

__all__ = ["FEATURES", "I3D", "MAXIMUM_FRAMES", "MINIMUM_FRAMES", "WEIGHTS"]

FEATURES = 400
SIZE = 224
MINIMUM_FRAMES = 10
"""Time is halved three times, rounded down first, and the last pooling spans two steps."""
MAXIMUM_FRAMES = 300
"""Frames of a clip that TokenBench looks at, the first ones."""

WEIGHTS = Download(
    "StyleGAN-V's I3D network",
    "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt?dl=1",
    "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
)
ARGUMENTS = {"rescale", "resize", "return_features"}


class I3D(Frozen):
    """I3D (Carreira and Zisserman 2017), trained on Kinetics-400, from a TorchScript file.

    Args:
        weights_path: the file, or None for StyleGAN-V's own copy; `option` is what the user calls it.

    Raises:
        CheckpointError: where the file cannot be had, or is another network.
    """

    def __init__(self, weights_path: str | None, option: str = "i3d_weights_path") -> None:
        super().__init__()
        path = WEIGHTS.fetch(option) if weights_path is None else Path(weights_path)
        self.network = load(path, option)
        self.freeze()

    def forward(self, clip: Tensor) -> Tensor:
        """The features (1, 400) of one clip: the network's output before the softmax.

        Args:
            clip: (3, T, 224, 224) in [-1, 1], T frames as `prepare` makes them, 10 to 300 of them.

        Raises:
            InputError: for fewer frames.
            CheckpointError: where the network yields something else.
        """
        if clip.shape[1] < MINIMUM_FRAMES:
            raise InputError(f"clip of {clip.shape[1]} frames: I3D needs {MINIMUM_FRAMES} or more")
        features = self.network(clip.unsqueeze(0), rescale=False, resize=False, return_features=True)
        if features.shape != (1, FEATURES):
            raise CheckpointError(f"I3D: expected {FEATURES} features per clip, got {tuple(features.shape)}")
        return features

    @staticmethod
    def prepare(frame: Tensor) -> Tensor:
        """A frame (3, H, W) in [0, 1] as the network takes it: (3, 224, 224) in [-1, 1].

        Resized bilinearly without antialiasing until the short side has 224 pixels, then cropped to its centre.
        """
        height, width = frame.shape[-2:]
        scale = SIZE / min(height, width)
        wide = height < width
        size = (SIZE, math.ceil(width * scale)) if wide else (math.ceil(height * scale), SIZE)
        resized = F.interpolate(frame.unsqueeze(0), size, mode="bilinear", align_corners=False).squeeze(0)
        top, left = (size[0] - SIZE) // 2, (size[1] - SIZE) // 2
        return (resized[:, top : top + SIZE, left : left + SIZE] - 0.5) * 2


def load(path: Path, option: str) -> torch.jit.ScriptModule:
    """The network in a TorchScript file."""
    if not path.is_file():
        raise CheckpointError(f"{option}={path}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is on its way out; the published file stays
            network = torch.jit.load(path, map_location="cpu")
        arguments = {argument.name for argument in network.forward.schema.arguments}
    except (OSError, RuntimeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{option}={path}: not a TorchScript network: {first_line(error)}") from None
    if not arguments >= ARGUMENTS:
        raise CheckpointError(
            f"{option}={path}: expected {WEIGHTS.name}, whose arguments are {', '.join(sorted(ARGUMENTS))}; "
            "got another network"
        )
    return network
