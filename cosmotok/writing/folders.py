"""Folders that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from cosmotok.errors import CosmotokError, MediaError
from cosmotok.paths import as_path
from cosmotok.writing.hidden import discard, hidden, lock, release, sweep
from cosmotok.writing.names import install
from cosmotok.writing.system import calls, sync_folder, write_error

__all__ = ["output_folder", "remove_folder"]


class output_folder:  # noqa: N801 - a context manager used like a function
    """Context manager: a folder to write files to, which becomes `target` if the block ends well.

    A new folder appears with all its files at once, and nothing is left of it, or of folders above that were made for
    it, when the block raises anything. To a folder that is there already the files are added, and replace those of the
    same names: all of them or none. A process that is killed while it renames them may have replaced some.

    Parameters
    ----------
    target: the folder to write; folders above it are made.
    replaces: names of files of an earlier output, which go if they are not written anew.

    Raises
    ------
    InputError: an empty name.
    MediaError: the target is no folder, or cannot be written, or the block raised another `OSError`.
    """

    def __init__(self, target: str | os.PathLike[str], *, replaces: Iterable[str] = ()) -> None:
        self.target = as_path(target, "folder")
        self._replaces = tuple(replaces)
        self._final = self.target
        self._made: list[Path] = []
        self._temporary: Path | None = None
        self._descriptor: int | None = None

    def __enter__(self) -> Path:
        try:
            self._final = Path(os.path.realpath(self.target))
            if self._final.exists() and not self._final.is_dir():
                raise MediaError(f"{self.target}: is a file; give the name of a folder to write")
            place = self._final if self._final.is_dir() else self._final.parent
            self._make(place)
            sweep(place)
            self._temporary = hidden(self._final, place)
            calls.mkdir(self._temporary)
            self._descriptor = os.open(self._temporary, os.O_RDONLY)
            lock(self._descriptor)
        except BaseException as error:
            self._drop()
            if isinstance(error, (OSError, ValueError)) and not isinstance(error, CosmotokError):
                raise write_error(self.target, error) from error
            raise
        return self._temporary

    def _make(self, folder: Path) -> None:
        """Makes `folder`, and remembers what was not there before."""
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            with contextlib.suppress(FileExistsError):
                calls.mkdir(path)
                self._made.append(path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        temporary = self._temporary
        if temporary is None:
            return
        try:
            if error is None:
                self._install(temporary)
                self._made = []
        except OSError as failure:
            error = failure
        finally:
            self._drop()
        if isinstance(error, MediaError) and str(temporary) in str(error):  # of a file in it, by a name that is no more
            raise MediaError(str(error).replace(str(temporary), str(self.target))) from error
        if isinstance(error, CosmotokError):
            raise error
        if isinstance(error, OSError):
            raise write_error(self.target, error) from error

    def _install(self, temporary: Path) -> None:
        sync_folder(temporary)
        if temporary.parent == self._final:
            names = sorted(path.name for path in temporary.iterdir())
            gone = [self._final / name for name in self._replaces if name not in names]
            install(
                [(temporary / name, self._final / name) for name in names], [path for path in gone if path.exists()]
            )
        else:
            calls.rename(temporary, self._final)
            release(temporary)
        sync_folder(self._final.parent)

    def _drop(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        if self._temporary is not None:
            discard(self._temporary)
        self._descriptor = self._temporary = None
        for path in reversed(self._made):
            with contextlib.suppress(OSError):
                path.rmdir()
        self._made = []


def remove_folder(path: Path) -> None:
    """Removes a folder as well as it goes, its name first: none that is half removed is taken for a whole one."""
    doomed = hidden(path)
    with contextlib.suppress(OSError):
        calls.rename(path, doomed)
    discard(doomed)
