"""What a visitor sees of a clip, written while it comes."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

from cosmotok.frames import difference
from cosmotok.media import Frame, MediaInfo
from cosmotok.pipeline import FrameSink

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
        self._sinks = [FrameSink(path, info, None, None, None, crf=CLEAR) for path in self.paths]
        self._stack = ExitStack()

    def __enter__(self) -> Shown:
        for sink in self._sinks:
            self._stack.enter_context(sink)
        return self

    def __call__(self, frame: Frame, left: np.ndarray, right: np.ndarray) -> None:
        """Adds a frame, both of whose versions are (H, W, 3) in uint8."""
        for sink, pixels in zip(self._sinks, (left, right, difference(left, right)), strict=True):
            sink.write(pixels, frame.time)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
