"""Moving clips made of photos: sliding, zooming and turning, with pieces of other photos in front.

Real clips are few and mostly quiet; a network that has seen those alone is no better in fast motion than a linear
transform. Any photo moves as fast as is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .options import MotionOptions

__all__ = ["moving_clip", "photos_needed"]

SUBFRAMES = 3
"""Moments that a blurred frame is the mean of."""
SHUTTER = 2 / 3
"""Share of the time between two frames that they spread over, as of a film camera."""
BLURRED = 8
"""Of the frames that are only remembered, so many have motion blur: the last ones."""
STEADY = 24
"""Frames after which a path has turned by a radian or so."""
SCALE = (0.6, 1.5)
"""Pixels of a photo per pixel of a clip; more would need a smoother photo, less shows its grain."""
ZOOM, TURN = 0.006, 0.006
"""Standard deviations of the change of scale (its logarithm) and of the angle (radians), from frame to frame."""
PIECE = (0.15, 0.4)
"""Radius of a piece in front, as a part of the crop's shorter side."""
LARGEST = 1.6
"""Times this radius, how far a piece reaches at most."""
SOFT = (0.5, 3.0)
"""Width of its edge in pixels."""
GAIN = 0.3
"""Greatest change of brightness in a clip, either way."""


@dataclass(frozen=True)
class _Path:
    """Where a layer is at each moment."""

    x: np.ndarray
    """Of its centre, in pixels from the middle of the picture."""
    y: np.ndarray
    scale: np.ndarray
    """Pixels of the photo per pixel of the clip."""
    angle: np.ndarray


def photos_needed(options: MotionOptions, rng: np.random.Generator) -> int:
    """How many photos the next clip is made of: the background, and the pieces in front."""
    return 1 + int(rng.integers(options.layers + 1))


def moving_clip(
    photos: Sequence[np.ndarray],
    frames: int,
    crop: tuple[int, int],
    options: MotionOptions,
    rng: np.random.Generator,
    *,
    past: int = 0,
) -> np.ndarray:
    """A clip (frames, height, width, 3), uint8, in which photos move; the same for the same state of `rng`.

    Args:
        photos: uint8 (H, W, 3): the background, then what is in front of it.
        crop: height and width.
        past: frames at the beginning that are only remembered; all but the last of them go without blur, to save time.
    """
    sharp = max(0, past - BLURRED)
    if frames > 1 and rng.random() < options.cuts:
        cut = int(rng.integers(1, frames))
        parts = [(photos, cut, min(cut, sharp)), (photos[::-1], frames - cut, max(0, sharp - cut))]
    else:
        parts = [(photos, frames, sharp)]
    shots = [_shot(layers, count, unblurred, crop, options, rng) for layers, count, unblurred in parts]
    clip = shots[0] if len(shots) == 1 else torch.cat(shots, dim=1)
    if rng.random() < options.brightness:
        ramp = np.interp(np.arange(frames), [0, frames * rng.uniform(0.2, 0.8), frames], rng.uniform(-1, 1, 3))
        clip *= torch.from_numpy(1 + GAIN * ramp).float().view(-1, 1, 1)
    pixels: np.ndarray = clip.round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 3, 0).numpy()
    return pixels


def _shot(
    photos: Sequence[np.ndarray],
    frames: int,
    sharp: int,
    crop: tuple[int, int],
    options: MotionOptions,
    rng: np.random.Generator,
) -> Tensor:
    """Frames (3, T, H, W), 0..255, without a cut; the first `sharp` ones without blur."""
    count = SUBFRAMES if rng.random() < options.blur else 1
    offsets = (np.arange(count) / count) * SHUTTER
    blurred = (np.arange(sharp, frames)[:, None] + offsets).reshape(-1)
    moments = np.concatenate((np.arange(sharp), blurred))
    background, *others = (torch.from_numpy(np.ascontiguousarray(photo)).permute(2, 0, 1).float() for photo in photos)
    picture = _sampled(background, _path(moments, crop, options.speed, rng), crop, "reflection")
    for photo in others:
        path = _path(moments, crop, options.speed, rng, inside=True)
        layer = _sampled(_piece(photo, float(path.scale[0]), crop, rng), path, crop, "zeros")
        picture.mul_(1 - layer[3:]).add_(layer[:3])
    if count == 1:
        return picture
    return torch.cat((picture[:, :sharp], picture[:, sharp:].unflatten(1, (-1, count)).mean(dim=2)), dim=1)


def _path(
    moments: np.ndarray, crop: tuple[int, int], speed: float, rng: np.random.Generator, inside: bool = False
) -> _Path:
    """A smooth random path; `inside` keeps its centre about the picture, as a ball between walls."""
    velocity = rng.uniform(0, speed) * rng.uniform(0.5, 1)
    heading = rng.uniform(0, 2 * math.pi) + np.sin(moments / STEADY + rng.uniform(0, 2 * math.pi)) * rng.uniform(0, 2)
    steps = np.diff(moments, prepend=moments[0])
    places = [rng.uniform(-0.5, 0.5) * side for side in crop] if inside else [0.0, 0.0]
    y, x = (
        start + np.cumsum(steps * velocity * wave(heading))
        for start, wave in zip(places, (np.sin, np.cos), strict=True)
    )
    if inside:
        y, x = (_between(place, 0.6 * side) for place, side in zip((y, x), crop, strict=True))
    low, high = (math.log(scale) for scale in SCALE)
    start = rng.uniform(low, high)
    scale = np.exp(
        low
        + _between(start - low + rng.normal(0, ZOOM) * moments - (high - low) / 2, (high - low) / 2)
        + (high - low) / 2
    )
    angle = rng.normal(0, 0.1) + rng.normal(0, TURN) * moments
    return _Path(x, y, scale, angle)


def _between(place: np.ndarray, limit: float) -> np.ndarray:
    """Reflected into -limit..limit."""
    return limit - np.abs((place + limit) % (4 * limit) - 2 * limit)


def _sampled(photo: Tensor, path: _Path, crop: tuple[int, int], beyond: str) -> Tensor:
    """A photo (C, h, w) along its path, (C, moments, height, width).

    Args:
        beyond: what is beyond its edges: "reflection" or "zeros".
    """
    y, x = (torch.arange(side, dtype=torch.float32) - (side - 1) / 2 for side in crop)
    scale, angle, px, py = (
        torch.from_numpy(values).float().view(-1, 1, 1) for values in (path.scale, path.angle, path.x, path.y)
    )
    dx, dy, cos, sin = x.view(1, 1, -1) - px, y.view(1, -1, 1) - py, scale * angle.cos(), scale * angle.sin()
    height, width = photo.shape[1:]
    grid = torch.stack(((cos * dx + sin * dy) * (2 / width), (cos * dy - sin * dx) * (2 / height)), dim=-1)
    # all moments in one picture, one below the other, so that the photo is not copied
    found = F.grid_sample(photo[None], grid.flatten(0, 1)[None], "bilinear", beyond, align_corners=False)
    return found[0].unflatten(1, (-1, crop[0]))


def _piece(photo: Tensor, scale: float, crop: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """The middle of a photo (3, h, w) in a blob with a soft edge, and as a fourth channel how much of it is there.

    By that, 0..1, the colours are multiplied, so that they can be interpolated.

    Args:
        scale: pixels of the photo per pixel of the clip.
    """
    height, width = photo.shape[1:]
    size, soft = rng.uniform(*PIECE) * min(crop) * scale, float(rng.uniform(*SOFT)) * scale
    size = min(size, min(height, width) / (2 * LARGEST))
    rows, columns = (min(side, 2 * math.ceil(LARGEST * size + 4 * soft)) for side in (height, width))
    top, left = (height - rows) // 2, (width - columns) // 2
    y = (torch.arange(rows) + (top + 0.5 - height / 2)).float().view(-1, 1)
    x = (torch.arange(columns) + (left + 0.5 - width / 2)).float().view(1, -1)
    radius, angle = torch.hypot(x, y), torch.atan2(y, x)
    edge = torch.ones_like(radius)
    for order in range(1, 4):
        a, b = rng.normal(0, 0.25 / order, 2)
        edge += float(a) * torch.cos(order * angle) + float(b) * torch.sin(order * angle)
    there = torch.sigmoid((edge.clamp_(0.3, LARGEST) * size - radius) / soft)
    return torch.cat((there * photo[:, top : top + rows, left : left + columns], there.unsqueeze(0)))
