"""What a causal network remembers between two chunks of one stream.

The modules themselves hold no state. A caller who streams passes one `StreamState` along with every chunk,
and each causal layer asks it for its own past by its own path in the network (`Causal.path`). No state means
that the stream starts, and ends, with this chunk.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Causal", "KeyValueCache", "Past", "StreamState", "name_causal_layers"]


class KeyValueCache:
    """Keys and values of one temporal attention, in a buffer that grows by half when it is full.

    Args:
        context: how many latent frames a query may look at, itself included; None keeps them all.
    """

    def __init__(self, context: int | None) -> None:
        self.context = context
        self.buffer: Tensor | None = None  # (2, N, capacity, C)
        self.start = self.stop = 0

    def append(self, kv: Tensor) -> Tensor:
        """Adds `kv` (2, N, t, C) and returns everything the new queries may see, (2, N, past + t, C)."""
        t = kv.shape[2]
        if self.context is not None:
            self.start = max(self.start, self.stop - (self.context - 1))
        if self.buffer is None:
            self.buffer = kv.new_empty(kv.shape[0], kv.shape[1], t, kv.shape[3])
        if self.stop + t > self.buffer.shape[2]:
            past = self.buffer[:, :, self.start : self.stop]
            length = past.shape[2]
            capacity = (length + t) + (length + t) // 2
            self.buffer = kv.new_empty(kv.shape[0], kv.shape[1], capacity, kv.shape[3])
            self.buffer[:, :, :length] = past
            self.start, self.stop = 0, length
        self.buffer[:, :, self.stop : self.stop + t] = kv
        self.stop += t
        return self.buffer[:, :, self.start : self.stop]

    def end(self, kv: Tensor) -> Tensor:
        """As `append`, for the last time: keeps nothing."""
        past = kv[:, :, :0] if self.buffer is None else self.held()
        self.buffer = None
        return torch.cat((past, kv), dim=2)

    def held(self) -> Tensor:
        """What the next query may see besides itself, (2, N, past, C)."""
        if self.buffer is None:
            raise RuntimeError("append comes first")
        if self.context is not None:
            self.start = max(self.start, self.stop - (self.context - 1))
        return self.buffer[:, :, self.start : self.stop]


class StreamState:
    """The past of one stream through one network (an encoder or a decoder).

    Args:
        attention_context: latent frames that temporal attention may look back on, the present one included.
            None is the published behaviour: all of them, and memory grows with the stream.
    """

    def __init__(self, attention_context: int | None = None) -> None:
        self.attention_context = attention_context
        self.started = False
        self.ends = False
        """Whether the chunk at hand is the last one: then what a layer recalls is freed, and nothing is kept."""
        self.frames: dict[str, Tensor] = {}
        self.caches: dict[str, KeyValueCache] = {}

    def recall(self, path: str) -> Tensor | None:
        """The frames that the layer at `path` remembers; None where the stream starts."""
        return self.frames.pop(path, None) if self.ends else self.frames.get(path)

    def attend(self, path: str, kv: Tensor) -> Tensor:
        """Keys and values (2, N, past + t, C) that the attention at `path` may see, `kv` (2, N, t, C) of them new."""
        if path not in self.caches:
            self.caches[path] = KeyValueCache(self.attention_context)
        return self.caches.pop(path).end(kv) if self.ends else self.caches[path].append(kv)

    def keep(self, path: str, past: Tensor | None, x: Tensor, count: int) -> None:
        """Keeps the last `count` frames of `past` and `x` for the layer at `path`; a copy, so that `x` can be freed.

        At the start the first frame stands for those before it; where it is alone, it is stored once.
        """
        if x.shape[1] >= count:
            self.frames[path] = x[:, -count:].clone()
        elif past is None:
            self.frames[path] = x[:, :1].clone().expand(-1, count, *x.shape[2:])
        else:
            self.frames[path] = torch.cat((past[:, x.shape[1] - count :], x), dim=1)

    @property
    def nbytes(self) -> int:
        """Bytes held for the stream."""
        tensors = [*self.frames.values(), *(c.buffer for c in self.caches.values() if c.buffer is not None)]
        return sum(t.untyped_storage().nbytes() for t in tensors)


class Past(StreamState):
    """What a stream remembers, for one more chunk that may be computed twice, as when activations are checkpointed:
    nothing is kept of that chunk, and nothing freed."""

    def __init__(self, state: StreamState) -> None:
        super().__init__(state.attention_context)
        self.started, self.frames, self.caches = state.started, state.frames, state.caches

    def recall(self, path: str) -> Tensor | None:
        return self.frames.get(path)

    def keep(self, path: str, past: Tensor | None, x: Tensor, count: int) -> None:
        pass

    def attend(self, path: str, kv: Tensor) -> Tensor:
        return torch.cat((self.caches[path].held(), kv), dim=2) if path in self.caches else kv


class Causal(nn.Module):
    """A layer that looks at the past. `path` is its name in the network, set once when that is built."""

    path: str = ""

    def recall(self, state: StreamState | None) -> Tensor | None:
        """This layer's remembered frames, or None where the stream starts."""
        return None if state is None else state.recall(self.path)

    def remember(self, state: StreamState | None, past: Tensor | None, x: Tensor, count: int) -> None:
        """Keeps the last `count` frames of `past` and `x` for the next chunk, if there is one."""
        if state is not None and not state.ends:
            state.keep(self.path, past, x, count)


def name_causal_layers(network: nn.Module) -> None:
    """Tells every causal layer of `network` its path, the key of its past in a `StreamState`."""
    for path, module in network.named_modules():
        if isinstance(module, Causal):
            module.path = path


def is_start(state: StreamState | None) -> bool:
    """Whether the chunk at hand is the first of its stream."""
    return state is None or not state.started


def repeat_first(x: Tensor, times: int) -> Tensor:
    """`x` (B, T, ...) with its first frame `times` more times in front."""
    if times == 0:
        return x
    return torch.cat((x[:, :1].expand(-1, times, *x.shape[2:]), x), dim=1)
