"""What a tokenizer is to everything above it: `Model`, by its name, and `BaseTokenizer`, loaded and ready to run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from cosmotok.checks import check_size, check_tensor, check_tokens
from cosmotok.devices import synchronize
from cosmotok.errors import CheckpointError, InputError
from cosmotok.network import StreamState
from cosmotok.spec import TokenizerSpec
from cosmotok.streaming import StreamDecoder, StreamEncoder

__all__ = ["BaseTokenizer", "Clip", "DamagedModel", "Model", "NetworkTokenizer", "Outline", "to_dtype"]


class BaseTokenizer(ABC):
    """`encode`, `decode`, `reconstruct`, and the same as streams, over the two steps that a tokenizer has to offer.

    Videos are (B, 3, T, H, W), images (B, 3, H, W) or videos with T = 1; floating point in [-1, 1], or uint8 in
    0..255. Any H, W >= 1 and T >= 1: right and bottom edges are replicated up to a multiple of the spatial factor, and
    the last frame repeated to fill the last group. Nothing tracks gradients, and autocast is left out of account.
    """

    @property
    @abstractmethod
    def spec(self) -> TokenizerSpec:
        """Factors, tokens and schedule."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Tells whose tokens a file holds: changes with whatever changes them."""

    @property
    def device(self) -> torch.device:
        """Where results are."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Of latents and decoded frames."""
        return torch.float32

    @property
    def parameters(self) -> int:
        """How many numbers it has learned."""
        return 0

    @property
    def arithmetic(self) -> str:
        """What results depend on besides the weights: "float32", "int8" and so on."""
        return str(self.dtype).removeprefix("torch.")

    def require(self, half: str) -> None:  # noqa: B027 - most have both
        """Raises CheckpointError unless the "encoder" or "decoder" is here."""

    @abstractmethod
    def encode_step(self, frames: Tensor, state: StreamState) -> Tensor:
        """One step of a stream to tokens.

        Args:
            frames: (B, 3, T, H, W) in [-1, 1] on this device and in this dtype; whole groups, H and W multiples of the
                spatial factor.
            state: of the stream; `started` is to be set, and what later steps depend on kept there.

        Returns:
            Latents (B, C, T', H', W') or int32 indices (B, T', H', W').
        """

    @abstractmethod
    def decode_step(self, tokens: Tensor, state: StreamState) -> Tensor:
        """One step of a stream from tokens as `encode_step` gives them, to frames (B, 3, T, H, W)."""

    # Whole clips -------------------------------------------------------------------------------------------------

    def encode(self, video: Tensor, *, attention_context: int | None = None) -> Tensor:
        """A clip or image to tokens.

        Args:
            video: (B, 3, T, H, W), or images (B, 3, H, W); floating point in [-1, 1] or uint8 in 0..255.
            attention_context: latent frames that temporal attention looks back on; None for all, as published.

        Returns:
            Latents (B, C, T', H', W') of this tokenizer's dtype, or int32 indices (B, T', H', W');
            without T' for 4-D images. T' = 1 + ceil((T - 1) / temporal_factor).

        Raises:
            InputError: for a wrong rank, dtype or range, or no frames.
        """
        check_tensor("video", video)
        if video.ndim == 4:
            tokens = self.encode(video.unsqueeze(2), attention_context=attention_context)
            return tokens.squeeze(self.spec.time_axis)
        if video.ndim == 5 and video.shape[2] == 0:
            raise InputError("video: expected at least one frame, got T=0")
        return self.stream_encoder(attention_context=attention_context).flush(video)

    def decode(
        self,
        tokens: Tensor,
        size: tuple[int, ...] | None = None,
        *,
        attention_context: int | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Tokens to a clip or image.

        Args:
            tokens: latents (B, C, T', H', W') or indices (B, T', H', W'); without T' for images.
            size: (T, H, W), or (H, W) for images, of what was encoded: crops the padding away.
            attention_context: as in `encode`.
            out: where to write the frames step by step, of the result's shape; on any device: pinned memory of the host
                lets a GPU compute meanwhile. With dtype uint8 they are 0..255.

        Returns:
            (B, 3, T, H, W), or (B, 3, H, W) for tokens without T'; in about [-1, 1], not clipped.

        Raises:
            InputError: for a wrong rank, dtype, range or size.
        """
        check_tensor("tokens", tokens)
        if out is not None:
            check_tensor("out", out)
        spec, axis = self.spec, self.spec.time_axis
        if tokens.ndim == axis + 2:
            whole = spec.size((1, tokens.shape[-2], tokens.shape[-1]))[1:] if size is None else size
            clip_size = (1, *whole) if isinstance(whole, Sequence) and len(whole) == 2 else whole
            if isinstance(clip_size, Sequence) and len(clip_size) == 3 and clip_size[0] != 1:
                raise InputError(f"size={size}: expected (H, W), or T = 1: tokens without T' are those of an image")
            frame = None if out is None else out.unsqueeze(2)
            tokens = tokens.unsqueeze(axis)
            return self.decode(tokens, clip_size, attention_context=attention_context, out=frame).squeeze(2)
        check_tokens(tokens, spec)
        if tokens.shape[axis] == 0:
            raise InputError("tokens: expected at least one latent frame, got T'=0")
        grid = (tokens.shape[axis], tokens.shape[-2], tokens.shape[-1])
        frames, height, width = check_size(spec.size(grid) if size is None else size, grid, spec)
        decoder = self.stream_decoder(attention_context=attention_context, size=(height, width))
        shape = tokens.shape[0], 3, frames, height, width
        video = torch.empty(shape, dtype=self.dtype, device=self.device) if out is None else out
        if video.shape != shape or not (video.is_floating_point() or video.dtype == torch.uint8):
            raise InputError(f"out: expected {shape}, floating point or uint8, got {tuple(video.shape)}, {video.dtype}")
        done = 0
        for part in decoder.drain(tokens):
            place = video[:, :, done : done + part.shape[2]]
            done += place.shape[2]
            place.copy_(to_dtype(part[:, :, : place.shape[2]], video.dtype), non_blocking=True)
        synchronize(self.device)  # the copies may be under way still
        return video

    def reconstruct(self, video: Tensor) -> Tensor:
        """`decode(encode(video))`, of the same shape as `video`."""
        return self.decode(self.encode(video), size=tuple(video.shape[2:]))

    # Streams -----------------------------------------------------------------------------------------------------

    def stream_encoder(self, *, attention_context: int | None = None) -> StreamEncoder:
        """Starts a stream of frames to tokens; see `StreamEncoder`."""
        self.require("encoder")
        return StreamEncoder(self, attention_context)

    def stream_decoder(
        self, *, attention_context: int | None = None, size: tuple[int, int] | None = None
    ) -> StreamDecoder:
        """Starts a stream of tokens to frames, cropped to `size` (H, W) if given; see `StreamDecoder`."""
        self.require("decoder")
        return StreamDecoder(self, attention_context, size)


class NetworkTokenizer(BaseTokenizer):
    """One that is a torch module: it is where that is."""

    network: Any

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.network.parameters()).dtype

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.network.parameters())


@dataclass(frozen=True)
class Clip:
    """The size of a clip, or of an image, which has one frame."""

    frames: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.frames}x{self.width}x{self.height}"

    @property
    def pixels(self) -> int:
        """Of one frame."""
        return self.height * self.width


class Outline(Protocol):
    """A network of shapes alone, on PyTorch's "meta" device, to count parameters and operations of whole clips."""

    @property
    def network(self) -> nn.Module: ...

    def encode(self, video: Tensor) -> Tensor: ...

    def decode(self, latents: Tensor) -> Tensor: ...


class Model(ABC):
    """A tokenizer by its name: what is known of it without its weights. It can be sent to the process that loads it."""

    name: str
    linear: ClassVar[bool] = False
    """A linear transform: what any network has to do better than."""

    @property
    @abstractmethod
    def spec(self) -> TokenizerSpec:
        """May read, or download, what it takes to know it, but no weights.

        Raises:
            CosmotokError: where that cannot be had.
        """

    @abstractmethod
    def load(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> BaseTokenizer:
        """With weights, ready to run; on the CPU in float32 unless given.

        Raises:
            CosmotokError: where weights or a package are missing; says which.
        """

    @property
    def parameters(self) -> int | None:
        """How many numbers it has learned; None where only loading it tells."""
        outline = self.outline()
        return None if outline is None else sum(p.numel() for p in outline.network.parameters())

    @property
    def notes(self) -> Sequence[str]:
        """Remarks for whoever reads figures of it, such as "random weights"."""
        return ()

    @property
    def twin(self) -> Model | None:
        """Whose weights it has, where that is another model: then their outputs should agree."""
        return None

    def beside(self, others: Sequence[Model]) -> Model:
        """This model as it is compared with `others`: with the weights of one of them, where it can express them."""
        return self

    def outline(self) -> Outline | None:
        """Its operations in their direct algorithms; None for a model that is no network."""
        return None

    def facts(self) -> dict[str, Any]:
        """What `cosmotok info` tells of it."""
        spec = self.spec
        tokens = {"vocab_size": spec.vocab_size} if spec.is_discrete else {"latent_channels": spec.latent_channels}
        return {"kind": spec.kind, "compression": spec.shape, **tokens, "streams": spec.streams}

    def taken(self, clip: Clip) -> Clip:
        """The smallest clip that it takes without padding and that contains `clip`."""
        return Clip(*self.spec.size(self.spec.grid(clip.frames, clip.height, clip.width)))


@dataclass(frozen=True)
class DamagedModel(Model):
    """In the place of one whose files are wrong, where other models go on without it: says so when it is asked."""

    name: str
    reason: str

    @property
    def spec(self) -> TokenizerSpec:
        raise CheckpointError(self.reason)

    def load(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> BaseTokenizer:
        raise CheckpointError(self.reason)


def to_dtype(video: Tensor, dtype: torch.dtype) -> Tensor:
    """Frames in [-1, 1] as another dtype; in 0..255 as uint8."""
    if dtype != torch.uint8:
        return video
    return video.float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
