"""Matrix products on the CPU by oneDNN, which comes with PyTorch: twice as fast as `F.linear` on some machines."""

from __future__ import annotations

import platform
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["Product", "linear", "suits"]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` of float32: (..., C) by (O, C) to (..., O)."""
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


class Product:
    """`F.linear` with a weight that is laid out once, in float32.

    Args:
        weight: (O, C).
        bias: (O,), or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.bias = bias
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 256)  # for about so many rows

    def __call__(self, x: Tensor) -> Tensor:
        """(..., C) to (..., O)."""
        return linear(x, self.weight, self.bias)


@lru_cache(maxsize=1)
def has_onednn() -> bool:
    """Whether this PyTorch has the operators, and the processor is of the kind that they were measured on."""
    return (
        platform.machine().lower() in ("x86_64", "amd64")
        and torch.backends.mkldnn.is_available()
        and all(hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight"))
    )


def suits(x: Tensor) -> bool:
    """Whether the kernels of this package may take `x`: a plain tensor of the CPU that no gradient is wanted of."""
    return (
        not torch.is_grad_enabled()
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and type(x) is Tensor
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and has_onednn()
    )
