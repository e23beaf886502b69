"""`check_data`: reads everything once and reports what is there."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from cosmotok.errors import MediaError
from cosmotok.language import number
from cosmotok.media import open_media

from .options import DataOptions
from .sources import Item, find_items

__all__ = ["DataReport", "SourceReport", "check_data"]

_RATIOS = {"9:21": 9 / 21, "9:16": 9 / 16, "2:3": 2 / 3, "3:4": 3 / 4, "1:1": 1.0}
_RATIOS |= {":".join(reversed(name.split(":"))): 1 / ratio for name, ratio in _RATIOS.items() if ratio < 1}
_COMMONEST = 8


@dataclass
class SourceReport:
    """What the sources of one option hold; only files that could be read through are counted."""

    files: int = 0
    """All of them, unreadable ones too."""
    videos: int = 0
    images: int = 0
    frames: int = 0
    """Of videos."""
    seconds: float = 0.0
    clip_frames: dict[str, float] = field(default_factory=dict)
    """Least, median and most frames of a video."""
    short_sides: dict[str, float] = field(default_factory=dict)
    """Least, median and most pixels."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Files of each width x height, the commonest first."""
    aspect_ratios: dict[str, int] = field(default_factory=dict)
    """Files whose width to height is nearest to each of these, from tall to wide."""
    frame_rates: dict[str, int] = field(default_factory=dict)
    """Videos of each number of frames per second, the commonest first."""
    broken: dict[str, str] = field(default_factory=dict)
    """By file, why it cannot be read to its end."""


@dataclass
class DataReport:
    """What training and validation data there is."""

    train: SourceReport
    validation: SourceReport | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        both = {"train": self.train, "validation": self.validation}
        return {name: None if part is None else dict(vars(part)) for name, part in both.items()}

    def lines(self) -> list[str]:
        """For people to read."""
        lines = _lines("train", self.train)
        return lines if self.validation is None else lines + _lines("validation", self.validation)


def check_data(options: DataOptions, advance: Callable[[int, int], None] | None = None) -> DataReport:
    """Reads every file of the training and validation data from beginning to end.

    Args:
        advance: called after each file with how many are done, and how many there are.

    Raises:
        InputError: where a source names nothing.
    """
    train = find_items(options.train, downloads=options.downloads)
    validation = (
        find_items(options.validation, downloads=options.downloads, name="data.validation")
        if options.validation
        else []
    )
    found: list[_Found] = []
    with ThreadPoolExecutor(max(1, options.workers)) as threads:
        for result in threads.map(_examine, [*train, *validation]):
            found.append(result)
            if advance is not None:
                advance(len(found), len(train) + len(validation))
    parts = found[: len(train)], found[len(train) :]
    return DataReport(_summary(parts[0]), _summary(parts[1]) if validation else None)


@dataclass
class _Found:
    item: Item
    broken: str = ""
    width: int = 0
    height: int = 0
    frames: int = 0
    seconds: float = 0.0
    rate: float = 0.0


def _examine(item: Item) -> _Found:
    try:
        with item.file() as path, open_media(path) as media:
            info = media.info
            found = _Found(item, width=info.width, height=info.height, rate=float(info.frame_rate or 0))
            for frame in media:
                found.frames += 1
                found.seconds = float(frame.time)
            if item.kind == "video":
                found.seconds += 1 / found.rate  # for as long is the last one shown
            return found
    except MediaError as error:
        return _Found(item, broken=" ".join(str(error).split()))


def _summary(found: Sequence[_Found]) -> SourceReport:
    good = [each for each in found if not each.broken]
    videos = [each for each in good if each.item.kind == "video"]
    ratios = Counter(min(_RATIOS, key=lambda name: _distance(each, name)) for each in good)
    return SourceReport(
        files=len(found),
        videos=len(videos),
        images=len(good) - len(videos),
        frames=sum(each.frames for each in videos),
        seconds=round(sum(each.seconds for each in videos), 3),
        clip_frames=_spread([each.frames for each in videos]),
        short_sides=_spread([min(each.width, each.height) for each in good]),
        sizes=dict(Counter(f"{each.width}x{each.height}" for each in good).most_common()),
        aspect_ratios={name: ratios[name] for name in sorted(_RATIOS, key=lambda name: _RATIOS[name]) if ratios[name]},
        frame_rates=dict(Counter(f"{each.rate:.4g}" for each in videos).most_common()),
        broken={each.item.key: each.broken for each in found if each.broken},
    )


def _distance(found: _Found, name: str) -> float:
    ratio = found.width / found.height / _RATIOS[name]
    return max(ratio, 1 / ratio)


def _spread(values: Sequence[int]) -> dict[str, float]:
    return {"least": min(values), "median": statistics.median(values), "most": max(values)} if values else {}


def _lines(title: str, report: SourceReport) -> list[str]:
    counts = f"{report.videos} videos, {report.images} images, {len(report.broken)} unreadable"
    lines = [f"{title}: {report.files} files: {counts}"]
    if report.videos:
        lines.append(
            f"  videos: {number(f'{report.frames:,}')} frames, {number(f'{report.seconds:.1f}')} s; "
            f"frames of each: {_range(report.clip_frames)}"
        )
        lines.append(
            f"  frames per second: {_counts({number(rate): count for rate, count in report.frame_rates.items()})}"
        )
    if report.videos or report.images:
        lines.append(f"  short side: {_range(report.short_sides)} pixels")
        lines.append(f"  sizes: {_counts(report.sizes)}")
        lines.append(f"  aspect ratios: {_counts(report.aspect_ratios)}")
    return lines + [f"  unreadable: {reason}" for reason in report.broken.values()]


def _range(spread: dict[str, float]) -> str:
    least, most, median = (number(f"{spread[name]:g}") for name in ("least", "most", "median"))
    return f"{least} to {most}, median {median}"


def _counts(counts: dict[str, int]) -> str:
    shown = [f"{name} ({count})" for name, count in list(counts.items())[:_COMMONEST]]
    rest = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
