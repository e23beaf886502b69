"""One safetensors file: what it holds by its header, and its tensors in memory of their own."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from cosmotok.checkpoint.files import read_into
from cosmotok.errors import CheckpointError
from cosmotok.foreign import check_regular_file, one_line

__all__ = ["SafetensorsFile"]

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
AGAIN = "fetch or copy it again"


class SafetensorsFile:
    """A safetensors file, of which the header alone has been read.

    Raises:
        CheckpointError: where the file is missing or damaged, or holds numbers of an unknown type.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            check_regular_file(path)
            with safetensors.safe_open(path, framework="pt"):  # refuses what is not sound
                pass
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header: dict[str, Any] = json.loads(file.read(length))
        except FileNotFoundError:
            raise CheckpointError(f"{path}: no such file; the model's weights are missing") from None
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise CheckpointError(
                f"{path}: not a readable safetensors file ({one_line(error, 120)}); {AGAIN}"
            ) from None
        self.metadata: dict[str, str] = header.pop("__metadata__", None) or {}
        self.places = {name: 8 + length + entry["data_offsets"][0] for name, entry in header.items()}
        unknown = sorted({entry["dtype"] for entry in header.values()} - set(DTYPES))
        if unknown:
            raise CheckpointError(f"{path}: holds numbers of type {unknown[0]}; expected {', '.join(DTYPES)}")
        try:
            self.tensors = {
                name: torch.empty(entry["shape"], dtype=DTYPES[entry["dtype"]], device="meta")
                for name, entry in header.items()
            }
        except (TypeError, RuntimeError):  # of no numbers, so that the file's size says nothing
            raise CheckpointError(f"{path}: holds a tensor of an absurd shape; {AGAIN}") from None
        """Names, shapes and dtypes, on the meta device: no memory is taken."""

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Some of the tensors, on the CPU.

        They are read, not mapped: each has memory of its own that may be written to, and stays as it is whatever
        happens to the file. The peak is what they take themselves.

        Raises:
            CheckpointError: where the file ends before they do, or cannot be read.
        """
        found = {}
        try:
            with self.path.open("rb", buffering=0) as file:
                for name in sorted(names, key=self.places.__getitem__):
                    found[name] = tensor = torch.empty_like(self.tensors[name], device="cpu")
                    if not tensor.numel():
                        continue
                    file.seek(self.places[name])
                    if read_into(file, tensor.view(-1).view(torch.uint8).numpy().data) != tensor.nbytes:
                        raise CheckpointError(f"{self.path}: is truncated in {name}; {AGAIN}")
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be read ({error.strerror or error}); {AGAIN}") from None
        return found
