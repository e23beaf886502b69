"""The KLT as a tokenizer: the floor for any other with as many latents."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cosmotok.errors import InputError
from cosmotok.families.klt.transform import fitted
from cosmotok.families.registry import Request
from cosmotok.interface import BaseTokenizer, Model
from cosmotok.network import StreamState
from cosmotok.spec import TokenizerSpec

__all__ = ["KLT", "KLTTokenizer", "find_klt"]

LARGEST = 3 * 16**3
"""Values of a block at most: a fit holds all blocks in memory."""

STEP = 16
"""Frames of a step of a stream, about."""

NAME = re.compile(r"klt:((?P<time>[1-9][0-9]*)x)?(?P<height>[1-9][0-9]*)x(?P<width>[1-9][0-9]*):(?P<count>[1-9][0-9]*)")


@dataclass(frozen=True, eq=False)
class KLT(Model):
    """A fitted transform; it travels between processes as its matrix.

    Blocks are those under a latent position of a tokenizer: the first frame of a clip, or an image, is a group of
    `block[0]` equal frames, and every `block[0]` frames after it are one. Edges are repeated to fill the last ones.
    """

    linear: ClassVar[bool] = True
    name: str
    block: tuple[int, int, int]
    """Frames, height, width."""
    mean: np.ndarray
    """(D,), D = 3 x frames x height x width; pixel values 0..255."""
    directions: np.ndarray
    """(K, D), orthonormal."""
    clips: bool
    """Made for clips, and not for images alone."""

    @classmethod
    def fit(cls, name: str, block: tuple[int, int, int], components: int, folder: Path, *, clips: bool) -> KLT:
        """Fitted to random blocks of the clips in `folder`, or of the images if not `clips`; the same in every run.

        Where the folder has none of that kind, to the other kind: an image is a clip that stands still.

        Raises:
            InputError: more components than a block has values, a block too large, or larger than all files.
            MediaError: where the folder or a file in it cannot be read.
        """
        values = 3 * math.prod(block)
        if values > LARGEST:
            raise InputError(
                f"{name}: expected a block of at most {LARGEST:,} values, got {values:,}; take a smaller one"
            )
        if not 1 <= components <= values:
            raise InputError(f"{name}: expected 1 to {values} components of a block of {values} values")
        mean, directions = fitted(block, components, Path(os.path.realpath(folder)), clips)
        return cls(name, block, mean, directions, clips)

    @property
    def spec(self) -> TokenizerSpec:
        time, space, _ = self.block
        return TokenizerSpec(
            self.name.replace(":", "-"),
            space,
            time,
            len(self.directions),
            clips=self.clips,
            chunk=max(1, STEP // time),
        )

    @property
    def parameters(self) -> int:
        return self.directions.size + self.mean.size

    @property
    def notes(self) -> Sequence[str]:
        t, h, w = self.block
        return [f"best linear transform of blocks of {t} x {h} x {w}"]

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.mean.tobytes() + self.directions.tobytes()).hexdigest()[:16]

    def load(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> KLTTokenizer:
        return KLTTokenizer(self, torch.device(device or "cpu"), dtype or torch.float32)


class KLTTokenizer(BaseTokenizer):
    """A `KLT` on its device. Latents are rounded to float16, of which 16 bits a channel are counted."""

    def __init__(self, klt: KLT, device: torch.device, dtype: torch.dtype) -> None:
        self._klt, self._device, self._dtype = klt, device, dtype
        self._mean = torch.from_numpy(klt.mean).to(device).div(127.5).sub(1)
        self._directions = torch.from_numpy(klt.directions).to(device)

    @property
    def spec(self) -> TokenizerSpec:
        return self._klt.spec

    @property
    def fingerprint(self) -> str:
        return self._klt.fingerprint

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    @property
    def parameters(self) -> int:
        return self._mean.numel() + self._directions.numel()

    def encode_step(self, frames: Tensor, state: StreamState) -> Tensor:
        if not state.started:
            frames = frames.expand(-1, -1, self._klt.block[0], -1, -1)
            state.started = True
        blocks = to_blocks(frames.float(), self._klt.block)
        latents = F.linear(blocks - self._mean, self._directions).half()
        return latents.movedim(-1, 1).to(self._dtype)

    def decode_step(self, tokens: Tensor, state: StreamState) -> Tensor:
        blocks = tokens.movedim(1, -1).float() @ self._directions + self._mean
        frames = from_blocks(blocks, self._klt.block).to(self._dtype)
        if not state.started:
            frames = frames[:, :, :1]
            state.started = True
        return frames


def to_blocks(frames: Tensor, block: tuple[int, int, int]) -> Tensor:
    """Frames (B, 3, T, H, W) to blocks (B, T / t, H / h, W / w, 3 t h w), of channels-last pixels."""
    t, h, w = block
    x = frames.unflatten(4, (-1, w)).unflatten(3, (-1, h)).unflatten(2, (-1, t))
    return x.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4)


def from_blocks(blocks: Tensor, block: tuple[int, int, int]) -> Tensor:
    """Inverse of `to_blocks`."""
    x = blocks.unflatten(4, (*block, 3)).permute(0, 7, 1, 4, 2, 5, 3, 6)
    return x.flatten(6, 7).flatten(4, 5).flatten(2, 3)


def find_klt(request: Request) -> KLT:
    """`klt:TxSxS:K` of clips or `klt:SxS:K` of images, K coefficients for blocks of T frames by S x S pixels.

    Raises:
        InputError: without a folder to fit to, or of an impossible size.
        MediaError: where that cannot be read.
    """
    name, match = request.name, NAME.fullmatch(request.name)
    if match is None or match["height"] != match["width"]:
        raise InputError(
            f"{name}: expected klt:4x8x8:16 (frames x height x width of a block, both sides equal, and coefficients) "
            "or klt:8x8:16"
        )
    if request.fit is None:
        raise InputError(f"{name}: a KLT is fitted to data: give a folder of clips or images (--fit FOLDER)")
    block = (int(match["time"] or 1), int(match["height"]), int(match["width"]))
    return KLT.fit(name, block, int(match["count"]), Path(request.fit), clips=match["time"] is not None)
