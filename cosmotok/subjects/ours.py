"""Our tokenizers as subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cosmotok.build import build_network
from cosmotok.checkpoint import diffusers as exchange
from cosmotok.checkpoint.load import load_config
from cosmotok.config import ModelEntry, TokenizerConfig, find_model, list_models, suggest
from cosmotok.errors import InputError, UnknownModelError
from cosmotok.subjects.interface import SEED, Clip, Codec
from cosmotok.subjects.peers import PEERS, PREFIX
from cosmotok.tokenizer import Tokenizer

__all__ = ["OurModel", "ours", "whole_groups"]

PRECISIONS = ("float32", "int8", "compiled")
"""How a model of ours computes; "compiled" is in its dtype, through `torch.compile`."""


@dataclass(frozen=True)
class OurModel:
    """A model of ours: random weights for a published name, since speed does not depend on the values."""

    name: str
    source: str
    config: TokenizerConfig | None = None
    """None where only a download tells."""
    random: bool = False
    """Whether weights are random rather than loaded from `source`."""
    precision: str = "float32"
    twin: ClassVar[None] = None

    @property
    def has_twin(self) -> bool:
        """Whether diffusers' class can express it, as far as is known before it is loaded."""
        return self.config is not None and not any(exchange.obstacles(self.config).values())

    def tokenizer(self) -> Tokenizer:
        """In float32 on the CPU."""
        if self.config is None or not self.random:
            return Tokenizer.from_pretrained(self.source)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return Tokenizer(self.config)

    def build(self, device: str, dtype: torch.dtype) -> Codec:
        tokenizer = self.tokenizer().to(device, dtype)
        notes = ["random weights"] if self.random else []
        if self.precision == "compiled":
            tokenizer.compile()
        elif self.precision != "float32":
            use_precision(tokenizer, self.precision)
        return OurCodec(tokenizer, notes)

    def load_config(self) -> TokenizerConfig:
        """The config, downloaded where only that tells."""
        return self.config or load_config(self.source)

    def on_meta(self) -> Codec:
        config = self.load_config()
        with torch.device("meta"):
            return OurShapes(build_network(config), config)


@dataclass(frozen=True)
class OurCodec:
    tokenizer: Tokenizer
    notes: Sequence[str]

    @property
    def network(self) -> nn.Module:
        return self.tokenizer.network

    def takes(self, clip: Clip) -> Clip:
        return whole_groups(self.tokenizer.config, clip)

    def encode(self, video: Tensor) -> Tensor:
        return self.tokenizer.encode(video)

    def decode(self, latents: Tensor) -> Tensor:
        return self.tokenizer.decode(latents)


@dataclass(frozen=True)
class OurShapes:
    """The network by itself, whole clips at once, codes of FSQ in place of indices."""

    network: Any
    config: TokenizerConfig
    notes: Sequence[str] = ()

    def takes(self, clip: Clip) -> Clip:
        return whole_groups(self.config, clip)

    def encode(self, video: Tensor) -> Tensor:
        latents: Tensor = self.network.encode(video)
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        video: Tensor = self.network.decode(latents)
        return video


def ours(name: str, precision: str) -> OurModel:
    source, _, asked = name.partition("@")
    precision = asked or precision
    if precision not in PRECISIONS:
        raise InputError(f"{name}: precision {precision!r}: expected {' or '.join(PRECISIONS)}")
    label = source if precision == "float32" else f"{source}@{precision}"
    if Path(source).expanduser().exists():
        return OurModel(label, source, load_config(source), precision=precision)
    try:
        entry: ModelEntry = find_model(source)
    except UnknownModelError:
        if source.count("/") == 1:
            return OurModel(label, source, precision=precision)
        known = [*list_models(), *(PREFIX + peer for peer in PEERS)]
        raise UnknownModelError(
            f"unknown model {name!r}{suggest(source, known)} (`cosmotok models` lists ours; a path or Hub id works "
            f"too; peers are {PREFIX}NAME)"
        ) from None
    label = label.replace(source, entry.name)
    return OurModel(label, entry.name, entry.config, not entry.bundled, precision)


def use_precision(tokenizer: Tokenizer, precision: Any) -> None:
    """Computes in another precision; where no calibration came with the weights, noise serves, as speed needs none."""
    try:
        tokenizer.set_precision(precision)
    except InputError:
        config = tokenizer.config
        side = 8 * config.spatial_factor
        noise = torch.rand(1, 3, 1 + config.chunk * config.temporal_factor, side, side) * 2 - 1
        tokenizer.calibrate([noise])
        tokenizer.set_precision(precision)


def whole_groups(config: TokenizerConfig, clip: Clip) -> Clip:
    frames, height, width = config.grid(clip.frames, clip.height, clip.width)
    return Clip(
        1 + (frames - 1) * config.temporal_factor, height * config.spatial_factor, width * config.spatial_factor
    )
