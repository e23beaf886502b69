"""Writers of the formats that a data set is unpacked to. Each gets all rows, in order, and a folder of its own."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from cosmotok.dataset.manifest import Manifest
from cosmotok.dataset.reading.clips import token_info
from cosmotok.dataset.reading.samples import Sample
from cosmotok.dataset.reading.shards import Row
from cosmotok.dataset.schema import index_dtype
from cosmotok.errors import InputError
from cosmotok.paths import plain_name
from cosmotok.tokenfile import TokenWriter
from cosmotok.writing import buffered, output_file

__all__ = ["Flat", "Tars", "TokenFiles", "Writer"]


class Writer(ABC):
    """Used in a `with` block; its files are whole at the end of it."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Writer:
        return self

    @abstractmethod
    def write(self, shard: str, row: Row, sample: Sample) -> None:
        """Adds a row; `shard` is the name of the file that it comes from, without suffix."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def _file(self, name: str) -> Any:
        """A new file, open as long as the writer."""
        return self._open.enter_context(buffered(self._open.enter_context(output_file(self.folder / name))))


class Flat(Writer):
    """`tokens.bin`: the indices of all rows, one row after the other. `index.npy`, (rows, 4) int64: where each begins,
    counted in indices, and its T', H', W'. `rows.jsonl`: what else is known of each.

    Raises:
        InputError: for a data set of latents.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__(folder, manifest)
        if not manifest.spec.is_discrete:
            raise InputError("bin: is a format for indices, and this data set holds latents; take another")
        self.dtype = index_dtype(manifest.spec).newbyteorder("<")
        self.tokens, self.index, self.lines = map(self._file, ("tokens.bin", "index.npy", "rows.jsonl"))
        shape = sum(shard.rows for shard in manifest.shards), 4
        np.lib.format.write_array_header_1_0(self.index, {"descr": "<i8", "fortran_order": False, "shape": shape})
        self.count = 0

    def write(self, shard: str, row: Row, sample: Sample) -> None:
        tokens = sample["tokens"].numpy()
        self.tokens.write(tokens.astype(self.dtype).tobytes())
        self.lines.write(line_of(row, sample))
        self.index.write(np.array([self.count, *tokens.shape], "<i8").tobytes())
        self.count += tokens.size


class Tars(Writer):
    """WebDataset: a tar archive for each shard. A row is `NUMBER.tokens.npy`, `NUMBER.json`, `NUMBER.txt` with its
    caption, empty if it has none, and `NUMBER.signal-NAME.npy` for each signal."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__(folder, manifest)
        self._shard = ""
        self._tar: tarfile.TarFile

    def write(self, shard: str, row: Row, sample: Sample) -> None:
        if shard != self._shard:
            self._open.close()
            file, self._shard = self._file(f"{shard}.tar"), shard
            self._tar = self._open.enter_context(tarfile.TarFile(mode="w", fileobj=file))
        self._add(sample, "tokens.npy", array_bytes(self._stored(sample)))
        self._add(sample, "json", line_of(row, sample))
        self._add(sample, "txt", sample["caption"].encode())
        for name, values in sample["signals"].items():
            self._add(sample, f"signal-{plain_name(name)}.npy", array_bytes(values.numpy()))

    def _stored(self, sample: Sample) -> np.ndarray:
        tokens = sample["tokens"].numpy()
        if self.manifest.spec.is_discrete:
            return tokens.astype(index_dtype(self.manifest.spec))
        return tokens if self.manifest.latent_dtype == "bfloat16" else tokens.astype(np.float16)

    def _add(self, sample: Sample, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(f"{sample['row']:09}.{name}")
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))


class TokenFiles(Writer):
    """`NUMBER.safetensors`, a token file for each row, and `rows.jsonl`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__(folder, manifest)
        self.lines = self._file("rows.jsonl")
        self.dtype = "float16" if manifest.latent_dtype == "int8" else manifest.latent_dtype

    def write(self, shard: str, row: Row, sample: Sample) -> None:
        with TokenWriter(self.folder / f"{sample['row']:09}.safetensors", self.manifest.spec, self.dtype) as file:
            file.write(sample["tokens"][None])
            file.finish(token_info(row, self.manifest))
        self.lines.write(line_of(row, sample))


def line_of(row: Row, sample: Sample) -> bytes:
    """What is known of a row besides its tokens and signals, as a line of JSON."""
    names = ("row", "key", "segment", "size", "original_size", "first_frame")
    times = None if row["times"] is None else row["times"].tolist()
    known = {"start": row["start"], "frame_rate": row["frame_rate"], "times": times}
    about = {"caption": row["caption"], "metadata": sample["metadata"]}
    return (json.dumps({**{n: sample[n] for n in names}, **known, **about}, ensure_ascii=False) + "\n").encode()


def array_bytes(values: np.ndarray) -> bytes:
    """An array as the content of an .npy file."""
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()
