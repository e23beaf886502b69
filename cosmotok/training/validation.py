"""Measuring a tokenizer on a fixed set of images and videos while it trains."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from cosmotok.errors import InputError, MediaError
from cosmotok.evaluation.streams import paired, streamed
from cosmotok.media import is_video_path, open_media
from cosmotok.metrics.codes import CodeUsage
from cosmotok.metrics.quality import PLACES, ErrorByPlace, RunningSSIM, psnr
from cosmotok.perceptual.vgg import LPIPS, MINIMUM_SIZE
from cosmotok.tokenizer import Tokenizer
from cosmotok.training.pictures import Sample, write_clip, write_grid

__all__ = ["FileQuality", "ReconstructedClip", "Validation", "Validator"]

CACHE_BYTES = 512 * 1024**2
"""Decoded files are kept in memory up to here; the others are read again each time."""
CLIP_BYTES = 128 * 1024**2
"""Longer or larger clips are measured, but not written as films."""
GRID_ROWS, CLIPS = 6, 2


@dataclass(frozen=True)
class FileQuality:
    """What was measured of one file. None where a figure does not apply."""

    name: str
    kind: Literal["image", "video"]
    frames: int
    psnr: float
    ssim: float | None
    lpips: float | None
    places: dict[str, float]
    """PSNR by place in a video, names of `quality.PLACES`; those that it reaches."""


@dataclass(frozen=True)
class ReconstructedClip:
    """A whole clip and what came back of it, both uint8 (T, H, W, 3)."""

    label: str
    original: np.ndarray
    reconstruction: np.ndarray
    frame_rate: Fraction | None


@dataclass(frozen=True)
class Validation:
    """The figures of one pass over the set, and a few pictures to look at."""

    files: tuple[FileQuality, ...]
    skipped: tuple[str, ...]
    """One line for each file that could not be read."""
    protocol: str
    """How it was measured, in words."""
    seconds: float
    code_usage: float | None
    """Share of the vocabulary that was used, 0 to 1; None for continuous tokenizers."""
    perplexity: float | None
    code_count: int | None
    """Indices that these two are of: with fewer than the vocabulary has, not all of it can be used."""
    samples: tuple[Sample, ...]
    clips: tuple[ReconstructedClip, ...]

    def mean(self, figure: Literal["psnr", "ssim", "lpips"], kind: str | None = None) -> float | None:
        """The mean of a figure over the files it was measured of, or over the "image" or "video" ones of them."""
        chosen = [getattr(file, figure) for file in self.files if kind in (None, file.kind)]
        values = [value for value in chosen if value is not None]
        return sum(values) / len(values) if values else None

    def psnr_by_place(self) -> dict[str, float]:
        """PSNR by place in a video, each the mean over the files that reach it: whether quality holds in a stream."""
        found = {name: [file.places[name] for file in self.files if name in file.places] for name in PLACES}
        return {name: sum(values) / len(values) for name, values in found.items() if values}

    def to_log(self) -> dict[str, Any]:
        """The fields of a line of `log.jsonl`, kind, step and seconds aside.

        Figures that do not apply are absent, and so is the PSNR of a reconstruction without error.
        """
        figures: dict[str, Any] = {}
        for name in ("psnr", "ssim", "lpips"):
            for prefix, kind in (("", None), ("videos_", "video"), ("images_", "image")):
                figures[prefix + name] = self.mean(name, kind)
        figures |= {"code_usage": self.code_usage, "perplexity": self.perplexity, "code_count": self.code_count}
        return {name: value for name, value in figures.items() if finite(value) is not None} | {
            "validation_seconds": self.seconds,
            "psnr_by_place": all_finite(self.psnr_by_place()),
            "protocol": self.protocol,
            "skipped_files": list(self.skipped),
            "files": [
                vars(file) | {"psnr": finite(file.psnr), "places": all_finite(file.places)} for file in self.files
            ],
        }

    def write_pictures(self, folder: Path, step: int) -> Path:
        """Writes `step-00001234.png`, a grid, and `step-00001234-1.mp4` and so on, clips; returns the grid's path.

        Raises:
            MediaError: where they cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        name = f"step-{step:08d}"
        write_grid(folder / f"{name}.png", self.samples)
        for number, clip in enumerate(self.clips, 1):
            write_clip(folder / f"{name}-{number}.mp4", clip.original, clip.reconstruction, clip.frame_rate)
        return folder / f"{name}.png"


@dataclass(frozen=True, eq=False)
class _Source:
    """A file of the set, with its frames if they are kept."""

    path: Path
    label: str
    kind: Literal["image", "video"]
    frames: int
    bytes: int
    """Of all its frames as uint8."""
    frame_rate: Fraction | None
    pixels: np.ndarray | None

    def picture_label(self, frame: int) -> str:
        return self.label if self.kind == "image" else f"{self.label}, frame {frame + 1}"

    def read(self) -> Iterator[np.ndarray]:
        if self.pixels is not None:
            yield from self.pixels
            return
        with open_media(self.path, frames=slice(0, self.frames)) as reader:
            yield from (frame.pixels for frame in reader)


class Validator:
    """A fixed set of files, the same at every run, and how they are measured.

    PSNR: of the mean squared error over all 8-bit values of a file's frames; SSIM and LPIPS: mean over frames; each
    then averaged over files (TokenBench protocol). Whole frames, none cropped or scaled. Every file is read
    once here, so that what is wrong with the set is known before training starts.

    Args:
        files: images and videos; where there are more than wanted, evenly spread ones are chosen.
        frames: of each video, from its start; fewer where it is shorter.
        first_frame: whether the first frame of videos, which the tokenizer treats as an image, is measured too.
        max_videos, max_images: at most so many of each (by suffix); None for all.
        lpips: torchvision's VGG-16 weights (`vgg16-397923af.pth`) for LPIPS; without them it is not measured.

    Raises:
        InputError: for no files, none that can be read, or numbers out of range.
        CheckpointError: where `lpips` is not such a file.
        MissingExtraError: where LPIPS is wanted without the `train` extra.
    """

    def __init__(
        self,
        files: Sequence[Path],
        *,
        frames: int = 33,
        first_frame: bool = True,
        max_videos: int | None = None,
        max_images: int | None = None,
        lpips: Path | None = None,
    ) -> None:
        least = 1 if first_frame else 2
        for name, value, low in (
            ("frames", frames, least),
            ("max_videos", max_videos, 0),
            ("max_images", max_images, 0),
        ):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < low):
                raise InputError(f"{name}={value!r}: expected a whole number of at least {low}")
        self.first_frame = first_frame
        # absolute, since the name alone could be LPIPS's word for random weights
        self.lpips = None if lpips is None else LPIPS(str(lpips.absolute()))
        chosen = spread([path for path in files if is_video_path(path)], max_videos)
        chosen += spread([path for path in files if not is_video_path(path)], max_images)
        if not chosen:
            raise InputError(
                "validation: expected images or videos, got none; give files or raise max_videos, max_images"
            )
        self.sources: list[_Source] = []
        unread: list[str] = []
        room = CACHE_BYTES
        for path, label in zip(chosen, labels(chosen), strict=True):
            try:
                source = open_source(path, label, frames, room)
            except MediaError as error:
                unread.append(str(error))
                continue
            if source.frames < least and source.kind == "video":
                unread.append(f"{path}: a video of 1 frame has nothing to measure after the first one")
                continue
            room -= 0 if source.pixels is None else source.pixels.nbytes
            self.sources.append(source)
        if not self.sources:
            raise InputError(f"validation: none of {len(chosen)} files can be read; the first: {unread[0]}")
        self.skipped = tuple(unread)
        first = "" if first_frame else ", the first frame left out"
        self.protocol = (
            f"whole frames, 8 bit; videos: up to {frames} frames{first}; PSNR over all values of a file, "
            "SSIM (7 x 7 windows) mean over its frames, both averaged over files"
        )

    def run(self, tokenizer: Tokenizer) -> Validation:
        """Reconstructs the set, step by step as a stream, and measures it; deterministic.

        Raises:
            InputError: where no file can be read any more.
        """
        begin = time.monotonic()
        codes = CodeUsage(tokenizer.config.vocab_size) if tokenizer.config.vocab_size else None
        pictured, filmed = self._chosen_for_pictures()
        results: list[FileQuality] = []
        samples: list[Sample] = []
        clips: list[ReconstructedClip] = []
        skipped = list(self.skipped)
        if self.lpips is not None:
            self.lpips.to(tokenizer.device)
        for source in self.sources:
            shown = source.frames // 2
            film: list[tuple[np.ndarray, np.ndarray]] = []
            measure = _Measure(source, self.lpips, tokenizer.device)
            used = None if codes is None else CodeUsage(codes.vocab_size)
            try:
                for index, (original, result) in enumerate(reconstructed(tokenizer, source.read(), used)):
                    if index > 0 or self.first_frame or source.kind == "image":
                        measure.update(original, result)
                    else:
                        measure.error.skip()
                    if index == shown and source in pictured:
                        samples.append(Sample(source.picture_label(shown), original, result))
                    if source in filmed:
                        film.append((original, result))
            except MediaError as error:
                skipped.append(str(error))
                continue
            results.append(measure.result())
            if codes is not None and used is not None:
                codes.merge(used)
            if film:
                originals, outcomes = (np.stack(part) for part in zip(*film, strict=True))
                clips.append(ReconstructedClip(source.label, originals, outcomes, source.frame_rate))
        if not results:
            raise InputError(f"validation: no file of the set can be read any more; the last: {skipped[-1]}")
        return Validation(
            files=tuple(results),
            skipped=tuple(skipped),
            protocol=self.protocol + (", as is LPIPS (VGG-16)" if self.lpips is not None else ""),
            seconds=time.monotonic() - begin,
            code_usage=None if codes is None else codes.usage,
            perplexity=None if codes is None else codes.perplexity,
            code_count=None if codes is None else codes.total,
            samples=tuple(samples),
            clips=tuple(clips),
        )

    def _chosen_for_pictures(self) -> tuple[list[_Source], list[_Source]]:
        """Sources for the grid, half of them videos where there are enough of both, and for clips."""
        videos = [source for source in self.sources if source.kind == "video"]
        images = [source for source in self.sources if source.kind == "image"]
        half = GRID_ROWS // 2
        pictured = spread(videos, max(half, GRID_ROWS - len(images))) + spread(
            images, max(half, GRID_ROWS - len(videos))
        )
        return pictured, spread([source for source in videos if source.bytes <= CLIP_BYTES], CLIPS)


class _Measure:
    """The figures of one file, frame by frame, in constant memory."""

    def __init__(self, source: _Source, lpips: LPIPS | None, device: torch.device) -> None:
        self.source = source
        self.error, self.similarity = ErrorByPlace(), RunningSSIM()
        self.lpips, self.device = lpips, device
        self.distances = 0.0

    def update(self, original: np.ndarray, result: np.ndarray) -> None:
        self.error.update(original, result)
        self.similarity.update(original, result)
        if min(original.shape[:2]) < MINIMUM_SIZE:
            self.lpips = None
        if self.lpips is not None:
            pair = torch.from_numpy(np.stack((original, result))).to(self.device)
            source, outcome = pair.permute(0, 3, 1, 2).float().div(127.5).sub(1).unsqueeze(1)
            with torch.no_grad():
                self.distances += float(self.lpips(outcome, source))

    def result(self) -> FileQuality:
        whole, label, kind = self.error.whole, self.source.label, self.source.kind
        lpips = None if self.lpips is None else self.distances / whole.frames
        places = {name: error.psnr for name, error in self.error.places.items()} if kind == "video" else {}
        reached = {name: value for name, value in places.items() if value is not None}
        decibels = psnr(whole.squared_error, whole.values)
        return FileQuality(label, kind, whole.frames, decibels, self.similarity.ssim, lpips, reached)


def reconstructed(
    tokenizer: Tokenizer, frames: Iterable[np.ndarray], codes: CodeUsage | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every frame, uint8 (H, W, 3), with what the tokenizer makes of it; a few frames at a time in memory.

    Args:
        codes: counts the indices of a discrete tokenizer.
    """

    def count(tokens: Tensor) -> None:
        if codes is not None:
            codes.update(tokens)

    return paired(frames, lambda source: streamed(tokenizer, source, count))


def open_source(path: Path, label: str, frames: int, room: int) -> _Source:
    """Reads a file through, and keeps its frames if they take at most `room` bytes."""
    with open_media(path, frames=slice(0, frames)) as reader:
        kept: list[np.ndarray] | None = []
        count = size = 0
        for frame in reader:
            count += 1
            size += frame.pixels.nbytes
            if size > room:
                kept = None
            if kept is not None:
                kept.append(frame.pixels)
        info = reader.info
    pixels = None if kept is None else np.stack(kept)
    return _Source(path, label, info.kind, count, size, info.frame_rate, pixels)


def labels(paths: Sequence[Path]) -> list[str]:
    """File names, with their folder's where two are the same."""
    names = [path.name for path in paths]
    return [f"{path.parent.name}/{path.name}" if names.count(path.name) > 1 else path.name for path in paths]


def spread(items: Sequence[Any], most: int | None) -> list[Any]:
    """At most `most` of `items`, evenly spread over them, in their order."""
    if most is None or most >= len(items):
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]


def all_finite(values: dict[str, float]) -> dict[str, float]:
    """Without what JSON cannot hold: the PSNR of a reconstruction without error."""
    return {name: value for name, value in values.items() if math.isfinite(value)}


def finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
