"""From a segment's tokens to a row, and rows to the Parquet file of a shard."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from cosmotok.addresses import public
from cosmotok.dataset.schema import SIGNAL, LatentDtype, pack
from cosmotok.dataset.shaping import Segment
from cosmotok.dataset.sources.jsontext import plain
from cosmotok.errors import InputError, MediaError
from cosmotok.spec import TokenizerSpec

__all__ = ["RowFile", "Timing", "row_of"]

GROUP_ROWS, GROUP_BYTES = 1000, 16_000_000
"""Of a row group: what a reader holds of a shard at a time."""

MOST = 2**31 - 2**20
"""Bytes of a row's tokens: readers count them in 32 bits."""

CLOSE = Fraction(1, 10_000)
"""Seconds by which frames may differ from the times that the frame rate tells."""


@dataclass
class Timing:
    """When the frames of a segment are shown, and which of the input's they are."""

    times: list[Fraction]
    numbers: list[int]

    def extend(self, other: Timing) -> None:
        """Adds the frames that come next."""
        self.times += other.times
        self.numbers += other.numbers


def row_of(
    key: str,
    stamp: str,
    metadata: Mapping[str, Any],
    segment: Segment,
    timing: Timing,
    tokens: Tensor,
    spec: TokenizerSpec,
    dtype: LatentDtype,
    signals: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """The columns of a row.

    Args:
        tokens: (1, C, T', H', W') or (1, T', H', W').
        signals: of the whole input, a row for each of its frames.

    Raises:
        InputError: where latents do not fit the dtype, or signals do not fit the frames.
    """
    rest = plain(metadata)
    caption = rest.pop("caption", None)
    start, still = timing.times[0], segment.frame_rate is None
    rate = segment.frame_rate
    since = [time - start for time in timing.times]
    regular = still or all(abs(time - index / rate) <= CLOSE for index, time in enumerate(since))  # type: ignore[operator]
    if tokens.numel() * 4 > MOST:
        raise MediaError(f"{key}: its tokens would not fit into one row; cut it with --segment")
    return {
        "key": key,
        "segment": segment.number,
        "stamp": stamp,
        **pack(tokens[0], spec, dtype),
        "frames": len(timing.times),
        "height": segment.height,
        "width": segment.width,
        "original_height": segment.original_height,
        "original_width": segment.original_width,
        "first_frame": segment.first_frame,
        "start": float(start),
        "frame_rate": None if still else float(rate),  # type: ignore[arg-type]
        "times": None if regular else [float(time) for time in since],
        "caption": None if caption is None else public(str(caption)),
        "metadata": public(json.dumps(rest, ensure_ascii=False)),
        **{SIGNAL + name: _signal(key, name, values, timing.numbers) for name, values in signals.items()},
    }


def _signal(key: str, name: str, values: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
    if len(values) <= max(numbers):
        raise InputError(f"{key}: signal {name} has {len(values)} rows, of frame {max(numbers)} there is none")
    return values[np.asarray(numbers)].astype(np.float32).ravel()


def size_of(value: Any) -> int:
    """Bytes of a value, the same on every machine, since row groups are cut by them."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, str):
        return len(value.encode())
    return len(value) if isinstance(value, bytes) else 8 * (len(value) if isinstance(value, list) else 1)


class RowFile:
    """Writes rows as they come; row groups depend on the rows alone."""

    def __init__(self, file: io.FileIO, schema: pa.Schema) -> None:
        self.rows = 0
        self._schema = schema
        self._writer = pq.ParquetWriter(file, schema, compression="zstd", write_statistics=False)
        self._waiting: list[Mapping[str, Any]] = []
        self._bytes = 0

    def write(self, row: Mapping[str, Any]) -> None:
        """Adds a row."""
        self._waiting.append(row)
        self._bytes += sum(map(size_of, row.values()))
        self.rows += 1
        if len(self._waiting) >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            columns = [pa.array([row.get(field.name) for row in self._waiting], field.type) for field in self._schema]
            self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._waiting, self._bytes = [], 0

    def close(self) -> None:
        """Ends the file, which stays open for whoever reads it back."""
        self._flush()
        self._writer.close()
