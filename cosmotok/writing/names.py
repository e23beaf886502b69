"""How finished files get their names: all of them, or none."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from cosmotok.writing.hidden import discard, hidden, release
from cosmotok.writing.system import calls, write_error

__all__ = ["Together", "install"]


def install(new: Sequence[tuple[Path, Path]], gone: Sequence[Path] = ()) -> None:
    """Gives hidden files their names and takes `gone` away: all of it or, after any exception, nothing."""
    if len(new) == 1 and not gone:
        calls.rename(*new[0])
        return
    undo: list[tuple[Path, Path | None]] = []
    try:
        for path in [*(final for _, final in new), *gone]:
            undo.append((path, kept(path)))
        for temporary, final in new:
            calls.rename(temporary, final)
        for path in gone:
            path.unlink(missing_ok=True)
    except BaseException:
        for path, old in undo:
            with contextlib.suppress(OSError):
                if old is None:
                    path.unlink(missing_ok=True)
                else:
                    old.replace(path)
        raise
    finally:
        for _, old in undo:
            if old is not None:
                discard(old)


def kept(path: Path) -> Path | None:
    """A second, hidden name of the file at `path`, or a copy where a file can have one name alone; None without one."""
    old = hidden(path)
    try:
        try:
            os.link(path, old)
        except FileNotFoundError:
            release(old)
            return None
        except OSError:
            shutil.copy2(path, old)
    except BaseException:
        discard(old)
        raise
    return old


class Together:
    """Context manager: files written with `together=` get their names at its end, all of them or none."""

    def __init__(self) -> None:
        self._files: list[tuple[Path, Path]] = []

    def add(self, temporary: Path, final: Path) -> None:
        """`temporary` is whole, and becomes `final`."""
        self._files.append((temporary, final))

    def __enter__(self) -> Together:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and self._files:
                install(self._files)
        except OSError as failure:
            raise write_error(self._files[0][1], failure) from failure
        finally:
            for temporary, _ in self._files:
                discard(temporary)
