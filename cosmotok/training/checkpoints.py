"""A run's checkpoints: complete or not there, the last few kept."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch

from cosmotok.errors import CheckpointError, MediaError
from cosmotok.writing import buffered, output_file, output_folder, remove_folder, sweep

__all__ = ["Checkpoints"]

NAME = re.compile(r"step-(\d{8,})")
STATE_FILE = "state.pt"


class Checkpoints:
    """Folders `step-00001234`, each with the whole state of a run after so many steps.

    A folder gets its name only when all of it is on the disk, so one with such a name is complete, whenever the
    process or the machine stopped.

    Args:
        folder: of all checkpoints.
        keep: how many to keep, at least 1.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        if folder.is_dir():  # a run that has nothing left to write would leave what a killed one left
            sweep(folder)

    def steps(self) -> list[int]:
        """Of all checkpoints, rising."""
        if not self.folder.is_dir():
            return []
        return sorted(int(m[1]) for path in self.folder.iterdir() if (m := NAME.fullmatch(path.name)))

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Writes a checkpoint, then removes the oldest ones; a step that is there already is not written again.

        Raises:
            CheckpointError: where it cannot be written; the older ones are as they were.
        """
        target = self.path(step)
        if target.exists():
            return target
        try:
            with output_folder(target) as place, output_file(place / STATE_FILE) as file, buffered(file) as whole:
                torch.save(state, whole)
        except MediaError as error:
            kept = self.steps()
            survivor = f"; --resume goes on from step {kept[-1]}, whose checkpoint is untouched" if kept else ""
            raise CheckpointError(f"{error}{survivor}") from error
        for old in self.steps()[: -self.keep]:
            remove_folder(self.path(old))
        return target

    def load(self, step: int) -> dict[str, Any]:
        """The state that was saved, on the CPU.

        Raises:
            CheckpointError: where it is damaged.
        """
        path = self.path(step) / STATE_FILE
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            others = [other for other in self.steps() if other != step]
            advice = f"remove {path.parent} to go on from step {others[-1]}" if others else "start the run anew"
            raise CheckpointError(f"{path}: is damaged ({reason}); {advice}") from None
        return state
