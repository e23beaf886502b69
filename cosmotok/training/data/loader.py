"""Batches of random clips and images: planned once for all ranks, read by worker processes."""

from __future__ import annotations

import gc
import hashlib
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cosmotok.errors import CosmotokError, InputError, MediaError
from cosmotok.media import open_media

from .cache import ClipCache
from .clips import ClipReader
from .motion import moving_clip, photos_needed
from .options import DataOptions, MotionOptions, bucket_sizes
from .plan import Draw, Plan
from .sources import Item, find_items

__all__ = ["Batch", "TrainingData"]

_TRIES = 20  # files in place of one that cannot be read
_AHEAD = 4  # batches that each worker prepares in advance
_SHOWN = 3
_ORDER, _CLIP, _PAST = 0, 1, 2  # what a random number is for
_STREAMS = {"video": 0, "image": 1}


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


class TrainingData:
    """Endless training batches, of which every one can be made on its own.

    A batch depends on the options, the seed and its step, and on nothing else: not on the number of workers, nor on
    where `batches` started. The ranks' batches, one after the other, are the batch that a single process has. Every
    video comes exactly once per epoch, and images have epochs of their own; a batch at the end of an epoch is filled up
    from the next one. Without any images, image batches hold single frames of videos; without any videos, all clips
    are photos that move (`MotionOptions`).

    Args:
        frames, crop: of clips: their number, and the height and width in pixels (of buckets: about that many pixels).
        clips, images: per video batch and per image batch, over all ranks.
        spatial_factor: heights and widths of crops are multiples of it.
        past: frames that a clip's stream may have seen before, at most; 0: every clip begins its stream.
        temporal_factor: of frames that go together; `past` and `frames` are 1 + a multiple of it.
        option: what stands before `clips` and `images` where one sets them, for messages.
        rank, world: which one of how many processes this is.
        start_step: the step at which the first epoch begins, where a run changes its data on the way.

    Raises:
        InputError: where there is no data, too little of it, or the batch cannot be divided by the ranks.
        ConfigError: where buckets and crop do not fit.
    """

    def __init__(
        self,
        options: DataOptions,
        *,
        frames: int,
        crop: int,
        clips: int,
        images: int,
        spatial_factor: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        start_step: int = 0,
        past: int = 0,
        temporal_factor: int = 1,
        option: str = "",
    ) -> None:
        self.options, self.rank, self.world, self.start_step = options, rank, world, start_step
        self.option = option
        self.items = find_items(options.train, downloads=options.downloads)
        self.broken: dict[str, str] = {}
        """By file, why it could not be read; of all batches so far."""
        sizes = bucket_sizes(options.buckets, crop, spatial_factor)
        kinds = np.array([item.kind for item in self.items])
        videos, pictures = np.flatnonzero(kinds == "video"), np.flatnonzero(kinds == "image")
        self._image_every = options.image_every
        if not len(videos) and not (frames > 1 and options.motion.share):
            if frames > 1 and options.image_every != 1:
                raise InputError(
                    f"data.train: expected videos, found {len(pictures)} images alone; set data.motion.share=1 to let "
                    "them move, data.image_every=1 to train on them as they are, or add videos"
                )
            self._image_every = 1
        uses: dict[str, _Use] = {}
        if self._image_every != 1:
            uses["video"] = self._use("video", videos if len(videos) else pictures, sizes, frames, clips, seed)
        if self._image_every != 0:
            uses["image"] = self._use("image", pictures if len(pictures) else videos, sizes, 1, images, seed)
        self.steps_per_epoch = _steps(uses, self._image_every)
        """So many steps see every video, or where only images are used every image."""
        cache = ClipCache(len(self.items), options.cache, parts=max(1, options.workers))
        reader = ClipReader(options, self.items, cache)
        self._maker = _Maker(
            self.items,
            reader,
            uses,
            pictures if len(pictures) else videos,
            options.motion,
            seed,
            rank,
            world,
            start_step,
            self._image_every,
            past,
            temporal_factor,
        )

    def _use(
        self, kind: str, chosen: np.ndarray, sizes: list[tuple[int, int]], frames: int, batch: int, seed: int
    ) -> _Use:
        name = self.option + {"video": "clips", "image": "images"}[kind]
        if batch < 1 or batch % self.world:
            raise InputError(
                f"{name}={batch}: cannot be divided by {self.world} processes; choose a multiple of {self.world}"
            )
        if len(chosen) < batch and self.items[chosen[0]].kind == kind:
            found = f"{len(chosen)} usable {kind}" + ("s" if len(chosen) > 1 else "")
            raise InputError(
                f"data.train: {found} for batches of {batch}; add {kind}s, or set {name}={len(chosen)} or less"
            )
        groups = _grouped(self.items, chosen, sizes)
        pairs = [(group, size) for group, size in zip(groups, sizes, strict=True) if len(group)]
        plan = Plan([group for group, _ in pairs], batch, (seed, _ORDER, _STREAMS[kind], self.start_step))
        return _Use(plan, [group for group, _ in pairs], [size for _, size in pairs], frames)

    @property
    def fingerprint(self) -> str:
        """Changes with the files that were found: batches of a run are the same again only if this is."""
        names = "\n".join(item.key for item in self.items)
        return hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def batches(self, start: int) -> Iterator[Batch]:
        """The batches from step `start` on, without end. Close the iterator to end the workers.

        Raises:
            InputError: while iterating: too many files cannot be read (the batch before has been delivered).
            CosmotokError: while iterating: a worker died.
        """
        if start < self.start_step:
            raise InputError(f"start={start}: this data begins at step {self.start_step}")
        for made in self._made(start):
            if isinstance(made, _Failure):
                made.raise_again()
            batch = made.batch
            for key, reason in made.broken.items():
                if key not in self.broken:
                    self.broken[key] = reason
                    batch.broken.append(reason)
            yield batch
            self._check_broken()

    def _made(self, start: int) -> Iterator[_Made | _Failure]:
        workers = self.options.workers
        # Forked workers share the cache, and start at once; macOS's own libraries do not survive a fork. Their own
        # generator leaves the run's random numbers alone.
        fork = sys.platform == "linux"
        before = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
        # A forked worker must not collect the run's garbage: closing a decoder whose threads stayed behind never ends.
        gc.freeze()
        try:
            loader = iter(
                DataLoader(
                    self._maker,
                    batch_size=None,
                    sampler=range(start, sys.maxsize),
                    num_workers=workers,
                    prefetch_factor=_AHEAD if workers else None,
                    multiprocessing_context="fork" if workers and fork else None,
                    worker_init_fn=_ignore_interrupts,
                    generator=torch.Generator(),
                )
            )
        finally:
            gc.unfreeze()
        if before is not None and threading.current_thread() is threading.main_thread():
            # torch would raise at whatever line the run is at when a worker dies; here it is noticed at the next batch.
            signal.signal(signal.SIGCHLD, before)
        while True:
            try:
                made = next(loader)
            except (RuntimeError, EOFError, OSError) as error:  # the last two: it died while handing over a batch
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise CosmotokError(
                    f"a process that prepares data has died ({reason}): was there too little memory, or space in "
                    f"/dev/shm? Lower data.workers={workers} or data.cache={self.options.cache} (MB) and resume the run"
                ) from error
            yield made

    def _check_broken(self) -> None:
        share, total = self.options.max_broken, len(self.items)
        if len(self.broken) <= (max(1.0, share * total) if share else 0):
            return
        shown = "; ".join(list(self.broken.values())[:_SHOWN])
        more = f"; and {len(self.broken) - _SHOWN} more" if len(self.broken) > _SHOWN else ""
        raise InputError(
            f"data.train: {len(self.broken)} of {total} files cannot be read, more than data.max_broken={share:g} "
            f"allows: {shown}{more}. `cosmotok train --check-data` lists all of them"
        )


def _steps(uses: Mapping[str, _Use], image_every: int) -> int:
    if "video" not in uses:
        return uses["image"].batches_per_epoch
    batches = uses["video"].batches_per_epoch
    return batches if image_every == 0 else -(-batches * image_every // (image_every - 1))


def _grouped(items: list[Item], chosen: np.ndarray, sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    """The files of each bucket: those whose aspect ratio is the nearest to its own."""
    if len(sizes) == 1:
        return [chosen]
    with ThreadPoolExecutor() as threads:
        ratios = np.log(list(threads.map(lambda index: _aspect(items[index]), chosen)))
    buckets = np.log([width / height for height, width in sizes])
    nearest = np.abs(ratios[:, None] - buckets).argmin(axis=1)
    return [chosen[nearest == bucket] for bucket in range(len(sizes))]


def _aspect(item: Item) -> float:
    try:
        with item.file() as path, open_media(path) as media:
            return media.info.width / media.info.height
    except MediaError:
        return 1.0  # it is found unreadable again, and reported, when its turn comes


@dataclass
class _Use:
    """How files are made into batches of one kind: the size of the crop goes by the group."""

    plan: Plan
    groups: list[np.ndarray]
    sizes: list[tuple[int, int]]
    frames: int

    @property
    def batches_per_epoch(self) -> int:
        return -(-sum(len(group) for group in self.groups) // self.plan.batch)


@dataclass
class _Made:
    batch: Batch
    broken: dict[str, str] = field(default_factory=dict)


@dataclass
class _Failure:
    """An exception on its way from a worker, which would lose its class and its text."""

    error: CosmotokError | None
    trace: str

    def raise_again(self) -> NoReturn:
        if self.error is not None:
            raise self.error
        reason = self.trace.strip().splitlines()[-1]
        raise CosmotokError(f"preparing data failed unexpectedly: {reason}") from RuntimeError(self.trace)


@dataclass
class _Maker(Dataset[Any]):
    """From the number of a step to its batch: what workers run."""

    items: list[Item]
    reader: ClipReader
    uses: Mapping[str, _Use]
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

    def __getitem__(self, step: int) -> _Made | _Failure:
        try:
            return self._make(step)
        except CosmotokError as error:
            return _Failure(error, "")
        except Exception:
            return _Failure(None, traceback.format_exc())

    def _make(self, step: int) -> _Made:
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
        return _Made(Batch(pixels, kind, step, draws[0].epoch, keys, [], past), broken)

    def _past(self, step: int) -> int:
        """Frames that the stream of a step's clips has seen: none for some, else few more often than many."""
        rng = np.random.default_rng([self.seed, _PAST, step])
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
        self, kind: str, use: _Use, group: int, draw: Draw, past: int, broken: dict[str, str]
    ) -> tuple[str, np.ndarray]:
        """The key and the clip (T, H, W, 3) of one draw, or of a file drawn in place of an unreadable one."""
        frames, size = past + use.frames - (1 if past else 0), use.sizes[group]
        # The start of the first epoch tells apart the parts of a run.
        rng = np.random.default_rng([self.seed, _CLIP, _STREAMS[kind], self.start_step, draw.epoch, draw.file])
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
        for _ in range(_TRIES):
            item = self.items[index]
            try:
                return item.key, read(index)
            except MediaError as error:
                broken[item.key] = " ".join(str(error).split())
                index = int(rng.choice(others))
        raise InputError(f"data.train: {_TRIES} files in a row cannot be read; the last one: {broken[item.key]}")


def _ignore_interrupts(_: int) -> None:
    """Ctrl-C is for the main process, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
