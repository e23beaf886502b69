"""Files at URLs, by fsspec: object stores, the Hub, web servers."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, TypeVar
from urllib.parse import urlsplit

from cosmotok.addresses import expired, public, told
from cosmotok.dataset.sources.names import joined
from cosmotok.dataset.sources.places import SIDECARS, Found, Place, Wanted, copied, no_room
from cosmotok.errors import CosmotokError, InputError, MediaError, MissingExtraError, SourceLostError
from cosmotok.foreign import one_line
from cosmotok.writing.system import FULL

__all__ = ["Remote"]

WAITS = (1.0, 4.0)
"""Seconds after each failure; the file systems try again themselves as well."""
REFUSED = (400, 401, 403)
"""What servers answer to links that have expired."""
PAGE = 1 << 16
"""Bytes that are asked for at once where headers are read here and there."""
TAGS = (
    "ETag",
    "etag",
    "Content-MD5",
    "Digest",
    "md5Hash",
    "crc32c",
    "blob_id",
    "generation",
    "sha256",
    "Last-Modified",
)
TIMES = ("LastModified", "last_modified", "mtime", "updated", "created")
OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2}}}
}
"""Of file systems whose own patience is too long."""

T = TypeVar("T")


class Remote(Place):
    """Whatever fsspec has a file system for; each process has connections of its own."""

    def kind(self, path: str) -> Literal["file", "folder"] | None:
        fs, inner = _system(path)
        with contextlib.suppress(MediaError):
            return "folder" if _patiently(path, lambda: fs.info(inner))["type"] == "directory" else "file"
        return None

    def find(self, folder: str, wanted: Wanted) -> Iterator[Found]:
        fs, inner = _system(folder)
        waiting, start = [inner], len(inner.rstrip("/")) + 1
        while waiting:
            here = waiting.pop()
            listing = _listing(folder, fs, here)
            beside = {name: facts for name, facts in listing.items() if name.endswith(SIDECARS)}
            below = []
            for name in sorted(listing):
                facts = listing[name]
                if name.startswith("."):
                    continue
                if facts["type"] == "directory":
                    below.append(facts["name"])
                elif wanted(name):
                    yield _with_sidecars(joined(folder, facts["name"][start:]), facts, name, beside)
            waiting += reversed(below)

    def glob(self, pattern: str) -> Iterator[str]:
        fs, inner = _system(pattern)
        matches = _patiently(pattern, lambda: fs.glob(inner))
        scheme = pattern.removesuffix(inner)
        return iter(sorted(scheme + match for match in matches))

    def found(self, path: str) -> Found:
        fs, inner = _system(path)
        facts = _patiently(path, lambda: fs.info(inner))
        if facts["type"] == "directory":
            raise MediaError(f"{public(path)}: is a folder, not a file")
        return Found(path, int(facts.get("size") or 0), _stamp(facts))

    @contextlib.contextmanager
    def reading(self, path: str) -> Iterator[IO[bytes]]:
        fs, inner = _system(path)
        file = _patiently(path, lambda: fs.open(inner, "rb", block_size=PAGE, cache_type="readahead"))
        with file, io.BufferedReader(Patient(path, file), PAGE) as reader:
            yield reader

    @contextlib.contextmanager
    def local(self, path: str) -> Iterator[Path]:
        fs, inner = _system(path)
        with copied(public(path), path, iter(())) as copy:
            _patiently(path, lambda: fs.get_file(inner, str(copy)))
            yield copy


class Patient(io.RawIOBase):
    """A remote file whose reads are tried again."""

    def __init__(self, path: str, file: Any) -> None:
        self._path, self._file = path, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        position = self._file.tell()

        def read() -> bytes:
            self._file.seek(position)
            return bytes(self._file.read(len(buffer)))

        content = _patiently(self._path, read)
        buffer[: len(content)] = content
        return len(content)


def _system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path there."""
    try:
        import fsspec.core
    except ImportError:
        raise MissingExtraError('data at URLs needs fsspec; run: pip install "cosmotok[data]"') from None
    scheme = url.split("://", 1)[0]
    try:
        if scheme in ("http", "https", "s3", "gs") and not urlsplit(url).netloc:
            raise ValueError("no host or bucket in it")
        # Listings are read once; kept, those of a large bucket would fill the memory.
        return fsspec.core.url_to_fs(url, use_listings_cache=False, **OPTIONS.get(scheme, {}))
    except ImportError as error:
        raise MissingExtraError(f"{scheme}:// needs another package: {one_line(error, 160)}") from None
    except ValueError as error:
        raise InputError(
            f"{one_line(public(url), 200)}: not an address that can be read ({one_line(told(error, url), 120)})"
        ) from None


def _patiently(path: str, call: Callable[[], T]) -> T:
    """What `call` returns, tried again where the other side failed.

    Raises:
        MediaError: where the file is not there, or not for us.
        SourceLostError: where nothing helps.
    """
    name = one_line(public(path), 200)
    for wait in (*WAITS, None):
        try:
            return call()
        except CosmotokError:
            raise
        except PermissionError as error:
            raise MediaError(f"{name}: no permission to read it ({one_line(told(error, path), 120)})") from None
        except Exception as raised:  # every file system has errors of its own
            cause = _behind(raised)
            if isinstance(cause, FileNotFoundError):
                raise MediaError(f"{name}: no such file") from None
            status = _status(cause)
            reason = one_line(f"{type(cause).__name__}: {told(cause, path)}", 160)
            if status in REFUSED and expired(path):
                raise SourceLostError(f"{name}: its link has expired; sign the links anew and run again") from None
            if status is not None and 400 <= status < 500 and status not in (408, 429):
                raise MediaError(f"{name}: cannot be had, the server says {status}") from None
            if isinstance(cause, OSError) and cause.errno in FULL:
                raise no_room(tempfile.gettempdir(), cause) from None
        if wait is not None:
            time.sleep(wait)
    raise SourceLostError(f"{name}: does not answer, tried {len(WAITS) + 1} times ({reason}); run again when it does")


def _behind(error: Exception) -> Exception:
    """What went wrong; whatever it is, fsspec may say over HTTP that there is no such file."""
    cause = error.__cause__
    if not isinstance(error, FileNotFoundError) or not isinstance(cause, Exception) or isinstance(cause, ValueError):
        return error
    is_http = type(cause).__module__.partition(".")[0] == "aiohttp"
    return cause if is_http and _status(cause) not in (404, 410) else error


def _status(error: Exception) -> int | None:
    """Of an answer to an HTTP request."""
    status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _listing(url: str, fs: Any, folder: str) -> dict[str, dict[str, Any]]:
    """By name, the facts of what is in a folder."""
    facts = _patiently(url, lambda: fs.ls(folder, detail=True))
    own = folder.rstrip("/")
    # Some stores have an empty object by the name of the folder.
    return {each["name"].rstrip("/").rpartition("/")[2]: each for each in facts if each["name"].rstrip("/") != own}


def _with_sidecars(path: str, facts: dict[str, Any], name: str, beside: dict[str, dict[str, Any]]) -> Found:
    stamp, there = _stamp(facts), ""
    stem = name.rpartition(".")[0]
    for suffix in SIDECARS:
        if stem + suffix in beside:
            stamp += "+" + _stamp(beside[stem + suffix])
            there += suffix
    return Found(path, int(facts.get("size") or 0), stamp, there)


def _stamp(facts: dict[str, Any]) -> str:
    tag = next((facts[name] for name in (*TAGS, *TIMES) if facts.get(name)), "")
    return f"{int(facts.get('size') or 0)}-{str(tag).strip(chr(34))}"
