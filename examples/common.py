"""What the examples that train on tokens share: arguments, a line per so many steps, pictures."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cosmotok.media import VideoWriter

SHOWN = 10
"""Lines of losses that a run prints."""


def arguments(about: str, steps: int, data: str) -> argparse.Namespace:
    """`--steps`, `--output` and `--data`, with a seed set and the output folder made."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--steps", type=int, default=steps, help="of training")
    parser.add_argument("--output", type=Path, required=True, help="folder for the tokens and what comes of them")
    parser.add_argument("--data", type=Path, help=data)
    chosen = parser.parse_args()
    if chosen.steps < 1:
        parser.error(f"--steps: expected a number from 1, got {chosen.steps}")
    chosen.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    return chosen


class Losses:
    """Prints the mean loss over each tenth of a run."""

    def __init__(self, steps: int) -> None:
        self.every = max(1, steps // SHOWN)
        self.values: list[float] = []

    def add(self, loss: Tensor) -> None:
        self.values.append(float(loss.detach()))
        if len(self.values) % self.every == 0:
            print(f"step {len(self.values):5}  loss {np.mean(self.values[-self.every :]):.4f}", flush=True)


def pixels(video: Tensor) -> np.ndarray:
    """Video (3, T, H, W) in [-1, 1] as uint8 (T, H, W, 3)."""
    return ((video.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 3, 0).numpy()


def write_clip(path: Path, videos: list[Tensor], frame_rate: float, scale: int = 4) -> None:
    """Videos (3, T, H, W) side by side, each pixel `scale` times as large."""
    frames = pixels(torch.cat(videos, dim=3)).repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = frames.shape[1:3]
    with VideoWriter(path, width=width, height=height, frame_rate=frame_rate) as writer:
        for frame in frames:
            writer.write(frame)
    print(path)
