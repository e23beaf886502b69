"""The network's steps through `torch.compile`, each a function of tensors alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cosmotok.errors import InputError
from cosmotok.network import Autoencoder, StreamState
from cosmotok.network.state import KeyValueCache
from cosmotok.private import compiler_error, mark_free, with_code_of_its_own

__all__ = ["CompiledNetwork"]

Half = Callable[[Tensor, StreamState], Tensor]
Tensors = dict[str, Tensor]
Step = Callable[[Tensor, bool, Tensors, Tensors, "Tensor | None"], tuple[Tensor, Tensors, Tensors]]


class CompiledNetwork:
    """`encode` and `decode` of `network`, for the steps of streams.

    Args:
        group: video frames of a latent frame.
    """

    def __init__(self, network: Autoencoder, group: int) -> None:
        self.network, self.group = network, group
        self.encode = CompiledHalf(network.encode, group)
        self.decode = CompiledHalf(network.decode, 1)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies, whose network is another one, compile for themselves."""
        return CompiledNetwork, (self.network, self.group)


class CompiledHalf:
    """One graph for the first step of a stream and one for all later ones of the same size.

    That takes tensors of the same shapes and strides in every step, so what layers remember is made contiguous. Keys
    and values, of which there are more and more, have one axis of free length.
    """

    def __init__(self, half: Half, group: int) -> None:
        self.first, self.next = compiled(half), compiled(half)
        self.group = group

    def __call__(self, x: Tensor, state: StreamState) -> Tensor:
        past = {path: cache.buffer for path, cache in state.caches.items() if cache.buffer is not None}
        known, new = max(map(len, past.values()), default=0), -(-x.shape[2] // self.group)
        context, limits = state.attention_context, None
        if state.started and new > 1:  # a single query looks at all that is there
            if known == 1:  # would be a graph of its own; so a second key is there that no query may look at
                past = {path: torch.cat((kv, kv)) for path, kv in past.items()}
            limits = torch.arange(known + 1, known + 1 + new, device=x.device).unsqueeze(1)
            limits = limits if context is None else limits.clamp(max=context)
        for kv in past.values():
            if len(kv) > 1:
                mark_free(kv, 0)
        step = self.next if state.started else self.first
        try:
            y, frames, present = step(x.contiguous(), state.started, state.frames, past, limits)
        except compiler_error() as error:
            reason = " ".join(str(error).split())
            raise InputError(f"compile: PyTorch cannot compile on this machine: {reason:.300}") from error
        state.started = True
        state.frames, state.caches = {}, {}
        if not state.ends:
            state.frames = {path: tensor.contiguous() for path, tensor in frames.items()}
            keep = known + new if context is None else min(known + new, context - 1)
            for path, kv in present.items():
                state.caches[path] = cache = KeyValueCache(context)
                cache.buffer = kv[len(kv) - keep :].contiguous() if keep else None
        return y


class StepState(StreamState):
    """The past of a stream as inputs of a graph, and what the step leaves as its outputs.

    Args:
        frames: what causal layers remember.
        past: keys and values of temporal attentions, time first: (L, 2, N, C).
        limits: (t, 1), at how many keys each query may look, the latest ones; None for all.
    """

    attention_context: Any

    def __init__(self, started: bool, frames: Tensors, past: Tensors, limits: Tensor | None) -> None:
        super().__init__()
        self.attention_context = limits
        self.started = started
        self.frames, self.past = dict(frames), past
        self.present: Tensors = {}

    def attend(self, path: str, kv: Tensor) -> Tensor:
        kv = kv.permute(2, 0, 1, 3)
        self.present[path] = torch.cat((self.past[path], kv)) if path in self.past else kv
        return self.present[path].permute(1, 2, 0, 3)


def compiled(half: Half) -> Step:
    """A step of `half` for fixed sizes: it is compiled again for others."""

    def step(
        x: Tensor, started: bool, frames: Tensors, past: Tensors, limits: Tensor | None
    ) -> tuple[Tensor, Tensors, Tensors]:
        state = StepState(started, frames, past, limits)
        return half(x, state), state.frames, state.present

    found: Step = torch.compile(with_code_of_its_own(step), dynamic=False)
    return found
