"""What readers and writers of all formats have in common with the disk."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

from cosmotok import foreign
from cosmotok.errors import CheckpointError

__all__ = ["CONFIG_FILE", "read_into", "read_json"]

CONFIG_FILE = "config.json"
"""Beside the weights, in our format and in those of others."""


def read_into(file: IO[bytes], buffer: memoryview) -> int:
    """Fills `buffer` from where the file stands; returns how many bytes came, fewer only at its end."""
    done = 0
    while done < len(buffer) and (count := file.readinto(buffer[done:])):  # type: ignore[attr-defined]
        done += count
    return done


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; raises CheckpointError for anything else."""
    try:
        values = foreign.read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable JSON ({error})") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(values).__name__}")
    return values
