"""Layers as single operators while a graph is captured for ONNX, and what each of them is there.

The tracer follows every size as a formula, so its time goes with the number of operators, and a layer of the network is
a handful of views around one that computes. In ONNX a view says "the rest" or "as before" and needs no formula.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cosmotok.network.causal import FrameNorm, SpatialConv, TemporalConv
from cosmotok.network.state import StreamState

__all__ = ["translations", "whole_layers"]

# They are traced and never run: there is nothing but the shapes of results.
torch.library.define("cosmotok::frame_norm", "(Tensor x, Tensor weight, Tensor bias, int groups) -> Tensor")
torch.library.define("cosmotok::spatial_conv", "(Tensor x, Tensor weight, Tensor bias, int stride) -> Tensor")
torch.library.define(
    "cosmotok::temporal_conv", "(Tensor x, Tensor? past, Tensor weight, Tensor bias, int stride) -> (Tensor, Tensor)"
)


@torch.library.register_fake("cosmotok::frame_norm")
def _norm_shape(x: Tensor, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.register_fake("cosmotok::spatial_conv")
def _spatial_shape(x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    batch, frames, height, width, _ = x.shape
    return x.new_empty((batch, frames, height // stride, width // stride, weight.shape[0]))


@torch.library.register_fake("cosmotok::temporal_conv")
def _temporal_shape(x: Tensor, past: Tensor | None, weight: Tensor, bias: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    batch, frames, height, width, channels = x.shape
    result = x.new_empty((batch, frames // stride, height, width, weight.shape[0]))
    return result, x.new_empty((batch, weight.shape[2] - stride, height, width, channels))


def _norm(layer: FrameNorm, x: Tensor) -> Tensor:
    return torch.ops.cosmotok.frame_norm(x, layer.weight, layer.bias, layer.groups)


def _spatial(layer: SpatialConv, x: Tensor, state: StreamState | None = None) -> Tensor:
    return torch.ops.cosmotok.spatial_conv(x, layer.weight, layer.bias, layer.stride)


def _temporal(layer: TemporalConv, x: Tensor, state: StreamState | None = None, reuse: bool = False) -> Tensor:
    past = layer.recall(state)
    result, present = torch.ops.cosmotok.temporal_conv(x, past, layer.weight, layer.bias, layer.stride)
    if state is not None:
        state.frames[layer.path] = present
    return result


WHOLE: dict[type[nn.Module], Callable[..., Tensor]] = {
    FrameNorm: _norm,
    SpatialConv: _spatial,
    TemporalConv: _temporal,
}


@contextmanager
def whole_layers(module: nn.Module) -> Iterator[None]:
    """Lets the layers within `module` be single operators."""
    layers = [layer for layer in module.modules() if type(layer) in WHOLE]
    for layer in layers:
        layer.forward = partial(WHOLE[type(layer)], layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def translations() -> dict[Any, Callable[..., Any]]:
    """What those operators are in ONNX, for `torch.onnx.export`."""
    from onnxscript import opset18 as op

    def ints(*values: int) -> Any:
        return op.Constant(value_ints=values)

    def joined(*sizes: Any) -> Any:
        return op.Concat(*sizes, axis=0)

    def images(x: Any) -> Any:
        """(B, T, H, W, C) to (B T, C, H, W)."""
        return op.Transpose(op.Reshape(x, joined(ints(-1), op.Shape(x, start=2))), perm=[0, 3, 1, 2])

    def frame_norm(x: Any, weight: Any, bias: Any, groups: int) -> Any:
        # With one group the order of a frame's values does not matter, and they stay where they are.
        source = x if groups == 1 else images(x)
        flat = op.Reshape(source, ints(0, 0, -1) if groups == 1 else ints(0, groups, -1))
        values = op.Reshape(flat, joined(ints(-1, 1), op.Shape(flat, start=2))) if groups == 1 else flat
        ones, zeros = (op.Constant(value_floats=[value] * groups) for value in (1.0, 0.0))
        normal = op.Reshape(op.InstanceNormalization(values, ones, zeros, epsilon=1e-6), op.Shape(source))
        if groups > 1:
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
        if past is None:
            first = op.Slice(x, ints(0), ints(1), ints(1))
            lead = [first] * count
        else:
            lead = [past]
        # time is the image's height, all pixels its width
        frames = op.Concat(*lead, x, axis=1)
        image = op.Transpose(op.Reshape(frames, ints(0, 0, -1, width_in)), perm=[0, 3, 1, 2])
        result = op.Conv(image, op.Unsqueeze(weight, ints(-1)), bias, strides=[stride, 1])
        size = joined(ints(0, 0), op.Shape(x, start=2, end=4), ints(width_out))
        result = op.Reshape(op.Transpose(result, perm=[0, 2, 3, 1]), size)
        return result, op.Slice(frames, ints(-count), ints(sys.maxsize), ints(1))

    operators = torch.ops.cosmotok
    return {
        operators.frame_norm.default: frame_norm,
        operators.spatial_conv.default: spatial_conv,
        operators.temporal_conv.default: temporal_conv,
    }
