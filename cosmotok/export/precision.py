"""Weights in fewer bytes: stored as float16 or int8, and back to float32 as a graph is loaded. Arithmetic is float32.

That runs wherever float32 does, in browsers too, and a file's results are those of a network with rounded weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import numpy as np

__all__ = ["PRECISIONS", "round_weights", "store_weights"]

PRECISIONS = ("float32", "float16", "int8")
"""What the weights of an ONNX file can be stored as."""
STEPS = 127
"""Of int8 on either side of zero."""
LEAST = 1024
"""Values of a tensor that is worth storing in fewer bytes; smaller ones, all biases and norms, stay float32 in int8."""


@torch.no_grad()
def round_weights(network: nn.Module, precision: str) -> None:
    """Rounds the weights of `network` in place to values that `precision` can hold.

    float16 rounds every parameter. int8 rounds those with output and input channels to 127 steps on either side of
    zero, of a size of its own for each output channel.
    """
    for parameter in network.parameters():
        if precision == "float16":
            parameter.copy_(parameter.half())
        elif precision == "int8" and worth_it(parameter):
            scale = parameter.flatten(1).abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / STEPS
            scale = scale.reshape(-1, *[1] * (parameter.ndim - 1))
            parameter.copy_((parameter / scale).round() * scale)


def worth_it(parameter: Tensor) -> bool:
    return parameter.ndim > 1 and parameter.numel() >= LEAST


def store_weights(model: Any, precision: str) -> None:
    """Replaces the rounded weights in an `onnx.ModelProto` by smaller ones and nodes that expand them.

    No value changes: each node gives what was there.
    """
    from onnx import TensorProto, helper, numpy_helper

    users = {name: node for node in model.graph.node for name in node.input}
    nodes = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < LEAST:
            continue
        name, small = tensor.name, f"{tensor.name}.{precision}"
        if precision == "float16":
            tensor.CopyFrom(numpy_helper.from_array(values.astype("float16"), small))
            nodes.append(helper.make_node("Cast", [small], [name], to=TensorProto.FLOAT))
        else:
            axis = values.ndim - 1 if users[name].op_type == "MatMul" else 0  # the output channels
            integers, scale = to_int8(values, axis)
            tensor.CopyFrom(numpy_helper.from_array(integers, small))
            model.graph.initializer.append(numpy_helper.from_array(scale, f"{small}.scale"))
            # DequantizeLinear would say the same, but runtimes then round what the weights meet, too
            nodes.append(helper.make_node("Cast", [small], [f"{small}.steps"], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Mul", [f"{small}.steps", f"{small}.scale"], [name]))
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])


def to_int8(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Values in int8, and the size of a step for each place on `axis`, of as many axes."""
    import numpy as np

    others = tuple(i for i in range(values.ndim) if i != axis)
    scale = np.maximum(np.abs(values).max(axis=others, keepdims=True), np.finfo(np.float32).tiny) / np.float32(STEPS)
    return np.round(values / scale).astype(np.int8), scale
