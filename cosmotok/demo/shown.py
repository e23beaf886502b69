"""What a visitor sees of a clip, written while it comes."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from cosmotok.media import Frame, MediaInfo, VideoWriter, write_image
from cosmotok.pipeline import difference

__all__ = ["Shown"]

CLEAR = 12
"""Quality (CRF) of the videos: what one sees is the tokenizer's doing, not H.264's."""
NAMES = ("left", "right", "difference")


class Shown:
    """Two versions of a clip and their difference, as pictures or, of a video, as videos that play in step.

    Called with each frame; within a `with` block, after which the files at `paths` are complete.
    """

    def __init__(self, folder: Path, info: MediaInfo) -> None:
        suffix = ".png" if info.kind == "image" else ".mp4"
        self.paths = [folder / (name + suffix) for name in NAMES]
        self._info, self._stack = info, ExitStack()
        self._writers: list[VideoWriter] = []

    def __enter__(self) -> Shown:
        if self._info.kind == "video":
            width, height, rate = self._info.width, self._info.height, self._info.frame_rate or Fraction(24)
            for path in self.paths:
                writer = VideoWriter(path, width=width, height=height, frame_rate=rate, crf=CLEAR)
                self._writers.append(self._stack.enter_context(writer))
        return self

    def __call__(self, frame: Frame, left: np.ndarray, right: np.ndarray) -> None:
        """Adds a frame, both of whose versions are (H, W, 3) in uint8."""
        versions = (left, right, difference(left, right))
        if self._info.kind == "image":
            for path, pixels in zip(self.paths, versions, strict=True):
                write_image(path, pixels)
        for writer, pixels in zip(self._writers, versions, strict=False):
            writer.write(pixels, frame.time)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
