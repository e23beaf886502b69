"""What is asked of a container file: opening it, its streams, its rotation, whether it was cut short."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.error
import av.logging
import numpy as np

from cosmotok.errors import MediaError

__all__ = ["MEDIA_ERRORS", "missing_bytes", "opened", "orientation_of", "video_stream"]

if av.logging.get_level() is None:
    av.logging.set_level(None)  # errors come as exceptions: nothing on standard error, even if that was undone

MEDIA_ERRORS = (av.error.FFmpegError, OSError, ValueError, LookupError, EOFError, RuntimeError)
"""What PyAV raises on files that are not as they should be."""

ATTACHED_PICTURE = 0x400
_TEXT_ART = {"ansi", "bintext", "xbin", "idf"}  # FFmpeg shows any text file as a film of its letters
# Nothing else than the file itself: a playlist must not make us fetch what it names.
_OPTIONS = {"protocol_whitelist": "file"}


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file as PyAV's input container; whatever goes wrong in opening it is a `MediaError`."""
    try:
        # An absolute name, for FFmpeg takes "a:b.mp4" for a protocol.
        name = os.path.abspath(path)  # noqa: PTH100 - `resolve` would follow links
        container = av.open(name, container_options=_OPTIONS, metadata_errors="replace")
    except FileNotFoundError as error:
        raise MediaError(f"{path}: no such file") from error
    except PermissionError as error:
        raise MediaError(f"{path}: no permission to read it") from error
    except MEDIA_ERRORS as error:
        raise MediaError(_why_not(path)) from error
    with container:
        yield container


def _why_not(path: Path) -> str:
    if missing_bytes(path):
        return f"{path}: the file is cut short, and what is there cannot be read; fetch or make it again"
    return f"{path}: not a video or image that can be read; is it damaged or misnamed?"


def disposition_of(stream: Any) -> int:
    """The stream's flags (0 where this PyAV cannot tell)."""
    flags = getattr(stream, "disposition", 0)
    return int(getattr(flags, "value", flags))  # a Flag, an IntFlag or a number, by the version


def video_stream(container: Any, path: Path) -> Any:
    """The first stream of moving pictures (cover art is none); `MediaError` if there is none."""
    streams = [stream for stream in container.streams.video if not disposition_of(stream) & ATTACHED_PICTURE]
    if streams and streams[0].codec_context is None:
        raise MediaError(f"{path}: no decoder here for this kind of video; convert it, to H.264 for example")
    if streams and streams[0].codec_context.name not in _TEXT_ART:
        return streams[0]
    if streams or missing_bytes(path):
        raise MediaError(_why_not(path))
    has = "only sound" if container.streams.audio else "no picture"
    raise MediaError(f"{path}: there is {has} in this file; expected a video or an image")


def orientation_of(frame: Any) -> np.ndarray | None:
    """The display matrix of a frame as integers [[a, b], [c, d]] in -1, 0, 1; None if the frame is upright.

    It maps a pixel's (x, y) to (a x + c y, b x + d y). Other turns than by 90 degrees count as none.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    matrix = np.frombuffer(bytes(data), dtype=np.int32)[:9].reshape(3, 3)[:2, :2].astype(np.float64)
    scale = np.abs(matrix).max()
    if scale == 0:
        return None
    turned = np.rint(matrix / scale).astype(int)
    if np.abs(matrix / scale - turned).max() > 0.01 or abs(round(np.linalg.det(turned))) != 1:
        return None
    return None if np.array_equal(turned, np.eye(2)) else turned


def oriented(pixels: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    """`pixels` (H, W, 3) turned and mirrored as `orientation_of` says."""
    if matrix is None:
        return pixels
    (a, b), (c, d) = matrix
    if a == 0:  # x and y change places
        pixels = pixels.transpose(1, 0, 2)
        a, d = c, b
    return np.ascontiguousarray(pixels[:: int(d), :: int(a)])


_BOXES = {
    b"ftyp",
    b"moov",
    b"mdat",
    b"moof",
    b"free",
    b"skip",
    b"wide",
    b"styp",
    b"sidx",
    b"mfra",
    b"uuid",
    b"meta",
}


def missing_bytes(path: Path) -> int:
    """How many bytes a file lacks by the lengths written in it (MP4, Matroska, AVI); 0 if none or unknown."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(12)
            if head[4:8] in _BOXES:
                return _missing_in_boxes(file, size)
            if head[:4] == b"\x1a\x45\xdf\xa3":
                return _missing_in_matroska(file, size)
            if head[:4] == b"RIFF":
                return max(0, 8 + int.from_bytes(head[4:8], "little") - size)
    except OSError:
        pass
    return 0


def _missing_in_boxes(file: BinaryIO, size: int) -> int:
    position = 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8 or head[4:8] not in _BOXES:
            return 0
        position += length
    return max(0, position - size)


def _missing_in_matroska(file: BinaryIO, size: int) -> int:
    """An EBML header, then one segment: each an identifier, a length of 1 to 8 bytes, and the content."""
    position = 0
    for identifier in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"):
        file.seek(position)
        head = file.read(12)
        if head[:4] != identifier or len(head) < 5:
            return 0
        octets = 9 - head[4].bit_length()
        value = int.from_bytes(head[4 : 4 + octets], "big") & ((1 << 7 * octets) - 1)
        if octets > 8 or value == (1 << 7 * octets) - 1:  # a live stream: no length was known
            return 0
        position += 4 + octets + value
    return max(0, position - size)
