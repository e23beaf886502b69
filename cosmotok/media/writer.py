"""`VideoWriter`: frames and a sound track to a file that plays in a browser; written whole or not at all."""

from __future__ import annotations

import contextlib
import math
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import av.error
import numpy as np

from cosmotok.errors import CosmotokError, InputError, MediaError
from cosmotok.paths import as_path
from cosmotok.writing import Together, output_file, postponed, spare, write_error

from .audio import AudioTrack, open_audio
from .container import MEDIA_ERRORS
from .convert import BT709, LIMITED, FrameMaker
from .formats import clock_for, encoder_options, exact_rate, format_of
from .image_writer import check_pixels
from .stills import is_picture

__all__ = ["VideoWriter"]


CRF = 14
"""Of videos, unless told otherwise."""


class VideoWriter:
    """Writes frames as a video: H.264 (.mp4 .m4v .mov .mkv), VP9 (.webm) or GIF, by the suffix of `path`.

    Used as a context manager, it leaves a whole file or, after any exception, nothing. Frames go to the
    encoder as they come; memory does not grow with length.

    H.264 has 4:2:0 colour here, BT.709, limited range, and cannot hold odd sizes: the last column and row
    are repeated once where needed. `coded_width` and `coded_height` are the size really written. GIF frames
    have 256 colours each and times in hundredths of a second; GIF has no sound, `audio_from` is not used.

    Sound is the first track of `audio_from`, from `audio_start` on and to the video's end: copied
    where the container holds its codec, else encoded as AAC (.webm: Opus). A source without sound is fine.

    Parameters
    ----------
    path: the file to write; nothing is there before `close`. An existing one is replaced if `overwrite`.
    width, height: size of the frames in pixels.
    frame_rate: frames per second, 0.001 to 1000; 23.976, 29.97 and 59.94 are taken for 24000/1001 and so on.
    audio_from: file to take the sound from; a picture, or a folder, has none.
    audio_start: second of that file, counted from its first video frame, at which the written video starts
        (`MediaReader.start_time`).
    crf: quality on x264's scale, 1 (best) to 51; 14 is next to transparent.
    together: gives the file its name, with others, when that block ends.

    Raises
    ------
    InputError: an argument is out of range, the suffix is unknown, `path` is `audio_from`.
    MediaError: the file cannot be written (folder missing or read-only, disk full), `audio_from` cannot be
        read, or no frame was written before `close`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        width: int,
        height: int,
        frame_rate: Fraction | float,
        audio_from: str | Path | None = None,
        audio_start: Fraction | float = Fraction(0),
        crf: int = CRF,
        overwrite: bool = True,
        together: Together | None = None,
    ) -> None:
        self._closed = True  # until all is set up: `__del__` may meet a half-made object
        self.path = as_path(path)
        self._kind = format_of(self.path)
        for name, value in (("width", width), ("height", height)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise InputError(f"{name}: expected a whole number of pixels from 1, got {value!r}")
        if isinstance(crf, bool) or not isinstance(crf, int) or not 1 <= crf <= 51:
            raise InputError(f"crf: expected a whole number from 1 (best) to 51, got {crf!r}")
        if not math.isfinite(audio_start) or audio_start < 0:
            raise InputError(f"audio_start: expected seconds from 0, got {audio_start!r}")
        self.width, self.height = int(width), int(height)
        even = self._kind.codec == "libx264"
        self.coded_width = self.width + (self.width % 2 if even else 0)
        self.coded_height = self.height + (self.height % 2 if even else 0)
        self._rate = exact_rate(frame_rate)
        source = None if audio_from is None else Path(audio_from)
        if source is not None and not source.is_dir():  # a folder has no sound
            spare(self.path, source)
        self._clock = clock_for(self._kind, self._rate)
        self._pending: tuple[np.ndarray, int] | None = None
        self._span = 0  # ticks that the last frame encoded lasts
        self._durations: dict[int, int] = {}
        self._last: Fraction | None = None
        self._audio: AudioTrack | None = None
        self._output: Any = None
        self._whole = output_file(self.path, overwrite=overwrite, together=together)
        self._file = self._whole.__enter__()
        self._closed = False
        try:
            self._open(crf, source, Fraction(audio_start))
        except BaseException as error:
            self._abandon(error)
            if isinstance(error, MEDIA_ERRORS) and not isinstance(error, CosmotokError):
                raise write_error(self.path, error) from error
            raise

    def _open(self, crf: int, source: Path | None, audio_start: Fraction) -> None:
        kind = self._kind
        size, coded = (self.width, self.height), (self.coded_width, self.coded_height)
        self._picture = FrameMaker(size, coded, palette=kind.codec == "gif")
        self._output = av.open(self._file, "w", format=kind.muxer, options=dict(kind.options))
        stream = self._output.add_stream(kind.codec, rate=self._rate, options=encoder_options(kind, crf))
        stream.width, stream.height = coded
        context = stream.codec_context
        stream.time_base = context.time_base = self._clock
        if kind.codec == "gif":
            stream.pix_fmt = "pal8"
        else:
            stream.pix_fmt = "yuv420p"
            context.colorspace = context.color_primaries = context.color_trc = BT709
            context.color_range = LIMITED
            context.thread_type = "AUTO"
        self._stream = stream
        if source is None or kind.audio_encoder is None or source.is_dir() or is_picture(source):
            return
        self._audio = open_audio(
            source,
            self._output,
            copies=kind.copied_audio,
            encoder=kind.audio_encoder,
            start=audio_start,
            early=kind.hides_early_audio,
        )

    @property
    def has_audio(self) -> bool:
        """Whether the video gets sound: the source has some, and the container can hold it."""
        return self._audio is not None

    def write(self, pixels: np.ndarray, time: Fraction | float | None = None) -> None:
        """Add a frame.

        pixels: uint8 (height, width, 3), RGB, 0..255. It is copied; the caller may reuse the array.
        time: seconds at which it is shown, above the one before; None: one frame period after the one before.

        Raises `InputError` for other pixels or times, `MediaError` where the file cannot be written.
        """
        if self._closed:
            raise InputError(f"{self.path}: this writer is closed; make a new one")
        pixels = check_pixels(pixels, self.width, self.height)
        if time is None:
            time = Fraction(0) if self._last is None else self._last + 1 / self._rate
        elif not math.isfinite(time) or time < 0:
            raise InputError(f"time: expected seconds from 0, got {time!r}")
        time = Fraction(time)
        if self._last is not None and time <= self._last:
            raise InputError(
                f"time: frames must come in order, each after the one before; got {float(time):.6f} s "
                f"after {float(self._last):.6f} s"
            )
        tick = round(time / self._clock)
        if self._pending is not None:
            tick = max(tick, self._pending[1] + 1)
            self._encode_pending(tick)
        self._pending, self._last = (pixels.copy(), tick), time

    def _encode_pending(self, end: int) -> None:
        """Encode the frame held back, now that the tick at which it ends is known."""
        if self._pending is None:
            return
        pixels, tick = self._pending
        self._pending = None
        self._span = end - tick
        self._durations[tick] = end - tick
        with self._writing():
            frame = self._picture(pixels)
            frame.pts, frame.time_base = tick, self._clock
            self._mux(self._stream.encode(frame))

    def _mux(self, packets: list[Any]) -> None:
        """Write packets of the video, each after the sound that goes before it: the muxer has no queue then."""
        for packet in packets:
            if packet.pts in self._durations:
                packet.duration = self._durations.pop(packet.pts)
            if self._audio is not None and packet.dts is not None:
                self._audio.advance(packet.dts * Fraction(packet.time_base))
            self._output.mux(packet)

    @contextlib.contextmanager
    def _writing(self) -> Any:
        """On any exception the file is given up; those of PyAV become a `MediaError`."""
        try:
            with postponed():
                yield
        except BaseException as error:
            self._abandon(error)
            if isinstance(error, MEDIA_ERRORS) and not isinstance(error, CosmotokError):
                raise write_error(self.path, error) from error
            raise

    def close(self) -> None:
        """Finish the file and move it to its name; a second call does nothing."""
        if self._closed:
            return
        with self._writing():
            if self._pending is None:
                raise MediaError(f"{self.path}: no frame was written, so there is no video to keep")
            tick = self._pending[1]
            period = max(1, round(1 / self._rate / self._clock))
            # The last frame lasts as long as the one before, unless that one was held unusually.
            span = self._span or period
            end = tick + (span if period / 4 <= span <= period * 4 else period)
            self._encode_pending(end)
            self._mux(self._stream.encode(None))
            if self._audio is not None:
                self._audio.finish(end * self._clock)
                self._audio.close()
            self._output.close()
        self._closed = True
        self._whole.__exit__(None, None, None)

    def _abandon(self, error: BaseException) -> None:
        if self._closed:
            return
        self._closed = True
        self._pending = None
        try:
            for part in (self._audio, self._output):
                with postponed(), contextlib.suppress(Exception):
                    if part is not None:
                        part.close()
        finally:
            with contextlib.suppress(CosmotokError):
                self._whole.__exit__(type(error), error, None)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._abandon(error)

    def __del__(self) -> None:
        if not self._closed:
            self._abandon(MediaError("never closed"))
