"""diffusers' autoencoders by name, and as tokenizers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cosmotok.checkpoint import diffusers as exchange
from cosmotok.config import suggest
from cosmotok.errors import CheckpointError, CosmotokError, UnknownModelError
from cosmotok.families.cosmos.model import SEED, CosmosModel
from cosmotok.families.diffusers.peers import PEERS, PREFIX, Peer, import_diffusers
from cosmotok.families.registry import Request
from cosmotok.foreign import one_line, read_json, whole_number
from cosmotok.interface import Clip, Model, NetworkTokenizer
from cosmotok.network import StreamState
from cosmotok.paths import model_path
from cosmotok.spec import TokenizerSpec

__all__ = ["DiffusersModel", "DiffusersTokenizer", "find_diffusers"]

DEEPEST, STAGES = 64, 8
"""Layers of a stage and stages, at most, of a config that is built."""


@dataclass(frozen=True)
class DiffusersModel(Model):
    """An autoencoder of diffusers: with its weights, or of its published shape with random ones."""

    name: str
    peer: Peer
    source: str = ""
    """Folder or Hub id; empty for random weights."""
    subfolder: str = ""
    weights_of: CosmosModel | None = None
    """Whose weights it takes over; of class `AutoencoderKLCosmos` alone."""

    @property
    def twin(self) -> Model | None:
        return self.weights_of

    def beside(self, others: Sequence[Model]) -> Model:
        if self.peer.cls != exchange.CLASS or self.source:
            return self
        fitting = [m for m in others if isinstance(m, CosmosModel) and expressible(m)]
        return replace(self, weights_of=fitting[0]) if fitting else self

    @property
    def config(self) -> dict[str, Any]:
        if self.source:
            with self.found():
                return dict(class_of(self.peer).load_config(self.source, subfolder=self.subfolder or None))
        if self.weights_of is not None:
            return exchange.config_to_diffusers(self.weights_of.config)
        return dict(self.peer.config)

    @property
    def adapted(self) -> Peer:
        """With the compression factors of whose weights it has."""
        if self.weights_of is None:
            return self.peer
        spec = self.weights_of.spec
        return replace(self.peer, time=spec.temporal_factor, space=spec.spatial_factor)

    @cached_property
    def spec(self) -> TokenizerSpec:
        peer = self.adapted
        whole = peer.spec(self.name, 0)
        one = Clip(*whole.size((1, 2, 2)))
        with self.found():
            latents = self.outline().encode(torch.empty(1, 3, one.frames, one.height, one.width, device="meta"))
        return peer.spec(self.name.replace(":", "-").replace("/", "-"), latents.shape[1])

    @property
    def notes(self) -> Sequence[str]:
        own = [self.peer.note] if self.peer.note else []
        if self.weights_of is not None:
            return [f"weights of {self.weights_of.name}", *own]
        return own if self.source else ["random weights", *own]

    @cached_property
    def fingerprint(self) -> str:
        """Of the files where they are in a folder, else the Hub's name for them."""
        digest, folder = hashlib.sha256(), Path(self.source or "no such folder")
        if not folder.is_dir():
            digest.update(f"{self.name} {self.source} {self.subfolder}".encode())
        else:
            for path in sorted((folder / self.subfolder).glob("*")):
                if path.suffix in (".json", ".safetensors", ".bin") and path.is_file():
                    digest.update(os.fsencode(path.name))
                    with path.open("rb") as file:
                        while piece := file.read(2**24):
                            digest.update(piece)
        return digest.hexdigest()[:16]

    def load(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> DiffusersTokenizer:
        kind = class_of(self.peer)
        if self.source:
            with self.found():
                network, loaded = kind.from_pretrained(
                    self.source, subfolder=self.subfolder or None, output_loading_info=True
                )
            if absent := loaded["missing_keys"]:  # which diffusers makes up
                raise CheckpointError(
                    f"{self.source}: {len(absent)} tensors that its config.json asks for are not there, such as "
                    f"{sorted(absent)[0]}; get the files of one model"
                )
        elif self.weights_of is not None:
            network = kind.from_config(self.config)
            network.load_state_dict(exchange.tensors_to_diffusers(self.weights_of.plain().to_checkpoint()))
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(SEED)
                network = kind.from_config(self.config)
        network = network.to(device=torch.device(device or "cpu"), dtype=dtype or torch.float32).eval()
        return DiffusersTokenizer(self.adapted_network(network), self.spec, self.fingerprint)

    def outline(self) -> PeerNetwork:
        kind = class_of(self.peer)
        with torch.device("meta"):
            network = kind.from_config(self.config).eval()
        return self.adapted_network(network.to("meta"))  # constants that were made elsewhere, too

    def adapted_network(self, network: nn.Module) -> PeerNetwork:
        return NETWORKS.get(self.peer.cls, PeerNetwork)(network, self.adapted)

    @contextmanager
    def found(self) -> Iterator[None]:
        """Raises CheckpointError where diffusers does not find the model, or cannot make it of what is there."""
        try:
            yield
        except (CosmotokError, MemoryError):
            raise
        except Exception as error:  # of any class: its code meets a config that nobody has checked
            here = Path(self.source or "no such folder").is_dir()
            raise CheckpointError(
                f"{self.source or self.name}: cannot be loaded ({one_line(error, 300)}); "
                + ("check the folder" if here else f"check the network, or pass {PREFIX}FOLDER")
            ) from None


class DiffusersTokenizer(NetworkTokenizer):
    """An autoencoder of diffusers, loaded. A clip is one step; an image autoencoder gets its frames one by one."""

    def __init__(self, adapted: PeerNetwork, spec: TokenizerSpec, fingerprint: str) -> None:
        self.network, self._adapted, self._spec, self._fingerprint = adapted.network, adapted, spec, fingerprint

    @property
    def spec(self) -> TokenizerSpec:
        return self._spec

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def encode_step(self, frames: Tensor, state: StreamState) -> Tensor:
        state.started = True
        return self._adapted.encode(frames)

    def decode_step(self, tokens: Tensor, state: StreamState) -> Tensor:
        state.started = True
        return self._adapted.decode(tokens)


@dataclass(frozen=True)
class PeerNetwork:
    """How a class of diffusers is called."""

    network: Any
    peer: Peer

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
        latents: Tensor = out.latent_dist.mode() if hasattr(out, "latent_dist") else out[0]  # the only field
        return latents

    def decoded(self, z: Tensor) -> Tensor:
        out = self.network.decode(z)
        video: Tensor = out if isinstance(out, Tensor) else out.sample
        return video


class AllegroNetwork(PeerNetwork):
    """Its encoder and decoder themselves: diffusers has it in large tiles only."""

    def encoded(self, x: Tensor) -> Tensor:
        moments = by_frame(self.network.quant_conv, self.network.encoder(x))
        return moments.chunk(2, dim=1)[0]

    def decoded(self, z: Tensor) -> Tensor:
        video: Tensor = self.network.decoder(by_frame(self.network.post_quant_conv, z))
        return video


class VidTokNetwork(PeerNetwork):
    """Its encoder wants the first group of frames full, as its own `forward` gives it."""

    def encoded(self, x: Tensor) -> Tensor:
        first = x[:, :, :1].expand(-1, -1, self.peer.time * self.peer.latents - 1, -1, -1)
        return super().encoded(torch.cat((first, x), dim=2))


NETWORKS = {"AutoencoderKLAllegro": AllegroNetwork, "AutoencoderVidTok": VidTokNetwork}


def by_frame(convolution: nn.Module, x: Tensor) -> Tensor:
    """A 2-D convolution of each frame of (B, C, T, H, W)."""
    images: Tensor = convolution(x.transpose(1, 2).flatten(0, 1))
    return images.unflatten(0, (len(x), -1)).transpose(1, 2)


def expressible(model: CosmosModel) -> bool:
    """Whether diffusers' class can express a tokenizer, as far as is known before it is loaded."""
    return model.known is not None and not any(exchange.obstacles(model.known).values())


def find_diffusers(request: Request) -> DiffusersModel:
    """`diffusers:NAME` of `PEERS`, or `diffusers:PATH` for a folder or Hub id, which may be a pipeline's.

    Raises:
        UnknownModelError: for what is none, or where no published weights are known and random ones will not do.
        CheckpointError: where there is no autoencoder.
        MissingExtraError: without diffusers.
    """
    name, asked = request.name, request.name[len(PREFIX) :]
    import_diffusers()
    by_lower = {known.lower(): known for known in PEERS}
    path = model_path(asked) if asked else Path()
    if asked.lower() in by_lower:
        peer = PEERS[by_lower[asked.lower()]]
        class_of(peer)
        label = PREFIX + peer.name
        if request.stand_in:
            return DiffusersModel(label, peer)
        if not peer.hub:
            raise UnknownModelError(
                f"{label}: no published weights of diffusers' format are known; give {PREFIX}PATH, a folder or Hub id"
            )
        return DiffusersModel(label, peer, *peer.hub)
    if not asked or (not path.is_dir() and (asked.count("/") != 1 or asked.startswith((".", "/", "~")))):
        raise UnknownModelError(
            f"unknown model {name!r}{suggest(asked, by_lower.values())} (peers are "
            f"{', '.join(PEERS)}; {PREFIX}PATH takes a folder or Hub id)"
        )
    source = str(path) if path.is_dir() else asked
    subfolder, config = published_config(source)
    kinds = {known.cls: known for known in PEERS.values()}
    kind = str(config.get("_class_name", "model of no known class"))
    if kind not in kinds:
        raise UnknownModelError(f"{name}: holds a {one_line(kind)}; expected one of {', '.join(kinds)}")
    peer = kinds[kind]
    class_of(peer)
    try:
        return DiffusersModel(PREFIX + asked, fitted(peer, config), source, subfolder)
    except ValueError as error:
        raise CheckpointError(f"{name}: config.json: {error}; it is no autoencoder's") from None


def published_config(source: str) -> tuple[str, Mapping[str, Any]]:
    """Folder and config of an autoencoder, which may be a pipeline's `vae`."""
    any_class = import_diffusers().AutoencoderKL
    reason = ""
    for subfolder in ("", "vae"):
        try:
            if Path(source).is_dir():
                config = read_json(Path(source) / subfolder / "config.json")
            else:
                config = any_class.load_config(source, subfolder=subfolder or None)
            if not isinstance(config, Mapping):
                raise ValueError("config.json: expected an object")
        except (OSError, ValueError) as error:
            reason = reason or one_line(error, 200)
            continue
        return subfolder, config
    raise CheckpointError(f"{PREFIX}{source}: no config.json of an autoencoder there, nor in vae/ ({reason})")


def fitted(peer: Peer, config: Mapping[str, Any]) -> Peer:
    """`peer` with the compression factors that a config tells.

    Raises:
        ValueError: for factors that none has, or more layers than can be built in a moment.
    """
    for key, value in config.items():
        if "layers" in key or "blocks" in key:
            for number in value if isinstance(value, list) else [value]:
                if isinstance(number, int | float):
                    whole_number(one_line(key), number, 0, DEEPEST)
    time = config.get("temporal_compression_ratio") or config.get("scale_factor_temporal")
    space = config.get("spatial_compression_ratio") or config.get("scale_factor_spatial")
    widths = config.get("block_out_channels") or config.get("encoder_block_out_channels")
    if widths is not None and not (isinstance(widths, list) and 1 <= len(widths) <= STAGES):
        raise ValueError(f"block_out_channels: expected a list of 1 to {STAGES} widths, got {one_line(widths)}")
    if peer.images and widths:
        space = 2 ** (len(widths) - 1)
    found = replace(peer, published="", space=whole_number("spatial factor", space or peer.space, 1, 2**STAGES))
    return found if peer.images else replace(found, time=whole_number("temporal factor", time or peer.time, 1, 64))


def class_of(peer: Peer) -> Any:
    diffusers = import_diffusers()
    found = getattr(diffusers, peer.cls, None)
    if found is None:
        raise UnknownModelError(
            f"{PREFIX}{peer.name}: diffusers {diffusers.__version__} has no {peer.cls}; a newer one may: "
            "pip install -U diffusers"
        )
    return found
