"""Contestants for the tests of evaluations, in a module that other processes can import."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cosmotok.contestants import Traits
from cosmotok.errors import CheckpointError

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


# Several processes, which meet at files of a folder -------------------------------------------------------------------


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def is_first(path: Path) -> bool:
    """Whether nobody was here before."""
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True


@dataclass(frozen=True)
class Patient(Rounder):
    """Works until another contestant was refused."""

    folder: Path = Path()

    def reconstruct(self, frames, source, tally):
        wait_for(self.folder / "refused")
        yield from super().reconstruct(frames, source, tally)


@dataclass(frozen=True)
class SecondTime(Patient):
    """Is refused where it is loaded first."""

    def load(self, device):
        if is_first(self.folder / "refused"):
            raise CheckpointError("not here")
        return Rounder()


@dataclass(frozen=True)
class FirstTime(Patient):
    """Is loaded in one process; in another, that takes until the first one is done, and then fails."""

    def load(self, device):
        if is_first(self.folder / "loaded"):
            wait_for(self.folder / "being loaded again")
            return Rounder()
        (self.folder / "being loaded again").touch()
        wait_for(self.folder / "moved on")
        raise CheckpointError("no second time")


@dataclass(frozen=True)
class Next(Patient):
    """Says that it is its turn."""

    def load(self, device):
        (self.folder / "moved on").touch()
        return Rounder()
