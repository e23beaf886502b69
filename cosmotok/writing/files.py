"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from cosmotok.errors import CosmotokError, MediaError
from cosmotok.paths import as_path
from cosmotok.writing.hidden import discard, hidden, lock, sweep
from cosmotok.writing.names import Together, install
from cosmotok.writing.system import FULL, calls, require_folder, sync_folder, write_error

__all__ = ["OutputFile", "append", "buffered", "output_file", "spool", "write_file"]


BUFFER = 2**20
"""Bytes."""


class OutputFile(io.FileIO):
    """A file that is open for writing and reading back, and remembers why it could not be written.

    Libraries turn the system's errors into their own, or into none: `failure` has what really came.
    """

    failure: OSError | None = None
    needed: int | None = None
    """Bytes that the file would have had at least, where the disk was full."""

    def __init__(self, path: Path, flags: int) -> None:
        super().__init__(path, "r+b", opener=lambda name, _: calls.open(name, flags | os.O_RDWR, 0o666))

    def write(self, data: Any) -> int:
        """Writes all of it."""
        view = memoryview(data).cast("B")
        done = 0
        with self.remembering():
            while done < len(view):
                try:
                    done += calls.write(self.fileno(), view[done:])
                except OSError as error:
                    if error.errno in FULL:
                        self.needed = self.tell() + len(view) - done
                    raise
        return done

    def sync(self) -> None:
        """On return it is on the disk, not only in the system's memory."""
        with self.remembering():
            calls.fsync(self.fileno())

    def close(self) -> None:
        if not self.closed:
            with self.remembering():
                calls.close(self)

    @contextlib.contextmanager
    def remembering(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failure = self.failure or error
            raise


class output_file:  # noqa: N801 - a context manager used like a function
    """Context manager: a file open for writing, which becomes `target` if the block ends well.

    ``with output_file("out.bin") as file: file.write(b"...")``

    Until then it has a hidden name beside `target`, and it is removed when the block raises anything,
    `KeyboardInterrupt` included. A target that is a symbolic link keeps being one: the file it points at is replaced.

    Parameters
    ----------
    target: the file to write.
    overwrite: whether an existing target is replaced; if not, it is a `MediaError`.
    together: gives the file its name, with others, when that block ends.

    Raises
    ------
    MediaError: the folder is missing or not writable, the target is not an ordinary file, the disk is
        full, or the block raised any other `OSError`. Other exceptions of the block pass unchanged.
    """

    def __init__(self, target: str | Path, *, overwrite: bool = True, together: Together | None = None) -> None:
        self.target = as_path(target)
        self._overwrite, self._together = overwrite, together
        self._final = self.target
        self._temporary: Path | None = None
        self._file: OutputFile | None = None

    def __enter__(self) -> OutputFile:
        try:
            self._final = Path(os.path.realpath(self.target))
            self._check()
            sweep(self._final.parent)
            self._temporary = hidden(self._final)
            # Not `tempfile`: that makes files only their owner can read.
            self._file = OutputFile(self._temporary, os.O_CREAT | os.O_EXCL)
            lock(self._file.fileno())
        except BaseException as error:
            self._drop()
            if isinstance(error, (OSError, ValueError)) and not isinstance(error, CosmotokError):
                raise write_error(self.target, error) from error
            raise
        return self._file

    def _check(self) -> None:
        require_folder(self.target, self._final.parent)
        try:
            mode = self._final.stat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "not an ordinary file"
            raise MediaError(f"{self.target}: is {what}; give the name of a file to write")
        if not self._overwrite:
            raise MediaError(f"{self.target}: exists already; choose another name or allow overwriting")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file, temporary = self._file, self._temporary
        if file is None or temporary is None:
            return
        try:
            if error is None and file.failure is None:
                self._finish(file, temporary)
        except OSError as late:
            error = late
        finally:
            self._drop()
        if error is not None and not isinstance(error, Exception):
            return
        cause = file.failure or error
        if isinstance(cause, CosmotokError):
            raise cause
        if isinstance(cause, OSError):
            raise write_error(self.target, cause, file.needed) from cause

    def _finish(self, file: OutputFile, temporary: Path) -> None:
        file.sync()
        file.close()
        if not self._overwrite and self._final.exists():
            raise MediaError(f"{self.target}: exists already; choose another name or allow overwriting")
        if self._together is None:
            install([(temporary, self._final)])
            sync_folder(self._final.parent)
        else:
            self._together.add(temporary, self._final)
            self._temporary = None  # it is the other's now

    def _drop(self) -> None:
        """Closes the file, and removes it where it has not got its name."""
        file, temporary = self._file, self._temporary
        self._file = self._temporary = None
        if file is not None and not file.closed:
            with contextlib.suppress(OSError):
                file.close()
        if temporary is not None:
            discard(temporary)


def write_file(path: str | Path, content: bytes | bytearray | memoryview | str) -> None:
    """Writes a file whole, text as UTF-8; raises as `output_file` does."""
    with output_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def buffered(file: OutputFile) -> Iterator[IO[bytes]]:
    """`file` for what writes thousands of small pieces; on return all of them are in it."""
    buffer = io.BufferedWriter(file, BUFFER)
    try:
        yield buffer
    except BaseException:
        with contextlib.suppress(OSError):  # what came first is what counts
            buffer.detach()
        raise
    buffer.detach()


def append(path: Path, content: bytes) -> None:
    """Adds to the end of a file, made if need be; all of it or nothing.

    Raises:
        MediaError: where it cannot be written.
    """
    try:
        file = OutputFile(path, os.O_CREAT | os.O_APPEND)
        try:
            size = os.fstat(file.fileno()).st_size
            try:
                file.write(content)
            except BaseException:
                calls.truncate(file.fileno(), size)
                raise
        finally:
            file.close()
    except OSError as error:
        raise write_error(path, error) from error


def spool(target: Path) -> OutputFile:
    """A file without a name on the disk of `target`, to write to and to read back; gone when closed.

    Raises:
        MediaError: where it cannot be made.
    """
    folder = target.parent
    try:
        if hasattr(os, "O_TMPFILE"):
            with contextlib.suppress(OSError):  # not every file system has such files
                return OutputFile(folder, os.O_TMPFILE)
        path = hidden(target)
        try:
            return OutputFile(path, os.O_CREAT | os.O_EXCL)
        finally:
            discard(path)
    except OSError as error:
        raise write_error(target, error) from error
