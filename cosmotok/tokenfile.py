"""Token files: one clip's tokens in a `.safetensors` file that needs nothing else but the model to be played.

The tensor is called `indices` (uint16 where the vocabulary fits, T' H' W') or `latents` (C T' H' W'). The metadata
says whose tokens these are, and the clip's true size, rate and times.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import safetensors
import torch
from torch import Tensor

from cosmotok.checkpoint.fingerprint import ABSENT, other_maker
from cosmotok.errors import InputError, TokenFileError
from cosmotok.foreign import check_regular_file, one_line, parse_fraction, parse_json, plain_text, whole_number
from cosmotok.interface import BaseTokenizer
from cosmotok.paths import as_path
from cosmotok.spec import TokenizerSpec
from cosmotok.writing import output_file, spool, write_error

__all__ = ["StoredTokens", "TokenFile", "TokenInfo", "TokenWriter"]

FORMAT = "cosmotok-tokens"
FORMAT_VERSION = "1"
LATENT_DTYPES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}
TENSORS = {"indices": (("U16", "I32"), 3), "latents": (tuple(LATENT_DTYPES.values()), 4)}
"""Names of the tensor, with the dtypes and the number of axes that it may have."""
LARGEST = 2**31 - 1
"""Of any size or count."""
TICKS = 90_000
"""Per second, of the times of frames at a variable rate."""
LAST_TICK = 2**53


@dataclass(frozen=True)
class TokenInfo:
    """What a token file says of itself."""

    model: str
    """As `Tokenizer.from_pretrained` takes it."""
    fingerprint: str
    """Of the weights; see `Tokenizer.fingerprint`."""
    kind: str
    """'video' or 'image'."""
    size: tuple[int, int, int]
    """True frames, height and width, without padding."""
    frame_rate: Fraction | None
    """Frames per second; None for an image."""
    times: tuple[int, ...] | None
    """Of every frame, in 1/90000 s, where the rate is not constant."""
    attention_context: int | None
    chunk: int | None
    """Latent frames per step; see `TokenizerSpec.chunk`."""

    def to_metadata(self) -> dict[str, str]:
        plain: dict[str, Any] = dict(vars(self)) | {"frame_rate": str(self.frame_rate) if self.frame_rate else None}
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **{k: v if isinstance(v, str) else json.dumps(v) for k, v in plain.items()},
        }

    @classmethod
    def from_metadata(cls, values: dict[str, str], path: Path) -> TokenInfo:
        if values.get("format") != FORMAT:
            raise TokenFileError(f"{path}: not a token file; expected one that `cosmotok encode` wrote")
        version = values.get("format_version")
        if version != FORMAT_VERSION:
            raise TokenFileError(
                f"{path}: token format version {one_line(version, 20)}, expected {FORMAT_VERSION}; "
                "a newer cosmotok wrote it: upgrade with `pip install -U cosmotok`"
            )
        try:
            plain = {name: parse_json(values[name]) for name in ("size", "times", "attention_context", "chunk")}
            frames, height, width = plain["size"]
            rate, times, context, chunk = (
                values["frame_rate"],
                plain["times"],
                plain["attention_context"],
                plain["chunk"],
            )
            info = cls(
                model=plain_text("model", values["model"], 4096),
                fingerprint=plain_text("fingerprint", values["fingerprint"], 64),
                kind=values["kind"],
                size=(
                    whole_number("frames", frames, 1, LARGEST),
                    whole_number("height", height, 1, LARGEST),
                    whole_number("width", width, 1, LARGEST),
                ),
                frame_rate=None if rate == "null" else parse_fraction("frame_rate", rate),
                times=None if times is None else tuple(whole_number("times", t, 0, LAST_TICK) for t in times),
                attention_context=None if context is None else whole_number("attention_context", context, 1, LARGEST),
                chunk=None if chunk is None else whole_number("chunk", chunk, 1, LARGEST),
            )
            info._check()
        except KeyError as error:
            raise TokenFileError(f"{path}: metadata without {error}; encode the clip again") from None
        except (ValueError, TypeError) as error:
            raise TokenFileError(f"{path}: damaged metadata ({one_line(error, 200)}); encode the clip again") from None
        return info

    def _check(self) -> None:
        """Raises ValueError where one value contradicts another."""
        frames, _, _ = self.size
        if self.kind not in ("image", "video"):
            raise ValueError(f"kind: expected image or video, got {one_line(self.kind, 40)}")
        if self.kind == "image" and (frames > 1 or self.frame_rate or self.times):
            raise ValueError(f"an image, with {frames} frames at a rate of {self.frame_rate}")
        if self.kind == "video" and self.frame_rate is None:
            raise ValueError("a video without a frame_rate")
        if self.times is not None and len(self.times) != frames:
            raise ValueError(f"{len(self.times)} times of {frames} frames")
        if self.fingerprint.startswith(ABSENT):
            raise ValueError(f"fingerprint {self.fingerprint}: of no encoder")


class TokenWriter:
    """Writes a token file as tokens arrive; used in a `with` block, which leaves either the whole file or none.

    The file's header says how many tokens follow, so they wait in a temporary file beside it.

    Args:
        latent_dtype: 'float16', 'bfloat16' or 'float32', for continuous tokens.
    """

    def __init__(self, path: Path, spec: TokenizerSpec, latent_dtype: str = "float16") -> None:
        if latent_dtype not in LATENT_DTYPES:
            raise TokenFileError(f"latent dtype {latent_dtype!r}: expected one of {', '.join(LATENT_DTYPES)}")
        self.path, self.spec = path, spec
        if spec.is_discrete:
            small = spec.vocab_size <= 2**16  # type: ignore[operator]
            self.dtype, self.code = (torch.uint16, "U16") if small else (torch.int32, "I32")
        else:
            self.dtype, self.code = getattr(torch, latent_dtype), LATENT_DTYPES[latent_dtype]
        self._spool: Any = None
        self._shape: tuple[int, ...] = ()

    def __enter__(self) -> TokenWriter:
        self._spool = spool(self.path)
        return self

    def write(self, tokens: Tensor) -> None:
        """Adds tokens of one clip: (1, C, t, H', W') or (1, t, H', W')."""
        by_time = tokens[0] if self.spec.is_discrete else tokens[0].movedim(1, 0)
        wide, by_time = by_time, by_time.to("cpu", self.dtype).contiguous()
        if not self.spec.is_discrete and not bool(torch.isfinite(by_time).all()):
            raise InputError(
                f"{self.path}: latents of up to {wide.abs().max().item():.3g} do not fit {self.dtype}, which ends at "
                f"{torch.finfo(self.dtype).max:.3g}; choose another --latent-dtype, such as bfloat16"
            )
        if by_time.numel():
            self._shape = (self._shape[0] if self._shape else 0) + by_time.shape[0], *by_time.shape[1:]
            try:
                self._spool.write(as_bytes(by_time))
            except OSError as error:
                raise write_error(self.path, error, self._spool.needed) from error

    def finish(self, info: TokenInfo) -> None:
        """Writes the file, in the order of the tensor's axes."""
        name = "indices" if self.spec.is_discrete else "latents"
        itemsize = self.dtype.itemsize
        shape = self._shape if self.spec.is_discrete else (self._shape[1], self._shape[0], *self._shape[2:])
        length = int(np.prod(shape)) * itemsize
        header = json.dumps(
            {
                "__metadata__": info.to_metadata(),
                name: {"dtype": self.code, "shape": shape, "data_offsets": [0, length]},
            }
        ).encode()
        header += b" " * (-len(header) % 8)
        with output_file(self.path) as file:
            file.write(len(header).to_bytes(8, "little") + header)
            if self.spec.is_discrete:
                self._spool.seek(0)
                shutil.copyfileobj(self._spool, file)
            else:
                channels, frames, *grid = shape
                plane = int(np.prod(grid)) * itemsize
                for channel in range(channels):
                    for frame in range(frames):
                        self._spool.seek((frame * channels + channel) * plane)
                        file.write(self._spool.read(plane))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # a full disk, which has been spoken of
            self._spool.close()


class StoredTokens(ABC):
    """The tokens of one clip, wherever they are stored, and what is said of them."""

    label: str
    """Names them to people."""
    path: Path
    """Of the file or folder that they are in."""
    info: TokenInfo
    name: str
    """'indices' or 'latents'."""
    shape: tuple[int, ...]
    """(T', H', W') or (C, T', H', W')."""
    bits: int
    """Per value, as stored."""

    def check(self, tokenizer: BaseTokenizer) -> None:
        """Raises TokenFileError unless `tokenizer` made these tokens, and they are as many as the size says."""
        info, spec = self.info, tokenizer.spec
        wrong = other_maker(self.label, info.model, info.fingerprint, spec.name, tokenizer.fingerprint)
        if wrong is not None:
            raise TokenFileError(wrong)
        channels = () if spec.is_discrete else (spec.latent_channels,)
        expected = (*channels, *spec.grid(*info.size))
        name = "indices" if spec.is_discrete else "latents"
        if self.name != name or self.shape != expected or info.chunk != spec.chunk:
            raise TokenFileError(
                f"{self.label}: holds {self.name} of shape {self.shape} in chunks of {info.chunk}, expected "
                f"{name} of shape {expected} in chunks of {spec.chunk}; encode the clip again"
            )

    @abstractmethod
    def __iter__(self) -> Iterator[Tensor]:
        """Tokens of a few latent frames at a time: (1, C, t, H', W') or (1, t, H', W').

        Raises:
            TokenFileError: where they are damaged.
        """


class TokenFile(StoredTokens):
    """Reads a token file piece by piece.

    Raises:
        TokenFileError: where it is missing, damaged, no token file, or of another format version.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path = as_path(path)
        self.label = str(path)
        try:
            check_regular_file(path)
            with safetensors.safe_open(path, framework="pt") as file:
                self.info = TokenInfo.from_metadata(file.metadata() or {}, path)
                names = set(file.keys())
                if names not in ({"indices"}, {"latents"}):
                    got = one_line(", ".join(sorted(names)[:9]))
                    raise TokenFileError(f"{path}: expected one tensor, `indices` or `latents`, got {got}")
                self.name = names.pop()
                piece = file.get_slice(self.name)
                self.shape = tuple(piece.get_shape())
                dtype, (dtypes, axes) = piece.get_dtype(), TENSORS[self.name]
                if dtype not in dtypes or len(self.shape) != axes:
                    raise TokenFileError(
                        f"{path}: holds {self.name} of type {dtype} with {len(self.shape)} axes; expected "
                        f"{' or '.join(dtypes)} with {axes}; encode the clip again"
                    )
                self.bits = int("".join(filter(str.isdigit, dtype)))
        except FileNotFoundError:
            raise TokenFileError(f"{path}: no such file") from None
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise TokenFileError(
                f"{path}: not a readable token file ({one_line(error, 120)}); encode the clip again"
            ) from None

    def __iter__(self) -> Iterator[Tensor]:
        with safetensors.safe_open(self.path, framework="pt") as file:
            piece = file.get_slice(self.name)
            frames = self.info.chunk or self.shape[-3]
            for start in range(0, self.shape[-3], frames):
                try:
                    if self.name == "indices":
                        yield piece[start : start + frames].to(torch.int32).unsqueeze(0)
                    else:
                        yield piece[:, start : start + frames].unsqueeze(0)
                except (OSError, safetensors.SafetensorError) as error:
                    raise TokenFileError(
                        f"{self.path}: damaged ({one_line(error, 120)}); encode the clip again"
                    ) from None


def as_bytes(tensor: Tensor) -> bytes:
    """The raw values of a contiguous tensor, of any dtype."""
    return tensor.flatten().view(torch.uint8).numpy().tobytes()  # axes of length 1 may have any stride
