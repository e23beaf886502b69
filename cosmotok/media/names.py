"""File names: which suffix is what, natural order, folders and patterns of frame images."""

from __future__ import annotations

import re
from pathlib import Path

from cosmotok.errors import MediaError

__all__ = ["IMAGE_SUFFIXES", "VIDEO_SUFFIXES", "find_media", "is_image_path", "is_video_path", "media_files"]


def _suffixes(names: str) -> frozenset[str]:
    return frozenset("." + name for name in names.split())


IMAGE_SUFFIXES = _suffixes("png apng jpg jpeg jpe webp gif bmp tif tiff ppm pgm pbm pnm jp2 avif")
"""Suffixes (lower case, with the dot) of what Pillow reads; some of these may be animated."""

VIDEO_SUFFIXES = _suffixes(
    "mp4 m4v mov mkv webm avi ts m2ts mts mpg mpeg ogv ogg flv wmv asf 3gp 3g2 mxf y4m "
    "h264 264 h265 265 hevc ivf vob divx nut"
)
"""Suffixes (lower case, with the dot) of the videos FFmpeg reads."""

_NUMBER = re.compile(r"([0-9]+)")
_COUNTER = re.compile(r"%(0?)([0-9]*)d")


def is_image_path(path: str | Path) -> bool:
    """Whether the name ends like that of an image (animated ones included); the file is not opened."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def is_video_path(path: str | Path) -> bool:
    """Whether the name ends like that of a video; the file is not opened."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def natural_key(path: Path) -> list[tuple[list[tuple[int, int, str]], str]]:
    """Sort key by which frame2 comes before frame10, folder by folder."""
    return [
        (
            [(1, int(part), "") if part.isdecimal() else (0, 0, part.casefold()) for part in _NUMBER.split(name)],
            name,
        )
        for name in path.parts
    ]


def find_media(folder: str | Path) -> list[Path]:
    """All images and videos below `folder`, by suffix, in natural order, without hidden files and folders.

    Raises `MediaError` if `folder` is missing or not a folder. The list may be empty.
    """
    root = Path(folder)
    if not root.is_dir():
        raise MediaError(f"{root}: " + ("not a folder" if root.exists() else "no such folder"))
    found = []
    for path in root.rglob("*"):
        inside = path.relative_to(root).parts
        if any(part.startswith(".") for part in inside):
            continue
        if (is_image_path(path) or is_video_path(path)) and path.is_file():
            found.append(path)
    return sorted(found, key=natural_key)


def is_pattern(path: Path) -> bool:
    """Whether `path` is a pattern: a counter such as %04d in its last part, or * or ? anywhere."""
    return bool(_COUNTER.search(path.name)) or "*" in str(path) or "?" in str(path)


def folder_frames(folder: Path) -> list[Path]:
    """The images directly inside `folder`, in natural order; `MediaError` if there are none."""
    try:
        names = [path for path in folder.iterdir() if is_image_path(path) and not path.name.startswith(".")]
    except OSError as error:
        raise MediaError(f"{folder}: the folder cannot be read ({error.strerror})") from error
    frames = sorted((path for path in names if path.is_file()), key=natural_key)
    if not frames:
        raise MediaError(f"{folder}: no images in this folder; expected frames such as frame_0001.png")
    return frames


def pattern_frames(pattern: Path) -> list[Path]:
    """The files that match `pattern`, by counter or in natural order; `MediaError` if there are none."""
    counter = _COUNTER.search(pattern.name)
    if counter is None:
        parts = [part.replace("[", "[[]") for part in pattern.parts]  # brackets are ordinary letters here
        first = next(number for number, part in enumerate(parts) if "*" in part or "?" in part)
        root = Path(*pattern.parts[:first])
        found = [path for path in root.glob("/".join(parts[first:])) if path.is_file()]
    else:
        if not pattern.parent.is_dir():
            raise MediaError(f"{pattern}: the folder {pattern.parent} does not exist")
        digits = int(counter[2] or 1) if counter[1] else 1
        before, after = pattern.name[: counter.start()], pattern.name[counter.end() :]
        name = re.compile(re.escape(before) + rf"[0-9]{{{digits},}}" + re.escape(after))
        found = [path for path in pattern.parent.iterdir() if name.fullmatch(path.name) and path.is_file()]
    if not found:
        raise MediaError(f"{pattern}: no file matches this pattern")
    return sorted(found, key=natural_key)


def media_files(source: Path, output: Path) -> list[Path]:
    """Files and folders that are read when `source` is opened, as far as `output` might be one of them."""
    try:
        if source.exists():  # of a folder, pictures alone are read
            return [source] if source.is_file() or is_image_path(output) else []
        return pattern_frames(source) if is_pattern(source) else []
    except (OSError, ValueError):
        return []  # whoever opens it says why it cannot be
