"""One file through one contestant, measured: what every process of an evaluation does."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from cosmotok.contestants import Contestant, Reconstructor, Source, Tally
from cosmotok.errors import InputError, MediaError
from cosmotok.evaluation.measure import FileMeasure, load_judges
from cosmotok.evaluation.options import Options
from cosmotok.evaluation.results import FileResult
from cosmotok.evaluation.streams import groups, paired
from cosmotok.media import MediaReader, open_media
from cosmotok.overlap import Behind, ahead
from cosmotok.processes import reason

__all__ = ["Outcome", "Picture", "Row", "Task", "Worker", "content_of"]

BATCH = 16
"""Frames that are read ahead, or measured behind, at a time."""

BLOCK = 2**20
"""Bytes of a file that are hashed at a time."""

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """A file to measure."""

    file: str
    """Relative to the data's folder, with forward slashes."""
    path: Path
    reconstruction: Path | None = None
    """A file that holds what came back, in place of a contestant."""
    shown: bool = False
    """Whether its middle frame is kept."""
    below: Mapping[str, float] = field(default_factory=dict)
    """PSNR, dB, of an image or of a video, from which on its worst frame is not kept."""


@dataclass(frozen=True)
class Row:
    """What is known of a file that was measured."""

    result: FileResult
    squared_error: float
    """Of all measured 8-bit values, summed."""
    values: int
    """How many these are."""
    encoded: int
    """Frames that went through the contestant, measured or not."""
    content: str = "unknown"
    """As `content_of` has it, where results are kept."""
    machine: str = ""
    """Where `result.seconds` was measured."""


@dataclass(frozen=True)
class Picture:
    """A frame and what came back of it, uint8 (H, W, 3)."""

    frame: int
    original: np.ndarray
    reconstruction: np.ndarray
    worst: bool
    """Whether it was kept as the worst frame of its file."""


@dataclass(frozen=True)
class Outcome:
    """What became of a file. Without a row and a reason, the contestant does not take files of its kind."""

    file: str
    row: Row | None = None
    unread: str | None = None
    """Why the file could not be read."""
    failed: str | None = None
    """Why the contestant failed on it."""
    features: dict[str, np.ndarray] = field(default_factory=dict)
    codes: np.ndarray | None = None
    """How often each index came: (vocab_size,)."""
    pictures: tuple[Picture, ...] = ()


class Worker:
    """Holds one contestant at a time, and what judges its results.

    Raises:
        CosmotokError: where a metric that was asked for cannot be had.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.judges, self.missing = load_judges(options.judges, options.device)
        self.reconstructor: Reconstructor | None = None
        self.kinds: dict[str, bool] = {"image": True, "video": True}

    def not_measured(self) -> dict[str, str]:
        """Figures that are left out, and why."""
        return self.missing

    def use(self, contestant: Contestant) -> str | None:
        """Loads a contestant in place of the one before. Its fingerprint, if it has one and results are kept."""
        self.reconstructor = None
        traits = contestant.traits
        self.kinds = {"image": traits.image, "video": traits.video}
        self.reconstructor = contestant.load(self.options.device)
        return None if self.options.folder is None else getattr(self.reconstructor, "fingerprint", None)

    def measure(self, task: Task) -> Outcome:
        """Whatever goes wrong is part of the outcome."""
        measurement = Measurement(self, task)
        try:
            return measurement.run()
        except Exception as error:
            unread = measurement.unread  # whatever a contestant made of that
            return Outcome(task.file, unread=unread, failed=None if unread else reason(error))


class Measurement:
    """One file on its way through a contestant."""

    def __init__(self, worker: Worker, task: Task) -> None:
        self.worker, self.task = worker, task
        self.unread: str | None = None
        """Why the original cannot be read."""
        self.seconds = 0.0
        self.frames = 0
        self.middle: Picture | None = None
        self.worst: Picture | None = None
        self.worst_error = -1

    def run(self) -> Outcome:
        options, task = self.worker.options, self.task
        content = "" if options.folder is None else content_of(task.path, task.reconstruction)
        with ExitStack() as stack:
            reader, source = self.opened(stack)
            if not self.worker.kinds[source.kind]:
                return Outcome(task.file)
            measure = FileMeasure(options.protocol, self.worker.judges, source)
            tally = Tally()
            behind: Callable[..., None] = stack.enter_context(Behind()) if options.overlapping else call
            batches: Iterator[list[np.ndarray]] = groups(self.read(reader), BATCH)
            if options.overlapping:
                batches = stack.enter_context(closing(ahead(batches)))

            def update(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
                for original, result in pairs:
                    measure.update(original, result)
                    self.look(original, result, source)

            pairs = self.inside(
                paired(self.outside(chain.from_iterable(batches)), lambda x: self.through(x, source, tally, stack))
            )
            while batch := list(islice(pairs, BATCH)):
                behind(update, batch)
        if self.frames != source.frames:
            raise InputError(f"gave {self.frames} frames for {source.frames}")
        return self.outcome(measure, source, tally, content)

    def opened(self, stack: ExitStack) -> tuple[MediaReader, Source]:
        options = self.worker.options
        try:
            reader = stack.enter_context(open_media(self.task.path, frames=options.span, size=options.size))
            info = reader.info
            count = len(reader.times()[options.span])  # what a container claims may be wrong
        except MediaError as error:
            self.unread = str(error)
            raise
        if options.protocol.without_first and info.kind == "video" and count < 2:
            self.unread = f"{self.task.path}: a clip of one frame has nothing to measure without its first"
            raise InputError(self.unread)
        rate = None if info.frame_rate is None else float(info.frame_rate)
        return reader, Source(info.kind, count, info.height, info.width, rate)

    def read(self, reader: MediaReader) -> Iterator[np.ndarray]:
        try:
            for frame in reader:
                yield frame.pixels
        except MediaError as error:
            self.unread = str(error)
            raise

    def through(
        self, frames: Iterator[np.ndarray], source: Source, tally: Tally, stack: ExitStack
    ) -> Iterator[np.ndarray]:
        """The frames that come back: of the contestant, or of another file."""
        if self.task.reconstruction is None:
            if self.worker.reconstructor is None:
                raise InputError("no contestant is loaded")
            return self.worker.reconstructor.reconstruct(frames, source, tally)
        span = self.worker.options.span
        other = stack.enter_context(open_media(self.task.reconstruction, frames=span))
        check_alike(source, other, span)
        return (result.pixels for _, result in zip(frames, other, strict=True))

    def inside(self, results: Iterator[T]) -> Iterator[T]:
        """The same, and the time that it takes counts."""
        return self.clocked(results, 1)

    def outside(self, frames: Iterable[T]) -> Iterator[T]:
        """The same, and the time that it takes does not count."""
        return self.clocked(iter(frames), -1)

    def clocked(self, items: Iterator[T], sign: int) -> Iterator[T]:
        end = object()
        while True:
            begin = time.perf_counter()
            try:
                item = next(items, end)
            finally:
                self.seconds += sign * (time.perf_counter() - begin)
            if item is end:
                return
            yield item  # type: ignore[misc]

    def look(self, original: np.ndarray, result: np.ndarray, source: Source) -> None:
        """Keeps the middle frame, and the worst one so far."""
        if self.worker.options.folder is not None:
            if self.task.shown and self.frames == source.frames // 2:
                self.middle = Picture(self.frames, original, result, False)
            error = int(np.square(original.astype(np.int32) - result).sum(dtype=np.int64))
            if error > self.worst_error:
                self.worst, self.worst_error = Picture(self.frames, original, result, True), error
        self.frames += 1

    def outcome(self, measure: FileMeasure, source: Source, tally: Tally, content: str) -> Outcome:
        figures, whole = measure.figures(), measure.whole
        psnr = figures["psnr"]
        result = FileResult(
            file=self.task.file,
            kind=source.kind,
            frames=whole.frames,
            width=source.width,
            height=source.height,
            psnr=psnr,
            ssim=figures["ssim"],
            lpips=figures["lpips"],
            temporal=figures["temporal"],
            sharpness=figures["sharpness"],
            bits_per_pixel=None if tally.bits is None else tally.bits / source.pixels,
            codes=None if tally.codes is None else tally.codes.total,
            seconds=self.seconds if self.task.reconstruction is None else None,
            places=measure.places(),
        )
        row = Row(result, float(whole.squared_error), whole.values, source.frames, content)
        worst = self.worst if psnr is not None and psnr < self.task.below.get(source.kind, 0) else None
        return Outcome(
            self.task.file,
            row,
            features=measure.features(),
            codes=None if tally.codes is None else tally.codes.histogram.numpy(),
            pictures=tuple(picture for picture in (self.middle, worst) if picture is not None),
        )


def content_of(*paths: Path | None) -> str:
    """Sizes and hashes of files, which tell them from others of the same names. Empty where one cannot be read."""
    found = []
    try:
        for path in paths:
            if path is None:
                continue
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(BLOCK):
                    digest.update(block)
                found.append(f"{file.tell()}:{digest.hexdigest()[:16]}")
    except OSError:
        return ""
    return " ".join(found)


def check_alike(source: Source, other: MediaReader, frames: slice) -> None:
    """Raises InputError unless a reconstruction is of the size and length of its original."""
    info = other.info
    if (info.width, info.height) != (source.width, source.height):
        raise InputError(f"is {info.width}x{info.height}, and the original {source.width}x{source.height}")
    count = len(other.times()[frames])
    if count != source.frames:
        raise InputError(f"has {count} frames, and the original {source.frames}")


def call(function: Callable[..., None], *arguments: object) -> None:
    function(*arguments)
