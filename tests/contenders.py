"""Contestants for the tests of evaluations, in a module that other processes can import."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

import numpy as np

from cosmotok.errors import CheckpointError
from cosmotok.evaluation.contestants import Traits

CODEC = Traits("codec", image=True, video=True, causal=True, streaming=True)
ODD_WIDTH = 37
"""Of files that some contestants cannot take."""


@dataclass(frozen=True)
class Rounder:
    """Rounds pixels down to multiples of `step`, and lets its input pass frame by frame."""

    name: str = "rounder"
    step: int = 16
    traits: Traits = CODEC

    def load(self, device):
        return self

    def reconstruct(self, frames, source, tally):
        tally.bits = 0.0
        for frame in frames:
            self.look(frame)
            tally.bits += 2.0 * source.height * source.width
            yield frame // self.step * self.step

    def look(self, frame: np.ndarray) -> None:
        pass


class Picky(Rounder):
    """Raises in the middle of some clips."""

    def look(self, frame):
        if frame.shape[1] == ODD_WIDTH:
            raise RuntimeError("cannot do that width\nand says so at length")


class Killed(Rounder):
    """Dies of some clips, as where memory runs out."""

    def look(self, frame):
        if frame.shape[1] == ODD_WIDTH:
            os.kill(os.getpid(), signal.SIGKILL)


class Absent(Rounder):
    """Has no weights."""

    def load(self, device):
        raise CheckpointError("no weights there; fetch them")


class Short(Rounder):
    """Loses the last frame."""

    def reconstruct(self, frames, source, tally):
        yield from list(super().reconstruct(frames, source, tally))[:-1]


class Swallowing(Rounder):
    """Makes an error of its own of whatever goes wrong in its input."""

    def reconstruct(self, frames, source, tally):
        try:
            yield from super().reconstruct(frames, source, tally)
        except OSError as error:
            raise RuntimeError("something is wrong") from error


class Watched(Rounder):
    """Notes how many frames it was ahead of."""

    pulled = 0

    def look(self, frame):
        type(self).pulled += 1
