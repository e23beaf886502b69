"""What an evaluation leaves in its folder, so that one that was cut off goes on where it was."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cosmotok.errors import InputError, MediaError
from cosmotok.evaluation.pictures import Example
from cosmotok.evaluation.results import FileResult, from_plain, to_plain
from cosmotok.evaluation.worker import Outcome, Picture, Row
from cosmotok.media import open_media, write_image
from cosmotok.writing import append, write_file

__all__ = ["ExampleStore", "Finished", "RowStore", "has_results", "read_examples", "slug"]

ROWS, SETTINGS, EXAMPLES, INDEX = "rows.jsonl", "settings.json", "examples", "index.json"
ORIGINALS = "originals"
KINDS = ("image", "video")


@dataclass(frozen=True)
class Finished:
    """A file that was measured, and what goes into the figures of all files."""

    row: Row
    features: Mapping[str, np.ndarray]
    codes: np.ndarray | None

    def without_time(self) -> Finished:
        """The same, without how long it took."""
        return replace(self, row=replace(self.row, result=replace(self.row.result, seconds=None)))


def slug(name: str) -> str:
    """A name for files and folders, another one for every `name`."""
    safe = re.sub(r"[^A-Za-z0-9.@+-]+", "_", name).strip("._")[:80]
    return safe if safe and safe == name else f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def file_name(file: str, content: str, end: str) -> str:
    """A name of its own for what is kept of a file, another one if the file has other content."""
    return f"{slug(file)}.{hashlib.sha256(content.encode()).hexdigest()[:8]}.{end}"


def has_results(folder: Path) -> bool:
    """Whether an evaluation was begun there."""
    return any(folder.glob(f"*/{SETTINGS}"))


class RowStore:
    """The rows of one contestant: a line for every file, and features and counts of codes beside them.

    Args:
        folder: of the evaluation; the contestant gets a folder in it.
        settings: all that must stay as it was for rows to be kept, besides the contestant itself.

    Raises:
        InputError: where the rows that are there were measured with other settings.
    """

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        self.folder = folder / slug(name)
        self.rows = self.folder / ROWS
        self.name, self.settings = name, dict(settings)
        self.path = self.folder / SETTINGS
        self.begun = False
        if self.path.exists():
            check_settings(self.path, name, self.settings)

    def begin(self, model: str) -> bool:
        """Whether this is the first time that the contestant is said to be there.

        Args:
            model: what tells the contestant from another one of the same name.

        Raises:
            InputError: where the rows are of another one.
        """
        settings = {**self.settings, "model": model}
        if self.path.exists():
            check_settings(self.path, self.name, settings)
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_file(self.path, json.dumps(settings, indent=1) + "\n")
        first, self.begun = not self.begun, True
        return first

    def finished(self) -> dict[tuple[str, str], Finished]:
        """What was measured, by file and content; what a cut-off run was about to write is cut away."""
        if not self.rows.exists():
            return {}
        content = self.rows.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self.rows, whole)
        found = {}
        for number, line in enumerate(content[:whole].decode().splitlines(), 1):
            try:
                values = from_plain(json.loads(line))
                row = Row(FileResult(**values.pop("result")), **values)
                features, codes = self.read_arrays(row)
            except (ValueError, TypeError, KeyError, OSError) as error:
                raise InputError(f"{self.rows}, line {number}: damaged ({error}); remove {self.folder}") from None
            found[row.result.file, row.content] = Finished(row, features, codes)
        return found

    def add(self, finished: Finished) -> None:
        """Writes a file's results; the line comes last, so that what it stands for is there."""
        arrays = dict(finished.features)
        if finished.codes is not None:
            seen = finished.codes.nonzero()[0]
            arrays |= {"codes": seen, "counts": finished.codes[seen], "vocab_size": np.array(len(finished.codes))}
        if arrays:
            content = io.BytesIO()
            np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
            write_file(self.arrays(finished.row), content.getbuffer())
        append(self.rows, (json.dumps(to_plain(asdict(finished.row))) + "\n").encode())

    def arrays(self, row: Row) -> Path:
        return self.folder / file_name(row.result.file, row.content, "npz")

    def read_arrays(self, row: Row) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        path = self.arrays(row)
        if not path.exists():
            return {}, None
        with np.load(path) as stored:
            arrays = dict(stored)
        if "codes" not in arrays:
            return arrays, None
        codes = np.zeros(int(arrays.pop("vocab_size")), np.int64)
        codes[arrays.pop("codes")] = arrays.pop("counts")
        return arrays, codes


def check_settings(path: Path, name: str, settings: Mapping[str, Any]) -> None:
    """Raises InputError where a folder's results are of other settings."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}); remove {path.parent}") from None
    for key in settings:
        if stored.get(key) != settings[key]:
            raise InputError(
                f"{path.parent}: {name} was measured with {key} {stored.get(key)}, now it is {settings[key]}; write to "
                "another folder, or ask for the same as before"
            )


class ExampleStore:
    """Pictures of one contestant under `examples/`: a fixed frame of some files, and the worst of the worst.

    Args:
        most: how many of the worst images are kept, and of the worst videos.
    """

    def __init__(self, folder: Path, name: str, most: int) -> None:
        self.root, self.name, self.most = folder / EXAMPLES, name, most
        self.folder = self.root / slug(name)
        self.entries: list[dict[str, Any]] = []
        if (self.folder / INDEX).exists():
            self.entries = from_plain(json.loads((self.folder / INDEX).read_text(encoding="utf-8")))["pictures"]

    def worst(self, kind: str) -> list[dict[str, Any]]:
        """Entries of the worst images or videos, the worst first."""
        of_kind = (entry for entry in self.entries if entry["worst"] and entry["kind"] == kind)
        return sorted(of_kind, key=lambda entry: (entry["psnr"], entry["file"]))

    def thresholds(self) -> dict[str, float]:
        """PSNR, dB, from which on an image or a video is not among the worst."""
        found = {}
        for kind in KINDS:
            worst = self.worst(kind)
            found[kind] = worst[self.most - 1]["psnr"] if len(worst) >= self.most else float("inf")
        return found

    def add(self, outcome: Outcome) -> None:
        """Writes the pictures of a file, if they are to be kept, and removes those that they displace."""
        if outcome.row is None or not outcome.pictures:
            return
        before = {entry["picture"] for entry in self.entries}
        self.entries += [self.entry(outcome.row, picture) for picture in outcome.pictures]
        worst = [entry for kind in KINDS for entry in self.worst(kind)[: self.most]]
        self.entries = [entry for entry in self.entries if not entry["worst"] or entry in worst]
        kept = {entry["picture"] for entry in self.entries}
        for picture in outcome.pictures:
            name = picture_name(outcome.row, picture)
            if name in kept:
                write_picture(self.root / ORIGINALS / name, picture.original)
                write_picture(self.folder / name, picture.reconstruction)
        self.write(before)

    def keep(self, files: Collection[str]) -> None:
        """Removes the pictures of other files: those that are gone, or have other content now, or were cut off."""
        before = {entry["picture"] for entry in self.entries}
        self.entries = [entry for entry in self.entries if entry["file"] in files]
        self.write(before)

    def write(self, before: set[str]) -> None:
        """Writes the index, and removes the pictures that it had and has no more."""
        kept = {entry["picture"] for entry in self.entries}
        if kept or before:
            content = {"model": self.name, "pictures": self.entries}
            write_file(self.folder / INDEX, json.dumps(to_plain(content), indent=1) + "\n")
        for name in before - kept:
            (self.folder / name).unlink(missing_ok=True)

    def entry(self, row: Row, picture: Picture) -> dict[str, Any]:
        return {
            "file": row.result.file,
            "kind": row.result.kind,
            "frame": picture.frame,
            "worst": picture.worst,
            "psnr": row.result.psnr,
            "picture": picture_name(row, picture),
        }


def write_picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, pixels)


def picture_name(row: Row, picture: Picture) -> str:
    return file_name(row.result.file, row.content, f"{picture.frame}.png")


def sweep(folder: Path) -> None:
    """Removes originals of pictures that were displaced."""
    used = {path.name for path in folder.glob(f"{EXAMPLES}/*/*.png") if path.parent.name != ORIGINALS}
    for path in folder.glob(f"{EXAMPLES}/{ORIGINALS}/*.png"):
        if path.name not in used:
            path.unlink(missing_ok=True)


def read_examples(folder: Path) -> list[Example]:
    """The pictures that an evaluation kept in its folder, contestant by contestant, each frame once.

    Raises:
        InputError: where a picture is missing.
    """
    examples = []
    for path in sorted(folder.glob(f"{EXAMPLES}/*/{INDEX}")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for name, entry in {entry["picture"]: entry for entry in content["pictures"]}.items():
            original, reconstruction = (pixels_of(place / name) for place in (path.parents[1] / ORIGINALS, path.parent))
            examples.append(Example(content["model"], entry["file"], entry["frame"], original, reconstruction))
    return examples


def pixels_of(path: Path) -> np.ndarray:
    try:
        with open_media(path) as reader:
            return next(iter(reader)).pixels
    except MediaError as error:
        raise InputError(f"{error}; the folder's examples are incomplete, measure again") from None
