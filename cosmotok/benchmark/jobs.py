"""What the measuring processes do: one holds one model, one multiplies matrices to know the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cosmotok.benchmark.counting import count_operations
from cosmotok.benchmark.memory import PeakMemory, give_back, limit_memory
from cosmotok.devices import synchronize
from cosmotok.interface import BaseTokenizer, Clip, Model
from cosmotok.kernels.products import Product, suits

__all__ = ["Facts", "MatrixProduct", "ModelJob"]

MATRIX = {"cpu": 2048, "cuda": 8192}
"""Rows of the matrices whose product tells a machine's speed."""


@dataclass(frozen=True)
class Facts:
    """What is known of a model without running it."""

    clip: Clip
    """What it takes for the clip that was asked for."""
    parameters: int | None
    operations: tuple[int, int] | None
    """Of encoding and decoding the clip; None for a model that is no network."""


class ModelJob:
    """One model and one clip of noise."""

    def __init__(self, model: Model, clip: Clip, device: str, dtype: torch.dtype) -> None:
        torch.backends.cudnn.allow_tf32 = False  # float32 means float32
        self.model, self.asked, self.dtype = model, clip, dtype
        self.device = torch.device(device)
        self.tokenizer: BaseTokenizer
        self.video: Tensor

    def count(self) -> Facts:
        outline, clip = self.model.outline(), self.model.taken(self.asked)
        return Facts(clip, self.model.parameters, None if outline is None else count_operations(outline, clip))

    def build(self) -> list[str]:
        """Loads the model; remarks on it."""
        self.limit()
        self.tokenizer = self.model.load(self.device, self.dtype)
        clip = self.model.taken(self.asked)
        noise = torch.Generator().manual_seed(0)
        video = torch.rand(1, 3, clip.frames, clip.height, clip.width, generator=noise) * 2 - 1
        self.video = video.to(self.device, self.dtype)
        return list(self.model.notes)

    def warm_up(self) -> tuple[int | None, int | None]:
        """Encodes and decodes for the first time: peak memory of each, in bytes."""
        give_back()
        self.limit()
        memory = PeakMemory(self.device)
        latents = self.tokenizer.encode(self.video)
        encoding = memory.read()
        memory.restart()
        frames = self.tokenizer.decode(latents)
        decoding = memory.read()
        if frames.shape != self.video.shape:
            raise RuntimeError(f"gives {tuple(frames.shape)} for {tuple(self.video.shape)}")
        return encoding, decoding

    def limit(self) -> None:
        if self.device.type == "cpu":
            limit_memory()

    def round(self) -> tuple[float, float]:
        """Seconds of encoding and of decoding."""
        encoding, latents = timed(self.device, lambda: self.tokenizer.encode(self.video))
        decoding, _ = timed(self.device, lambda: self.tokenizer.decode(latents))
        return encoding, decoding

    def write_outputs(self, folder: Path) -> None:
        """Latents and frames as files, to be compared with another model's."""
        latents = self.tokenizer.encode(self.video)
        for name, tensor in (("latents", latents), ("frames", self.tokenizer.decode(latents))):
            np.save(folder / f"{name}.npy", tensor.float().cpu().numpy())


class MatrixProduct:
    """The product of two square matrices: what the machine can do."""

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        torch.backends.cuda.matmul.allow_tf32 = False
        self.device = torch.device(device)
        self.size = MATRIX.get(self.device.type, MATRIX["cpu"])
        noise = torch.Generator().manual_seed(0)
        self.matrix = torch.randn(self.size, self.size, generator=noise).to(self.device, dtype)
        with torch.no_grad():
            self.product = Product(self.matrix) if suits(self.matrix) else None

    @torch.no_grad()
    def rates(self) -> dict[str, float]:
        """Operations per second of each way that PyTorch has; libraries differ by a factor of two on some CPUs."""
        ways: dict[str, Callable[[], Tensor]] = {"torch.mm": lambda: self.matrix @ self.matrix}
        if self.product is not None:
            ways["oneDNN"] = partial(self.product, self.matrix)
        return {
            name: 2 * self.size**3 / min(timed(self.device, way)[0] for _ in range(2)) for name, way in ways.items()
        }


def timed(device: torch.device, work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Seconds that `work` takes on `device`, and its result."""
    synchronize(device)
    begin = time.perf_counter()
    result = work()
    synchronize(device)
    return time.perf_counter() - begin, result
