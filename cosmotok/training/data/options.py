"""Which data a run trains on, and how clips and crops are drawn from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

from cosmotok.errors import ConfigError

__all__ = ["DataOptions", "MotionOptions", "bucket_sizes"]


@dataclass(frozen=True)
class MotionOptions:
    """Clips that are made of photos, or of single frames of clips, while training runs.

    Raises:
        ConfigError: where values make no sense.
    """

    share: float = 0.0
    """Of the clips that are made up; all of them where there are photos alone."""
    speed: float = 10.0
    """Pixels per frame that a picture, or a piece in front of it, moves at most."""
    layers: int = 2
    """Pieces of other photos in front, at most."""
    blur: float = 0.6
    """Share of these clips that have motion blur."""
    cuts: float = 0.05
    """Share that change from one picture to another on the way."""
    brightness: float = 0.15
    """Share that become brighter or darker on the way."""

    def __post_init__(self) -> None:
        for name in ("share", "blur", "cuts", "brightness"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"data.motion.{name}={getattr(self, name)}: expected a share from 0 to 1")
        if not 0 <= self.speed < 1000:
            raise ConfigError(f"data.motion.speed={self.speed}: expected pixels per frame from 0 to 1000")
        if not 0 <= self.layers <= 8:
            raise ConfigError(f"data.motion.layers={self.layers}: expected a whole number from 0 to 8")


@dataclass(frozen=True)
class DataOptions:
    """Training data and its use. A source is a folder, a glob, a list file, a WebDataset shard, or a media file.

    List files (.txt, .lst) name one source per line, relative to the list; # starts a comment line. Shards are .tar
    files or http(s) URLs of them. Braces stand for several names: `clips-{000..012}.tar`, `{day,night}/*.mp4`.

    Raises:
        ConfigError: where values make no sense.
    """

    train: list[str] = field(default_factory=list)
    """Sources of images and videos."""
    validation: list[str] = field(default_factory=list)
    """Sources of the data that is kept apart."""
    resize: int | None = None
    """Height or width, whichever is less, that frames are scaled to before they are cropped; null keeps theirs."""
    fps: float | None = None
    """Frames per second of clips: the nearest frame of the file for each moment. Null takes the file's own frames."""
    strides: list[int] = field(default_factory=lambda: [1])
    """Every how many frames (of the file, or at `fps`) one is taken: one of these for each clip, at random."""
    flip: float = 0.5
    """Share that is mirrored, left to right."""
    reverse: float = 0.5
    """Share of clips that is played backwards."""
    motion: MotionOptions = field(default_factory=MotionOptions)
    buckets: list[str] = field(default_factory=list)
    """Aspect ratios, width to height, such as 1:1 and 16:9. A file goes to the nearest one, a batch holds one of them;
    crops have about the same number of pixels. None: square crops."""
    image_every: int = 4
    """Every how many steps the batch is of images: 0 for never, 1 for always."""
    workers: int = 2
    """Processes that prepare batches; 0 does it in the training process."""
    max_broken: float = 0.05
    """Share of the files that may be unreadable before the run stops. A single one stops it only at 0."""
    cache: int = 4096
    """Memory for decoded videos in MB, of each training process; half of what is free at most, filled as they are read.
    0 decodes them each time, as always those that would take more than an eighth of it."""
    downloads: str | None = None
    """Folder for shards that are fetched from URLs; null for the user's cache folder."""

    def __post_init__(self) -> None:
        for name in ("flip", "reverse", "max_broken"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"data.{name}={getattr(self, name)}: expected a share from 0 to 1")
        for name in ("image_every", "workers", "cache"):
            if getattr(self, name) < 0:
                raise ConfigError(f"data.{name}={getattr(self, name)}: expected a whole number from 0")
        if self.resize is not None and self.resize < 1:
            raise ConfigError(f"data.resize={self.resize}: expected pixels from 1, or null")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise ConfigError(f"data.fps={self.fps}: expected frames per second above 0, or null")
        if not self.strides or min(self.strides) < 1:
            raise ConfigError(f"data.strides={self.strides}: expected whole numbers from 1, such as [1, 2]")
        for text in self.buckets:
            _ratio(text)


def _ratio(text: str) -> Fraction:
    """Width to height, of text such as "16:9"."""
    width, colon, height = text.partition(":")
    try:
        ratio = Fraction(width.strip()) / Fraction(height.strip()) if colon else Fraction(0)
    except (ValueError, ZeroDivisionError):
        ratio = Fraction(0)
    if not Fraction(1, 20) <= ratio <= 20:
        raise ConfigError(f"data.buckets: {text!r} is no aspect ratio; expected width:height such as 16:9")
    return ratio


def bucket_sizes(buckets: list[str], crop: int, multiple: int) -> list[tuple[int, int]]:
    """(height, width) of the crops of each bucket: multiples of `multiple`, of about crop x crop pixels.

    Raises:
        ConfigError: where `crop` is no multiple, or two buckets come to the same size.
    """
    if crop < 1 or crop % multiple:
        raise ConfigError(f"crop={crop}: expected a multiple of {multiple}, the spatial factor")
    sizes: dict[tuple[int, int], str] = {}
    for text in buckets or ["1:1"]:
        stretch = math.sqrt(_ratio(text))
        height, width = (max(1, round(side / multiple)) * multiple for side in (crop / stretch, crop * stretch))
        if (height, width) in sizes:
            raise ConfigError(
                f"data.buckets: {sizes[height, width]} and {text} both come to crops of {width}x{height} at "
                f"crop={crop}; leave one out"
            )
        sizes[height, width] = text
    return list(sizes)
