"""Write to a temporary name, then rename: nothing half-written is left behind."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path
from types import TracebackType

from cosmotok.errors import CosmotokError, MediaError

__all__ = ["atomic_path", "require_folder", "same_file", "write_error"]

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


def write_error(path: Path, error: BaseException) -> MediaError:
    """The one-line `MediaError` for `error`, met while writing `path`."""
    number = getattr(error, "errno", None)
    if number in _FULL:
        return MediaError(f"{path}: the disk is full; nothing was written. Free some space or write elsewhere")
    if number in _DENIED:
        return MediaError(f"{path}: no permission to write there; choose another folder or fix its permissions")
    if number == errno.ENOENT:
        return MediaError(f"{path}: the folder {path.parent} does not exist; create it first")
    if number == errno.ENAMETOOLONG:
        return MediaError(f"{path.name[:40]}...: the file name is too long; choose a shorter one")
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return MediaError(f"{path}: cannot be written ({reason}); nothing was left behind")


class atomic_path:  # noqa: N801 - a context manager used like a function
    """Context manager: a temporary path beside `target`, renamed onto it on success.

    ``with atomic_path("out.json") as temporary: temporary.write_text(...)``

    The temporary file has the target's suffix, is hidden (its name starts with a dot) and exists, empty,
    inside the block. It is removed when the block raises anything, `KeyboardInterrupt` included. A target
    that is a symbolic link keeps being one: the file it points at is replaced.

    Parameters
    ----------
    target: the file to write.
    overwrite: whether an existing target is replaced; if not, it is a `MediaError`.

    Raises
    ------
    MediaError: the folder is missing or not writable, the target is not an ordinary file, the disk is
        full, or the block raised any other `OSError`. Other exceptions of the block pass unchanged.
    """

    def __init__(self, target: str | Path, *, overwrite: bool = True) -> None:
        self.target = Path(target)
        self._overwrite = overwrite
        self._final = self.target
        self._temporary: Path | None = None

    def __enter__(self) -> Path:
        try:
            self._final = Path(os.path.realpath(self.target))
            self._check()
            token = secrets.token_hex(4)
            temporary = self._final.with_name(f".{self._final.stem[:100]}.{token}{self._final.suffix}")
            # Not `tempfile`: that makes files only their owner can read.
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except CosmotokError:
            raise
        except (OSError, ValueError) as error:
            raise write_error(self.target, error) from error
        self._temporary = temporary
        return temporary

    def _check(self) -> None:
        require_folder(self.target, self._final.parent)
        try:
            mode = self._final.stat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not an ordinary file"
            raise MediaError(f"{self.target}: is {kind}; give the name of a file to write")
        if not self._overwrite:
            raise MediaError(f"{self.target}: exists already; choose another name or allow overwriting")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        temporary, self._temporary = self._temporary, None
        if temporary is None:
            return
        try:
            if error is None:
                if not self._overwrite and self._final.exists():
                    raise MediaError(f"{self.target}: exists already; choose another name or allow overwriting")
                temporary.replace(self._final)
        except OSError as failure:
            if isinstance(failure, CosmotokError):
                raise
            raise write_error(self.target, failure) from failure
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
        if isinstance(error, OSError) and not isinstance(error, CosmotokError):
            raise write_error(self.target, error) from error


def require_folder(target: Path, folder: Path) -> None:
    """Raises MediaError where the folder that `target` is to be written to is none. Call it before long work."""
    if not folder.exists():
        raise MediaError(f"{target}: the folder {folder} does not exist; create it first")
    if not folder.is_dir():
        raise MediaError(f"{target}: {folder} is not a folder; choose another place")


def same_file(path: Path, other: Path) -> bool:
    """Whether both names lead to one file, by whatever links."""
    try:
        return path.resolve() == other.resolve() or (path.exists() and other.exists() and path.samefile(other))
    except (OSError, ValueError):
        return False
