"""Cosmos tokenizers in the published layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cosmotok.checkpoint.reference import to_reference_state_dict
from cosmotok.config import TokenizerConfig
from cosmotok.errors import InputError, UnknownModelError
from cosmotok.families.cosmos.model import CosmosModel, find_cosmos
from cosmotok.families.published import PREFIX
from cosmotok.families.published.layout import PublishedLayout
from cosmotok.families.registry import Request
from cosmotok.interface import Model, NetworkTokenizer
from cosmotok.network import StreamState
from cosmotok.spec import TokenizerSpec

__all__ = ["LayoutTokenizer", "PublishedModel", "find_published"]


@dataclass(frozen=True)
class PublishedModel(Model):
    """A Cosmos tokenizer, computed as the published code does."""

    name: str
    weights_of: CosmosModel
    """Whose weights it has."""

    @property
    def twin(self) -> Model:
        return self.weights_of

    @property
    def spec(self) -> TokenizerSpec:
        self.check(self.weights_of.config)
        return published_spec(self.weights_of.config)

    @property
    def notes(self) -> Sequence[str]:
        return [f"weights of {self.weights_of.name}", *self.weights_of.notes]

    def beside(self, others: Sequence[Model]) -> Model:
        same = [m for m in others if isinstance(m, CosmosModel) and m.source == self.weights_of.source]
        return replace(self, weights_of=same[0]) if same else self

    def load(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> LayoutTokenizer:
        tokenizer = self.weights_of.plain()
        for half in ("encoder", "decoder"):
            tokenizer.require(half)
        self.check(tokenizer.config)
        network = PublishedLayout(tokenizer.config)
        network.load_state_dict(to_reference_state_dict(tokenizer.to_checkpoint().tensors, tokenizer.config))
        return LayoutTokenizer(network.to(device, dtype).eval(), tokenizer.config, tokenizer.fingerprint)

    def outline(self) -> PublishedOutline:
        config = self.weights_of.config
        self.check(config)
        with torch.device("meta"):
            return PublishedOutline(PublishedLayout(config), config)

    def check(self, config: TokenizerConfig) -> None:
        """Raises InputError for what the published code cannot express."""
        if config.linear_shortcut:
            raise InputError(f"{self.name}: the published code has no linear shortcut, which {config.variant} has")


def published_spec(config: TokenizerConfig) -> TokenizerSpec:
    """That of a tokenizer which takes whole clips."""
    return replace(config.spec, chunk=None if config.kind == "video" else config.chunk)


@dataclass(frozen=True)
class PublishedOutline:
    """The network by itself; images one by one."""

    network: PublishedLayout
    config: TokenizerConfig

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        if self.config.kind == "video":
            return self.network.encode(video)
        return torch.stack([self.network.encode(image) for image in video.unbind(2)], dim=self.config.spec.time_axis)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        if self.config.kind == "video":
            return self.network.decode(latents)
        return torch.stack([self.network.decode(z) for z in latents.unbind(self.config.spec.time_axis)], dim=2)


class LayoutTokenizer(NetworkTokenizer):
    """A network in the published layout, loaded; clips are computed in one piece."""

    def __init__(self, network: PublishedLayout, config: TokenizerConfig, fingerprint: str) -> None:
        self.network, self._fingerprint = network, fingerprint
        self._spec, self._whole = published_spec(config), PublishedOutline(network, config)

    @property
    def spec(self) -> TokenizerSpec:
        return self._spec

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def encode_step(self, frames: Tensor, state: StreamState) -> Tensor:
        state.started = True
        return self._whole.encode(frames)

    def decode_step(self, tokens: Tensor, state: StreamState) -> Tensor:
        state.started = True
        return self._whole.decode(tokens)


def find_published(request: Request) -> PublishedModel:
    """`published:NAME`, NAME as that of a Cosmos tokenizer.

    Raises:
        UnknownModelError, InputError: for what is none, or one that the published code cannot express.
    """
    name = request.name
    asked = name[len(PREFIX) :]
    if not asked:
        raise UnknownModelError(f"{name}: expected the name of one of our models behind it, as in {name}CV8x8x8")
    if "@" in asked:
        raise InputError(f"{name}: computes in the dtype of all; leave out @{asked.partition('@')[2]}")
    twin = find_cosmos(replace(request, name=asked))
    model = PublishedModel(PREFIX + twin.name, twin)
    if twin.known is not None:
        model.check(twin.known)
    return model
