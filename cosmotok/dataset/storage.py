"""The folder of a data set, on a disk or at any fsspec URL: whole files under their names, or none."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa

from cosmotok.addresses import public, told
from cosmotok.dataset.heartbeat import heartbeat
from cosmotok.errors import CosmotokError, InputError, MediaError, SourceLostError
from cosmotok.foreign import check_regular_file, one_line
from cosmotok.paths import as_path
from cosmotok.writing import output_file

__all__ = ["Storage", "hash_of", "storage_at"]

WAITS = (1.0, 4.0, 15.0)
"""Seconds before a place that does not answer is asked again."""

ALIVE, STALE = 10.0, 60.0
"""Seconds after which a run says again that it is there, and after which one that does not has died."""

GIVEN_WAY = (0.5, 1.0, 2.0)
"""Seconds between looks at whether others that began at the same moment have gone."""

PLAN, LOCK = ".plan", "lock"
"""Folder, and how the name of a file begins by which a run holds a data set."""

BLOCK = 1 << 20

T = TypeVar("T")


class Storage(ABC):
    """Files of a data set by their names below its folder, with forward slashes."""

    name: str

    @abstractmethod
    def sizes(self, folder: str) -> dict[str, int]:
        """Names of the files in a folder, without it, and their bytes; nothing where there is none."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A file; raises InputError where there is none."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """A file to read and seek in; raises InputError where there is none."""

    @abstractmethod
    def create(self, name: str) -> contextlib.AbstractContextManager[io.FileIO]:
        """A file to write and to read back, which is there under its name, whole, once the block has ended well."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """A file goes, if it is there."""

    @abstractmethod
    def held(self) -> contextlib.AbstractContextManager[Callable[[], None]]:
        """Nobody else holds it in the block; raises InputError where another does. So does what it gives, where another
        run has taken this one for dead."""

    def write(self, name: str, content: bytes) -> None:
        """A whole file at once."""
        with self.create(name) as file:
            file.write(content)

    def patiently(self, action: Callable[[], T]) -> T:
        """What an action gives that reaches for the place; tried again for a while where it does not answer."""
        return action()

    def missing(self, name: str) -> InputError:
        return InputError(f"{self.name}/{name}: no such file; {self.name} is no data set, or an incomplete one")


class LocalStorage(Storage):
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, str(folder)

    def sizes(self, folder: str) -> dict[str, int]:
        try:
            found = {}
            with os.scandir(self.folder / folder) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):  # of a run under way, gone since it was listed
                        if entry.is_file():
                            found[entry.name] = entry.stat().st_size
            return found
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise InputError(f"{self.folder / folder}: cannot be read ({error.strerror})") from None

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            return file.read()

    def open(self, name: str) -> BinaryIO:
        path = self.folder / name
        try:
            check_regular_file(path)
            return path.open("rb")
        except FileNotFoundError:
            raise self.missing(name) from None
        except ValueError as error:
            raise InputError(f"{path}: {error}; expected a file that `cosmotok tokenize` wrote") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[io.FileIO]:
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MediaError(f"{path.parent}: cannot be made ({error.strerror})") from None
        with output_file(path) as file:
            yield file

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def held(self) -> Iterator[Callable[[], None]]:
        from filelock import FileLock, Timeout

        lock = self.folder / PLAN / LOCK
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            holder = FileLock(lock).acquire(timeout=0)
        except Timeout:
            raise busy_error(self.name) from None
        except OSError as error:
            raise MediaError(f"{self.name}: cannot be written ({error.strerror})") from None
        try:
            with holder:
                yield lambda: None  # the system itself keeps others out
        finally:
            if set(self.sizes(PLAN)) <= {LOCK} and not self.sizes(""):  # nothing came of it
                with contextlib.suppress(OSError):
                    lock.unlink(missing_ok=True)
                    lock.parent.rmdir()
                    self.folder.rmdir()


class RemoteStorage(Storage):
    """A folder at an fsspec URL; an object store shows a file when all of it is there."""

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url.rstrip("/")
        self.name = public(self.url)
        try:
            self.system, self.root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise InputError(f"{self.name}: cannot be used ({one_line(told(error, self.url), 160)})") from None

    def __reduce__(self) -> Any:
        return RemoteStorage, (self.url,)

    def sizes(self, folder: str) -> dict[str, int]:
        def look() -> dict[str, int]:
            self.system.invalidate_cache()
            try:
                found = self.system.ls(f"{self.root}/{folder}", detail=True)
            except FileNotFoundError:
                return {}
            return {each["name"].rpartition("/")[2]: each["size"] for each in found if each["type"] == "file"}

        return self.patiently(look)

    def read(self, name: str) -> bytes:
        try:
            return self.patiently(lambda: self.system.cat_file(f"{self.root}/{name}"))
        except FileNotFoundError:
            raise self.missing(name) from None

    def open(self, name: str) -> BinaryIO:
        try:
            return self.patiently(lambda: self.system.open(f"{self.root}/{name}", "rb"))
        except FileNotFoundError:
            raise self.missing(name) from None

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[io.FileIO]:
        with tempfile.TemporaryDirectory(prefix="cosmotok-") as folder:
            path = Path(folder) / "file"
            with io.FileIO(path, "w+b") as file:
                yield file
            self.patiently(lambda: self._put(path, f"{self.root}/{name}"))

    def _put(self, path: Path, target: str) -> None:
        self.system.makedirs(target.rpartition("/")[0], exist_ok=True)
        self.system.put_file(str(path), target)

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.patiently(lambda: self.system.rm_file(f"{self.root}/{name}"))

    @contextlib.contextmanager
    def held(self) -> Iterator[Callable[[], None]]:
        """By a file of the run's own. Each writes its file first and looks for others then: of two, the one that wrote
        last sees the other. No store has to lock anything for that, but must list what was written before."""
        mine = f"{LOCK}-{secrets.token_hex(8)}"
        rivals: dict[str, Any] = {}
        lost = threading.Event()

        def tell() -> None:
            """Says that the run is there still, unless it was taken for dead, as after a sleep of its machine."""
            found = self._locks()
            others = {name: self._touched(name) for name in found - {mine}}
            if mine not in found or any(rivals.get(name, now) != now for name, now in others.items()):
                lost.set()
            else:
                self.write(f"{PLAN}/{mine}", b"")
            rivals.update(others)

        def check() -> None:
            if lost.is_set():
                raise InputError(f"{self.name}: another run has taken over this data set; end one of them, and go on")

        self.write(f"{PLAN}/{mine}", b"")
        try:
            self._take(mine)
            with heartbeat(tell, ALIVE):
                yield check
        finally:
            with contextlib.suppress(CosmotokError):  # it counts as dead soon
                self.remove(f"{PLAN}/{mine}")

    def _take(self, mine: str) -> None:
        """Waits for runs that began at the same moment and give way; the first by name stays.

        Raises:
            InputError: where another run holds it.
        """
        for wait in (*GIVEN_WAY, None):
            others = self._locks() - {mine}
            dead = {name for name in others if self._is_dead(name, mine)}
            for name in dead:
                self.remove(f"{PLAN}/{name}")
            first = min(others - dead, default=None)
            if first is None:
                return
            if first < mine or wait is None:
                file = f"{self.name}/{PLAN}/{first}"
                raise InputError(f"{busy_error(self.name)}; if it was killed, go on in a minute, or remove {file}")
            time.sleep(wait)

    def _locks(self) -> set[str]:
        return {name for name in self.sizes(PLAN) if name.startswith(LOCK)}

    def _is_dead(self, name: str, mine: str) -> bool:
        """By the store's own clock."""
        then, now = self._touched(name), self._touched(mine)
        return then is not None and now is not None and (now - then).total_seconds() > STALE

    def _touched(self, name: str) -> Any:
        """When a run last said that it is there; None where the store does not tell, or its file is gone."""

        def look() -> Any:
            self.system.invalidate_cache()
            try:
                return self.system.modified(f"{self.root}/{PLAN}/{name}")
            except (NotImplementedError, FileNotFoundError):
                return None

        return self.patiently(look)

    def patiently(self, action: Callable[[], T]) -> T:
        for wait in (*WAITS, None):
            try:
                return action()
            except (FileNotFoundError, CosmotokError, pa.ArrowException):
                raise
            except PermissionError as error:
                reason = one_line(told(error, self.url), 120)
                raise InputError(f"{self.name}: not allowed ({reason}); check the credentials") from None
            except Exception as error:  # every file system has errors of its own
                if wait is None:
                    reason = one_line(told(error, self.url), 120)
                    raise SourceLostError(
                        f"{self.name}: does not answer ({reason}); run the same command again to go on"
                    ) from None
                time.sleep(wait)
        raise AssertionError  # the last wait is None


def storage_at(place: str | os.PathLike[str]) -> Storage:
    """The storage of a data set that is at, or is to be written to, a folder or URL."""
    text = os.fspath(place)
    if "://" in text:
        return RemoteStorage(text)
    folder = as_path(text, "data set")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give the name of a data set's folder")
    return LocalStorage(folder)


def busy_error(name: str) -> InputError:
    return InputError(f"{name}: another run is writing this data set; wait for it, or choose another output")


def hash_of(file: io.FileIO | BinaryIO) -> tuple[str, int]:
    """Hash and size of a file from its start."""
    file.seek(0)
    found, size = hashlib.sha256(), 0
    while block := file.read(BLOCK):
        found.update(block)
        size += len(block)
    return found.hexdigest(), size
