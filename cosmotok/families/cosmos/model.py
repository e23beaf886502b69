"""Cosmos tokenizers by name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from multiprocessing import parent_process
from typing import Any

import torch
from torch import Tensor

from cosmotok.build import build_network
from cosmotok.checkpoint.load import load_config
from cosmotok.config import ModelEntry, TokenizerConfig, find_model, suggest
from cosmotok.errors import InputError, UnknownModelError
from cosmotok.families.registry import Request, known_names
from cosmotok.interface import Model
from cosmotok.paths import model_path
from cosmotok.spec import TokenizerSpec
from cosmotok.tokenizer import Tokenizer

__all__ = ["CosmosModel", "find_cosmos"]

log = logging.getLogger(__name__)

PRECISIONS = ("float32", "int8", "compiled")
"""How a Cosmos tokenizer computes; "float32" and "compiled" in its dtype, the latter through `torch.compile`."""

SEED = 0
"""Of random weights: whoever builds a model again gets the same ones."""


@dataclass(frozen=True)
class CosmosModel(Model):
    """A Cosmos tokenizer by its name."""

    name: str
    source: str
    """As `Tokenizer.from_pretrained` takes it."""
    known: TokenizerConfig | None = None
    """Its config, where no file or download is needed to tell."""
    variant: str | None = None
    precision: str = "float32"
    stand_in: bool = False
    """Whether noise may serve for calibration, and if `random` for the weights."""
    random: bool = False

    @cached_property
    def config(self) -> TokenizerConfig:
        return self.known or load_config(self.source, variant=self.variant)

    @property
    def spec(self) -> TokenizerSpec:
        return self.config.spec

    @property
    def notes(self) -> Sequence[str]:
        return ["random weights"] if self.random else []

    def plain(self) -> Tokenizer:
        """On the CPU in float32."""
        if not self.random:
            return Tokenizer.from_pretrained(self.source, variant=self.variant)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return Tokenizer(self.config)

    def load(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> Tokenizer:
        tokenizer = self.plain().to(device, dtype)
        if self.precision == "compiled":
            return tokenizer.compile()
        if self.precision == "int8":
            return with_integers(tokenizer, self.stand_in)
        return tokenizer

    def outline(self) -> CosmosOutline:
        with torch.device("meta"):
            return CosmosOutline(build_network(self.config))

    def facts(self) -> dict[str, Any]:
        tokenizer = self.plain()
        return {
            "parameters": tokenizer.parameters,
            "fingerprint": tokenizer.fingerprint,
            "halves": [half for half in ("encoder", "decoder") if half in tokenizer.halves],
            **tokenizer.config.to_dict(),
        }


@dataclass(frozen=True)
class CosmosOutline:
    """The network by itself, whole clips at once, codes of FSQ in place of indices."""

    network: Any

    def encode(self, video: Tensor) -> Tensor:
        latents: Tensor = self.network.encode(video)
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        video: Tensor = self.network.decode(latents)
        return video


def find_cosmos(request: Request) -> CosmosModel:
    """A name as `Tokenizer.from_pretrained` takes it, also with `@int8` or `@compiled` behind.

    Raises:
        UnknownModelError: where nothing goes by that name; suggests the nearest of all families.
        InputError: for another precision.
    """
    name = request.name
    source, _, asked = name.partition("@")
    if model_path(name).exists():  # a path may hold an @
        source, asked = name, ""
    if asked and request.precision not in (None, asked):
        raise InputError(f"{name}: asks for {asked}, and --precision for {request.precision}; leave one of them out")
    precision = asked or request.precision or "float32"
    label = source if precision == "float32" else f"{source}@{precision}"
    model = CosmosModel(label, source, None, request.variant, precision, request.stand_in)
    if not model_path(source).exists():
        model = by_name(model, name)
    if precision not in PRECISIONS:
        raise InputError(f"{name}: precision {precision!r}: expected {' or '.join(PRECISIONS)}")
    if precision == "compiled" and parent_process() is None:  # not once more in each worker
        announce_compiling(label)
    return model


@cache
def announce_compiling(label: str) -> None:
    """Says, once for each model, why nothing seems to happen."""
    log.warning("%s: compiling ... at its first steps and for each new size, which may take minutes", label)


def by_name(model: CosmosModel, asked: str) -> CosmosModel:
    """`model`, whose source is no path here, as far as its name tells."""
    source = model.source
    try:
        entry: ModelEntry = find_model(source)
    except UnknownModelError:
        if source.count("/") == 1 or source.startswith((".", "/", "~")):
            return model
        without_prefix = [known for known in known_names() if known.lower().endswith(f":{source.lower()}")]
        hint = f"; did you mean {without_prefix[0]}?" if without_prefix else suggest(source, known_names())
        raise UnknownModelError(
            f"unknown model {asked!r}{hint} (`cosmotok models` lists all; a path or Hub id works too)"
        ) from None
    known = entry.config if model.variant is None else None
    random = model.stand_in and not entry.bundled
    return replace(model, name=model.name.replace(source, entry.name), source=entry.name, known=known, random=random)


def with_integers(tokenizer: Tokenizer, stand_in: bool) -> Tokenizer:
    """Computing in int8; where no calibration came with the weights, noise may serve, as speed needs no better."""
    try:
        return tokenizer.set_precision("int8")
    except InputError:
        if not stand_in or tokenizer.calibration is not None:
            raise
    config = tokenizer.config
    side = 8 * config.spatial_factor
    tokenizer.calibrate([torch.rand(1, 3, 1 + config.chunk * config.temporal_factor, side, side) * 2 - 1])
    return tokenizer.set_precision("int8")
