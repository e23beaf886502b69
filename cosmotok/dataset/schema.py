"""Rows of a data set: which columns, and tokens to and from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from cosmotok.errors import InputError
from cosmotok.spec import TokenizerSpec

__all__ = ["LATENT_DTYPES", "LatentDtype", "index_dtype", "pack", "row_schema", "unpack"]

LatentDtype = Literal["float16", "bfloat16", "int8"]
LATENT_DTYPES: tuple[LatentDtype, ...] = ("float16", "bfloat16", "int8")

SIGNAL = "signal."
"""Before the name of a signal in the name of its column."""

LEVELS = 127
"""Of int8 on either side of zero."""


def index_dtype(spec: TokenizerSpec) -> np.dtype:
    """Of stored indices: uint16 as long as the vocabulary allows, else uint32."""
    return np.dtype(np.uint16 if spec.vocab_size is not None and spec.vocab_size <= 2**16 else np.uint32)


def row_schema(spec: TokenizerSpec, dtype: LatentDtype, signals: Mapping[str, tuple[int, ...]]) -> pa.Schema:
    """Columns of the shards of a data set.

    `key` and `segment` say whose tokens a row has: of the segment of that number, from 0, of that input. `stamp` is the
    input's, so that a changed one shows.

    `indices` are T' x H' x W' numbers in C order, uint16 as long as the vocabulary allows. `latents` are the bytes of
    C x T' x H' x W' numbers of the data set's dtype, little-endian, in C order; int8 ones times `scale`, one float32
    for each channel, are the latents.

    `frames`, `height`, `width` are what was encoded and comes back; `original_height`, `original_width` the input's.
    `first_frame` is the number of the segment's first frame among the input's, at the data set's frame rate, and
    `start` its time in seconds in the input. `frame_rate` is null for images; `times`, in seconds from `start`, is null
    where the frame rate tells them.

    `caption` and `metadata`, a JSON object, came along. A column "signal.NAME" has a signal's numbers, float32, for
    each frame, flattened; the manifest has its shape.
    """
    if spec.is_discrete:
        tokens = [pa.field("indices", pa.list_(pa.from_numpy_dtype(index_dtype(spec))), nullable=False)]
    else:
        tokens = [pa.field("latents", pa.binary(), nullable=False)]
        if dtype == "int8":
            tokens.append(pa.field("scale", pa.list_(pa.float32()), nullable=False))
    counts = [pa.field(name, pa.int32(), nullable=False) for name in ("latent_frames", "latent_height", "latent_width")]
    sizes = ("frames", "height", "width", "original_height", "original_width")
    return pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            pa.field("segment", pa.int32(), nullable=False),
            pa.field("stamp", pa.string(), nullable=False),
            *tokens,
            *counts,
            *(pa.field(name, pa.int32(), nullable=False) for name in sizes),
            pa.field("first_frame", pa.int64(), nullable=False),
            pa.field("start", pa.float64(), nullable=False),
            pa.field("frame_rate", pa.float64()),
            pa.field("times", pa.list_(pa.float64())),
            pa.field("caption", pa.string()),
            pa.field("metadata", pa.string(), nullable=False),
            *(pa.field(SIGNAL + name, pa.list_(pa.float32())) for name in sorted(signals)),
        ]
    )


def pack(tokens: Tensor, spec: TokenizerSpec, dtype: LatentDtype) -> dict[str, object]:
    """Columns of tokens: indices (T', H', W'), or latents (C, T', H', W').

    Raises:
        InputError: where latents are too large for the dtype.
    """
    grid = dict(zip(("latent_frames", "latent_height", "latent_width"), tokens.shape[-3:], strict=True))
    if spec.is_discrete:
        return {"indices": tokens.cpu().numpy().astype(index_dtype(spec)).ravel(), **grid}
    latents = tokens.float().cpu()
    if not bool(torch.isfinite(latents).all()):
        raise InputError("latents: some are infinite or no numbers; compute in another dtype, such as float32")
    if dtype != "int8":
        stored = latents.to(getattr(torch, dtype)).flatten()  # `view` takes no strides, be it of a single column
        if not bool(torch.isfinite(stored).all()):
            raise InputError(f"latents of up to {latents.abs().max().item():.3g} do not fit {dtype}; choose another")
        return {"latents": stored.view(torch.uint8).numpy().tobytes(), **grid}
    peak = latents.abs().amax(dim=(1, 2, 3)).clamp_min(torch.finfo(torch.float32).tiny * LEVELS)
    scale = peak / LEVELS
    whole = (latents / scale[:, None, None, None]).round().clamp(-LEVELS, LEVELS).to(torch.int8)
    return {"latents": whole.contiguous().numpy().tobytes(), "scale": scale.numpy(), **grid}


def unpack(row: Mapping[str, object], spec: TokenizerSpec, dtype: LatentDtype) -> Tensor:
    """The tokens of a row: int32 indices (T', H', W'), or float32 latents (C, T', H', W')."""
    grid = tuple(int(row[name]) for name in ("latent_frames", "latent_height", "latent_width"))  # type: ignore[call-overload]
    if spec.is_discrete:
        return torch.from_numpy(np.asarray(row["indices"]).astype(np.int32)).reshape(grid)
    stored = torch.frombuffer(bytearray(row["latents"]), dtype=getattr(torch, dtype))  # type: ignore[call-overload]
    latents = stored.reshape(spec.latent_channels, *grid).float()
    if dtype != "int8":
        return latents
    return latents * torch.from_numpy(np.array(row["scale"], dtype=np.float32))[:, None, None, None]
