"""Arguments that are paths, and names that come out of files."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cosmotok.errors import InputError

__all__ = ["as_path", "model_path", "plain_name"]

LONGEST = 4096
"""Characters of a path; no system takes more."""


def as_path(value: object, argument: str = "path") -> Path:
    """`value` as a path.

    Raises:
        InputError: for what is no path at all, an empty one, or one that no file can have.
    """
    if not isinstance(value, (str, os.PathLike)) or isinstance(os.fspath(value), bytes):
        raise InputError(f"{argument}: expected the name of a file or folder, got {type(value).__name__}")
    text = os.fspath(value)
    if not text:
        raise InputError(f"{argument}: expected the name of a file or folder, got an empty one")
    if "\0" in text or len(text) > LONGEST or any(len(os.fsencode(part)) > 255 for part in re.split(r"[/\\]", text)):
        raise InputError(f"{argument}: no file can have the name {text[:40]!r}...; names have at most 255 bytes")
    return Path(text)


def model_path(name: object) -> Path:
    """Where a model would be if its name is a path; `~` stands for a home.

    Raises:
        InputError: as `as_path`.
    """
    path = as_path(name, "model")
    try:
        return path.expanduser()
    except RuntimeError:  # no such user
        return path


def plain_name(text: str) -> str:
    """A name that came out of a file, fit to be part of a file's name: it leads nowhere else, whatever it was."""
    return re.sub(r"[^\w.@+-]", "-", text, flags=re.ASCII)[:80]
