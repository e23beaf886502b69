"""Our tokenizers and diffusers' autoencoders as contestants."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cosmotok.checkpoint.load import load_config
from cosmotok.config import TokenizerConfig
from cosmotok.errors import CheckpointError
from cosmotok.evaluation.contestants import Source, Tally, Traits
from cosmotok.evaluation.streams import streamed
from cosmotok.metrics.codes import CodeUsage
from cosmotok.pipeline import ATTENTION_CONTEXT, to_pixels
from cosmotok.subjects import Clip, Codec, OurModel, PeerModel
from cosmotok.subjects.peers import PREFIX
from cosmotok.tokenizer import Tokenizer

__all__ = ["LATENT_BITS", "PUBLISHED", "WINDOW", "PeerTokenizer", "StreamTokenizer"]

LATENT_BITS = 16
"""That a channel of a latent vector counts: half precision, as token files have it."""

WINDOW = 49
"""Frames of a clip that a video autoencoder of diffusers holds at once; longer clips come in several windows."""

PUBLISHED = {
    "Cosmos": ("nvidia/Cosmos-1.0-Diffusion-7B-Text2World", "vae"),
    "CogVideoX": ("THUDM/CogVideoX-2b", "vae"),
    "Wan": ("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "vae"),
    "LTX": ("Lightricks/LTX-Video", "vae"),
    "Hunyuan": ("hunyuanvideo-community/HunyuanVideo", "vae"),
    "Mochi": ("genmo/mochi-1-preview", "vae"),
    "Allegro": ("rhymes-ai/Allegro", "vae"),
    "DC-AE": ("mit-han-lab/dc-ae-f32c32-sana-1.0-diffusers", ""),
    "SD": ("stabilityai/sd-vae-ft-mse", ""),
    "FLUX": ("black-forest-labs/FLUX.1-schnell", "vae"),
    "TAESD": ("madebyollin/taesd", ""),
}
"""Hub repository and folder of the weights that a peer's name stands for."""

CAUSAL = frozenset(
    {
        "AutoencoderKLCosmos",
        "AutoencoderKLCogVideoX",
        "AutoencoderKLWan",
        "AutoencoderKLHunyuanVideo",
        "AutoencoderKLMochi",
        "AutoencoderVidTok",
    }
)
"""Classes whose papers call both halves causal. LTX-Video's encoder is, its decoder is not; Allegro is in neither."""


@dataclass(frozen=True)
class StreamTokenizer:
    """A tokenizer of ours; clips of any length go through it as a stream."""

    model: OurModel
    dtype: str = "float32"

    @property
    def name(self) -> str:
        return self.model.name

    @cached_property
    def config(self) -> TokenizerConfig:
        return self.model.config or load_config(self.model.source)

    @property
    def traits(self) -> Traits:
        config = self.config
        is_video = config.kind == "video"
        network = replace(self.model, config=config).on_meta().network
        return Traits(
            family="tokenizer",
            image=True,
            video=is_video,
            causal=is_video,
            streaming=is_video,
            space=config.spatial_factor,
            time=config.temporal_factor,
            channels=None if config.is_discrete else config.latent_channels,
            vocab_size=config.vocab_size,
            parameters=sum(p.numel() for p in network.parameters()),
            note=f"temporal attention looks back on {ATTENTION_CONTEXT} latent frames" if is_video else "",
        )

    def load(self, device: str) -> StreamReconstructor:
        # not by OurModel.build, for which noise would do as weights and as calibration
        tokenizer = Tokenizer.from_pretrained(
            self.model.source,
            device=device,
            dtype=getattr(torch, self.dtype),
            precision="int8" if self.model.precision == "int8" else "float32",
        )
        if self.model.precision == "compiled":
            tokenizer.compile()
        return StreamReconstructor(tokenizer, f"{self.model.precision} {self.dtype}")


@dataclass(frozen=True)
class StreamReconstructor:
    tokenizer: Tokenizer
    how: str
    """It computes."""

    @property
    def fingerprint(self) -> str:
        """Of the weights, and how they compute."""
        return f"{self.tokenizer.fingerprint} {self.how}"

    def reconstruct(self, frames: Iterable[np.ndarray], source: Source, tally: Tally) -> Iterator[np.ndarray]:
        vocab_size = self.tokenizer.config.vocab_size
        codes = None if vocab_size is None else CodeUsage(vocab_size)
        bits = 0.0

        def count(tokens: Tensor) -> None:
            nonlocal bits
            if codes is None:
                bits += LATENT_BITS * tokens.numel()
            else:
                codes.update(tokens)
                bits += math.log2(codes.vocab_size) * tokens.numel()

        yield from streamed(self.tokenizer, frames, count)
        tally.bits, tally.codes = bits, codes


@dataclass(frozen=True)
class PeerTokenizer:
    """An autoencoder of diffusers with its weights; it gets whole clips, or windows of long ones."""

    model: PeerModel
    dtype: str = "float32"
    window: int = WINDOW

    @property
    def name(self) -> str:
        return self.model.name

    @cached_property
    def traits(self) -> Traits:
        peer = self.model.peer
        with self.found():
            codec = self.model.on_meta()
        one = codec.takes(Clip(1, 2 * peer.space, 2 * peer.space))
        latents = codec.encode(torch.empty(1, 3, one.frames, one.height, one.width, device="meta"))
        notes = [] if peer.images else [f"clips of more than {self.window} frames in windows of so many"]
        return Traits(
            family="tokenizer",
            image=one.frames == 1,
            video=not peer.images,
            causal=peer.cls in CAUSAL,
            streaming=False,
            space=peer.space,
            time=peer.time,
            channels=latents.shape[1],
            parameters=sum(p.numel() for p in codec.network.parameters()),
            note="; ".join([*notes, *([peer.note] if peer.note else [])]),
        )

    @cached_property
    def fingerprint(self) -> str:
        """Of the files where they are in a folder, else the Hub's name for them."""
        folder = Path(self.model.source)
        if not folder.is_dir():
            return f"{self.model.source} {self.dtype} {self.window}"
        digest = hashlib.sha256()
        for path in sorted((folder / self.model.subfolder).glob("*")):
            if path.suffix in (".json", ".safetensors", ".bin"):
                digest.update(path.name.encode())
                digest.update(path.read_bytes())
        return f"{digest.hexdigest()[:16]} {self.dtype} {self.window}"

    def load(self, device: str) -> PeerReconstructor:
        dtype = getattr(torch, self.dtype)
        with self.found():
            codec = self.model.build(device, dtype)
        return PeerReconstructor(codec, 1 if self.model.peer.images else self.window, device, dtype)

    @contextmanager
    def found(self) -> Iterator[None]:
        """Raises CheckpointError where diffusers does not find the model, or cannot read it."""
        try:
            yield
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"{self.model.source}: cannot be loaded ({reason}); check the network, or pass {PREFIX}FOLDER"
            ) from None


@dataclass(frozen=True)
class PeerReconstructor:
    codec: Codec
    window: int
    device: str
    dtype: torch.dtype

    def reconstruct(self, frames: Iterable[np.ndarray], source: Source, tally: Tally) -> Iterator[np.ndarray]:
        bits, frames = 0, iter(frames)
        while window := list(islice(frames, self.window)):
            video = torch.from_numpy(np.stack(window)).permute(3, 0, 1, 2).unsqueeze(0).to(self.device)
            latents = self.codec.encode(self.padded(video.float().div(127.5).sub(1)).to(self.dtype))
            bits += LATENT_BITS * latents.numel()
            result = self.codec.decode(latents)
            yield from to_pixels(result[:, :, : len(window), : source.height, : source.width])
        tally.bits = bits

    def padded(self, video: Tensor) -> Tensor:
        """(1, 3, T, H, W) grown to what the model takes: right and bottom edges and the last frame are repeated."""
        asked = Clip(*video.shape[2:])
        takes = self.codec.takes(asked)
        right, bottom, after = takes.width - asked.width, takes.height - asked.height, takes.frames - asked.frames
        return F.pad(video, (0, right, 0, bottom, 0, after), mode="replicate")
