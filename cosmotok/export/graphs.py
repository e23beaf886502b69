"""The graphs of a tokenizer: whole clips, first and later steps of a stream, each a function of tensors alone."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from cosmotok.config import TokenizerConfig
from cosmotok.export.shapes import FreeAxis, Port, Shape
from cosmotok.network import Autoencoder, StreamState
from cosmotok.network.state import KeyValueCache

__all__ = ["EVERYTHING", "PARTS", "Graph", "StateTensor", "graphs_of"]

PARTS = ("encoder", "decoder", "encoder_steps", "decoder_steps")
"""What can be exported: each half for whole clips, and as the steps of a stream."""
EVERYTHING = 2**31 - 1
"""The `attention_context` that looks back on the whole stream."""

BATCH, HEIGHT, WIDTH = FreeAxis("batch"), FreeAxis("latent_height"), FreeAxis("latent_width")
LATENT_FRAMES, PAST = FreeAxis("latent_frames"), FreeAxis("past")


@dataclass(frozen=True)
class StateTensor:
    """What one layer remembers: (B, frames, scale H', scale W', channels), the latest frame last."""

    name: str
    channels: int
    scale: int = 1
    frames: int | None = None
    """How many frames; None for keys and values, which are as many as attention may look back on."""

    def port(self, prefix: str, frames: int | FreeAxis | str) -> Port:
        """This tensor as an input or output of a graph."""
        height, width = (FreeAxis(axis.name, self.scale) for axis in (HEIGHT, WIDTH))
        return Port(prefix + self.name, "float32", (BATCH, self.frames or frames, height, width, self.channels))


@dataclass(frozen=True)
class Graph:
    """A module, and the names and shapes of what goes in and comes out."""

    name: str
    half: str
    module: nn.Module
    inputs: list[Port]
    outputs: list[Port]
    state: list[StateTensor]
    """Of the stream it is a step of; empty for whole clips."""

    def fix(self, sizes: Mapping[str, int]) -> Graph:
        """The same with those of the free axes as numbers."""
        inputs, outputs = ([port.fix(sizes) for port in ports] for ports in (self.inputs, self.outputs))
        return replace(self, inputs=inputs, outputs=outputs)


@torch.no_grad()
def state_layout(network: Autoencoder, half: str, config: TokenizerConfig) -> list[StateTensor]:
    """What a stream through that half of `network` remembers, found by running its first step on one position."""
    state = StreamState()
    if half == "encoder":
        network.encode(torch.zeros(1, 3, 1, config.spatial_factor, config.spatial_factor), state)
    else:
        network.decode(torch.zeros(1, config.latent_channels, 1, 1, 1), state)
    layout = [
        StateTensor(path, channels=frames.shape[4], scale=frames.shape[2], frames=frames.shape[1])
        for path, frames in state.frames.items()
    ]
    for path, cache in state.caches.items():
        channels = cache.append(torch.empty_like(cache.buffer)).shape[3]  # type: ignore[arg-type]
        layout += [StateTensor(f"{path}.{name}", channels) for name in ("key", "value")]
    return layout


class GraphCache(KeyValueCache):
    """Keys and values that are tensors of the graph, (B, frames, H', W', C) each, rather than a growing buffer."""

    def __init__(self, grid: tuple[int, int, int], past: tuple[Tensor, ...] | None) -> None:
        super().__init__(context=None)
        self.grid = grid  # (B, H', W')
        self.present = past

    def append(self, kv: Tensor) -> Tensor:
        now = kv.unflatten(1, self.grid).permute(0, 1, 4, 2, 3, 5).unbind(0)
        if self.present is not None:
            now = tuple(torch.cat(pair, dim=1) for pair in zip(self.present, now, strict=True))
        self.present = now
        return torch.stack(now).permute(0, 1, 3, 4, 2, 5).flatten(1, 3)


class GraphState(StreamState):
    """The state of a stream as a flat list of tensors in the order of `layout`.

    Args:
        past: those tensors after the last step; empty where the stream starts.
        grid: (B, H', W').
        attention_context: int64 tensor (); the caches are the caller's to cut.
    """

    attention_context: Any

    def __init__(
        self,
        layout: Sequence[StateTensor],
        past: Sequence[Tensor],
        grid: tuple[int, int, int],
        attention_context: Tensor | None,
    ) -> None:
        super().__init__()
        self.attention_context = attention_context
        self.layout, self.grid = layout, grid
        self.started = bool(past)
        by_name = {tensor.name: value for tensor, value in zip(layout, past, strict=False)}
        for tensor in layout:
            path, _, name = tensor.name.rpartition(".")
            if tensor.frames is None and name == "key":
                kv = (by_name[f"{path}.key"], by_name[f"{path}.value"]) if past else None
                self.caches[path] = GraphCache(grid, kv)
            elif tensor.frames is not None and past:
                self.frames[tensor.name] = by_name[tensor.name]

    def keep(self, path: str, past: Tensor | None, x: Tensor, count: int) -> None:
        if past is None:
            super().keep(path, past, x, count)
        else:  # whether `x` has that many is not known
            self.frames[path] = torch.cat((past, x), dim=1)[:, x.shape[1] :].clone()

    def tensors(self) -> list[Tensor]:
        """The state now."""
        found = dict(self.frames)
        for path, cache in self.caches.items():
            found[f"{path}.key"], found[f"{path}.value"] = cache.present  # type: ignore[attr-defined]
        return [found[tensor.name] for tensor in self.layout]


class EncoderGraph(nn.Module):
    """Frames (B, 3, T, H, W) to tokens, and the state of the stream if `layout` has any."""

    def __init__(self, network: Autoencoder, config: TokenizerConfig, layout: Sequence[StateTensor] | None) -> None:
        super().__init__()
        self.network, self.factor, self.layout = network, config.spatial_factor, layout

    def forward(
        self, frames: Tensor, attention_context: Tensor | None = None, past: Sequence[Tensor] = ()
    ) -> tuple[Tensor, ...]:
        state = None
        if self.layout is not None:
            grid = frames.shape[0], frames.shape[3] // self.factor, frames.shape[4] // self.factor
            state = GraphState(self.layout, past, grid, attention_context)
        tokens = self.network.encode(frames, state)
        if self.network.quantizer is not None:
            tokens = self.network.quantizer.indices(tokens.permute(0, 2, 3, 4, 1))
        return (tokens,) if state is None else (tokens, *state.tensors())


class DecoderGraph(nn.Module):
    """Latents (B, C, T', H', W') or indices (B, T', H', W') to frames, and the state as in `EncoderGraph`."""

    def __init__(self, network: Autoencoder, layout: Sequence[StateTensor] | None) -> None:
        super().__init__()
        self.network, self.layout = network, layout

    def forward(
        self, tokens: Tensor, attention_context: Tensor | None = None, past: Sequence[Tensor] = ()
    ) -> tuple[Tensor, ...]:
        state = None
        if self.layout is not None:
            grid = tokens.shape[0], tokens.shape[-2], tokens.shape[-1]
            state = GraphState(self.layout, past, grid, attention_context)
        if self.network.quantizer is not None:
            tokens = self.network.quantizer.indices_to_codes(tokens).permute(0, 4, 1, 2, 3)
        frames = self.network.decode(tokens, state)
        return (frames,) if state is None else (frames, *state.tensors())


def graphs_of(network: Autoencoder, config: TokenizerConfig, part: str) -> list[Graph]:
    """The graphs of one of `PARTS`."""
    half, _, steps = part.partition("_")
    network = copy.deepcopy(network)
    network.drop("decoder" if half == "encoder" else "encoder")
    if not steps:
        return [make_graph(network, config, half)]
    layout = state_layout(network, half, config)
    return [make_graph(network, config, half, step, layout) for step in ("first", "next")]


def make_graph(
    network: Autoencoder,
    config: TokenizerConfig,
    half: str,
    step: str | None = None,
    layout: list[StateTensor] | None = None,
) -> Graph:
    """The graph of a whole clip, or of the "first" or "next" step of a stream, with its names and shapes."""
    frames, tokens = ports(config, step)
    inputs, outputs = ([frames], [tokens]) if half == "encoder" else ([tokens], [frames])
    state = layout or []
    if step == "next":
        inputs.append(Port("attention_context", "int64", ()))
        inputs += [tensor.port("past.", PAST) for tensor in state]
    present = 1 if step == "first" else f"{PAST}+{LATENT_FRAMES}"
    outputs += [tensor.port("present.", present) for tensor in state]
    module = EncoderGraph(network, config, layout) if half == "encoder" else DecoderGraph(network, layout)
    return Graph(half if step is None else f"{half}_{step}", half, module, inputs, outputs, state)


def ports(config: TokenizerConfig, step: str | None) -> tuple[Port, Port]:
    """Frames and tokens of a whole clip, of a stream's first step, or of a later one."""
    space, time = config.spatial_factor, config.temporal_factor
    latent_frames: int | FreeAxis = 1 if step == "first" else LATENT_FRAMES
    frames: int | FreeAxis = 1
    if step != "first":  # the first frame of a stream or clip stands for a whole group
        frames = FreeAxis(LATENT_FRAMES.name, time, 0 if step == "next" else 1 - time)
    frame_shape: Shape = (BATCH, 3, frames, FreeAxis(HEIGHT.name, space), FreeAxis(WIDTH.name, space))
    if config.is_discrete:
        tokens = Port("tokens", "int32", (BATCH, latent_frames, HEIGHT, WIDTH))
    else:
        tokens = Port("tokens", "float32", (BATCH, config.latent_channels, latent_frames, HEIGHT, WIDTH))
    return Port("frames", "float32", frame_shape), tokens
