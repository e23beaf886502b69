"""From what the user names to sources."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from cosmotok.addresses import public
from cosmotok.config import suggest
from cosmotok.dataset.sources.base import Source
from cosmotok.dataset.sources.columns import Columns
from cosmotok.dataset.sources.files import HELD, Files
from cosmotok.dataset.sources.lerobot import EPISODES, INFO, find_robots
from cosmotok.dataset.sources.lists import LISTS, ListFile
from cosmotok.dataset.sources.names import is_url, joined, label_of, suffix_of
from cosmotok.dataset.sources.places import place_of
from cosmotok.errors import InputError, MediaError
from cosmotok.foreign import one_line
from cosmotok.paths import as_path
from cosmotok.shards import expand_braces

__all__ = ["find_sources"]


def find_sources(names: Sequence[str], *, columns: Columns = Columns()) -> list[Source]:  # noqa: B008 - it is frozen
    """The sources that go by these names, each of which is one of

    - a folder: all images and videos below it, those in .tar shards and .parquet tables too, but nothing hidden, and
      not through links to other folders. A .txt file beside an image or video of the same name is its caption, a .json
      file its metadata.
    - a LeRobot data set: a folder with meta/info.json.
    - an image, a video, a WebDataset shard (.tar) or a table with a column of images or videos (.parquet).
    - a list: .txt with a path on each line; .csv, .tsv or .jsonl with a column of paths (`Columns`), and if there is,
      of captions; columns `bytes` and `stamp` are the files' facts, all others are metadata. Paths are relative to
      the list.
    - a glob of any of these, or {000..012} and {a,b} for several names.

    On this machine, or at a URL of any kind that fsspec knows: s3://, gs://, hf://datasets/..., https://, memory://.

    Args:
        names: as the user has them; keys of entries begin with them.
        columns: which columns of lists and tables are what, where they go by other names.

    Raises:
        InputError: for a name that stands for nothing.
        SourceLostError: where a remote place does not answer.
    """
    if not names:
        raise InputError("sources: expected folders, globs, lists, shards or tables, got none")
    found: list[Source] = []
    alone = (source for name in names for source in _named(name, columns))
    for are_files, group in groupby(alone, key=lambda source: isinstance(source, Files) and source.how == "file"):
        some = list(group)
        found += _together(some) if are_files else some
    return found


def _together(files: list[Source]) -> list[Source]:
    """One source of many single files, which is what a shell makes of a glob."""
    first, *others = (each for each in files if isinstance(each, Files))
    return [replace(first, more=tuple((each.name, each.path) for each in others))]


def _named(name: str, columns: Columns) -> list[Source]:
    if not name.strip():
        raise InputError("sources: expected the name of a folder, file or list, got an empty one")
    path, shown = _absolute(name), public(name)
    place = place_of(path)
    try:
        kind = place.kind(path)
    except MediaError as error:
        raise InputError(str(error)) from None
    if kind == "folder":
        if place.kind(joined(path, INFO)) == "file":
            return [find_robots(shown, path)]
        if any(place.kind(joined(path, EPISODES + end)) for end in ("", ".jsonl")):
            raise InputError(
                f"{shown}: has {EPISODES} as a LeRobot data set, but no {INFO}; fetch that file, too, or name the "
                "folder of videos to have these alone"
            )
        return [Files(shown, path, "folder", columns)]
    if kind == "file":
        return [ListFile(shown, path, columns) if suffix_of(path) in LISTS else Files(shown, path, "file", columns)]
    several = expand_braces(name) if "{" in name else [name]
    if several != [name] and suffix_of(path) in HELD and not glob.has_magic(path):
        return [Files(shown, path, "braces", columns)]
    if several != [name]:
        return [source for each in several for source in _named(each, columns)]
    if glob.has_magic(path):
        if suffix_of(path) in LISTS:
            found = [_named(match, columns) for match in place.glob(path)]
            if found:
                return [source for some in found for source in some]
        return [Files(shown, path, "pattern", columns)]
    siblings: list[str] = []
    if not is_url(path):
        folder = Path(path).parent
        siblings = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208
    raise InputError(f"{one_line(shown, 200)}: no such file or folder{suggest(Path(path).name, siblings)}")


def _absolute(name: str) -> str:
    if name.startswith("file://"):
        name = name[len("file://") :]
    if is_url(name):
        return name.rstrip("/")
    as_path(name, "sources")
    path = Path(name)
    with contextlib.suppress(RuntimeError):  # no such user
        path = path.expanduser()
    if path.is_absolute():
        return str(path)
    # Not made shorter, so that it ends as the user has it.
    return joined(os.getcwd(), label_of(name)) if label_of(name) else os.getcwd()  # noqa: PTH109
