"""Where the scene changes, frame by frame, by PySceneDetect."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from cosmotok.errors import MissingExtraError

__all__ = ["SceneCuts"]

WIDE_ENOUGH = 256
"""Pixels of the longer side that suffice to see a cut."""
SHORTEST = 15
"""Frames of a scene at least, so that a flash is no cut; PySceneDetect's default."""


class SceneCuts:
    """Called with the frames of a video in order, tells of each whether a new scene begins with it."""

    def __init__(self, rate: Fraction) -> None:
        try:
            from scenedetect import ContentDetector, FrameTimecode
            from scenedetect.detectors.content_detector import FlashFilter
        except ImportError:
            raise MissingExtraError('cuts at scenes need PySceneDetect; run: pip install "cosmotok[data]"') from None
        self._detector = ContentDetector(min_scene_len=SHORTEST, filter_mode=FlashFilter.Mode.SUPPRESS)
        self._moment = FrameTimecode
        self._rate = float(rate)
        self._count = 0

    def __call__(self, pixels: np.ndarray) -> bool:
        """`pixels`: (H, W, 3), uint8, RGB."""
        step = max(1, max(pixels.shape[:2]) // WIDE_ENOUGH)
        small = np.ascontiguousarray(pixels[::step, ::step, ::-1])
        cuts = self._detector.process_frame(self._moment(self._count, self._rate), small)
        self._count += 1
        return bool(cuts)
