"""Hidden names of what is being written: whose they are, and how leftovers of killed processes go."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import secrets
import shutil
import zlib
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows: nothing is locked, and nothing swept
    fcntl = None  # type: ignore[assignment]

__all__ = ["busy", "clear", "discard", "hidden", "lock", "release", "sweep"]

LEFTOVER = re.compile(r"\..*\.([0-9a-f]{8})-([0-9]{1,9})-[0-9a-f]{8}\.part", re.DOTALL)
LONGEST_STEM = 100
"""Bytes of the final name in the hidden one."""

_live: dict[Path, int] = {}
"""Hidden names in use, and the process that uses them."""
_swept: set[Path] = set()


def machine() -> str:
    """Eight digits that stand for this machine, among those that share its disks."""
    name = platform.node()
    with contextlib.suppress(OSError):
        name += Path("/etc/machine-id").read_text(encoding="utf-8")
    return f"{zlib.crc32(name.encode(errors='surrogateescape')):08x}"


def hidden(final: Path, folder: Path | None = None) -> Path:
    """A new hidden name for what becomes `final`, beside it or in `folder`; it counts as in use from now on."""
    stem = os.fsdecode(os.fsencode(final.name)[:LONGEST_STEM])
    path = (folder or final.parent) / f".{stem}.{machine()}-{os.getpid()}-{secrets.token_hex(4)}.part"
    _live[path] = os.getpid()
    return path


def lock(descriptor: int) -> bool:
    """Takes the lock of a hidden file or folder until it is closed; whether it is to be had."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another holds it, or this file system has no locks
        return False
    return True


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def sweep(folder: Path) -> None:
    """Removes what processes that were killed left in `folder`, once for each folder.

    Only what this machine wrote, whose process is gone, and whose lock is free.
    """
    if fcntl is None or folder in _swept:
        return
    _swept.add(folder)
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            found = LEFTOVER.fullmatch(entry.name)
            if found is None or found[1] != machine() or is_running(int(found[2])):
                continue
            is_folder = entry.is_dir(follow_symlinks=False)
            with contextlib.suppress(OSError):
                descriptor = os.open(entry.path, (os.O_RDONLY if is_folder else os.O_RDWR) | os.O_NOFOLLOW)
                try:
                    if lock(descriptor):
                        discard(Path(entry.path))
                finally:
                    os.close(descriptor)


def discard(path: Path) -> None:
    """Removes a hidden file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
    release(path)


def busy() -> bool:
    """Whether this process is writing anything."""
    return os.getpid() in _live.values()


def clear() -> None:
    """Removes whatever this process has begun to write and not finished; for its end."""
    for path, process in list(_live.items()):
        if process == os.getpid():
            discard(path)


def release(path: Path) -> None:
    """The hidden name is no longer in use."""
    _live.pop(path, None)
