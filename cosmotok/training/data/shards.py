"""WebDataset shards that have to be fetched first."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from cosmotok.errors import InputError
from cosmotok.writing import OutputFile, output_file

__all__ = ["download", "download_folder"]

_RETRY_AFTER = (1.0, 5.0)  # seconds
_TIMEOUT = 60.0
_BLOCK = 1 << 20
_AT_ONCE = 4


def download_folder(folder: str | None) -> Path:
    """Where fetched shards are kept: `folder`, or one in the user's cache folder."""
    if folder is not None:
        return Path(folder).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "cosmotok" / "shards"


def download(urls: list[str], folder: Path) -> list[Path]:
    """The files at `urls`, fetched into `folder` unless they are there; several at once.

    Processes that want the same file wait for the one that fetches it.

    Raises:
        InputError: where one cannot be had. Those that are complete stay for the next try.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot hold fetched shards ({error.strerror}); set data.downloads") from None
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(lambda url: _fetched(url, folder), urls))


def _fetched(url: str, folder: Path) -> Path:
    from filelock import FileLock

    name = PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name
    target = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name}"
    if target.exists():
        return target
    with FileLock(target.with_name(f".{target.name}.lock")):
        if not target.exists():
            _fetch(url, target)
    return target


class _LostError(Exception):
    """The connection failed while data came."""


def _fetch(url: str, target: Path) -> None:
    for wait in (*_RETRY_AFTER, None):
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as response, output_file(target) as file:
                _copy(response, file)
            return
        except urllib.error.HTTPError as error:
            reason = f"the server says {error.code} {error.reason}"
            if error.code < 500:
                wait = None
        except urllib.error.URLError as error:
            reason = str(error.reason)
        except (_LostError, ConnectionError, TimeoutError, http.client.HTTPException, ValueError) as error:
            reason = str(error) or type(error).__name__
        if wait is None:
            raise InputError(f"{url}: cannot be fetched ({reason}); check the address and the network, then run again")
        time.sleep(wait)


def _copy(response: Any, file: OutputFile) -> None:
    """Writes all that comes; `_LostError` where that is not everything."""
    count = 0
    while True:
        try:
            block = response.read(_BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _LostError(str(error) or type(error).__name__) from None
        if not block:
            break
        count += file.write(block)
    expected = response.headers.get("Content-Length")
    if expected is not None and count != int(expected):
        raise _LostError(f"{count} of {expected} bytes came")
