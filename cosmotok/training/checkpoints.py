"""A run's checkpoints: complete or not there, the last few kept."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import re
import secrets
import shutil
from pathlib import Path
from typing import Any

import torch

from cosmotok.errors import CheckpointError
from cosmotok.media.atomic import write_error

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
        temporary = self.folder / f".{target.name}.{secrets.token_hex(4)}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.sweep()
            temporary.mkdir()
            write_synced(temporary / STATE_FILE, state)
            sync_folder(temporary)
            temporary.rename(target)
            sync_folder(self.folder)
        except (OSError, RuntimeError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise self.failure(target, error) from error
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        for old in self.steps()[: -self.keep]:
            self.remove(self.path(old))
        return target

    def failure(self, target: Path, error: Exception) -> CheckpointError:
        kept = self.steps()
        # torch's writer hides the system's error behind one of its own
        cause = error if isinstance(error, OSError) or error.__context__ is None else error.__context__
        if not isinstance(cause, OSError) and shutil.disk_usage(self.folder).free < 2**20:
            cause = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        survivor = f"; --resume goes on from step {kept[-1]}, whose checkpoint is untouched" if kept else ""
        return CheckpointError(f"{write_error(target, cause)}{survivor}")

    def remove(self, path: Path) -> None:
        """Takes the name away first, so that no half-removed checkpoint is taken for a whole one."""
        doomed = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with contextlib.suppress(OSError):
            path.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)

    def sweep(self) -> None:
        """Removes what a killed process left half-written."""
        for path in self.folder.iterdir():
            if path.name.startswith(".step-"):
                shutil.rmtree(path, ignore_errors=True)

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


def write_synced(path: Path, state: dict[str, Any]) -> None:
    """Writes the state; on return it is on the disk, not only in the system's memory."""
    with path.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes new and changed names in `folder` last; systems that cannot do so see to it themselves."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
