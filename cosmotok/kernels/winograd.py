"""Convolutions with fewer multiplications: Winograd's minimal filtering (Lavin and Gray, arXiv 1509.09308).

F(m, 3) computes m neighbouring outputs of a filter with three taps from m + 2 inputs by m + 2 products instead of 3 m:
inputs and outputs are transformed by small constant matrices, and the weights have been once. In space that is F(4, 3)
along both axes: a 3x3 convolution takes 36 products per tile of 4x4 outputs instead of 144. Along time it is F(2, 3),
whose first output has nothing of the second one's last input, so that no frame sees the future, to the bit.

With channels last each product is one of whole matrices, and transforms are sums of large slices. They run block by
block, so that what lies between stays in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cosmotok.kernels.products import Product

__all__ = ["TILE", "SpatialWinograd", "TemporalWinograd"]

TILE = 4
SLICE = 1 << 17
"""Values of a tile's, or of a frame's, same position that are worked on together: enough rows for fast products and for
several threads, few enough for the cache."""


class SpatialWinograd:
    """3x3 convolution of images with one ring of zeros around them.

    Args:
        weight: (O, C, 3, 3).
        bias: (O,).
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.channels = weight.shape[0]
        transform = weight.new_tensor(FOUR)
        matrices = torch.einsum("ik,jl,ockl->ijoc", transform, transform, weight)
        # all outputs of a tile contain the product (1, 1) once
        self.products = [
            [Product(matrices[i, j], bias if i == j == 1 else None) for j in range(TILE + 2)] for i in range(TILE + 2)
        ]

    def __call__(self, images: Tensor) -> Tensor:
        """(N, H, W, C) to (N, H, W, O)."""
        count, height, width, _ = images.shape
        rows, columns = -(-height // TILE), -(-width // TILE)
        y = images.new_empty(count, TILE * rows, TILE * columns, self.channels)
        tiles = SLICE // self.channels
        together = max(1, tiles // (rows * columns))
        band = max(1, tiles // columns)
        for n in range(0, count, together):
            for top in range(0, rows, band):
                bottom = min(rows, top + band)
                self.convolve(
                    surroundings(images[n : n + together], top, bottom, columns),
                    y[n : n + together, TILE * top : TILE * bottom],
                )
        return y if y.shape[1:3] == (height, width) else y[:, :height, :width].contiguous()

    def convolve(self, x: Tensor, y: Tensor) -> None:
        """A block: (n, 4 rows + 2, 4 columns + 2, C) to `y` (n, 4 rows, 4 columns, O)."""
        count, rows, columns = x.shape[0], y.shape[1] // TILE, y.shape[2] // TILE
        bottom, right = (TILE * (n - 1) + 1 for n in (rows, columns))
        rows_of_tiles = x.new_empty(TILE + 2, count, rows, *x.shape[2:])
        spread_four([x[:, i : i + bottom : TILE] for i in range(TILE + 2)], rows_of_tiles.unbind())
        tiles = x.new_empty(TILE + 2, count, rows, columns, x.shape[3])
        halfway = y.new_empty(TILE + 2, TILE, count * rows * columns, self.channels)
        inputs = zip(*(rows_of_tiles[:, :, :, j : j + right : TILE].unbind() for j in range(TILE + 2)), strict=True)
        spread, matrices = tiles.unbind(), tiles.flatten(1, 3).unbind()
        for neighbours, products, half in zip(inputs, self.products, halfway, strict=True):
            spread_four(neighbours, spread)
            gather_four([product(matrix) for product, matrix in zip(products, matrices, strict=True)], half.unbind())
        # (n, rows, 4, columns, 4, O) to (rows of a tile, columns of a tile, n, rows, columns, O)
        outputs = y.unflatten(2, (columns, TILE)).unflatten(1, (rows, TILE)).permute(2, 4, 0, 1, 3, 5)
        gather_four(halfway.unflatten(2, (count, rows, columns)).unbind(), outputs.unbind())


def surroundings(images: Tensor, top: int, bottom: int, columns: int) -> Tensor:
    """The pixels under some rows of tiles and one ring around them, zeros outside of the images."""
    count, height, width, channels = images.shape
    padded = images.new_empty(count, TILE * (bottom - top) + 2, TILE * columns + 2, channels)
    above = TILE * top - 1
    first, last = max(0, above), min(height, TILE * bottom + 1)
    padded[:, : first - above] = 0
    padded[:, last - above :] = 0
    padded[:, first - above : last - above, 0] = 0
    padded[:, first - above : last - above, width + 1 :] = 0
    padded[:, first - above : last - above, 1 : width + 1] = images[:, first:last]
    return padded


class TemporalWinograd:
    """Causal convolution of each frame with the two before it.

    Args:
        weight: (O, C, 3), the oldest frame first.
        bias: (O,).
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.channels = weight.shape[0]
        self.still = Product(weight.sum(dim=2), bias)
        matrices = torch.einsum("ik,ock->ioc", weight.new_tensor(TWO), weight)
        # both outputs contain the product 1 once
        self.products = [Product(matrix, bias if i == 1 else None) for i, matrix in enumerate(matrices)]

    def __call__(self, past: Tensor | None, x: Tensor, out: Tensor | None = None) -> Tensor:
        """(B, T, H, W, C) to (B, T, H, W, O).

        Args:
            past: the two frames before, or None for copies of the first.
            out: for the result, where there are several frames. It may be `x`: the last frames come first, and none
                that is to come looks at them.
        """
        if past is None and x.shape[1] == 1:
            return self.still(x)
        before = x[:, :1].expand(-1, 2, *x.shape[2:]) if past is None else past
        y = x.new_empty(*x.shape[:4], self.channels) if out is None else out
        pixels = max(1, SLICE // self.channels)
        for clip_before, clip, clip_out in zip(before, x, y, strict=True):
            frames = [frame.flatten(0, 1).split(pixels) for part in (clip_before, clip) for frame in part.unbind()]
            outputs = [frame.flatten(0, 1).split(pixels) for frame in clip_out.unbind()]
            for first in reversed(range(0, len(outputs), 2)):
                inputs = zip(*frames[first : first + 4], strict=True)
                for block, result in zip(inputs, zip(*outputs[first : first + 2], strict=True), strict=True):
                    self.convolve(block, result)
        return y

    def convolve(self, x: Sequence[Tensor], y: Sequence[Tensor]) -> None:
        """A block: n + 2 frames (pixels, C) to the n frames (pixels, O) of `y`; n is 1 or 2."""
        gather_two([product(part) for product, part in zip(self.products, spread_two(x), strict=False)], y)


# Transforms along one axis -----------------------------------------------------------------------------------------


# Each has m + 2 rows, which make the weights of the products of a filter's three taps. `spread` makes their inputs of
# m + 2 neighbouring ones, `gather` m neighbouring outputs of the products.
TWO = ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1))
FOUR = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)


def spread_four(x: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    a, b = torch.sub(x[4], x[2], alpha=4), torch.sub(x[3], x[1], alpha=4)
    torch.add(a, b, out=out[1])
    torch.sub(a, b, out=out[2])
    torch.sub(x[4], x[2], out=a)
    torch.sub(x[3], x[1], out=b)
    torch.add(a, b, alpha=2, out=out[3])
    torch.sub(a, b, alpha=2, out=out[4])
    torch.sub(x[2], x[0], out=out[0])
    torch.sub(a, out[0], alpha=4, out=out[0])
    torch.sub(x[5], x[3], out=out[5])
    out[5].sub_(b, alpha=4)


def gather_four(p: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """The products' memory is used up."""
    a, c = p[1] + p[2], p[3] + p[4]
    b, d = p[1].sub_(p[2]), p[3].sub_(p[4])
    torch.add(p[0].add_(a), c, out=out[0])
    torch.add(b, d, alpha=2, out=out[1])
    torch.add(a, c, alpha=4, out=out[2])
    torch.add(p[5].add_(b), d, alpha=8, out=out[3])


def spread_two(x: Sequence[Tensor]) -> list[Tensor]:
    """Of three inputs, the three that the first output is of."""
    return [x[0] - x[2], x[1] + x[2], x[2] - x[1], *([x[1] - x[3]] if len(x) == 4 else [])]


def gather_two(p: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    torch.add(p[0], p[1], out=out[0])
    out[0].add_(p[2])
    if len(out) == 2:
        torch.sub(p[1], p[2], out=out[1])
        out[1].sub_(p[3])
