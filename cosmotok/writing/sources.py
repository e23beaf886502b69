"""What a job reads is never replaced by what it writes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from cosmotok.errors import InputError

__all__ = ["spare"]


def same_file(path: Path, other: Path) -> bool:
    """Whether both names lead to one file, by whatever links."""
    try:
        return path.resolve() == other.resolve() or (path.exists() and other.exists() and path.samefile(other))
    except (OSError, ValueError, RuntimeError):
        return False


def spare(output: Path, *sources: str | os.PathLike[str] | None) -> None:
    """Raises InputError where writing `output`, a file or a folder, would replace something that the job reads.

    Args:
        sources: files and folders; a folder stands for the files directly in it, and in its `vae`, where a pipeline has
            its model. What does not exist (None, a name of a model, an address) is left out.
    """
    for path in places(sources):
        if same_file(output, path):
            raise InputError(f"{output}: is the source itself, which is never overwritten; choose another name")
        try:
            inside = path.is_dir() and output.is_file() and is_one_of(output, path)
            around = path.is_file() and output.is_dir() and same_file(output, path.parent)
        except (OSError, ValueError):
            continue  # whoever opens it says why it cannot be
        if inside:
            raise InputError(f"{output}: is read for this, as a file of {path}; choose another name")
        if around:
            raise InputError(f"{output}: holds {path.name}, which is read for this; choose another folder")


def places(sources: Iterable[str | os.PathLike[str] | None]) -> Iterator[Path]:
    for source in sources:
        if not source:
            continue
        path = Path(source)
        with contextlib.suppress(RuntimeError):  # no such user
            path = path.expanduser()
        yield path
        with contextlib.suppress(OSError, ValueError):
            if (path / "vae").is_dir():
                yield path / "vae"


def is_one_of(file: Path, folder: Path) -> bool:
    found = file.stat()
    return any(entry.inode() == found.st_ino and file.samefile(entry.path) for entry in os.scandir(folder))
