"""WebDataset shards: many names at once, and where a tar archive has its members."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cosmotok.errors import InputError

__all__ = ["expand_braces", "members_of", "shard_members"]

_MOST_NAMES = 1_000_000
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}
_BRACE = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"([0-9]+)\.\.([0-9]+)")


def expand_braces(text: str) -> list[str]:
    """`text` for every choice of its braces: {000..012} counts, {a,b} lists.

    Raises:
        InputError: for braces that do neither, or stand for more than a million names.
    """
    match = _BRACE.search(text)
    if match is None:
        return [text]
    span = _RANGE.fullmatch(match[1])
    if span is not None:
        first, last, width = int(span[1]), int(span[2]), len(span[1])
        if not 0 <= last - first < _MOST_NAMES:
            raise InputError(f"{text}: expected a rising range of at most {_MOST_NAMES:,} names, got {{{match[1]}}}")
        choices = [str(number).zfill(width) for number in range(first, last + 1)]
    elif "," in match[1]:
        choices = match[1].split(",")
    else:
        raise InputError(f"{text}: expected {{first..last}} or {{one,another}}, got {{{match[1]}}}")
    rests = expand_braces(text[match.end() :])
    return [text[: match.start()] + choice + rest for choice in choices for rest in rests]


def shard_members(path: Path) -> Iterator[tuple[str, int, int]]:
    """(name, first byte, bytes) of the ordinary files in a tar archive; only headers are read.

    Raises:
        InputError: where it is damaged, cut short, compressed or no archive.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            yield from members_of(file, str(path), size)
    except OSError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: the shard cannot be read ({error.strerror or error})") from None


def members_of(file: IO[bytes], name: str, size: int) -> Iterator[tuple[str, int, int]]:
    """As `shard_members`, of a file of `size` bytes that is open already; OSError passes."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined] # else it keeps them all
                if not member.isreg() or member.issparse():
                    continue
                if member.offset_data + member.size > size:
                    raise InputError(f"{name}: the shard is cut short inside {member.name}; fetch or make it again")
                yield member.name, member.offset_data, member.size
            file.seek(archive.offset)  # where `tarfile` stopped: at the end, or at anything that it cannot read
            if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise InputError(
                    f"{name}: the shard is damaged or cut short at byte {archive.offset:,}; fetch or make it again"
                )
    except tarfile.TarError as error:
        file.seek(0)
        kind = _COMPRESSED.get(file.read(2))
        if kind is not None:
            raise InputError(
                f"{name}: is compressed with {kind}, so that its members cannot be read one by one; unpack it to a "
                "plain .tar (images and videos are compressed already)"
            ) from None
        raise InputError(f"{name}: not a tar archive, or a damaged one ({error}); fetch or make it again") from None
