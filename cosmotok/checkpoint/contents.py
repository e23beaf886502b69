"""`Checkpoint`: what every reader of weights returns and every writer takes."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from cosmotok.checkpoint.calibration import Calibration
from cosmotok.config import TokenizerConfig
from cosmotok.network import HALVES

__all__ = ["Checkpoint", "half_of"]


@dataclass(frozen=True)
class Checkpoint:
    """A tokenizer's config and weights."""

    config: TokenizerConfig
    tensors: dict[str, Tensor] = field(repr=False)
    """By the parameter names of `cosmotok.network.Autoencoder`. One half may be absent as a whole. On the meta device
    where their shapes alone were asked for."""
    source: str
    """File, folder or name it came from, for messages."""
    calibration: Calibration | None = None
    """For computing in 8-bit integers, where one lay beside the weights."""

    @property
    def halves(self) -> frozenset[str]:
        """Of "encoder" and "decoder", those that are here."""
        return frozenset(half for name in self.tensors if (half := half_of(name)))


def half_of(name: str) -> str | None:
    """Which half the parameter `name` belongs to: "encoder" or "decoder", or None if it is no parameter of ours."""
    module = name.partition(".")[0]
    return next((half for half, modules in HALVES.items() if module in modules), None)
