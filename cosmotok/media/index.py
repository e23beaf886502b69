"""Where a video's frames are in its file: the times of its packets, and the keyframes that decoding can start at."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from .container import MEDIA_ERRORS, opened, video_stream

__all__ = ["PacketIndex", "packet_index"]

# Each packet is one frame on screen. Other codecs hide frames in packets of their own (VP8), put two frames in one
# packet (MPEG-4), or leave timestamps out.
_ONE_FRAME_PER_PACKET = frozenset({"h264", "hevc", "vp9", "av1", "mjpeg", "prores", "dnxhd", "ffv1", "png", "rawvideo"})
_REMEMBERED = 512
_INTRA = 1  # AVPictureType


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """The frames of a video in order of display, as its packets tell them.

    pts: their timestamps, int64, rising, in units of `time_base` seconds.
    keyframes: numbers of the frames that are keyframes, rising; the first one is 0.
    dts: when each keyframe is decoded, as far as known.
    complete: whether it goes to the end of the file.
    """

    pts: np.ndarray
    keyframes: np.ndarray
    dts: np.ndarray
    time_base: Fraction
    complete: bool

    @property
    def origin(self) -> Fraction:
        """Seconds of the first frame by the file's clock."""
        return int(self.pts[0]) * self.time_base

    def keyframe_before(self, frame: int) -> int:
        """Which of `keyframes` is the last one not after `frame`."""
        return int(np.searchsorted(self.keyframes, frame, side="right")) - 1

    def skip_to(self, frame: int, container: Any, stream: Any) -> bool:
        """Seeks to the keyframe before `frame`; whether that was possible, exactly."""
        key = self.keyframe_before(frame)
        pts = int(self.pts[self.keyframes[key]])
        for target in (pts, int(self.dts[key])):  # some containers go by the one, some by the other
            try:
                container.seek(target, stream=stream)
                if next(container.demux(stream)).pts == pts:
                    container.seek(target, stream=stream)
                    return True
            except (*MEDIA_ERRORS, StopIteration):
                continue
        return False

    def frames_from(self, frame: int, decoded: Iterator[Any]) -> Iterator[Any] | None:
        """`decoded`, which starts at the keyframe before `frame`, from `frame` on; None where it is not as indexed."""
        number = int(self.keyframes[self.keyframe_before(frame)])
        first = number
        for picture in decoded:
            if picture.pts is None:
                return None
            if number == first:
                if picture.pts < self.pts[first]:
                    continue  # shown before the keyframe, made from frames that were skipped
                if int(picture.pict_type) != _INTRA:
                    return None  # a recovery point: the picture is whole only some frames later
            if picture.pts != self.pts[number]:
                return None
            if number == frame:
                return chain([picture], decoded)
            number += 1
        return None


_known: OrderedDict[tuple[Path, int, int], PacketIndex | None] = OrderedDict()
_lock = threading.Lock()


def packet_index(path: Path, until: int | None = None) -> PacketIndex | None:
    """The index of the video at `path`, or None where packets do not tell which frame is where.

    The packets are read but not decoded, up to frame `until` and the keyframe after it (None: all). The indices of
    the last files are remembered as long as size and time of the file stay the same.
    """
    state = path.stat()
    key = (path.absolute(), state.st_size, state.st_mtime_ns)
    with _lock:
        if key in _known:
            _known.move_to_end(key)
            index = _known[key]
            if index is None or index.complete or (until is not None and until < len(index.pts)):
                return index
    index = _read(path, until)
    with _lock:
        _known[key] = index
        while len(_known) > _REMEMBERED:
            _known.popitem(last=False)
    return index


def _read(path: Path, until: int | None) -> PacketIndex | None:
    pts: list[int] = []
    keys: list[tuple[int, int]] = []  # (pts, dts)
    before = 0  # packets in front of the last keyframe, all of which are shown before it
    complete = True
    with opened(path) as container:
        stream = video_stream(container, path)
        codec = stream.codec_context.codec
        name = getattr(codec, "canonical_name", codec.name)
        if name not in _ONE_FRAME_PER_PACKET or stream.time_base is None:
            return None
        claimed = int(stream.frames)
        try:
            for packet in container.demux(stream):
                if packet.size == 0:  # the end
                    break
                if packet.pts is None or packet.is_corrupt or packet.is_discard:
                    return None
                if packet.is_keyframe:
                    if until is not None and keys and before > until:
                        # Whatever is shown before the keyframe before this one has been seen.
                        last, _ = keys.pop()
                        pts = [moment for moment in pts if moment < last]
                        complete = False
                        break
                    keys.append((packet.pts, packet.pts if packet.dts is None else packet.dts))
                    before = len(pts)
                elif not keys:
                    return None
                pts.append(packet.pts)
        except MEDIA_ERRORS:
            return None
        time_base = Fraction(stream.time_base)
    order = np.unique(np.array(pts, dtype=np.int64))
    if not len(order) or len(order) != len(pts) or keys[0][0] != order[0]:
        return None
    if complete and claimed not in (0, len(order)):
        return None
    keys.sort()
    numbers = np.searchsorted(order, [moment for moment, _ in keys])
    return PacketIndex(order, numbers, np.array([dts for _, dts in keys], dtype=np.int64), time_base, complete)
