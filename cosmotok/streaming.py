"""Encoding and decoding as frames arrive: push some, get what is ready.

A stream is cut into steps that depend on the config alone: the first frame (the first latent) by itself, then
`config.chunk` latent frames at a time. However the frames are pushed, the same steps run, so the result is the
same to the bit, and a whole clip goes through the same loop.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from threading import Lock
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from cosmotok.checks import check_tokens, check_video
from cosmotok.errors import InputError
from cosmotok.foreign import one_line
from cosmotok.network import StreamState
from cosmotok.spec import TokenizerSpec

__all__ = ["StreamDecoder", "StreamEncoder"]


class Steps(Protocol):
    """What a stream needs of a tokenizer: its facts, and one step of the schedule at a time.

    Frames are (B, 3, T, H, W) in [-1, 1] on the tokenizer's device and in its dtype, in whole groups, and H and W are
    multiples of the spatial factor; latents likewise, and indices are int32.
    """

    @property
    def spec(self) -> TokenizerSpec: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def encode_step(self, frames: Tensor, state: StreamState) -> Tensor: ...

    def decode_step(self, tokens: Tensor, state: StreamState) -> Tensor: ...


class _Stream:
    """Collects frames (axis `axis` of the pushed tensors) and hands them out in the steps of the schedule."""

    axis: int

    def __init__(self, tokenizer: Steps, attention_context: int | None) -> None:
        whole = type(attention_context) is int and 1 <= attention_context < 2**31
        if attention_context is not None and not whole:
            raise InputError(
                f"attention_context={one_line(attention_context)}: expected at least 1 latent frame, fewer than 2^31, "
                "or None for all"
            )
        self._tokenizer, self.spec = tokenizer, tokenizer.spec
        self.state = StreamState(attention_context)
        self._pending: deque[Tensor] = deque()
        self._pending_frames = 0
        self._shape: tuple[int, ...] | None = None
        self._dtype: torch.dtype | None = None
        self._flushed = False
        self._failed = False
        self._lock = Lock()

    def _accept(self, data: Tensor) -> None:
        """Checks what was pushed, and takes it; what is refused leaves the stream as it was."""
        raise NotImplementedError

    @contextmanager
    def _turn(self, data: Tensor | None, last: bool = False) -> Iterator[Iterator[Tensor]]:
        """One push, or the flush: takes `data`, and gives the results of the steps that can be made.

        A step that fails has used up frames, and some layers have taken them in, some not: nothing right comes after.
        """
        if not self._lock.acquire(blocking=False):
            raise InputError("this stream is at work in another thread; push from one at a time, or start one for each")
        try:
            if self._failed:
                raise InputError("a step of this stream did not finish, so frames are lost; start a new stream")
            if data is not None:
                self._accept(data)
            if last:
                self._end()
            self._failed = True
            yield self._rest() if last else self._ready()
            self._failed = False
        finally:
            self._lock.release()

    def _add(self, frames: Tensor) -> None:
        if self._flushed:
            raise InputError("push after flush: the stream has ended; start a new one")
        shape = (*frames.shape[: self.axis], *frames.shape[self.axis + 1 :])
        if self._shape is None:
            self._shape = shape
        elif shape != self._shape:
            raise InputError(f"push: expected batch, channels and size {self._shape} as at first, got {shape}")
        if frames.shape[self.axis]:
            # Joined frames would be taken for one dtype, and 0..255 for [-1, 1].
            if self._dtype is None:
                self._dtype = frames.dtype
            elif frames.dtype != self._dtype:
                raise InputError(f"push: expected {self._dtype} as at first, got {frames.dtype}")
            self._pending.append(frames)
            self._pending_frames += frames.shape[self.axis]

    def _keep(self) -> None:
        """Copies what waits of the last push: the caller may use its memory again."""
        if self._pending:
            self._pending[-1] = self._pending[-1].clone()

    def _take(self, count: int) -> Tensor:
        """The next `count` pending frames as one tensor."""
        parts = []
        self._pending_frames -= count
        while count:
            head = self._pending.popleft()
            length = head.shape[self.axis]
            if length > count:
                self._pending.appendleft(head.narrow(self.axis, count, length - count))
                head, length = head.narrow(self.axis, 0, count), count
            parts.append(head)
            count -= length
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=self.axis)

    @property
    def _need(self) -> int:
        """Frames of the next step, where there are that many."""
        raise NotImplementedError

    def _step(self, frames: Tensor) -> Tensor:
        raise NotImplementedError

    def _ready(self) -> Iterator[Tensor]:
        """Results of the steps that have all their frames."""
        while self._pending_frames >= self._need:
            yield self._step(self._take(self._need))
        self._keep()

    def _end(self) -> None:
        if self._flushed:
            raise InputError("flush: the stream has ended already")
        if self._shape is None:
            raise InputError("flush: nothing was pushed")
        self._flushed = True

    def _rest(self) -> Iterator[Tensor]:
        """Results of the remaining steps, where nothing more is to come."""
        while self._pending_frames:
            frames = self._take(min(self._need, self._pending_frames))
            self.state.ends = not self._pending_frames
            yield self._step(frames)


class StreamEncoder(_Stream):
    """Encodes one stream (or a batch of equally long ones). Made by `Tokenizer.stream_encoder`.

    `state` belongs to this object alone, so any number of encoders may share a Tokenizer, from any threads.

    Args:
        attention_context: latent frames that temporal attention may look back on; None (exact, as published) keeps
            all, and memory grows with the stream.
    """

    axis = 2

    def __init__(self, tokenizer: Steps, attention_context: int | None = None) -> None:
        super().__init__(tokenizer, attention_context)
        self.frames = 0
        """Frames pushed so far."""

    def push(self, frames: Tensor) -> Tensor:
        """Takes any number of frames, returns the tokens that are ready.

        Args:
            frames: (B, 3, T, H, W), T >= 0: floating point in [-1, 1], or uint8 in 0..255.

        Returns:
            Latents (B, C, t, H', W') or int32 indices (B, t, H', W'); t may be 0.

        Raises:
            InputError: for a wrong rank, dtype, range or size; after `flush`; after a step that failed, for want of
                memory say; and while another thread is pushing.
        """
        with self._turn(frames) as ready:
            return self._join(list(ready))

    def flush(self, frames: Tensor | None = None) -> Tensor:
        """Ends the stream: repeats the last frame until its group is full, returns the last tokens.

        Args:
            frames: the last ones, as for `push`. Given here rather than there they take less memory: the last step
                then gives back what the stream remembers while it computes.

        Raises:
            InputError: if no frame was ever pushed, or the stream has ended already; and as `push`.
        """
        with self._turn(frames, last=True) as rest:
            return self._join(list(rest))

    def _end(self) -> None:
        if self.frames == 0:
            raise InputError("flush: no frames were pushed")
        super()._end()

    def _accept(self, frames: Tensor) -> None:
        check_video(frames)
        self._add(frames)
        self.frames += frames.shape[2]

    @property
    def _need(self) -> int:
        spec = self.spec
        if spec.chunk is None:
            return sys.maxsize
        return spec.step_frames if self.state.started else spec.first

    def _step(self, frames: Tensor) -> Tensor:
        missing = self.spec.missing(frames.shape[2], self.state.started)
        if missing:
            frames = torch.cat((frames, frames[:, :, -1:].expand(-1, -1, missing, -1, -1)), dim=2)
        frames = frames.to(self._tokenizer.device)
        x = frames.float().div(127.5).sub(1) if frames.dtype == torch.uint8 else frames
        padded = pad_edges(x.to(self._tokenizer.dtype), self.spec.spatial_factor)
        with alone(padded.device):
            return self._tokenizer.encode_step(padded, self.state)

    def _join(self, ready: list[Tensor]) -> Tensor:
        if ready:
            return ready[0] if len(ready) == 1 else torch.cat(ready, dim=self.spec.time_axis)
        batch, _, height, width = self._shape  # type: ignore[misc]
        return empty_tokens(self._tokenizer, batch, height, width)


class StreamDecoder(_Stream):
    """Decodes one stream (or a batch). Made by `Tokenizer.stream_decoder`.

    Args:
        attention_context: as in `StreamEncoder`.
        size: (H, W) to crop frames to, where padding is to be cut off.
    """

    def __init__(
        self, tokenizer: Steps, attention_context: int | None = None, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(tokenizer, attention_context)
        self.axis = self.spec.time_axis
        whole = isinstance(size, Sequence) and len(size) == 2 and all(isinstance(n, int) and n >= 1 for n in size)
        if size is not None and not whole:
            raise InputError(f"size={size}: expected (H, W) of at least 1, or None for no cropping")
        self.size = size

    def push(self, tokens: Tensor) -> Tensor:
        """Takes any number of latent frames, returns the video frames that are ready.

        Args:
            tokens: latents (B, C, t, H', W') or integer indices (B, t, H', W'), t >= 0.

        Returns:
            (B, 3, T, H, W) in about [-1, 1], not clipped; T may be 0.

        Raises:
            InputError: for a wrong rank, dtype, range or size; after `flush`; after a step that failed, for want of
                memory say; and while another thread is pushing.
        """
        with self._turn(tokens) as ready:
            return self._join(list(ready))

    def flush(self, tokens: Tensor | None = None) -> Tensor:
        """Ends the stream and returns the last frames.

        Args:
            tokens: the last ones, as for `push`; as in `StreamEncoder.flush`, that takes less memory.

        Raises:
            InputError: if the stream has ended already, or nothing was ever pushed; and as `push`.
        """
        with self._turn(tokens, last=True) as rest:
            return self._join(list(rest))

    def drain(self, tokens: Tensor | None = None) -> Iterator[Tensor]:
        """As `flush`, the frames of one step after the other."""
        with self._turn(tokens, last=True) as rest:
            yield from rest

    def _accept(self, tokens: Tensor) -> None:
        spec = self.spec
        check_tokens(tokens, spec)
        if self.size is not None and spec.grid(1, *self.size)[1:] != tuple(tokens.shape[-2:]):
            height, width = (n * spec.spatial_factor for n in tokens.shape[-2:])
            raise InputError(
                f"size={tuple(self.size)}: expected (H, W) less than {spec.spatial_factor} below "
                f"({height}, {width}), which tokens of {tuple(tokens.shape[-2:])} decode to"
            )
        self._add(tokens)

    @property
    def _need(self) -> int:
        if self.spec.chunk is None:
            return sys.maxsize
        return self.spec.chunk if self.state.started else 1

    def _step(self, tokens: Tensor) -> Tensor:
        kind = torch.int32 if self.spec.is_discrete else self._tokenizer.dtype
        tokens = tokens.to(self._tokenizer.device, kind)
        with alone(tokens.device):
            frames = self._tokenizer.decode_step(tokens, self.state)
        return frames if self.size is None else frames[..., : self.size[0], : self.size[1]]

    def _join(self, ready: list[Tensor]) -> Tensor:
        if ready:
            return ready[0] if len(ready) == 1 else torch.cat(ready, dim=2)
        factor = self.spec.spatial_factor
        batch, (height, width) = self._shape[0], self._shape[-2:]  # type: ignore[index]
        height, width = self.size or (height * factor, width * factor)
        return torch.empty(batch, 3, 0, height, width, dtype=self._tokenizer.dtype, device=self._tokenizer.device)


@contextmanager
def alone(device: torch.device) -> Iterator[None]:
    """Without gradients, and as if there were no autocast: tokens depend on the tokenizer alone."""
    mixed = torch.is_autocast_enabled(device.type)
    with torch.no_grad(), torch.autocast(device.type, enabled=False) if mixed else nullcontext():
        yield


def empty_tokens(tokenizer: Steps, batch: int, height: int, width: int) -> Tensor:
    """Tokens of no frames, for a video of that size."""
    spec, device = tokenizer.spec, tokenizer.device
    _, h, w = spec.grid(1, height, width)
    if spec.is_discrete:
        return torch.empty(batch, 0, h, w, dtype=torch.int32, device=device)
    return torch.empty(batch, spec.latent_channels, 0, h, w, dtype=tokenizer.dtype, device=device)


def pad_edges(x: Tensor, factor: int) -> Tensor:
    """Replicates right and bottom edges of (B, 3, T, H, W) until `factor` divides height and width."""
    bottom, right = -x.shape[3] % factor, -x.shape[4] % factor
    if not bottom and not right:
        return x
    return F.pad(x.flatten(1, 2), (0, right, 0, bottom), mode="replicate").unflatten(1, x.shape[1:3])
