"""The Karhunen-Loeve transform: the linear code of pixel blocks that loses least, the floor for any tokenizer."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cosmotok.errors import InputError
from cosmotok.media import find_media, is_image_path, open_media

__all__ = ["fitted", "principal_components"]

BLOCKS = 32_768
"""Random blocks that a transform is fitted to, spread evenly over the files."""

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
