"""One batch from its step's number: what the workers of training data run."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cosmotok.errors import CosmotokError, InputError, MediaError

from .clips import ClipReader
from .motion import moving_clip, photos_needed
from .options import MotionOptions
from .plan import Draw, Plan
from .sources import Item

__all__ = ["ORDER", "STREAMS", "Batch", "Failure", "Made", "Maker", "Use"]

TRIES = 20
"""Files in place of one that cannot be read."""
ORDER, CLIP, PAST = 0, 1, 2
"""What a random number is for."""
STREAMS = {"video": 0, "image": 1}
STARTS = 0.3
"""Share of the clip batches that begin their streams, where others have a past."""
SKEW = 1.5
"""Power of an evenly drawn number that the length of a past goes by."""


@dataclass
class Batch:
    """What one rank trains on in one step.

    pixels: uint8 (B, 3, T, H, W); T is 1 for images.
    past: frames at the beginning of clips that stand for what a stream has seen before.
    epoch: how often all files of this kind had been gone through before.
    keys: the files, in the order of the batch.
    broken: one line for each unreadable file met for the first time.
    """

    pixels: Tensor
    kind: Literal["video", "image"]
    step: int
    epoch: int
    keys: list[str]
    broken: list[str]
    past: int = 0


@dataclass
class Use:
    """How files are made into batches of one kind: the size of the crop goes by the group."""

    plan: Plan
    groups: list[np.ndarray]
    sizes: list[tuple[int, int]]
    frames: int

    @property
    def batches_per_epoch(self) -> int:
        return -(-sum(len(group) for group in self.groups) // self.plan.batch)


@dataclass
class Made:
    batch: Batch
    broken: dict[str, str] = field(default_factory=dict)


@dataclass
class Failure:
    """An exception on its way from a worker, which would lose its class and its text."""

    error: CosmotokError | None
    trace: str

    def raise_again(self) -> NoReturn:
        if self.error is not None:
            raise self.error
        reason = self.trace.strip().splitlines()[-1]
        raise CosmotokError(f"preparing data failed unexpectedly: {reason}") from RuntimeError(self.trace)


@dataclass
class Maker(Dataset[Any]):
    """From the number of a step to its batch: what workers run."""

    items: list[Item]
    reader: ClipReader
    uses: Mapping[str, Use]
    stills: np.ndarray
    """Numbers of the files that moving clips are made of."""
    motion: MotionOptions
    seed: int
    rank: int
    world: int
    start_step: int
    image_every: int
    past: int
    temporal_factor: int

    def __getitem__(self, step: int) -> Made | Failure:
        try:
            return self._make(step)
        except CosmotokError as error:
            return Failure(error, "")
        except Exception:
            return Failure(None, traceback.format_exc())

    def _make(self, step: int) -> Made:
        kind, number = self._kind(step - self.start_step)
        use = self.uses[kind]
        group, draws = use.plan[number]
        share = len(draws) // self.world
        mine = draws[self.rank * share : (self.rank + 1) * share]
        broken: dict[str, str] = {}
        keys, clips = [], []
        past = self._past(step) if kind == "video" else 0
        for draw in mine:
            key, clip = self._read(kind, use, group, draw, past, broken)
            keys.append(key)
            clips.append(clip)
        pixels = torch.from_numpy(np.ascontiguousarray(np.stack(clips).transpose(0, 4, 1, 2, 3)))
        return Made(Batch(pixels, kind, step, draws[0].epoch, keys, [], past), broken)

    def _past(self, step: int) -> int:
        """Frames that the stream of a step's clips has seen: none for some, else few more often than many."""
        rng = np.random.default_rng([self.seed, PAST, step])
        groups = (self.past - 1) // self.temporal_factor
        if self.past == 0 or rng.random() < STARTS:
            return 0
        return 1 + self.temporal_factor * round(groups * rng.random() ** SKEW)

    def _kind(self, step: int) -> tuple[Literal["video", "image"], int]:
        """What the batch of a step is of, and its number among those of its kind."""
        images = step // self.image_every if self.image_every else 0
        if self.image_every and step % self.image_every == self.image_every - 1:
            return "image", images
        return "video", step - images

    def _read(
        self, kind: str, use: Use, group: int, draw: Draw, past: int, broken: dict[str, str]
    ) -> tuple[str, np.ndarray]:
        """The key and the clip (T, H, W, 3) of one draw, or of a file drawn in place of an unreadable one."""
        frames, size = past + use.frames - (1 if past else 0), use.sizes[group]
        # The start of the first epoch tells apart the parts of a run.
        rng = np.random.default_rng([self.seed, CLIP, STREAMS[kind], self.start_step, draw.epoch, draw.file])
        index = draw.file
        moving = frames > 1 and (self.items[index].kind == "image" or rng.random() < self.motion.share)
        if moving and self.items[index].kind == "video":
            index = int(rng.choice(self.stills))
        if not moving:
            return self._readable(
                index, use.groups[group], rng, broken, lambda n: self.reader.read(n, frames, size, rng, swing=past > 0)
            )
        others = rng.choice(self.stills, photos_needed(self.motion, rng) - 1)
        photos = [
            self._readable(int(n), self.stills, rng, broken, lambda number: self.reader.still(number, size, rng))
            for n in (index, *others)
        ]
        clip = moving_clip([pixels for _, pixels in photos], frames, size, self.motion, rng, past=past)
        return photos[0][0], clip

    def _readable(
        self,
        index: int,
        others: np.ndarray,
        rng: np.random.Generator,
        broken: dict[str, str],
        read: Callable[[int], np.ndarray],
    ) -> tuple[str, np.ndarray]:
        """The key of the file `index`, or of one of `others` where it cannot be read, and what `read` makes of it."""
        for _ in range(TRIES):
            item = self.items[index]
            try:
                return item.key, read(index)
            except MediaError as error:
                broken[item.key] = " ".join(str(error).split())
                index = int(rng.choice(others))
        raise InputError(f"data.train: {TRIES} files in a row cannot be read; the last one: {broken[item.key]}")
