"""Between RGB arrays and the pixel formats of videos, by swscale (through FFmpeg's `scale` filter).

Why the filter and not `VideoFrame.reformat`: only the filter takes the quality flags in all versions of PyAV.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import av.filter
import numpy as np
from PIL import Image

__all__ = ["BT709", "LIMITED", "FrameConverter", "FrameMaker"]

_ACCURATE = "accurate_rnd+full_chroma_int+full_chroma_inp"
# AVColorSpace (ITU-T H.273 table 4) to the names of the scale filter.
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
BT709 = 1  # AVColorSpace, AVColorPrimaries and AVColorTransferCharacteristic
LIMITED, _FULL = 1, 2  # AVColorRange
_HD_LINES = 720
_TIME_BASE = Fraction(1, 90_000)


class Scaler:
    """Converts frames of one (width, height, pixel format) to another."""

    def __init__(self, source: tuple[int, int, str], target: tuple[int, int, str], settings: str) -> None:
        width, height, pixel_format = source
        graph = av.filter.Graph()
        entry = graph.add_buffer(width=width, height=height, format=av.VideoFormat(pixel_format), time_base=_TIME_BASE)
        kernel = "bicubic" if source[:2] == target[:2] else "lanczos"
        scale = graph.add("scale", f"{target[0]}:{target[1]}:flags={kernel}+{_ACCURATE}:{settings}")
        formats = graph.add("format", target[2])
        exit_ = graph.add("buffersink")
        entry.link_to(scale)
        scale.link_to(formats)
        formats.link_to(exit_)
        graph.configure()
        self._graph, self._entry, self._exit = graph, entry, exit_
        self._count = 0

    def __call__(self, frame: Any) -> Any:
        """A converted copy of `frame`; its timestamp is meaningless."""
        frame.pts, frame.time_base = self._count, _TIME_BASE
        self._count += 1
        self._entry.push(frame)
        return self._exit.pull()


def _matrix_of(frame: Any, lines: int) -> str:
    """The colour matrix a frame is tagged with; untagged, by the usual convention on its coded height."""
    return _MATRICES.get(int(frame.colorspace), "bt709" if lines >= _HD_LINES else "bt601")


def _has_alpha(pixel_format: Any) -> bool:
    return pixel_format.has_palette or any(part.is_alpha for part in pixel_format.components)


def _over_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:].astype(np.uint16)
    mixed = rgba[..., :3] * alpha + 255 * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)


class FrameConverter:
    """Decoded frames to uint8 (H, W, 3) RGB of `size` (width, height); keeps its scaler between frames."""

    def __init__(self, size: tuple[int, int], lines: int) -> None:
        self._size = size
        self._lines = lines
        self._key: tuple[object, ...] = ()
        self._scaler: Scaler | None = None

    def __call__(self, frame: Any) -> np.ndarray:
        kind = frame.format
        grey = len(kind.components) == 1 and not kind.is_rgb and not kind.has_palette
        limited_grey = grey and int(frame.color_range) == LIMITED
        target = "rgba" if _has_alpha(kind) else "rgb24"
        full = kind.is_rgb or grey or kind.name.startswith("yuvj") or int(frame.color_range) == _FULL
        settings = "out_range=pc"
        if not kind.is_rgb and not kind.has_palette:
            matrix = _matrix_of(frame, self._lines)
            settings += f":in_color_matrix={matrix}:in_range={'pc' if full else 'tv'}"
        source = (frame.width, frame.height, kind.name)
        key = (source, settings)
        if self._scaler is None or key != self._key:
            self._scaler, self._key = Scaler(source, (*self._size, target), settings), key
        pixels = self._scaler(frame).to_ndarray()
        if target == "rgba":
            return _over_white(pixels)
        if limited_grey:  # swscale takes every grey picture for full range
            spread = (pixels.astype(np.int32) - 16) * 255
            return np.clip((spread + 109) // 219, 0, 255).astype(np.uint8)
        return np.array(pixels, order="C")


class FrameMaker:
    """uint8 (H, W, 3) RGB to frames for an encoder: yuv420p, BT.709, limited range, or 256 colours.

    size, coded_size: (width, height) of the pixels given and of the frame, which
        repeats the last column and row.
    palette: make frames of 256 colours each.
    """

    def __init__(self, size: tuple[int, int], coded_size: tuple[int, int], *, palette: bool) -> None:
        self._right, self._below = coded_size[0] - size[0], coded_size[1] - size[1]
        settings = "out_color_matrix=bt709:out_range=tv"
        self._scaler = None if palette else Scaler((*coded_size, "rgb24"), (*coded_size, "yuv420p"), settings)

    def __call__(self, pixels: np.ndarray) -> Any:
        if self._scaler is None:
            return _palette_frame(pixels)
        if self._right or self._below:
            pixels = np.pad(pixels, ((0, self._below), (0, self._right), (0, 0)), mode="edge")
        frame = self._scaler(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
        frame.colorspace, frame.color_range = BT709, LIMITED
        return frame


def _palette_frame(pixels: np.ndarray) -> Any:
    """uint8 (H, W, 3) RGB as a frame of 256 colours of its own (for GIF), with error diffusion."""
    image = Image.fromarray(pixels).quantize(256, method=Image.Quantize.MEDIANCUT)
    colours = np.frombuffer(bytes(image.getpalette("RGB") or b""), np.uint8).reshape(-1, 3)
    palette = np.full((256, 4), 255, np.uint8)  # alpha, red, green, blue
    palette[: len(colours), 1:] = colours
    planes: Any = (np.array(image), palette)
    return av.VideoFrame.from_ndarray(planes, format="pal8")
