"""Random clips and crops of one file."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cosmotok.errors import MediaError
from cosmotok.media import open_media

from .cache import ClipCache
from .options import DataOptions
from .sources import Item

__all__ = ["ClipReader", "choose_frames", "random_crop", "scaled_size"]

_FACTS_KEPT = 4096


class _Facts(NamedTuple):
    """What is remembered of a file: its size in pixels, and the second of every frame."""

    width: int
    height: int
    times: np.ndarray


class ClipReader:
    """Reads random clips of files, as `options` say.

    Args:
        items: the files, which are asked for by number.
    """

    def __init__(self, options: DataOptions, items: Sequence[Item], cache: ClipCache) -> None:
        self._options, self._items, self._cache = options, items, cache
        self._known: OrderedDict[int, _Facts] = OrderedDict()

    def read(
        self, number: int, frames: int, crop: tuple[int, int], rng: np.random.Generator, *, swing: bool = False
    ) -> np.ndarray:
        """A random clip (frames, height, width, 3), uint8, of file `number`; of an image, it is that image.

        Frames that are too small are scaled up. The same state of `rng` gives the same clip.

        Args:
            swing: whether clips that are too short go back and forth; else they repeat their last frame.

        Raises:
            MediaError: where the file cannot be read.
        """
        options, facts = self._options, self._facts(number)
        whole = min(frames, len(facts.times)) if swing else frames
        chosen = choose_frames(facts.times, whole, rng, fps=options.fps, strides=options.strides)
        size = scaled_size(facts.width, facts.height, crop, options.resize)
        clip = random_crop(self._frames(number, len(facts.times), chosen, size), crop, rng)
        if whole < frames:
            clip = clip[_to_and_fro(whole, frames)]
        mirrored, backwards = rng.random(2) < (options.flip, options.reverse)
        if mirrored:
            clip = clip[:, :, ::-1]
        return clip[::-1] if backwards else clip

    def still(self, number: int, crop: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """The image, or a random frame of the video, `number`, whole: (height, width, 3), uint8, no less than `crop`.

        Raises:
            MediaError: where the file cannot be read.
        """
        facts = self._facts(number)
        size = scaled_size(facts.width, facts.height, crop, self._options.resize)
        frame = rng.integers(len(facts.times), size=1)
        whole: np.ndarray = self._frames(number, len(facts.times), frame, size)[0]
        return whole

    def _facts(self, number: int) -> _Facts:
        facts = self._known.get(number)
        if facts is None:
            item = self._items[number]
            with item.file() as path, open_media(path) as media:
                times = [0] if item.kind == "image" else [float(time) for time in media.times()]
                facts = _Facts(media.info.width, media.info.height, np.array(times, np.float64))
        self._known[number] = facts
        self._known.move_to_end(number)
        if len(self._known) > _FACTS_KEPT:
            self._known.popitem(last=False)
        return facts

    def _frames(self, number: int, count: int, chosen: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The frames with the numbers `chosen`, which rise, of `count`, scaled to `size` (width, height)."""
        item, kept = self._items[number], self._cache.get(number)
        if kept is not None:
            return kept[chosen]
        first, last = int(chosen[0]), int(chosen[-1])
        with item.file() as path:
            if item.kind == "video" and self._cache.has_room(count * size[0] * size[1] * 3):
                with contextlib.suppress(MediaError):  # the frames wanted may be good nevertheless
                    whole = _read(path, slice(0, count), size)
                    if len(whole) == count:
                        self._cache.put(number, whole)
                        return whole[chosen]
            part = _read(path, slice(first, last + 1), size)
        if len(part) <= last - first:
            raise MediaError(f"{item.key}: has fewer frames than its container says; make it again")
        return part[chosen - first]


def _read(path: Path, frames: slice, size: tuple[int, int]) -> np.ndarray:
    with open_media(path, frames=frames, size=size) as media:
        return np.stack([frame.pixels for frame in media])


def choose_frames(
    times: np.ndarray, frames: int, rng: np.random.Generator, *, fps: float | None, strides: Sequence[int]
) -> np.ndarray:
    """Numbers of the frames of a random clip, int64 (frames,), rising or, at the end of a short file, repeating.

    Every start that leaves enough frames is equally likely, and so is every stride for which there is one. A file that
    is too short is taken from its first frame on, at the smallest stride.

    Args:
        times: seconds of the file's frames.
        fps: frames per second of the clip at stride 1, from the nearest ones of the file; None takes every frame.
    """
    count = len(times)
    if fps is None:
        ticks, end, step = np.arange(count, dtype=np.float64), float(count - 1), 1.0
    else:
        # Half a frame more, since the last moment of a clip may be nearest to the last frame.
        ticks, step = times, 1 / fps
        end = float(times[-1]) + (float(times[-1]) / (count - 1) / 2 if count > 1 else 0.0)
    strides = [stride for stride in strides if (frames - 1) * stride * step <= end] or [min(strides)]
    moments = np.arange(frames) * (step * strides[rng.integers(len(strides))])
    starts = max(1, int(np.searchsorted(ticks, end - moments[-1], side="right")))
    moments += ticks[rng.integers(starts)]
    after = np.clip(np.searchsorted(ticks, moments), 1, max(1, count - 1))
    before = after - 1
    after = np.minimum(after, count - 1)
    return np.where(moments - ticks[before] <= ticks[after] - moments, before, after)


def _to_and_fro(count: int, frames: int) -> np.ndarray:
    """`frames` numbers below `count`, each next to the one before: 0, 1, 2, 1, 0, 1 and so on."""
    last = max(1, count - 1)
    numbers: np.ndarray = np.minimum(last - np.abs(np.arange(frames) % (2 * last) - last), count - 1)
    return numbers


def scaled_size(width: int, height: int, crop: tuple[int, int], resize: int | None) -> tuple[int, int]:
    """(width, height) that frames are scaled to before a `crop` (height, width) is cut from them; no less than it."""
    scale = 1.0 if resize is None else resize / min(width, height)
    scale = max(scale, crop[0] / height, crop[1] / width)
    return max(crop[1], round(width * scale)), max(crop[0], round(height * scale))


def random_crop(clip: np.ndarray, crop: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A part (T, height, width, 3) of a clip (T, H, W, 3) that is no smaller; every place is equally likely."""
    (height, width), (rows, columns) = crop, clip.shape[1:3]
    y, x = rng.integers(rows - height + 1), rng.integers(columns - width + 1)
    return clip[:, y : y + height, x : x + width]
