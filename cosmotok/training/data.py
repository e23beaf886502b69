"""Random crops of clips and photos, from folders that fit in memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cosmotok.errors import InputError, MediaError
from cosmotok.media import find_media, open_media

__all__ = ["MediaSet"]


class MediaSet:
    """Clips (T, H, W, 3) and images (1, H, W, 3), uint8, held in memory.

    Args:
        videos, images: what to draw from.
    """

    def __init__(self, videos: Sequence[np.ndarray], images: Sequence[np.ndarray]) -> None:
        self.videos, self.images = list(videos), list(images)

    @classmethod
    def from_folder(cls, folder: Path, max_frames: int = 121) -> MediaSet:
        """Reads all images and videos below `folder`, the first `max_frames` frames of each.

        Files that cannot be read are left out; see `skipped`.

        Raises:
            InputError: where nothing can be read.
        """
        videos: list[np.ndarray] = []
        images: list[np.ndarray] = []
        skipped: list[str] = []
        for path in find_media(folder):
            try:
                with open_media(path) as media:
                    frames = np.stack([frame.pixels for frame in islice(media, max_frames)])
            except MediaError as error:
                skipped.append(str(error))
                continue
            (videos if len(frames) > 1 else images).append(frames)
        if not videos and not images:
            reason = f"; the first of {len(skipped)} unreadable ones: {skipped[0]}" if skipped else ""
            raise InputError(f"{folder}: expected images or videos to train on, found none{reason}")
        media_set = cls(videos, images)
        media_set.skipped = skipped
        return media_set

    skipped: Sequence[str] = ()
    """One line for each file that could not be read."""

    def clips(self, rng: np.random.Generator, count: int, frames: int, crop: int) -> Tensor:
        """`count` random clips (count, 3, frames, crop, crop) in [-1, 1], flipped and reversed at random."""
        batch = [random_crop(rng, self.videos[rng.integers(len(self.videos))], frames, crop) for _ in range(count)]
        return to_tensor(batch)

    def photos(self, rng: np.random.Generator, count: int, crop: int) -> Tensor:
        """`count` random crops (count, 3, 1, crop, crop) of images, or of single frames where there are none."""
        source = self.images or self.videos
        return to_tensor([random_crop(rng, source[rng.integers(len(source))], 1, crop) for _ in range(count)])


def random_crop(rng: np.random.Generator, clip: np.ndarray, frames: int, crop: int) -> np.ndarray:
    """A random part (frames, crop, crop, 3); what is smaller than that is extended by its edges."""
    missing = [max(0, want - have) for want, have in zip((frames, crop, crop), clip.shape, strict=False)]
    if any(missing):
        clip = np.pad(clip, [(0, n) for n in missing] + [(0, 0)], mode="edge")
    t, y, x = (int(rng.integers(have - want + 1)) for want, have in zip((frames, crop, crop), clip.shape, strict=False))
    part = clip[t : t + frames, y : y + crop, x : x + crop]
    if rng.random() < 0.5:
        part = part[:, :, ::-1]
    return part[::-1] if rng.random() < 0.5 else part


def to_tensor(clips: Sequence[np.ndarray]) -> Tensor:
    """Equal clips (T, H, W, 3) of uint8 to (B, 3, T, H, W) in [-1, 1]."""
    return torch.from_numpy(np.stack(clips)).permute(0, 4, 1, 2, 3).float().div_(127.5).sub_(1)
