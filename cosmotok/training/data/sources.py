"""From the sources that a recipe names to the list of images and videos to train on."""

from __future__ import annotations

import contextlib
import glob
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from cosmotok.config import suggest
from cosmotok.errors import InputError, MediaError
from cosmotok.media import find_media, is_image_path, is_video_path
from cosmotok.media.names import natural_key
from cosmotok.shards import expand_braces, shard_members

from .shards import download, download_folder

__all__ = ["Item", "find_items"]

_LISTS = {".txt", ".lst"}
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Item:
    """An image or a video: a file, or `size` bytes at `offset` of the shard at `path`, called `name` in there."""

    path: Path
    kind: Literal["image", "video"]
    name: str = ""
    offset: int = 0
    size: int = 0

    @property
    def key(self) -> str:
        """How messages call it."""
        return f"{self.path}::{self.name}" if self.name else str(self.path)

    @contextlib.contextmanager
    def file(self) -> Iterator[Path]:
        """A file to read it from; that of a shard's member is a copy, gone after the block.

        A `MediaError` raised in the block names the item. Raises MediaError where the shard cannot be read.
        """
        if not self.name:
            yield self.path
            return
        try:
            with self.path.open("rb") as shard:
                shard.seek(self.offset)
                content = shard.read(self.size)
            if len(content) != self.size:
                raise MediaError(f"{self.key}: the shard is shorter than it was; fetch or make it again")
            # Closed before it is read, since some systems open no file twice.
            with tempfile.TemporaryDirectory(prefix="cosmotok-") as folder:
                copy = Path(folder) / f"member{PurePosixPath(self.name).suffix}"
                copy.write_bytes(content)
                del content
                try:
                    yield copy
                except MediaError as error:
                    raise MediaError(str(error).replace(str(copy), self.key)) from None
        except MediaError:
            raise
        except OSError as error:
            raise MediaError(f"{self.key}: cannot be read ({error.strerror or error})") from error


def find_items(sources: Sequence[str], *, downloads: str | None = None, name: str = "data.train") -> list[Item]:
    """All images and videos of `sources` (see `DataOptions`), each once, in the order of the sources.

    Suffixes say what is what; GIFs are videos. Shards at URLs are fetched first.

    Args:
        downloads: folder for fetched shards; None for the user's cache folder.
        name: of the option, for messages.

    Raises:
        InputError: where there are none, or a source names nothing, or cannot be read or fetched.
    """
    if not sources:
        raise InputError(f"{name}: expected folders, globs, list files or shards, got none; try {name}=FOLDER")
    # A dictionary for its keys alone: what several sources name counts once.
    found: dict[tuple[Path, str], Item] = {}
    for source in sources:
        for item in _items(source, Path(), download_folder(downloads), lists=True):
            found.setdefault((item.path, item.name), item)
    return list(found.values())


def _items(source: str, base: Path, downloads: Path, *, lists: bool) -> list[Item]:
    """What one source names; names are relative to `base`."""
    if not source.strip():
        raise InputError("data: expected the name of a source, got an empty one")
    if _is_url(source):
        urls = expand_braces(source)
        for url in urls:
            if not url.split("?")[0].split("#")[0].endswith(".tar"):
                raise InputError(f"{url}: expected the address of a .tar shard")
        return [item for path in download(urls, downloads) for item in _shard(path)]
    path = base / Path(source).expanduser()
    try:
        if path.exists():
            return _at(path, downloads, lists=lists)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    names = expand_braces(str(path))
    if len(names) > 1:
        return [item for each in names for item in _items(each, Path(), downloads, lists=lists)]
    if glob.has_magic(str(path)):
        matches = [Path(match) for match in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - takes absolute ones
        matches = sorted((match for match in matches if _is_source(match)), key=natural_key)
        if not matches:
            raise InputError(f"{path}: nothing matches this pattern; expected images, videos, folders or .tar shards")
        return [item for match in matches for item in _at(match, downloads, lists=lists)]
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    raise InputError(f"{path}: no such file or folder{suggest(path.name, siblings)}")


def _is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def _is_source(path: Path) -> bool:
    return path.is_dir() or path.suffix == ".tar" or is_image_path(path) or is_video_path(path)


def _at(path: Path, downloads: Path, *, lists: bool) -> list[Item]:
    """What the existing file or folder at `path` holds."""
    if path.is_dir():
        return _folder(path)
    if path.suffix.lower() in _LISTS:
        if not lists:
            raise InputError(f"{path}: a list inside a list is not read; name it in data.train")
        return _list(path, downloads)
    if path.name.lower().endswith((".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst")):
        return _shard(path)
    kind = _kind(path)
    if kind is None:
        raise InputError(f"{path}: expected a folder, an image, a video, a .txt list or a .tar shard")
    return [Item(path, kind)]


def _kind(path: PurePosixPath | Path) -> Literal["image", "video"] | None:
    if is_video_path(str(path)) or path.suffix.lower() == ".gif":
        return "video"
    return "image" if is_image_path(str(path)) else None


def _folder(path: Path) -> list[Item]:
    if not os.access(path, os.R_OK | os.X_OK):
        raise InputError(f"{path}: no permission to read this folder")
    found = [Item(file, kind) for file in find_media(path) if (kind := _kind(file)) is not None]
    if not found:
        shards = any(path.glob("*.tar"))
        remedy = f"for its shards, name {path}/*.tar" if shards else "expected images or videos in it, or deeper"
        raise InputError(f"{path}: no images or videos in this folder; {remedy}")
    return found


def _list(path: Path, downloads: Path) -> list[Item]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected a list of file names in UTF-8, one per line") from None
    found: list[Item] = []
    failures: list[str] = []
    count = 0
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        count += 1
        try:
            found += _items(line.strip(), path.parent, downloads, lists=False)
        except InputError as error:
            failures.append(f"line {number}: {error}")
    if failures:
        more = f", and {len(failures) - _SHOWN} more" if len(failures) > _SHOWN else ""
        raise InputError(f"{path}: {len(failures)} of {count} lines are no use: {', '.join(failures[:_SHOWN])}{more}")
    if not found:
        raise InputError(f"{path}: the list names nothing; expected one file per line")
    return found


def _shard(path: Path) -> list[Item]:
    found = []
    for name, offset, size in shard_members(path):
        inside = PurePosixPath(name)
        kind = _kind(inside)
        if kind is not None and not inside.name.startswith("."):
            found.append(Item(path, kind, name, offset, size))
    if not found:
        raise InputError(f"{path}: no images or videos in this shard")
    return found
