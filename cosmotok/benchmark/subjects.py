"""What is measured: our tokenizers and diffusers' autoencoders behind one small interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cosmotok.benchmark.peers import PEERS, Clip, Peer, import_diffusers
from cosmotok.build import build_network
from cosmotok.checkpoint import diffusers as exchange
from cosmotok.checkpoint.find import load_checkpoint
from cosmotok.config import ModelEntry, TokenizerConfig, find_model, list_models, suggest
from cosmotok.errors import CheckpointError, InputError, UnknownModelError
from cosmotok.tokenizer import Tokenizer

__all__ = ["Codec", "OurModel", "PeerModel", "Subject", "find_subjects"]

PREFIX = "diffusers:"
PRECISIONS = ("float32", "int8")
SEED = 0
"""Of random weights: whoever builds a model again gets the same ones."""


class Codec(Protocol):
    """A model that is loaded, or that has only shapes, on PyTorch's "meta" device."""

    @property
    def network(self) -> nn.Module: ...

    @property
    def notes(self) -> Sequence[str]:
        """Remarks for whoever reads the numbers."""

    def takes(self, clip: Clip) -> Clip:
        """The smallest clip that it takes and that contains `clip`."""

    def encode(self, video: Tensor) -> Tensor:
        """(1, 3, T, H, W) in [-1, 1] to latents or indices."""

    def decode(self, latents: Tensor) -> Tensor:
        """What `encode` gave, to (1, 3, T, H, W)."""


class Subject(Protocol):
    """A model by its name; can be sent to the process that builds it."""

    @property
    def name(self) -> str: ...

    def build(self, device: str, dtype: torch.dtype) -> Codec:
        """With weights, ready to run."""

    def on_meta(self) -> Codec:
        """With shapes alone, for counting: its operations are those of the direct algorithms."""


def find_subjects(names: Sequence[str], precision: str = "float32") -> list[Subject]:
    """Subjects by name; nothing is loaded.

    `diffusers:Cosmos` gets the weights of the first of our models that it can express, so that their outputs can be
    compared.

    Args:
        names: ours as `Tokenizer.from_pretrained` takes them, also with `@int8` behind; `diffusers:NAME`, or
            `diffusers:PATH` for a folder or Hub id.
        precision: of ours that say none.

    Raises:
        UnknownModelError, InputError: for a name that nothing has, or no names.
        MissingExtraError: for peers without diffusers.
    """
    if not names:
        raise InputError("models: expected at least one name such as CV8x8x8 or diffusers:Wan")
    subjects: list[Subject] = [
        peer(name) if name.lower().startswith(PREFIX) else ours(name, precision) for name in names
    ]
    for name in (subject.name for subject in subjects):
        if [subject.name for subject in subjects].count(name) > 1:
            raise InputError(f"models: {name} is named twice")
    expressible = [subject for subject in subjects if isinstance(subject, OurModel) and subject.has_twin]
    if not expressible:
        return subjects
    return [
        replace(subject, twin=expressible[0]) if isinstance(subject, PeerModel) and subject.may_be_twin else subject
        for subject in subjects
    ]


# Ours -----------------------------------------------------------------------------------------------------------------


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
        if self.precision != "float32":
            use_precision(tokenizer, self.precision)
        return OurCodec(tokenizer, notes)

    def on_meta(self) -> Codec:
        config = self.config or load_checkpoint(self.source).config
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
        return OurModel(label, source, load_checkpoint(source).config, precision=precision)
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


# Peers ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PeerModel:
    """An autoencoder of diffusers: of its published shape with random weights, or loaded."""

    name: str
    peer: Peer
    source: str = ""
    """Folder or Hub id; empty for random weights."""
    subfolder: str = ""
    twin: OurModel | None = None
    """Whose weights it takes over; of class `AutoencoderKLCosmos` alone."""

    @property
    def may_be_twin(self) -> bool:
        return self.peer.cls == exchange.CLASS and not self.source

    def build(self, device: str, dtype: torch.dtype) -> Codec:
        kind = class_of(self.peer)
        if self.source:
            model = kind.from_pretrained(self.source, subfolder=self.subfolder or None)
            notes = []
        elif self.twin is not None:
            checkpoint = self.twin.tokenizer().to_checkpoint()
            model = kind.from_config(self.config)
            model.load_state_dict(exchange.tensors_to_diffusers(checkpoint))
            notes = [f"weights of {self.twin.name}"]
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(SEED)
                model = kind.from_config(self.config)
            notes = ["random weights"]
        return self.codec(model.to(device=device, dtype=dtype).eval(), notes)

    def on_meta(self) -> Codec:
        kind = class_of(self.peer)
        with torch.device("meta"):
            model = kind.from_config(self.config).eval()
        return self.codec(model.to("meta"))  # constants that were made elsewhere, too

    def codec(self, model: nn.Module, notes: Sequence[str] = ()) -> PeerCodec:
        return CODECS.get(self.peer.cls, PeerCodec)(
            model, self.adapted, [*notes, *([self.peer.note] if self.peer.note else [])]
        )

    @property
    def config(self) -> dict[str, Any]:
        if self.source:
            return dict(class_of(self.peer).load_config(self.source, subfolder=self.subfolder or None))
        if self.twin is not None and self.twin.config is not None:
            return exchange.config_to_diffusers(self.twin.config)
        return dict(self.peer.config)

    @property
    def adapted(self) -> Peer:
        """With the compression factors of its twin."""
        if self.twin is None or self.twin.config is None:
            return self.peer
        return replace(self.peer, time=self.twin.config.temporal_factor, space=self.twin.config.spatial_factor)


@dataclass(frozen=True)
class PeerCodec:
    network: Any
    peer: Peer
    notes: Sequence[str] = ()

    def takes(self, clip: Clip) -> Clip:
        return self.peer.takes(clip)

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        if self.peer.images:
            return torch.stack([self.encoded(image) for image in video.unbind(2)], dim=2)
        return self.encoded(video)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        if self.peer.images:
            return torch.stack([self.decoded(image) for image in latents.unbind(2)], dim=2)
        return self.decoded(latents)

    def encoded(self, x: Tensor) -> Tensor:
        out = self.network.encode(x)
        latents: Tensor = out.latent_dist.mode() if hasattr(out, "latent_dist") else out.latent
        return latents

    def decoded(self, z: Tensor) -> Tensor:
        out = self.network.decode(z)
        video: Tensor = out if isinstance(out, Tensor) else out.sample
        return video


class AllegroCodec(PeerCodec):
    """Its encoder and decoder themselves: diffusers has it in large tiles only."""

    def encoded(self, x: Tensor) -> Tensor:
        moments = by_frame(self.network.quant_conv, self.network.encoder(x))
        return moments.chunk(2, dim=1)[0]

    def decoded(self, z: Tensor) -> Tensor:
        video: Tensor = self.network.decoder(by_frame(self.network.post_quant_conv, z))
        return video


class VidTokCodec(PeerCodec):
    """Its encoder wants the first group of frames full, as its own `forward` gives it."""

    def encoded(self, x: Tensor) -> Tensor:
        first = x[:, :, :1].expand(-1, -1, self.peer.group - 1, -1, -1)
        return super().encoded(torch.cat((first, x), dim=2))


CODECS = {"AutoencoderKLAllegro": AllegroCodec, "AutoencoderVidTok": VidTokCodec}


def by_frame(convolution: nn.Module, x: Tensor) -> Tensor:
    """A 2-D convolution of each frame of (1, C, T, H, W)."""
    images: Tensor = convolution(x[0].transpose(0, 1))
    return images.transpose(0, 1).unsqueeze(0)


def peer(name: str) -> PeerModel:
    asked = name[len(PREFIX) :]
    import_diffusers()
    by_lower = {known.lower(): known for known in PEERS}
    if asked.lower() in by_lower:
        found = PEERS[by_lower[asked.lower()]]
        class_of(found)
        return PeerModel(PREFIX + found.name, found)
    path = Path(asked).expanduser()
    if not path.is_dir() and asked.count("/") != 1:
        raise UnknownModelError(
            f"unknown model {name!r}{suggest(asked, by_lower.values())} (peers are "
            f"{', '.join(PEERS)}; {PREFIX}PATH takes a folder or Hub id)"
        )
    source = str(path) if path.is_dir() else asked
    subfolder, config = published_config(source)
    kinds = {known.cls: known for known in PEERS.values()}
    if config.get("_class_name") not in kinds:
        raise UnknownModelError(
            f"{name}: holds a {config.get('_class_name', 'model of no known class')}; expected one of "
            f"{', '.join(kinds)}"
        )
    found = kinds[config["_class_name"]]
    class_of(found)
    return PeerModel(PREFIX + asked, fitted(found, config), source, subfolder)


def published_config(source: str) -> tuple[str, Mapping[str, Any]]:
    """Folder and config of an autoencoder, which may be a pipeline's `vae`."""
    any_class = import_diffusers().AutoencoderKL
    reason = ""
    for subfolder in ("", "vae"):
        try:
            config: Mapping[str, Any] = any_class.load_config(source, subfolder=subfolder or None)
        except (OSError, ValueError) as error:
            reason = reason or str(error).strip().partition("\n")[0]
            continue
        return subfolder, config
    raise CheckpointError(f"{PREFIX}{source}: no config.json of an autoencoder there, nor in vae/ ({reason})")


def fitted(peer: Peer, config: Mapping[str, Any]) -> Peer:
    """`peer` with the compression factors that a config tells."""
    time = config.get("temporal_compression_ratio") or config.get("scale_factor_temporal")
    space = config.get("spatial_compression_ratio") or config.get("scale_factor_spatial")
    widths = config.get("block_out_channels") or config.get("encoder_block_out_channels")
    if peer.images and widths:
        space = 2 ** (len(widths) - 1)
    found = replace(peer, published="", space=int(space or peer.space))
    return found if peer.images else replace(found, time=int(time or peer.time))


def class_of(peer: Peer) -> Any:
    diffusers = import_diffusers()
    found = getattr(diffusers, peer.cls, None)
    if found is None:
        raise UnknownModelError(
            f"{PREFIX}{peer.name}: diffusers {diffusers.__version__} has no {peer.cls}; a newer one may: "
            "pip install -U diffusers"
        )
    return found
