"""diffusers' autoencoders as subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cosmotok.checkpoint import diffusers as exchange
from cosmotok.config import suggest
from cosmotok.errors import CheckpointError, UnknownModelError
from cosmotok.subjects.interface import SEED, Clip, Codec
from cosmotok.subjects.ours import OurModel
from cosmotok.subjects.peers import PEERS, PREFIX, Peer, import_diffusers

__all__ = ["PeerModel", "peer"]


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
        latents: Tensor = out.latent_dist.mode() if hasattr(out, "latent_dist") else out[0]  # the only field
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
