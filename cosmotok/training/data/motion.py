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
    clip = torch.cat([_shot(layers, count, unblurred, crop, options, rng) for layers, count, unblurred in parts])
    if rng.random() < options.brightness:
        ramp = np.interp(np.arange(frames), [0, frames * rng.uniform(0.2, 0.8), frames], rng.uniform(-1, 1, 3))
        clip *= torch.from_numpy(1 + GAIN * ramp).float().view(-1, 1, 1, 1)
    pixels: np.ndarray = clip.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return pixels


def _shot(
    photos: Sequence[np.ndarray],
    frames: int,
    sharp: int,
    crop: tuple[int, int],
    options: MotionOptions,
    rng: np.random.Generator,
) -> Tensor:
    """Frames (T, 3, H, W), 0..255, without a cut; the first `sharp` ones without blur."""
    count = SUBFRAMES if rng.random() < options.blur else 1
    offsets = (np.arange(count) / count) * SHUTTER
    blurred = (np.arange(sharp, frames)[:, None] + offsets).reshape(-1)
    moments = np.concatenate((np.arange(sharp), blurred))
    picture: Tensor | None = None
    for photo in photos:
        path = _path(moments, crop, options.speed, rng, inside=picture is not None)
        u, v = _places(path, crop)
        layer = _sampled(photo, u, v, path)
        picture = layer if picture is None else torch.lerp(picture, layer, _piece(u, v, path, crop, rng))
    if picture is None:
        raise ValueError("photos: expected at least one")
    return torch.cat((picture[:sharp], picture[sharp:].unflatten(0, (-1, count)).mean(dim=1)))


def _path(moments: np.ndarray, crop: tuple[int, int], speed: float, rng: np.random.Generator, inside: bool) -> _Path:
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


def _places(path: _Path, crop: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Of every pixel at every moment, where it is in the layer, in pixels of the clip from the layer's centre: two
    (moments, height, width)."""
    y, x = (torch.arange(side, dtype=torch.float32) - (side - 1) / 2 for side in crop)
    cos, sin, px, py = (
        torch.from_numpy(values).float().view(-1, 1, 1)
        for values in (np.cos(path.angle), np.sin(path.angle), path.x, path.y)
    )
    dx, dy = x.view(1, 1, -1) - px, y.view(1, -1, 1) - py
    return cos * dx + sin * dy, cos * dy - sin * dx


def _sampled(photo: np.ndarray, u: Tensor, v: Tensor, path: _Path) -> Tensor:
    """The photo at these places, (moments, 3, height, width); beyond its edges it is mirrored."""
    height, width = photo.shape[:2]
    scale = torch.from_numpy(path.scale).float().view(-1, 1, 1)
    grid = torch.stack((u * scale * (2 / width), v * scale * (2 / height)), dim=-1)
    # one large picture in place of many, so that the photo is not copied
    rows = grid.flatten(0, 1).unsqueeze(0)
    pixels = torch.from_numpy(np.ascontiguousarray(photo)).permute(2, 0, 1).unsqueeze(0).float()
    found = F.grid_sample(pixels, rows, mode="bilinear", padding_mode="reflection", align_corners=False)
    return found[0].unflatten(1, u.shape[:2]).transpose(0, 1)


def _piece(u: Tensor, v: Tensor, path: _Path, crop: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """How much of each pixel a piece covers, 0..1, (moments, 1, height, width): a blob with a soft edge."""
    size = rng.uniform(*PIECE) * min(crop)
    scale = torch.from_numpy(path.scale / path.scale[0]).float().view(-1, 1, 1)
    u, v = u * scale, v * scale
    radius = torch.sqrt(u.square() + v.square()).clamp_min_(1e-3)
    cos, sin = u / radius, v / radius
    # waves of once, twice and three times round, as powers of the direction
    edge, (c, s) = torch.ones_like(radius), (cos, sin)
    for order in range(1, 4):
        a, b = rng.normal(0, 0.25 / order, 2)
        edge += float(a) * c + float(b) * s
        c, s = c * cos - s * sin, c * sin + s * cos
    return torch.sigmoid((edge.clamp_min_(0.3) * size - radius) / float(rng.uniform(*SOFT))).unsqueeze(1)
