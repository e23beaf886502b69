"""What PyTorch and Accelerate have no public way for: all uses of their private names, each with what it stands for.

Every function does without where the name is gone, slower or plainer; `tests/test_private.py` runs both ways. oneDNN's
operators on integers alone are in `kernels.int8`, which asks for them beforehand and has no other way. Nothing of ours
is imported here.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = [
    "compiler_error",
    "contents",
    "forget_accelerator",
    "free_sizes",
    "has_products",
    "has_vnni",
    "lay_out",
    "linear",
    "mark_free",
    "with_code_of_its_own",
]

F = TypeVar("F", bound=Callable[..., Any])
SAMPLES = 1024
"""Numbers of a tensor that `contents` looks at, evenly spread."""


# Whether a tensor has changed ---------------------------------------------------------------------------------------


def contents(tensor: Tensor) -> tuple[Any, ...]:
    """What differs once `tensor` has been written to, or has its numbers elsewhere; to be compared by `==`.

    In-place operations are counted in `Tensor._version`, for which there is no public way. Writes through `.data` or a
    NumPy array are not, so up to a thousand of the numbers are among it too: a write to fewer than one number in
    `numel() / 1024` can go unseen that way.
    """
    version = None if tensor.is_inference() else getattr(tensor, "_version", None)
    flat = tensor.detach().reshape(-1)
    # a copy: memory that NumPy has seen can never be resized again, as split weights (FSDP) are
    numbers = flat[:: max(1, flat.numel() // SAMPLES) | 1].cpu().clone()
    return version, tensor.data_ptr(), numbers.view(torch.uint8).numpy().tobytes()


# Products of matrices on the CPU -------------------------------------------------------------------------------------

PRODUCTS = ("_linear_pointwise", "_reorder_linear_weight")
"""oneDNN's operators; the public way is `F.linear`."""


@lru_cache(maxsize=1)
def has_products() -> bool:
    """Whether this PyTorch has oneDNN's products, and the processor is of the kind that they were measured on."""
    return (
        platform.machine().lower() in ("x86_64", "amd64")
        and torch.backends.mkldnn.is_available()
        and all(hasattr(torch.ops.mkldnn, name) for name in PRODUCTS)
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` of float32, by oneDNN: (..., C) by (O, C), also from `lay_out`, to (..., O)."""
    if not has_products():
        return torch.nn.functional.linear(x, weight, bias)
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


def lay_out(weight: Tensor) -> Tensor:
    """A weight (O, C) for `linear` alone, in the order in which oneDNN reads it for about 256 rows."""
    if not has_products():
        return weight
    laid_out: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 256)
    return laid_out


def has_vnni() -> bool:
    """Whether the processor has AVX-512 VNNI, which PyTorch knows and does not tell; False where it cannot be asked."""
    ask = getattr(torch.cpu, "_is_vnni_supported", None)
    return ask is not None and bool(ask())


# torch.compile and torch.export -------------------------------------------------------------------------------------


def with_code_of_its_own(function: F) -> F:
    """A copy of `function` that `torch.compile` takes for another one.

    It counts compilations per code object, and stops at eight; what raises that limit is private and global.
    """
    own: Any = FunctionType(
        function.__code__.replace(), function.__globals__, function.__name__, closure=function.__closure__
    )
    return own


def mark_free(tensor: Tensor, axis: int) -> None:
    """Tells `torch.compile` that `axis` has other lengths later on; without, it finds out at the second one."""
    mark = getattr(getattr(torch, "_dynamo", None), "mark_dynamic", None)
    if mark is not None:
        mark(tensor, axis)


def compiler_error() -> type[Exception]:
    """What a compiled function raises where the machine has no compiler; it is a RuntimeError, which is public."""
    try:
        from torch._dynamo.exc import BackendCompilerFailed
    except ImportError:
        return RuntimeError
    return BackendCompilerFailed


def free_sizes(program: torch.export.ExportedProgram) -> None:
    """Lets an exported program run with sizes of 1 too.

    The tracer notes that no size was 1, for the sake of strides that our network does not depend on, and would refuse
    such sizes. Where it keeps no such notes, nothing is to be done.
    """
    if hasattr(program, "_guards_code"):
        program._guards_code = []


# Accelerate ---------------------------------------------------------------------------------------------------------


def forget_accelerator() -> None:
    """Lets the next `Accelerator` of this process have a precision of its own, as its state is one for the process."""
    from accelerate.state import AcceleratorState

    reset = getattr(AcceleratorState, "_reset_state", None)
    if reset is not None:
        reset()
