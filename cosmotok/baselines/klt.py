"""The Karhunen-Loeve transform: the linear code of pixel blocks that loses least, the floor for any tokenizer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cosmotok.errors import InputError
from cosmotok.evaluation.contestants import Source, Tally, Traits
from cosmotok.media import find_media, is_image_path, open_media

__all__ = ["KLT", "principal_components"]

BITS = 16
"""Of each coefficient, as of each channel of a continuous latent; it is rounded to float16 indeed."""

BLOCKS = 32_768
"""Random blocks that a transform is fitted to, spread evenly over the files."""

LARGEST = 3 * 16**3
"""Values of a block at most: a fit holds all blocks in memory."""

FILES = 128
"""Files at most, drawn at random."""

GROUPS = 8
"""Length of the piece, from a random place in a clip, that its blocks come from, in block lengths."""

SPARE, ITERATIONS, GAIN, PART = 16, 60, 1e-6, 4096
"""Of the fit: directions beside those wanted, which speed it up; iterations at most; gain in variance, as a part of
it, at which it ends; blocks at a time."""


def principal_components(x: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (D,), directions (count, D) and standard deviations (count,) of the rows of `x` (N, D), float64."""
    x = x.double()
    mean = x.mean(dim=0)
    centred = x - mean
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(x))
    return mean, directions.T.flip(0)[:count], variances.flip(0)[:count].clamp_min(1e-12).sqrt()


def leading_components(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean (D,) and the `count` principal directions (count, D) of many long rows (N, D), uint8; float32.

    By orthogonal iteration: the covariance of blocks of 6,144 values would take minutes to make and to take apart,
    and only a few of its directions are wanted.
    """
    mean = rows.sum(dim=0, dtype=torch.float64).div(len(rows)).float()
    size = min(rows.shape[1], count + SPARE)
    start = torch.randn(rows.shape[1], size, generator=torch.Generator().manual_seed(0))
    basis = torch.linalg.qr(start).Q
    captured = torch.tensor(0.0)
    for _ in range(ITERATIONS):
        product = torch.zeros_like(basis)
        for part in rows.split(PART):
            centred = part.float() - mean
            product += centred.T @ (centred @ basis)
        variances, rotation = torch.linalg.eigh(basis.T @ product)
        directions = (basis @ rotation).T.flip(0)[:count]
        before, captured = captured, variances[-count:].sum()
        if captured - before <= GAIN * captured:
            break
        basis = torch.linalg.qr(product).Q
    return mean, directions.contiguous()


@dataclass(frozen=True, eq=False)
class KLT:
    """A fitted transform as a contestant; it travels between processes as its matrix.

    Blocks are those under a latent position of a tokenizer: the first frame of a clip, or an image, is a group of
    `block[0]` equal frames, and every `block[0]` frames after it are one. Edges are repeated to fill the last ones.
    """

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
        mean, directions = fitted(block, components, folder.resolve(), clips)
        return cls(name, block, mean, directions, clips)

    @property
    def traits(self) -> Traits:
        t, h, w = self.block
        return Traits(
            family="linear",
            image=True,
            video=self.clips,
            causal=True,
            streaming=True,
            space=h if h == w else None,
            time=t,
            channels=len(self.directions),
            parameters=self.directions.size + self.mean.size,
            note=f"best linear transform of blocks of {t} x {h} x {w}",
        )

    def load(self, device: str) -> LoadedKLT:
        return LoadedKLT(self, device)


class LoadedKLT:
    """A `KLT` on its device."""

    def __init__(self, klt: KLT, device: str) -> None:
        self._block = klt.block
        self._mean = torch.from_numpy(klt.mean).to(device)
        self._directions = torch.from_numpy(klt.directions).to(device)

    def reconstruct(self, frames: Iterable[np.ndarray], source: Source, tally: Tally) -> Iterator[np.ndarray]:
        tally.bits = 0.0
        time = self._block[0]
        rest = iter(frames)
        first = next(rest, None)
        if first is None:
            return
        yield self._group([first] * time, tally)[0]
        while group := [frame for _, frame in zip(range(time), rest, strict=False)]:
            padded = group + [group[-1]] * (time - len(group))
            yield from self._group(padded, tally)[: len(group)]

    @torch.no_grad()
    def _group(self, frames: list[np.ndarray], tally: Tally) -> np.ndarray:
        """A group of frames there and back: uint8 (T, H, W, 3)."""
        _, h, w = self._block
        height, width = frames[0].shape[:2]
        pad = ((0, 0), (0, -height % h), (0, -width % w), (0, 0))
        pixels = torch.from_numpy(np.pad(np.stack(frames), pad, mode="edge"))
        blocks = to_blocks(pixels.to(self._mean.device), self._block)
        latents = ((blocks.float() - self._mean) @ self._directions.T).half()
        tally.bits = (tally.bits or 0.0) + latents.numel() * BITS
        result = latents.float() @ self._directions + self._mean
        values = result.round_().clamp_(0, 255).to(torch.uint8)
        return from_blocks(values, self._block)[:, :height, :width].cpu().numpy()


def to_blocks(pixels: Tensor, block: tuple[int, int, int]) -> Tensor:
    """Frames (t, H, W, 3) of one group to blocks (H / h, W / w, 3 t h w)."""
    _, h, w = block
    blocks = pixels.unflatten(2, (-1, w)).unflatten(1, (-1, h))
    return blocks.permute(1, 3, 0, 2, 4, 5).flatten(2)


def from_blocks(blocks: Tensor, block: tuple[int, int, int]) -> Tensor:
    """Inverse of `to_blocks`."""
    pixels = blocks.unflatten(2, (*block, 3)).permute(2, 0, 3, 1, 4, 5)
    return pixels.flatten(3, 4).flatten(1, 2)


@lru_cache(maxsize=32)
def fitted(block: tuple[int, int, int], components: int, folder: Path, clips: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and directions (components, D), float32."""
    found = find_media(folder)
    images = [path for path in found if is_image_path(path)]
    films = [path for path in found if not is_image_path(path)]
    files = (films or images) if clips else (images or films)
    rng = np.random.default_rng(0)
    files = [files[i] for i in sorted(rng.permutation(len(files))[:FILES])]
    drawn = [random_blocks(path, block, -(-BLOCKS // len(files)), rng) for path in files]
    rows = [part for part in drawn if part is not None]
    if not rows:
        t, h, w = block
        raise InputError(f"{folder}: no clip or image of at least {t} x {h} x {w} (frames, height, width) to fit to")
    mean, directions = leading_components(torch.from_numpy(np.concatenate(rows)), components)
    return mean.numpy(), directions.numpy()


def random_blocks(path: Path, block: tuple[int, int, int], count: int, rng: np.random.Generator) -> np.ndarray | None:
    """Blocks (count, 3 t h w) from random places in an image or a piece of a clip; None where it is too small."""
    t, h, w = block
    piece = slice(None)
    with open_media(path) as media:
        info = media.info
        if info.kind == "image":
            frames = [frame.pixels for frame in media] * t
        else:
            start = int(rng.integers(max(0, (info.frame_count or 0) - GROUPS * t) + 1))
            piece = slice(start, start + GROUPS * t)
    if info.kind == "video":
        with open_media(path, frames=piece) as media:
            frames = [frame.pixels for frame in media]
    height, width = info.height, info.width
    if len(frames) < t or height < h or width < w:
        return None
    pixels = np.stack(frames)
    rows = np.empty((count, 3 * t * h * w), np.uint8)
    for row in rows:
        i, y, x = (rng.integers(room + 1) for room in (len(frames) - t, height - h, width - w))
        row[:] = pixels[i : i + t, y : y + h, x : x + w].reshape(-1)
    return rows
