"""The parity fixtures beside the repository: runs of the published code with weights that a formula makes."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

PARITY = Path(__file__).parents[2] / "shared" / "parity"
OWN_PARITY = Path(__file__).parent / "parity"
"""Smaller ones that travel with the repository, made by `cosmotok.families.published`."""
VARIANTS = [
    "CI8x8-360p",
    "CV4x8x8-360p",
    "CV8x16x16",
    "CV8x8x8-720p",
    "DI16x16",
    "DV4x8x8",
    "DV8x16x16-720p",
]


def made_up_weights(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """The fixtures' weights: noise seeded by each parameter's name."""
    tensors = {}
    for name, shape in shapes.items():
        noise = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF).standard_normal(shape)
        if len(shape) > 1:
            values = noise / np.sqrt(np.prod(shape[1:]))
        else:
            values = (1 if name.endswith("weight") else 0) + 0.1 * noise
        tensors[name] = torch.from_numpy(values.astype(np.float32))
    return tensors


def made_up_input(seed: int, shape: list[int]) -> torch.Tensor:
    """The fixtures' input: uniform noise in [-1, 1]."""
    return torch.from_numpy(np.random.RandomState(seed).uniform(-1, 1, size=shape).astype(np.float32))


class Fixture:
    def __init__(self, variant: str, folder: Path = PARITY) -> None:
        if not folder.exists():
            pytest.skip("no parity fixtures beside this checkout")
        self.variant = variant
        facts = json.loads((folder / f"{variant}.json").read_text())
        self.shapes: dict[str, list[int]] = facts["weights"]
        self.buffers = facts["buffers"]
        self.input = made_up_input(facts["input_seed"], facts["input_shape"])
        self.expected = load_file(folder / f"{variant}.safetensors")

    def tensors(self) -> dict[str, torch.Tensor]:
        buffers = {name: torch.tensor(value) for name, value in dict(self.buffers).items()}
        return made_up_weights(self.shapes) | buffers
