"""Layers as single operators while a graph is captured for ONNX, and what each of them is there.

The tracer follows every size as a formula, so its time goes with the number of operators, and a layer of the network is
a handful of views around one that computes. In ONNX a view says "the rest" or "as before" and needs no formula. What is
left between the layers is plain enough to be translated as it was traced.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from cosmotok.export.graphs import GraphCache
from cosmotok.network import FSQ, StreamState
from cosmotok.network.blocks import SpatialAttention, TemporalAttention
from cosmotok.network.causal import NORM_EPSILON, FrameNorm, SpatialConv, TemporalConv
from cosmotok.network.shortcut import LinearDecoderShortcut, LinearEncoderShortcut
from cosmotok.network.state import is_start
from cosmotok.network.wavelet import HaarTransform, InverseHaarTransform

__all__ = ["translations", "whole_layers"]

FLOAT, INT32 = 1, 6
"""ONNX's numbers of these types."""

# Operators and the shapes of their results; they are traced and never run --------------------------------------------


def operator(schema: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Defines an operator; the function gives results of the right shapes."""
    name = f"cosmotok::{schema.partition('(')[0]}"

    def define(shapes: Callable[..., Any]) -> Callable[..., Any]:
        torch.library.define(name, schema.removeprefix(schema.partition("(")[0]))
        torch.library.register_fake(name, shapes)
        operators: Callable[..., Any] = getattr(torch.ops.cosmotok, schema.partition("(")[0])
        return operators

    return define


@operator("frame_norm(Tensor x, Tensor weight, Tensor bias, int groups) -> Tensor")
def frame_norm(x: Tensor, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
    return x.new_empty(x.shape)


@operator("spatial_conv(Tensor x, Tensor weight, Tensor bias, int stride) -> Tensor")
def spatial_conv(x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    batch, frames, height, width, _ = x.shape
    return x.new_empty((batch, frames, height // stride, width // stride, weight.shape[0]))


@operator("temporal_conv(Tensor x, Tensor? past, Tensor weight, Tensor bias, int stride) -> (Tensor, Tensor)")
def temporal_conv(x: Tensor, past: Tensor | None, weight: Tensor, bias: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    batch, frames, height, width, channels = x.shape
    result = x.new_empty((batch, frames // stride, height, width, weight.shape[0]))
    return result, x.new_empty((batch, weight.shape[2] - stride, height, width, channels))


@operator("spatial_attention(Tensor q, Tensor k, Tensor v, int channels) -> Tensor")
def spatial_attention(q: Tensor, k: Tensor, v: Tensor, channels: int) -> Tensor:
    return q.new_empty(q.shape)


@operator(
    "temporal_attention(Tensor q, Tensor k, Tensor v, Tensor[] past, Tensor? context, int channels)"
    " -> (Tensor, Tensor, Tensor)"
)
def temporal_attention(
    q: Tensor, k: Tensor, v: Tensor, past: Sequence[Tensor], context: Tensor | None, channels: int
) -> tuple[Tensor, Tensor, Tensor]:
    batch, frames, height, width, _ = q.shape
    if past:
        frames = frames + past[0].shape[1]
    key, value = (q.new_empty((batch, frames, height, width, channels)) for _ in range(2))
    return q.new_empty(q.shape), key, value


@operator("split_bands(Tensor x, int[] axes) -> Tensor")
def split_bands(x: Tensor, axes: Sequence[int]) -> Tensor:
    shape = [size // 2 if axis in axes else size for axis, size in enumerate(x.shape)]
    return x.new_empty((*shape[:-1], shape[-1] * 2 ** len(axes)))


@operator("merge_bands(Tensor x, int[] axes) -> Tensor")
def merge_bands(x: Tensor, axes: Sequence[int]) -> Tensor:
    shape = [size * 2 if axis in axes else size for axis, size in enumerate(x.shape)]
    return x.new_empty((*shape[:-1], shape[-1] // 2 ** len(axes)))


@operator("repeat_first(Tensor x, int times) -> Tensor")
def repeat_first(x: Tensor, times: int) -> Tensor:
    return x.new_empty((x.shape[0], x.shape[1] + times, *x.shape[2:]))


@operator("gather(Tensor x, int space, int time, int channels) -> Tensor")
def gather(x: Tensor, space: int, time: int, channels: int) -> Tensor:
    batch, frames, height, width, _ = x.shape
    return x.new_empty((batch, frames // time, height // space, width // space, channels * space * space * time))


@operator("scatter(Tensor x, int space, int time, int channels) -> Tensor")
def scatter(x: Tensor, space: int, time: int, channels: int) -> Tensor:
    batch, frames, height, width, _ = x.shape
    return x.new_empty((batch, frames * time, height * space, width * space, channels))


@operator("indices(Tensor z, int[] levels) -> Tensor")
def indices(z: Tensor, levels: Sequence[int]) -> Tensor:
    return z.new_empty(z.shape[:-1], dtype=torch.int32)


@operator("codes(Tensor indices, int[] levels) -> Tensor")
def codes(found: Tensor, levels: Sequence[int]) -> Tensor:
    return found.new_empty((*found.shape, len(levels)), dtype=torch.float32)


# Layers as these operators -------------------------------------------------------------------------------------------


def _norm(layer: FrameNorm, x: Tensor) -> Tensor:
    return cast(Tensor, frame_norm(x, layer.weight, layer.bias, layer.groups))


def _spatial(layer: SpatialConv, x: Tensor, state: StreamState | None = None) -> Tensor:
    return cast(Tensor, spatial_conv(x, layer.weight, layer.bias, layer.stride))


def _temporal(layer: TemporalConv, x: Tensor, state: StreamState | None = None, reuse: bool = False) -> Tensor:
    past = layer.recall(state)
    result, present = temporal_conv(x, past, layer.weight, layer.bias, layer.stride)
    if state is not None:
        state.frames[layer.path] = present
    return cast(Tensor, result)


def _attend_in_space(layer: SpatialAttention, x: Tensor, state: StreamState | None = None) -> Tensor:
    h = layer.norm(x)
    h = spatial_attention(layer.q(h), layer.k(h), layer.v(h), x.shape[-1])
    return x + layer.proj_out(h)


def _attend_in_time(layer: TemporalAttention, x: Tensor, state: StreamState | None = None) -> Tensor:
    h = layer.norm(x)
    projected = [project(h) for project in (layer.q, layer.k, layer.v)]
    if state is None:
        h, *_ = temporal_attention(*projected, [], None, x.shape[-1])
    else:
        cache = cast(GraphCache, state.caches[layer.path])
        h, *present = temporal_attention(*projected, cache.present or [], state.attention_context, x.shape[-1])
        cache.present = tuple(present)
    return x + layer.proj_out(h)


def _wavelet(layer: HaarTransform, x: Tensor, state: StreamState | None = None) -> Tensor:
    if layer.temporal and is_start(state):
        x = repeat_first(x, layer.patch - 1)
    for _ in range(layer.patch.bit_length() - 1):
        x = split_bands(x, layer.axes)
    return x


def _inverse_wavelet(layer: InverseHaarTransform, x: Tensor, state: StreamState | None = None) -> Tensor:
    for _ in range(layer.patch.bit_length() - 1):
        x = merge_bands(x, layer.axes[::-1])
    return x[:, layer.patch - 1 :] if layer.temporal and is_start(state) else x


def _gather(layer: LinearEncoderShortcut, x: Tensor, state: StreamState | None = None) -> Tensor:
    if is_start(state):
        x = repeat_first(x, layer.time - 1)
    return cast(Tensor, gather(x, layer.space, layer.time, x.shape[-1]))


def _scatter(layer: LinearDecoderShortcut, z: Tensor, state: StreamState | None = None) -> Tensor:
    x = layer.linear(z)
    x = scatter(x, layer.space, layer.time, x.shape[-1] // (layer.space**2 * layer.time))
    return x[:, layer.time - 1 :] if is_start(state) else x


def _indices(layer: FSQ, z: Tensor) -> Tensor:
    return cast(Tensor, indices(z, layer.levels))


def _codes(layer: FSQ, found: Tensor) -> Tensor:
    return cast(Tensor, codes(found, layer.levels))


WHOLE: dict[type[nn.Module], dict[str, Callable[..., Tensor]]] = {
    FrameNorm: {"forward": _norm},
    SpatialConv: {"forward": _spatial},
    TemporalConv: {"forward": _temporal},
    SpatialAttention: {"forward": _attend_in_space},
    TemporalAttention: {"forward": _attend_in_time},
    HaarTransform: {"forward": _wavelet},
    InverseHaarTransform: {"forward": _inverse_wavelet},
    LinearEncoderShortcut: {"gather": _gather},
    LinearDecoderShortcut: {"forward": _scatter},
    FSQ: {"indices": _indices, "indices_to_codes": _codes},
}
"""Methods, and what stands in for them."""


@contextmanager
def whole_layers(module: nn.Module) -> Iterator[None]:
    """Lets the layers within `module` be single operators."""
    layers = [layer for layer in module.modules() if type(layer) in WHOLE]
    for layer in layers:
        for method, whole in WHOLE[type(layer)].items():
            setattr(layer, method, partial(whole, layer))
    try:
        yield
    finally:
        for layer in layers:
            for method in WHOLE[type(layer)]:
                delattr(layer, method)


# Operators in ONNX ---------------------------------------------------------------------------------------------------


def translations() -> dict[Any, Callable[..., Any]]:
    """What those operators are in ONNX, for `torch.onnx.export`, and ATen's that work in place."""
    from onnxscript import opset18

    op: Any = opset18

    def ints(*values: int) -> Any:
        return op.Constant(value_ints=values)

    def floats(tensor: Tensor) -> Any:
        return op.Constant(value_floats=tensor.tolist())

    def int32(tensor: Tensor) -> Any:
        return op.Cast(ints(*tensor.tolist()), to=INT32)

    def joined(*sizes: Any) -> Any:
        return op.Concat(*sizes, axis=0)

    def images(x: Any) -> Any:
        """(B, T, H, W, C) to (B T, C, H, W)."""
        return op.Transpose(op.Reshape(x, joined(ints(-1), op.Shape(x, start=2))), perm=[0, 3, 1, 2])

    def frame_norm(x: Any, weight: Any, bias: Any, groups: int) -> Any:
        def normalised(values: Any) -> Any:
            """(B T, groups, all values of a group)."""
            ones, zeros = (op.Constant(value_floats=[value] * groups) for value in (1.0, 0.0))
            return op.InstanceNormalization(values, ones, zeros, epsilon=NORM_EPSILON)

        if groups == 1:  # the order of a frame's values does not matter, and they stay where they are
            frames = op.Reshape(x, ints(0, 0, -1))
            values = op.Reshape(frames, joined(ints(-1, 1), op.Shape(frames, start=2)))
            normal = op.Reshape(normalised(values), op.Shape(x))
        else:
            source = images(x)
            normal = op.Reshape(normalised(op.Reshape(source, ints(0, groups, -1))), op.Shape(source))
            normal = op.Reshape(op.Transpose(normal, perm=[0, 2, 3, 1]), op.Shape(x))
        return op.Add(op.Mul(normal, weight), bias)

    def spatial_conv(x: Any, weight: Any, bias: Any, stride: int) -> Any:
        pads = [1, 1, 1, 1] if stride == 1 else [0, 0, 1, 1]
        result = op.Conv(images(x), weight, bias, strides=[stride, stride], pads=pads)
        result = op.Transpose(result, perm=[0, 2, 3, 1])
        return op.Reshape(result, joined(op.Shape(x, start=0, end=2), op.Shape(result, start=1)))

    def temporal_conv(x: Any, past: Any, weight: Any, bias: Any, stride: int) -> Any:
        width_out, width_in, taps = weight.shape
        count = taps - stride
        # time is the image's height, all pixels its width
        frames = repeat_first(x, count) if past is None else op.Concat(past, x, axis=1)
        image = op.Transpose(op.Reshape(frames, ints(0, 0, -1, width_in)), perm=[0, 3, 1, 2])
        result = op.Conv(image, op.Unsqueeze(weight, ints(-1)), bias, strides=[stride, 1])
        size = joined(ints(0, 0), op.Shape(x, start=2, end=4), ints(width_out))
        result = op.Reshape(op.Transpose(result, perm=[0, 2, 3, 1]), size)
        return result, op.Slice(frames, ints(-count), ints(sys.maxsize), ints(1))

    def spatial_attention(q: Any, k: Any, v: Any, channels: int) -> Any:
        queries, keys, values = (op.Reshape(x, ints(0, 0, -1, channels)) for x in (q, k, v))
        queries = op.Mul(queries, floats(torch.tensor([channels**-0.5])))
        scores = op.MatMul(queries, op.Transpose(keys, perm=[0, 1, 3, 2]))
        return op.Reshape(op.MatMul(op.Softmax(scores, axis=-1), values), op.Shape(q))

    def temporal_attention(q: Any, k: Any, v: Any, past: Sequence[Any], context: Any, channels: int) -> Any:
        key, value = (op.Concat(*pair, axis=1) for pair in zip(past, (k, v), strict=True)) if past else (k, v)
        queries = op.Mul(op.Transpose(q, perm=[0, 2, 3, 1, 4]), floats(torch.tensor([channels**-0.5])))
        scores = op.MatMul(queries, op.Transpose(key, perm=[0, 2, 3, 4, 1]))
        # the queries are the last frames of the keys: each looks at itself and, as far as `context`, back
        now, count = (op.Squeeze(op.Shape(x, start=1, end=2)) for x in (q, key))
        zero, one = (op.Constant(value_int=number) for number in (0, 1))
        then = op.Range(zero, count, one)
        age = op.Sub(op.Unsqueeze(op.Range(op.Sub(count, now), count, one), ints(1)), then)
        hidden = op.Less(age, zero)
        if context is not None:
            hidden = op.Or(hidden, op.GreaterOrEqual(age, context))
        scores = op.Where(hidden, op.Constant(value_float=-math.inf), scores)
        result = op.MatMul(op.Softmax(scores, axis=-1), op.Transpose(value, perm=[0, 2, 3, 1, 4]))
        return op.Transpose(result, perm=[0, 3, 1, 2, 4]), key, value

    def split_bands(x: Any, axes: Sequence[int]) -> Any:
        for axis in axes:
            a, b = (op.Slice(x, ints(start), ints(sys.maxsize), ints(axis), ints(2)) for start in (0, 1))
            x = op.Concat(op.Add(a, b), op.Sub(a, b), axis=-1)
        return op.Mul(x, floats(torch.tensor([0.5 ** len(axes)])))

    def merge_bands(x: Any, axes: Sequence[int]) -> Any:
        for axis in axes:
            low, high = op.Split(x, num_outputs=2, axis=-1)
            pairs = [op.Unsqueeze(half, ints(axis + 1)) for half in (op.Add(low, high), op.Sub(low, high))]
            x = op.Concat(*pairs, axis=axis + 1)
            x = op.Reshape(x, joined(ints(*[0] * axis, -1), op.Shape(x, start=axis + 2)))
        return x

    def repeat_first(x: Any, times: int) -> Any:
        first = op.Slice(x, ints(0), ints(1), ints(1))
        return op.Concat(*[first] * times, x, axis=1) if times else op.Identity(x)

    def gather(x: Any, space: int, time: int, channels: int) -> Any:
        x = op.Reshape(x, joined(ints(0, -1, time), op.Shape(x, start=2)))
        x = op.Reshape(x, joined(ints(0, 0, 0, -1, space), op.Shape(x, start=4)))
        x = op.Reshape(x, ints(0, 0, 0, 0, 0, -1, space, channels))
        # (B, T, time, H, space, W, space, channels) to (B, T, H, W, time, space, space, channels)
        return op.Reshape(
            op.Transpose(x, perm=[0, 1, 3, 5, 2, 4, 6, 7]), ints(0, 0, 0, 0, channels * space * space * time)
        )

    def scatter(x: Any, space: int, time: int, channels: int) -> Any:
        x = op.Reshape(x, ints(0, 0, 0, 0, time, space, space, channels))
        x = op.Transpose(x, perm=[0, 1, 4, 2, 5, 3, 6, 7])
        x = op.Reshape(x, ints(0, 0, 0, 0, 0, -1, channels))
        x = op.Reshape(x, joined(ints(0, 0, 0, -1), op.Shape(x, start=5)))
        return op.Reshape(x, joined(ints(0, -1), op.Shape(x, start=3)))

    def indices(z: Any, levels: Sequence[int]) -> Any:
        quantizer = FSQ(tuple(levels))
        scale, offset = quantizer.half_and_offset()
        bounded = op.Mul(op.Tanh(op.Add(z, floats(torch.atanh(offset / scale)))), floats(scale))
        digits = op.Cast(op.Round(op.Sub(bounded, floats(offset))), to=INT32)
        digits = op.Mul(op.Add(digits, int32(quantizer.middle)), int32(quantizer.basis))
        return op.ReduceSum(digits, ints(-1), keepdims=0)

    def codes(found: Any, levels: Sequence[int]) -> Any:
        quantizer = FSQ(tuple(levels))
        digits = op.Mod(op.Div(op.Unsqueeze(found, ints(-1)), int32(quantizer.basis)), int32(quantizer.size))
        middle = quantizer.middle
        return op.Div(op.Cast(op.Sub(digits, int32(middle)), to=FLOAT), floats(middle.float()))

    def silu(x: Any) -> Any:
        return op.Mul(x, op.Sigmoid(x))

    def add(x: Any, y: Any) -> Any:
        return op.Add(x, y)

    def multiply(x: Any, y: Any) -> Any:
        return op.Mul(x, y)

    ours = (
        frame_norm,
        spatial_conv,
        temporal_conv,
        spatial_attention,
        temporal_attention,
        split_bands,
        merge_bands,
        repeat_first,
        gather,
        scatter,
        indices,
        codes,
    )
    aten = torch.ops.aten
    return {
        **{getattr(torch.ops.cosmotok, function.__name__).default: function for function in ours},
        # that these reuse memory is nothing that anyone looks at
        aten.silu_.default: silu,
        aten.add_.Tensor: add,
        aten.mul_.Tensor: multiply,
    }
