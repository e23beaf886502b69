"""Matrix products on the CPU by oneDNN, which comes with PyTorch: twice as fast as `F.linear` on some machines."""

from __future__ import annotations

import torch
from torch import Tensor

from cosmotok.private import has_products, lay_out, linear

__all__ = ["Product", "linear", "suits"]


class Product:
    """`F.linear` with a weight that is laid out once, in float32.

    Args:
        weight: (O, C).
        bias: (O,), or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight, self.bias = lay_out(weight), bias

    def __call__(self, x: Tensor) -> Tensor:
        """(..., C) to (..., O)."""
        return linear(x, self.weight, self.bias)


def suits(x: Tensor) -> bool:
    """Whether the kernels of this package may take `x`: a plain tensor of the CPU that no gradient is wanted of."""
    return (
        not torch.is_grad_enabled()
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and type(x) is Tensor
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and has_products()
    )
