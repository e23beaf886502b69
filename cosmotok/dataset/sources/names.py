"""Names of inputs: keys that people read, and addresses that lead back to any file there can be."""

from __future__ import annotations

import os
import posixpath

__all__ = ["folder_of", "from_address", "is_url", "joined", "key_of", "label_of", "normal", "suffix_of", "to_address"]

INSIDE = "\0"
"""No path has it: between that of a file and where in it an input is; in front of a path that is no Unicode, in hex."""


def is_url(name: str) -> bool:
    return "://" in name


def suffix_of(path: str) -> str:
    """In lower case, with the dot; of a URL, without what follows a question mark."""
    if is_url(path):
        path = path.split("?", 1)[0].split("#", 1)[0]
    return posixpath.splitext(path)[1].lower()


def folder_of(path: str) -> str:
    """The folder that a file is in; of a URL, without what follows a question mark."""
    return posixpath.dirname(path.split("?", 1)[0] if is_url(path) else path)


def label_of(name: str) -> str:
    """A source's name as keys begin with it: "./clips/" is "clips", and "." is nothing."""
    if is_url(name):
        return name.rstrip("/")
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return "" if name == "." else name.rstrip("/") or "/"


def normal(label: str) -> str:
    """A label without detours, so that whoever takes one has the same keys."""
    return label if is_url(label) or not label else posixpath.normpath(label).removeprefix("./")


def joined(folder: str, name: str) -> str:
    """The path `name` in `folder`, which may be nothing."""
    return name if not folder else folder + name if folder.endswith("/") else f"{folder}/{name}"


def key_of(path: str) -> str:
    """As text: bytes of a file's name that are no UTF-8 as \\xff."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path).decode(errors="backslashreplace")
    return path


def to_address(path: str, inside: str | None = None) -> str:
    """Of a file, by an absolute path or a URL, or of something in it."""
    try:
        path.encode()
    except UnicodeEncodeError:
        path = INSIDE + os.fsencode(path).hex()
    return path if inside is None else path + INSIDE + inside


def from_address(address: str) -> tuple[str, str | None]:
    """Path and place inside, as `to_address` had them."""
    raw = address.startswith(INSIDE)
    path, found, inside = address[raw:].partition(INSIDE)
    return os.fsdecode(bytes.fromhex(path)) if raw else path, inside if found else None
