"""The tensors of PyTorch's own files, `.jit` and `.pt`, read without running anything that is in them."""

from __future__ import annotations

import contextlib
import io
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol

import torch
from torch import Tensor

from cosmotok.checkpoint.files import read_into
from cosmotok.checkpoint.unpickle import Inert, StoredTensor, unpickle
from cosmotok.errors import CheckpointError
from cosmotok.foreign import check_regular_file, one_line

__all__ = ["read_tensors"]

MAX_RECORDS = 20_000
MAX_PICKLE_BYTES = 8 << 20
"""Pickles hold names and shapes alone, about 300 bytes for each tensor."""
MAX_DEPTH, MAX_VALUES = 64, 200_000
"""Of nested values. What refers to itself, or over and over to the same, is far beyond when it is unfolded."""
MAX_EXPANSION, FREE_EXPANSION = 64, 1 << 20
"""How many times its size a compressed record may fill, after the first MB. PyTorch compresses nothing but
TorchScript's code, about 10 times, and that is not read."""
OLD_MAGIC = 0x1950A86A20F9469CFC6C
BIG_ENDIAN = "was written on a big-endian machine; save it again on another one"
AGAIN = "fetch or copy it again"


def read_tensors(
    path: Path,
    select: Callable[[list[str]], Iterable[str]] = lambda names: names,
    has_value: Callable[[str], bool] = lambda name: True,
) -> dict[str, Tensor]:
    """The tensors in a TorchScript archive or a file of `torch.save`, by dotted name: `encoder.conv_in.weight`.

    Names are made of modules' attributes and of the keys of nested dicts.

    Args:
        select: chooses from all names those to read. What is not chosen, such as an optimizer's state, takes neither
            time nor memory.
        has_value: of which of those the numbers are read. The others are on the meta device: shapes alone.

    Returns:
        The tensors chosen, on the CPU, in the dtypes of the file, each in memory of its own.

    Raises:
        CheckpointError: for a file that is missing, damaged or of another kind, or that would run code, unpack to
            far more than its size, or describe tensors beyond their data.
    """
    with reading(path), path.open("rb") as file:
        start = file.read(64)
        file.seek(0)
        if start.startswith(b"PK"):
            with zipfile.ZipFile(file) as archive:
                records = ZipRecords(archive, os.fstat(file.fileno()).st_size)
                return tensors_of(records.root, records, select, has_value)
        if start.startswith(b"version https://git-lfs"):
            raise CheckpointError("is a pointer of Git LFS, not the weights; run `git lfs pull` in its folder")
        root, old_records = read_old(file)
        return tensors_of(root, old_records, select, has_value)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong into a one-line CheckpointError that begins with `path`."""
    try:
        check_regular_file(path)
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}); {AGAIN}") from error
    except Exception as error:  # zipfile, zlib and struct have many ways to say it
        reason = one_line(error, 120) or type(error).__name__
        raise CheckpointError(f"{path}: is damaged, or no file of PyTorch ({reason}); {AGAIN}") from error


class Records(Protocol):
    """Where the bytes of tensors are."""

    def size(self, record: str) -> int:
        """Bytes of a record; raises KeyError where there is none by that name."""

    def fill(self, record: str, buffer: memoryview) -> int:
        """Reads a record into a buffer of its size; returns how much came."""


class ZipRecords:
    """The records of an archive, which a pickle among them describes."""

    def __init__(self, archive: zipfile.ZipFile, file_size: int) -> None:
        self.archive = archive
        check_archive(archive.infolist(), file_size)
        pickles = [info for info in archive.infolist() if info.filename.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise CheckpointError("is a zip archive, but not one of PyTorch: expected one data.pkl in its only folder")
        if pickles[0].file_size > MAX_PICKLE_BYTES:
            raise CheckpointError(f"refused: a pickle of {pickles[0].file_size >> 20} MB, which no checkpoint needs")
        self.folder = pickles[0].filename.partition("/")[0]
        order = f"{self.folder}/byteorder"
        if order in archive.namelist() and archive.open(order).read(8) == b"big":
            raise CheckpointError(BIG_ENDIAN)
        self.root = unpickle(io.BytesIO(archive.read(pickles[0])))

    def size(self, record: str) -> int:
        return self.archive.getinfo(f"{self.folder}/data/{record}").file_size

    def fill(self, record: str, buffer: memoryview) -> int:
        with self.archive.open(f"{self.folder}/data/{record}") as file:
            return read_into(file, buffer)


def check_archive(records: list[zipfile.ZipInfo], file_size: int) -> None:
    """Refuses what PyTorch never writes and only an attack or damage explains.

    Raises:
        CheckpointError: for names that lead out of the archive or occur twice, encryption, or more data than fits.
    """
    if len(records) > MAX_RECORDS:
        raise CheckpointError(f"refused: {len(records)} records, more than any checkpoint has")
    names = set()
    for record in records:
        name, shown = record.filename, f"the record {record.filename[:80]!a}"
        if name.startswith("/") or ":" in name or "\\" in record.orig_filename or ".." in name.split("/"):
            raise CheckpointError(f"refused: {shown} leads out of the archive")
        if name in names:
            raise CheckpointError(f"refused: {shown} is there twice")
        names.add(name)
        if record.flag_bits & 1:
            raise CheckpointError(f"refused: {shown} is encrypted")
        if record.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise CheckpointError(f"refused: {shown} is compressed in a way that PyTorch does not use")
        limit = record.compress_size
        if record.compress_type == zipfile.ZIP_DEFLATED:
            limit = FREE_EXPANSION + MAX_EXPANSION * record.compress_size
        if record.file_size > limit:
            raise CheckpointError(f"refused: {shown} claims {record.file_size} bytes, from {record.compress_size}")
    if sum(record.compress_size for record in records) > file_size:
        raise CheckpointError(f"is truncated, or its records overlap; {AGAIN}")


class OldRecords:
    """The storages at the end of a file from before PyTorch 1.6, which was no archive yet."""

    def __init__(self, file: IO[bytes], places: dict[str, tuple[int, int]]) -> None:
        self.file, self.places = file, places

    def size(self, record: str) -> int:
        return self.places[record][1]

    def fill(self, record: str, buffer: memoryview) -> int:
        self.file.seek(self.places[record][0])
        return read_into(self.file, buffer)


def read_old(file: IO[bytes]) -> tuple[Any, OldRecords]:
    """Five pickles (magic number, version, machine, the value, the order of storages), then the storages."""
    head = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    try:
        magic = unpickle(head)
    except CheckpointError as error:
        if "refused" in str(error):
            raise
        magic = None
    if magic != OLD_MAGIC:
        raise CheckpointError(f"is damaged, or no file of PyTorch; {AGAIN}")
    widths: dict[str, int] = {}
    _, machine, root, order = (unpickle(head, widths) for _ in range(4))
    if isinstance(machine, dict) and machine.get("little_endian") is False:
        raise CheckpointError(BIG_ENDIAN)
    file.seek(head.tell())
    places = {}
    for record in order:
        numbers = int.from_bytes(file.read(8), "little")
        size = numbers * widths.get(record, 1)
        places[record] = (file.tell(), size)
        if file.seek(size, os.SEEK_CUR) > os.fstat(file.fileno()).st_size:
            raise CheckpointError(f"is truncated; {AGAIN}")
    return root, OldRecords(file, places)


def tensors_of(
    root: Any, records: Records, select: Callable[[list[str]], Iterable[str]], has_value: Callable[[str], bool]
) -> dict[str, Tensor]:
    stored = named_tensors(root)
    storages: dict[str, Tensor] = {}
    tensors = {}
    for name in select(list(stored)):
        tensor = stored[name]
        check_tensor(name, tensor, records)
        if not has_value(name):
            tensors[name] = torch.empty(tensor.size, dtype=tensor.dtype, device="meta")
            continue
        is_shared = tensor.storage in storages
        if not is_shared:
            storages[tensor.storage] = torch.empty(tensor.storage_bytes, dtype=torch.uint8)
            if records.fill(tensor.storage, storages[tensor.storage].numpy().data) != tensor.storage_bytes:
                raise CheckpointError(f"is truncated in {name}; {AGAIN}")
        flat = storages[tensor.storage].view(tensor.dtype)
        view = flat.as_strided(tensor.size, tensor.stride, tensor.offset)
        is_whole = not is_shared and view.is_contiguous() and view.nbytes == tensor.storage_bytes
        tensors[name] = view if is_whole else view.clone(memory_format=torch.contiguous_format)
    return tensors


def check_tensor(name: str, tensor: StoredTensor, records: Records) -> None:
    """Refuses a tensor that does not lie within its storage, or a storage of another size than its record."""
    try:
        size = records.size(tensor.storage)
    except KeyError:
        raise CheckpointError(f"is damaged: the data of {name} are missing; {AGAIN}") from None
    if size != tensor.storage_bytes:
        raise CheckpointError(f"is damaged: {name} needs {tensor.storage_bytes} bytes of data, has {size}; {AGAIN}")
    numbers = 1
    last = tensor.offset
    for n, step in zip(tensor.size, tensor.stride, strict=True):
        numbers *= n
        last += (n - 1) * step
    proper = min((tensor.offset, *tensor.size, *tensor.stride)) >= 0
    available = tensor.storage_bytes // tensor.dtype.itemsize
    # Expanded tensors, of more numbers than their storage, would grow when copied.
    if not proper or numbers > available or (numbers and last >= available):
        shape = f"{list(tensor.size)}"[:80]
        raise CheckpointError(f"is damaged: {name} of shape {shape} reaches beyond its data; {AGAIN}")


def named_tensors(root: Any) -> dict[str, StoredTensor]:
    """The tensors below `root`, in order; dicts and objects are unfolded, lists are not."""
    found: dict[str, StoredTensor] = {}
    todo: list[tuple[tuple[str, ...], Any]] = [((), root)]
    values = 0
    while todo:
        path, value = todo.pop()
        if isinstance(value, Inert):
            value = value.state
        if isinstance(value, dict):
            values += len(value)
            if values > MAX_VALUES or len(path) > MAX_DEPTH:
                raise CheckpointError("refused: its values are nested without end")
            todo += [((*path, str(key)), item) for key, item in reversed(value.items())]
        elif isinstance(value, StoredTensor):
            name = ".".join(path)
            if name in found:
                raise CheckpointError(f"refused: it holds {name} twice")
            found[name] = value
    return found
