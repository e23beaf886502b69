"""Where files are: on this machine's disks, or anywhere that fsspec has a file system for."""

from __future__ import annotations

import contextlib
import glob
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from cosmotok.dataset.sources.names import is_url, suffix_of
from cosmotok.errors import InputError, MediaError, SourceLostError
from cosmotok.foreign import check_regular_file, one_line
from cosmotok.writing.system import FULL

__all__ = ["BLOCK", "SIDECARS", "Found", "Local", "Place", "copied", "place_of"]

BLOCK = 1 << 22
"""Bytes copied at once."""
SIDECARS = (".txt", ".json")
"""Suffixes of files with the caption and the metadata of the image or video of the same name."""

Wanted = Callable[[str], bool]


class Found(NamedTuple):
    """A file that is there."""

    path: str
    """Absolute, or a URL."""
    bytes: int
    stamp: str
    beside: str = ""
    """Suffixes of `SIDECARS` that are there too, one after the other."""


class Place(ABC):
    """Files of one kind of file system; all of them are named by absolute paths, or by URLs."""

    @abstractmethod
    def kind(self, path: str) -> Literal["file", "folder"] | None:
        """What is at `path`; None for nothing."""

    @abstractmethod
    def find(self, folder: str, wanted: Wanted) -> Iterator[Found]:
        """Files below a folder whose names are wanted, sorted; nothing hidden, and not through links to folders.

        Raises:
            InputError: where a folder cannot be read.
        """

    @abstractmethod
    def glob(self, pattern: str) -> Iterator[str]:
        """Paths that match, sorted."""

    @abstractmethod
    def found(self, path: str) -> Found:
        """The file at `path`. Raises MediaError where there is none."""

    @abstractmethod
    def reading(self, path: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """The file at `path` open for reading here and there."""

    @abstractmethod
    def local(self, path: str) -> contextlib.AbstractContextManager[Path]:
        """A file of the same content on this machine: itself, or a copy for as long as the block lasts."""


class Local(Place):
    """This machine's own file systems."""

    def kind(self, path: str) -> Literal["file", "folder"] | None:
        try:
            if os.path.isdir(path):  # noqa: PTH112 - names that are no Unicode, and no Path for each of ten million
                return "folder"
            return "file" if os.path.lexists(path) else None
        except ValueError:
            return None

    def find(self, folder: str, wanted: Wanted) -> Iterator[Found]:
        waiting = [folder]
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(folder) as listing:
                    found = sorted(listing, key=lambda entry: entry.name)
                beside = {entry.name: entry for entry in found if entry.name.endswith(SIDECARS)}
                below = []
                for entry in found:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        below.append(entry.path)
                    elif wanted(entry.name) and _is_file(entry):
                        yield _with_sidecars(entry.path, entry.stat(), entry.name, beside)
            except OSError as error:
                raise InputError(f"{_shown(folder)}: cannot be read ({error.strerror or error})") from None
            waiting += reversed(below)

    def glob(self, pattern: str) -> Iterator[str]:
        return iter(sorted(glob.glob(pattern, recursive=True)))  # noqa: PTH207 - takes absolute ones

    def found(self, path: str) -> Found:
        with _refusals(path):
            facts = os.stat(path)  # noqa: PTH116
        stem = os.path.splitext(path)[0]  # noqa: PTH122
        beside = {}
        for suffix in SIDECARS:
            with contextlib.suppress(OSError):
                beside[stem + suffix] = os.stat(stem + suffix)  # noqa: PTH116
        return _with_sidecars(path, facts, path, beside)

    @contextlib.contextmanager
    def reading(self, path: str) -> Iterator[IO[bytes]]:
        with contextlib.ExitStack() as stack:
            with _refusals(path):
                check_regular_file(Path(path))
                file = stack.enter_context(Path(path).open("rb"))
            yield file

    @contextlib.contextmanager
    def local(self, path: str) -> Iterator[Path]:
        with _refusals(path):
            check_regular_file(Path(path))
        yield Path(path)


def place_of(path: str) -> Place:
    if not is_url(path):
        return Local()
    from cosmotok.dataset.sources.remote import Remote

    return Remote()


@contextlib.contextmanager
def copied(key: str, name: str, blocks: Iterator[bytes]) -> Iterator[Path]:
    """A file of these bytes, with the suffix of `name`, for as long as the block lasts.

    A `MediaError` raised in the block calls it by its key.

    Raises:
        SourceLostError: where there is no room for it.
    """
    with tempfile.TemporaryDirectory(prefix="cosmotok-", ignore_cleanup_errors=True) as folder:
        # A suffix out of a stranger's file is no more than letters and digits.
        suffix = suffix_of(name)
        path = Path(folder) / ("input" + (suffix if suffix[1:].isalnum() and len(suffix) < 10 else ""))
        with path.open("wb") as file:  # closed before it is read, since some systems open no file twice
            for block in blocks:
                try:
                    file.write(block)
                except OSError as error:
                    raise no_room(folder, error) from None
        with called(path, key):
            yield path


@contextlib.contextmanager
def called(path: Path, key: str) -> Iterator[None]:
    """Errors about the copy at `path` name what it is a copy of."""
    try:
        yield
    except MediaError as error:
        raise MediaError(str(error).replace(str(path), one_line(key, 200))) from None


def no_room(folder: str, error: OSError) -> SourceLostError:
    if error.errno in FULL:
        return SourceLostError(
            f"{folder}: the disk is full, with copies of what is read; free some space, or set TMPDIR"
        )
    return SourceLostError(
        f"{folder}: copies of what is read cannot be written ({error.strerror or error}); set TMPDIR"
    )


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def _with_sidecars(path: str, facts: os.stat_result, name: str, beside: dict[str, Any]) -> Found:
    stamp = f"{facts.st_size}-{facts.st_mtime_ns}"
    there = ""
    if beside:
        stem = os.path.splitext(name)[0]  # noqa: PTH122
        for suffix in SIDECARS:
            if (other := beside.get(stem + suffix)) is not None:
                try:
                    about = other if isinstance(other, os.stat_result) else other.stat()
                except OSError:  # a link to nothing
                    continue
                stamp += f"+{about.st_size}-{about.st_mtime_ns}"
                there += suffix
    return Found(path, facts.st_size, stamp, there)


@contextlib.contextmanager
def _refusals(path: str) -> Iterator[None]:
    """What the system says of the file at `path`, as a MediaError."""
    try:
        yield
    except FileNotFoundError:
        raise MediaError(f"{_shown(path)}: no such file") from None
    except PermissionError:
        raise MediaError(f"{_shown(path)}: no permission to read it") from None
    except ValueError as error:
        raise MediaError(f"{_shown(path)}: {error}") from None
    except OSError as error:
        raise MediaError(f"{_shown(path)}: cannot be read ({error.strerror or error})") from None


def _shown(path: str) -> str:
    return one_line(path, 200)
