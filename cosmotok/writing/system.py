"""The system's calls that write, and what their errors mean to a user."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
from pathlib import Path
from typing import Any

from cosmotok.errors import MediaError

__all__ = ["FULL", "calls", "require_folder", "sync_folder", "write_error"]

FULL = {errno.ENOSPC, errno.EDQUOT}
DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


class Calls:
    """The system's calls that write, in one place, where tests make any of them fail."""

    open = staticmethod(os.open)
    write = staticmethod(os.write)
    fsync = staticmethod(os.fsync)
    truncate = staticmethod(os.ftruncate)
    close = staticmethod(io.FileIO.close)
    rename = staticmethod(os.replace)
    mkdir = staticmethod(os.mkdir)


calls: Any = Calls()


def write_error(path: Path, error: BaseException, needed: int | None = None) -> MediaError:
    """The one-line `MediaError` for `error`, met while writing `path`.

    Args:
        needed: bytes that it would have had at least, where that is known.
    """
    number = getattr(error, "errno", None)
    if number in FULL:
        return MediaError(
            f"{path}: the disk is full{room(path, needed)}; nothing was written. Free some space or write elsewhere"
        )
    if number in DENIED:
        return MediaError(f"{path}: no permission to write there; choose another folder or fix its permissions")
    if number == errno.ENOENT:
        return MediaError(f"{path}: the folder {path.parent} does not exist; create it first")
    if number == errno.ENAMETOOLONG:
        return MediaError(f"{path.name[:40]}...: the file name is too long; choose a shorter one")
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return MediaError(f"{path}: cannot be written ({reason}); nothing was left behind")


def room(path: Path, needed: int | None) -> str:
    """What is needed and what is there, as far as that is known."""
    free = None
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(next(folder for folder in path.absolute().parents if folder.exists())).free
    parts = [] if needed is None else [f"at least {needed / 1e6:.1f} MB needed"]
    parts += [] if free is None else [f"{free / 1e6:.1f} MB free"]
    return f" ({', '.join(parts)})" if parts else ""


def require_folder(target: Path, folder: Path) -> None:
    """Raises MediaError where the folder that `target` is to be written to is none. Call it before long work."""
    if not folder.exists():
        raise MediaError(f"{target}: the folder {folder} does not exist; create it first")
    if not folder.is_dir():
        raise MediaError(f"{target}: {folder} is not a folder; choose another place")


def sync_folder(folder: Path) -> None:
    """Makes new and changed names in `folder` last; systems that cannot do so see to it themselves."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
