"""Our models in the published layout as subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cosmotok.checkpoint.reference import to_reference_state_dict
from cosmotok.config import TokenizerConfig
from cosmotok.errors import InputError, UnknownModelError
from cosmotok.subjects.interface import Clip, Codec
from cosmotok.subjects.ours import OurModel, ours, whole_groups
from cosmotok.subjects.published_layout import PublishedLayout

__all__ = ["PUBLISHED_PREFIX", "PublishedModel", "published"]

PUBLISHED_PREFIX = "published:"


@dataclass(frozen=True)
class PublishedModel:
    """A model of ours, computed as the published code does."""

    name: str
    twin: OurModel
    """Whose weights it has."""

    def build(self, device: str, dtype: torch.dtype) -> Codec:
        tokenizer = self.twin.tokenizer()
        for half in ("encoder", "decoder"):
            tokenizer.require(half)
        self.check(tokenizer.config)
        network = PublishedLayout(tokenizer.config)
        network.load_state_dict(to_reference_state_dict(tokenizer.to_checkpoint().tensors, tokenizer.config))
        notes = [f"weights of {self.twin.name}", *(["random weights"] if self.twin.random else [])]
        return PublishedCodec(network.to(device, dtype).eval(), tokenizer.config, notes)

    def on_meta(self) -> Codec:
        config = self.twin.load_config()
        self.check(config)
        with torch.device("meta"):
            return PublishedCodec(PublishedLayout(config), config)

    def check(self, config: TokenizerConfig) -> None:
        if config.linear_shortcut:
            raise InputError(f"{self.name}: the published code has no linear shortcut, which {config.variant} has")


@dataclass(frozen=True)
class PublishedCodec:
    network: PublishedLayout
    config: TokenizerConfig
    notes: Sequence[str] = ()

    def takes(self, clip: Clip) -> Clip:
        return whole_groups(self.config, clip)

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        if self.config.kind == "video":
            return self.network.encode(video)
        images = [self.network.encode(image) for image in video.unbind(2)]
        return torch.stack(images, dim=self.config.time_axis)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        if self.config.kind == "video":
            return self.network.decode(latents)
        return torch.stack([self.network.decode(image) for image in latents.unbind(self.config.time_axis)], dim=2)


def published(name: str) -> PublishedModel:
    """`published:NAME`, NAME as that of a model of ours.

    Raises:
        UnknownModelError, InputError: for what is none, or one that the published code cannot express.
    """
    asked = name[len(PUBLISHED_PREFIX) :]
    if not asked:
        raise UnknownModelError(f"{name}: expected the name of one of our models behind it, as in {name}CV8x8x8")
    if "@" in asked:
        raise InputError(f"{name}: computes in the dtype of all; leave out @{asked.partition('@')[2]}")
    twin = ours(asked, "float32")
    model = PublishedModel(PUBLISHED_PREFIX + twin.name, twin)
    if twin.config is not None:
        model.check(twin.config)
    return model
