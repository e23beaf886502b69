"""Which layers compute in 8-bit integers, and the ranges of their inputs, found by watching the float32 network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cosmotok.checkpoint.calibration import Calibration
from cosmotok.errors import CheckpointError, InputError
from cosmotok.kernels.int8 import LEVELS, Grid, PointwiseInt8, SpatialInt8, TemporalInt8, UpsampledInt8, require_int8
from cosmotok.network.causal import FactorizedConv, Pointwise, SpatialConv, TemporalConv
from cosmotok.network.image import ImageUpsample
from cosmotok.network.video import Upsample

__all__ = ["Precision", "calibrate", "calibration_clips", "quantize", "restore"]

Precision = Literal["float32", "int8"]
Layer = Pointwise | SpatialConv | TemporalConv
KEPT = (
    *("encoder.conv_in", "encoder.conv_in.spatial", "encoder_shortcut.linear"),  # sub-bands: some are far larger
    *("encoder.conv_out", "encoder.conv_out.spatial", "encoder.conv_out.temporal", "quant_conv"),  # latents
    *("post_quant_conv", "decoder.conv_in", "decoder.conv_in.spatial", "decoder.conv_in.temporal"),
    *("decoder.conv_out.temporal", "decoder_shortcut.linear"),  # sub-bands again
)
"""Layers that stay float32: rounding what they take would cost most of the quality, and they are cheap."""
SAMPLES = 1024
"""Activations of each layer looked at, per step of a stream."""
SHARES = (1.0, 0.9, 0.8, 0.7)
"""Of the largest activation, tried as the end of the range. Less would fit the calibration better and others worse."""
NOISE = 0.1
"""Rms rounding error of a layer's input, in mean absolute deviations of it, above which the layer stays float32.

Narrow image networks have such inputs: norms of single channels blow up what little is in a flat one, a few values are
huge, and one grid for them and all others is too coarse. In the bundled ones every layer that costs more than 0.005 dB
by itself is above this, and costs up to 0.9 dB.
"""


def calibrate(
    network: nn.Module, fingerprint: str, run: Callable[[Tensor], object], videos: Iterable[Tensor]
) -> Calibration:
    """Ranges of the inputs of every layer worth it, while `network` computes `videos`.

    A range ends where the mean squared error of rounding and clipping together is smallest, each end by itself. Layers
    that rounding would harm are left out: see `NOISE`.

    Args:
        network: in float32 on the CPU, with float32 layers.
        fingerprint: of its weights.
        run: lets it compute one of them, both ways if it has both halves.
        videos: at least one.

    Raises:
        InputError: for no videos, or where activations are not finite.
    """
    watched = {path: Watch() for path, _ in layers(network)}
    hooks = [layer.register_forward_pre_hook(watched[path]) for path, layer in layers(network)]
    clips = 0
    try:
        for video in videos:
            run(video)
            clips += 1
    finally:
        for hook in hooks:
            hook.remove()
    if clips == 0:
        raise InputError("videos: expected at least one image or video to calibrate with, got none")
    found = {path: watch.best_range(path) for path, watch in watched.items() if watch.samples}
    ranges = {path: (low, high) for path, (low, high, noise) in found.items() if noise <= NOISE}
    return Calibration(fingerprint, clips, ranges)


class Watch:
    """Collects the extremes of a layer's input and a fixed, even sample of it."""

    def __init__(self) -> None:
        self.low = self.high = 0.0
        self.samples: list[Tensor] = []

    def __call__(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        x: Tensor = inputs[0].detach().flatten()
        low, high = x.aminmax()
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))
        step = max(1, x.numel() // SAMPLES)
        while math.gcd(step, inputs[0].shape[-1]) > 1:  # or some channels would never be among them
            step += 1
        self.samples.append(x[::step].clone())

    def best_range(self, path: str) -> tuple[float, float, float]:
        """Its ends, and the rms error in mean absolute deviations, which rare huge values hardly raise."""
        if not math.isfinite(self.low) or not math.isfinite(self.high):
            raise InputError(f"videos: {path} has inputs that are not finite; are the weights sound?")
        x = torch.cat(self.samples)
        high = min(SHARES, key=lambda share: rounding_error(x, self.low, self.high * share)) * self.high
        error, low = min((rounding_error(x, self.low * share, high), self.low * share) for share in SHARES)
        deviation = float((x - x.mean()).abs().mean())
        return low, high, math.sqrt(error) / deviation if deviation else 0.0


def rounding_error(x: Tensor, low: float, high: float) -> float:
    """Mean square of what the grid from `low` to `high` changes."""
    grid = Grid.over(low, high)
    integers = (x / grid.scale).round_().add_(grid.zero_point).clamp_(0, LEVELS)
    return float(integers.sub_(grid.zero_point).mul_(grid.scale).sub_(x).square_().mean())


def layers(network: nn.Module) -> Iterator[tuple[str, Layer]]:
    """Those that may compute in integers, by path."""
    for path, module in network.named_modules():
        if isinstance(module, (Pointwise, SpatialConv, TemporalConv)) and path not in KEPT:
            yield path, module


def quantize(network: nn.Module, calibration: Calibration) -> None:
    """Lets the layers that `calibration` names compute in integers, and no others. Parameters stay as they are.

    Raises:
        InputError: where processor or PyTorch cannot.
        CheckpointError: where `calibration` names other layers than `network` has.
    """
    require_int8()
    found = dict(layers(network))
    unknown = sorted(set(calibration.ranges) - set(found))
    if unknown:
        raise CheckpointError(f"the calibration names {unknown[0]}, which this network lacks; calibrate again")
    grids = {path: Grid.over(low, high) for path, (low, high) in calibration.ranges.items()}
    # Between the two halves of a factorized convolution, integers never become float32.
    handed_on = {
        f"{path}.spatial": grids.get(f"{path}.temporal")
        for path, module in network.named_modules()
        if isinstance(module, FactorizedConv)
    }
    repeated = [f"{path}.spatial" for path, module in network.named_modules() if isinstance(module, Upsample)]
    repeated += [f"{path}.conv" for path, module in network.named_modules() if isinstance(module, ImageUpsample)]
    kernels: dict[str, Any] = {}
    for path, grid in grids.items():
        layer = found[path]
        if path in repeated:
            kernels[path] = UpsampledInt8(layer.weight, layer.bias, grid)
        elif isinstance(layer, SpatialConv):
            kernels[path] = SpatialInt8(layer.weight, layer.bias, layer.stride, grid, handed_on.get(path))
        elif isinstance(layer, TemporalConv):
            kernels[path] = TemporalInt8(layer.weight, layer.bias, layer.stride, grid)
        else:
            kernels[path] = PointwiseInt8(layer.weight, layer.bias, grid)
    for path, layer in found.items():
        layer.kernel = kernels.get(path)


def restore(network: nn.Module) -> None:
    """Takes back `quantize`."""
    for _, layer in layers(network):
        layer.kernel = None


def calibration_clips(
    folder: Path, count: int = 64, frames: int = 17, size: int = 256, advance: Callable[[int], None] | None = None
) -> Iterator[Tensor]:
    """Beginnings of videos and photos, as many of these as of those if there are enough, spread over a folder.

    Args:
        folder: of images and videos, or one of them.
        count: at most so many files.
        frames, size: at most so many frames of each, and their central pixels at most so high and wide.
        advance: called with 1 after each.

    Yields:
        (1, 3, T, H, W), uint8.

    Raises:
        MediaError: where a file cannot be read.
    """
    import numpy as np

    from cosmotok.media import find_media, is_image_path, open_media

    files = find_media(folder) if folder.is_dir() else [folder]
    photos = [path for path in files if is_image_path(path)]
    videos = [path for path in files if not is_image_path(path)]
    half = max(count // 2, count - len(videos))
    chosen = evenly(photos, half)
    chosen += evenly(videos, count - len(chosen))
    for path in chosen:
        with open_media(path) as media:
            pixels = np.stack([frame.pixels for frame in islice(media, frames)])
        top, left = (max(0, length - size) // 2 for length in pixels.shape[1:3])
        crop = pixels[:, top : top + size, left : left + size]
        yield torch.from_numpy(np.ascontiguousarray(crop.transpose(3, 0, 1, 2)))[None]
        if advance is not None:
            advance(1)


def evenly(files: list[Path], count: int) -> list[Path]:
    """`count` of them at even distances, or all."""
    count = min(count, len(files))
    return [files[i * len(files) // count] for i in range(count)]
