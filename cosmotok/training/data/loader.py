"""Batches of random clips and images: planned once for all ranks, read by worker processes."""

from __future__ import annotations

import gc
import hashlib
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch.utils.data import DataLoader

from cosmotok.errors import CosmotokError, InputError, MediaError
from cosmotok.media import open_media

from .cache import ClipCache
from .clips import ClipReader
from .maker import ORDER, STREAMS, Batch, Failure, Made, Maker, Use
from .options import DataOptions, bucket_sizes
from .plan import Plan
from .sources import Item, find_items

__all__ = ["Batch", "TrainingData"]

_AHEAD = 4  # batches that each worker prepares in advance
_SHOWN = 3


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
        uses: dict[str, Use] = {}
        if self._image_every != 1:
            uses["video"] = self._use("video", videos if len(videos) else pictures, sizes, frames, clips, seed)
        if self._image_every != 0:
            uses["image"] = self._use("image", pictures if len(pictures) else videos, sizes, 1, images, seed)
        self.steps_per_epoch = _steps(uses, self._image_every)
        """So many steps see every video, or where only images are used every image."""
        cache = ClipCache(len(self.items), options.cache, parts=max(1, options.workers))
        reader = ClipReader(options, self.items, cache)
        self._maker = Maker(
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
    ) -> Use:
        name = self.option + {"video": "clips", "image": "images"}[kind]
        if batch < 1 or batch % self.world:
            raise InputError(
                f"{name}={batch}: cannot be divided by {self.world} processes; choose a multiple of {self.world}"
            )
        if len(chosen) < batch and self.items[chosen[0]].kind == kind:
            count = len(chosen)
            few = {
                "video": f"data.train: videos found: {count}, for batches of {batch}; "
                f"add videos, or set {name}={count} or less",
                "image": f"data.train: images found: {count}, for batches of {batch}; "
                f"add images, or set {name}={count} or less",
            }
            raise InputError(few[kind])
        groups = _grouped(self.items, chosen, sizes)
        pairs = [(group, size) for group, size in zip(groups, sizes, strict=True) if len(group)]
        plan = Plan([group for group, _ in pairs], batch, (seed, ORDER, STREAMS[kind], self.start_step))
        return Use(plan, [group for group, _ in pairs], [size for _, size in pairs], frames)

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
            if isinstance(made, Failure):
                made.raise_again()
            batch = made.batch
            for key, reason in made.broken.items():
                if key not in self.broken:
                    self.broken[key] = reason
                    batch.broken.append(reason)
            yield batch
            self._check_broken()

    def _made(self, start: int) -> Iterator[Made | Failure]:
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


def _steps(uses: Mapping[str, Use], image_every: int) -> int:
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


def _ignore_interrupts(_: int) -> None:
    """Ctrl-C is for the main process, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
