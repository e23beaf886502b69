"""Shapes with named axes: what the manifest shows, and what `torch.export` is told to keep free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim

__all__ = ["AXES", "FreeAxis", "Port", "Shape"]

# The free sizes, with the least that each may be. Height and width are those of the latent grid.
AXES = {"batch": 1, "latent_frames": 1, "latent_height": 1, "latent_width": 1, "past": 0}


@dataclass(frozen=True)
class FreeAxis:
    """A size that follows from a free one: `factor * name + offset`."""

    name: str
    factor: int = 1
    offset: int = 0

    def size(self, sizes: Mapping[str, Any]) -> Any:
        """The size for given free sizes, be they numbers or `torch.export.Dim`s."""
        size = sizes[self.name]
        if self.factor != 1:
            size = self.factor * size
        return size + self.offset if self.offset else size

    def __str__(self) -> str:
        factor = f"{self.factor}*" if self.factor != 1 else ""
        return f"{factor}{self.name}{self.offset:+d}" if self.offset else f"{factor}{self.name}"


Shape = tuple[int | FreeAxis | str, ...]
"""A string is an axis that only results have."""


@dataclass(frozen=True)
class Port:
    """One input or output of a graph."""

    name: str
    dtype: str
    shape: Shape

    def fix(self, sizes: Mapping[str, int]) -> Port:
        """The same with those of the free axes as numbers."""
        shape = [a.size(sizes) if isinstance(a, FreeAxis) and a.name in sizes else a for a in self.shape]
        return replace(self, shape=tuple(shape))

    def to_dict(self) -> dict[str, Any]:
        """For the manifest."""
        shape = [size if isinstance(size, int) else str(size) for size in self.shape]
        return {"name": self.name, "dtype": self.dtype, "shape": shape}

    def zeros(self, sizes: Mapping[str, int]) -> Tensor:
        """A tensor of that shape."""
        shape = [axis.size(sizes) if isinstance(axis, FreeAxis) else int(axis) for axis in self.shape]
        return torch.zeros(shape, dtype=getattr(torch, self.dtype))

    def dims(self, dims: Mapping[str, Dim]) -> dict[int, Any]:
        """The free axes, as `torch.export.export` takes them."""
        return {i: axis.size(dims) for i, axis in enumerate(self.shape) if isinstance(axis, FreeAxis)}
