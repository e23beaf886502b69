"""Reads the pickles inside PyTorch's files as plain data: nothing that they name is ever imported or called.

Neither a `pickle.Unpickler` with a `find_class` of its own nor `torch.load(weights_only=True)`: the former takes
many GB for a single opcode (a memo index of 2^31), and a file of 300 KB with a deeply nested key crashes both.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

import torch

from cosmotok.errors import CheckpointError

__all__ = ["Inert", "StoredTensor", "unpickle"]


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that the file describes: where its numbers are. Whether they are there has not been checked."""

    dtype: torch.dtype
    storage: str
    """Name of the record."""
    numbers: int
    """In the storage, each of `width` bytes."""
    width: int
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def storage_bytes(self) -> int:
        return self.numbers * self.width


@dataclass(eq=False)
class Inert:
    """Stands for anything that the pickle names: a class, a function, an object made with them."""

    name: str
    state: Any = field(default=None, repr=False)
    """What the object's attributes were set from."""


@dataclass(frozen=True)
class Storage:
    dtype: torch.dtype | None
    record: str
    numbers: int

    @property
    def width(self) -> int:
        return 1 if self.dtype is None else self.dtype.itemsize


DTYPES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
}
STORAGES = {
    **{f"torch.{name}Storage": dtype for name, dtype in DTYPES.items()},
    **{f"torch.storage.{kind}Storage": None for kind in ("Untyped", "Typed")},
}
NAMED_DTYPES = {str(dtype): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}

MODULES = "__torch__."
"""Where TorchScript puts its modules' classes."""
HARMLESS = {
    *("collections.Counter", "collections.defaultdict", "builtins.dict", "builtins.set", "__builtin__.set"),
    *("torch.Size", "torch.device", "torch.serialization._get_layout", "torch._tensor._rebuild_from_type_v2"),
    *("_codecs.encode", "numpy.dtype", "numpy.ndarray"),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
}
"""What training checkpoints hold besides tensors: read past, not made."""


def tensor(storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any) -> StoredTensor:
    """Describes a tensor from the arguments of the three generations of `_rebuild_tensor`."""
    # rest: requires_grad, hooks, then a dtype in the third generation, then perhaps flags
    dtype = next((NAMED_DTYPES[x.name] for x in rest if isinstance(x, Inert) and x.name in NAMED_DTYPES), storage.dtype)
    if dtype is None:
        raise CheckpointError("is damaged: a tensor has no dtype; fetch or copy it again")
    if any(isinstance(flags, dict) and any(flags.values()) for flags in rest[2:]):
        raise CheckpointError("holds lazily negated or conjugated tensors; save it with resolved copies of them")
    if not all(type(n) is int for n in (storage.numbers, offset, *size, *stride)):
        raise CheckpointError("is damaged: a tensor has no proper shape; fetch or copy it again")
    return StoredTensor(dtype, storage.record, storage.numbers, storage.width, offset, tuple(size), tuple(stride))


def mapping(items: Any = ()) -> dict[Any, Any]:
    return {key: value for key, value in items if is_key(key)}


def first(value: Any, *_: Any) -> Any:
    return value


CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": tensor,
    "torch._utils._rebuild_tensor_v2": tensor,
    "torch._utils._rebuild_tensor_v3": tensor,
    "torch._utils._rebuild_parameter": first,
    "torch._utils._rebuild_parameter_with_state": first,
    "torch.jit._pickle.restore_type_tag": first,
    **{f"torch.jit._pickle.build_{kind}list": first for kind in ("int", "float", "double", "bool", "tensor")},
    "collections.OrderedDict": mapping,
}
"""Our own stand-ins for the functions that checkpoints need."""


def unpickle(file: IO[bytes], widths: dict[str, int] | None = None) -> Any:
    """What the next pickle in `file` describes: dicts, lists, tuples, numbers, strings, `StoredTensor` and `Inert`.

    Args:
        widths: takes the bytes of a number in each storage that is named, wherever that is.

    Raises:
        CheckpointError: for a damaged pickle, or one that names something no checkpoint needs; its text goes on
            after the name of the file.
    """
    try:
        return run(file, {} if widths is None else widths)
    except CheckpointError:
        raise
    except Exception as error:  # whatever a damaged pickle does to the stack
        raise CheckpointError(f"is damaged: {type(error).__name__} in its pickle; fetch or copy it again") from None


LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def run(file: IO[bytes], widths: dict[str, int]) -> Any:
    """The stack machine of the standard library's documentation of pickles, as far as checkpoints use it."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def pop_to_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    argument: Any
    for opcode, argument, _ in pickletools.genops(file):
        match opcode.name:
            case name if name in LITERALS:
                stack.append(argument)
            case name if name in CONSTANTS:
                stack.append(CONSTANTS[name])
            case name if name in TUPLES:
                stack[-TUPLES[name] :] = [tuple(stack[-TUPLES[name] :])]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(pop_to_mark()))
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "APPEND":
                item = stack.pop()
                extend(stack[-1], [item])
            case "APPENDS":
                items = pop_to_mark()
                extend(stack[-1], items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                update(stack[-1], [key, value])
            case "SETITEMS":
                items = pop_to_mark()
                update(stack[-1], items)
            case "GLOBAL":
                stack.append(allowed(argument.replace(" ", ".")))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(allowed(f"{module}.{attribute}"))
            case "BINPERSID":
                storage = storage_of(stack.pop())
                widths[storage.record] = storage.width
                stack.append(storage)
            case "NEWOBJ" | "REDUCE":
                arguments, made_by = stack.pop(), stack.pop()
                call = CALLS.get(made_by.name) if opcode.name == "REDUCE" else None
                stack.append(call(*arguments) if call else Inert(made_by.name))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], Inert):
                    stack[-1].state = state
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case name:
                raise CheckpointError(f"refused: no checkpoint needs the pickle opcode {name}")
    raise CheckpointError("is damaged: its pickle has no end; fetch or copy it again")


def allowed(name: str) -> Inert:
    """A stand-in for what goes by that name, if a checkpoint may name it."""
    if not name.startswith(MODULES) and not any(name in names for names in (CALLS, STORAGES, NAMED_DTYPES, HARMLESS)):
        raise CheckpointError(f"refused, nothing of it was run: it asks for {name[:80]!a}, which no checkpoint needs")
    return Inert(name)


def storage_of(persistent_id: Any) -> Storage:
    kind, made_by, record, _, numbers, *view = persistent_id  # the oldest files add None: no view of another storage
    if kind != "storage" or not isinstance(record, str) or any(view):
        raise CheckpointError("is damaged: it refers to something that is no storage; fetch or copy it again")
    return Storage(STORAGES[made_by.name], record, numbers)


def extend(target: Any, items: list[Any]) -> None:
    if isinstance(target, list):
        target.extend(items)


def update(target: Any, items: list[Any]) -> None:
    if isinstance(target, dict):
        target.update(mapping(zip(items[::2], items[1::2], strict=True)))


def is_key(value: Any) -> bool:
    """Whether `value` may be a key. Hashing tuples that are nested deeply enough would crash the interpreter."""
    return value is None or isinstance(value, (str, int, float))
