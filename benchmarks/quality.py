"""PSNR and SSIM of the bundled models on a folder of images and clips, beside the best linear transform (KLT).

    python benchmarks/quality.py ../shared/data/val --fit ../shared/data/train

Clips: the first 33 frames, of which the first, an image to the tokenizer, is left out; whole frames; PSNR over all
values of a clip, 8 bit; mean over clips. Images: PSNR over all values, mean over images. The KLT of as many
components as the model has latent channels, not quantised, is fitted to random blocks of the clips in `--fit`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cosmotok import Tokenizer
from cosmotok.baselines.klt import principal_components
from cosmotok.evaluation.metrics import RunningQuality
from cosmotok.media import find_media, open_media
from cosmotok.pipeline import to_pixels
from cosmotok.training.data import DataOptions, TrainingData

FRAMES = 33
MODELS = ("cv4x8x8-tiny", "dv4x8x8-tiny")
Reconstruct = Callable[[Tensor], Tensor]


def klt(folder: Path, block: tuple[int, int, int], components: int, batches: int = 100) -> Reconstruct:
    """The linear transform, of blocks (frames, height, width), that loses least on the clips in `folder`."""
    data = TrainingData(
        DataOptions(train=[str(folder)], image_every=0, workers=0),
        frames=block[0] * 2,
        crop=block[1] * 12,
        clips=4,
        images=1,
        spatial_factor=block[1],
        seed=0,
    )
    crops = [batch.pixels.float() / 127.5 - 1 for batch in islice(data.batches(0), batches)]
    rows = torch.cat([to_blocks(crop, block).flatten(0, -2) for crop in crops])
    mean, directions, _ = (x.float() for x in principal_components(rows, components))

    def reconstruct(video: Tensor) -> Tensor:
        blocks = to_blocks(video, block)
        return from_blocks((blocks - mean) @ directions.T @ directions + mean, block)

    return reconstruct


def to_video(pixels: np.ndarray) -> Tensor:
    """Frames (T, H, W, 3), uint8, to (1, 3, T, H, W) in [-1, 1]."""
    return torch.from_numpy(pixels).permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def to_blocks(video: Tensor, block: tuple[int, int, int]) -> Tensor:
    """(B, 3, T, H, W) to (B, T', H', W', 3 t h w)."""
    t, h, w = block
    blocks = video.unflatten(4, (-1, w)).unflatten(3, (-1, h)).unflatten(2, (-1, t))
    return blocks.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)


def from_blocks(blocks: Tensor, block: tuple[int, int, int]) -> Tensor:
    """Inverse of `to_blocks`."""
    x = blocks.unflatten(4, (3, *block)).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return x.flatten(6, 7).flatten(4, 5).flatten(2, 3)


def linear_clip(reconstruct: Reconstruct, block: tuple[int, int, int], video: Tensor) -> Tensor:
    """A clip's frames after the first, and the first repeated for an image, through the KLT; edges replicated."""
    height, width = video.shape[-2:]
    frames = video[:, :, 1:] if video.shape[2] > 1 else video.expand(-1, -1, block[0], -1, -1)
    pad = (0, -width % block[2], 0, -height % block[1])
    padded = torch.nn.functional.pad(frames.flatten(1, 2), pad, mode="replicate").unflatten(1, frames.shape[1:3])
    result = reconstruct(padded)[..., :height, :width]
    return torch.cat((video[:, :, :1], result), dim=2) if video.shape[2] > 1 else result[:, :, :1]


def measure(reconstruct: Reconstruct, files: dict[str, np.ndarray]) -> tuple[float, float]:
    """Mean PSNR and SSIM over files; of clips, without the first frame."""
    scores = []
    for pixels in files.values():
        result = to_pixels(reconstruct(to_video(pixels)))
        quality = RunningQuality()
        for source, frame in list(zip(pixels, result, strict=True))[1 if len(pixels) > 1 else 0 :]:
            quality.update(source, frame)
        scores.append((quality.psnr, quality.ssim if quality.ssim is not None else math.nan))
    return tuple(float(x) for x in np.mean(scores, axis=0))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--fit", type=Path, required=True, help="folder with clips to fit the KLT to")
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    arguments = parser.parse_args()

    files: dict[str, np.ndarray] = {}
    for path in find_media(arguments.data):
        with open_media(path) as media:
            files[path.name] = np.stack([frame.pixels for frame in islice(media, FRAMES)])
    clips = {name: pixels[: 1 + (len(pixels) - 1) // 4 * 4] for name, pixels in files.items() if len(pixels) > 1}
    images = {name: pixels for name, pixels in files.items() if len(pixels) == 1}

    for name in arguments.models:
        tokenizer = Tokenizer.from_pretrained(name)
        config = tokenizer.config
        block = (config.temporal_factor, config.spatial_factor, config.spatial_factor)
        linear = klt(arguments.fit, block, config.latent_channels)
        rows = {
            "model": tokenizer.reconstruct,
            "KLT": lambda video, linear=linear, block=block: linear_clip(linear, block, video),
        }
        for row, reconstruct in rows.items():
            report = {"name": name, "what": row, "components": config.latent_channels}
            for kind, chosen in (("clips", clips), ("images", images)):
                if chosen:
                    psnr, ssim = measure(reconstruct, chosen)
                    report |= {kind: len(chosen), f"{kind}_psnr": round(psnr, 2), f"{kind}_ssim": round(ssim, 4)}
            print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
