"""`open_media`: one way of reading for images, videos, animations, folders and patterns."""

from __future__ import annotations

import weakref
from collections.abc import Generator, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType

from PIL import UnidentifiedImageError

from cosmotok.defaults import MAX_PIXELS
from cosmotok.errors import InputError, MediaError
from cosmotok.paths import as_path

from .animation import AnimationSource, is_animated
from .info import Frame, MediaInfo, MediaSource, ReadOptions, check_frames, check_size
from .names import folder_frames, is_image_path, is_pattern, pattern_frames
from .stills import StillSource, open_image
from .video import VideoSource

__all__ = ["MediaReader", "open_media"]


class MediaReader:
    """The frames of a file, as an iterator; made by `open_media`.

    Each `iter()` reads the file anew from its start and holds a few frames at most. Reading is lazy: nothing
    is decoded before the first frame is asked for, and nothing after the last one wanted. Use it in a
    `with` block or call `close()` (any number of times): it ends all its iterators.

    Attributes
    ----------
    info: `MediaInfo` of what will be delivered.
    start_time: seconds from the first frame of the file to the first one delivered: 0 without `frames`,
        None until that frame has been read. It is what `VideoWriter` takes as `audio_start`.
    """

    def __init__(self, source: MediaSource, start: int, stop: int | None, options: ReadOptions) -> None:
        self._source = source
        self._options = options
        self._start = start
        self._stop = stop
        self._closed = False
        self._running: weakref.WeakSet[Generator[Frame, None, None]] = weakref.WeakSet()
        self.start_time: Fraction | None = None if start else Fraction(0)
        self.info: MediaInfo = _sliced(source.info, start, stop)
        claimed = source.info.frame_count
        if stop is not None and stop <= start:
            raise self._nothing_left(self._count())
        if start and (claimed is None or start >= claimed):
            # What the container says may be wrong: look, so that the error comes now rather than later.
            for _ in self:
                break

    def _count(self) -> int:
        return sum(1 for _ in self._source.decode())

    def _nothing_left(self, count: int) -> MediaError:
        chosen = f"{self._start}:{'' if self._stop is None else self._stop}"
        frames = "1 frame" if count == 1 else f"{count} frames"
        return MediaError(
            f"{self._source.info.path}: frames {chosen} selects nothing; there are {frames}, numbered from 0"
        )

    def __iter__(self) -> Iterator[Frame]:
        if self._closed:
            raise InputError(f"{self.info.path}: this reader is closed; open the file again")
        frames = self._read()
        self._running.add(frames)
        return frames

    def _read(self) -> Generator[Frame, None, None]:
        origin: Fraction | None = None
        zero: Fraction | None = None
        count = 0
        frames = self._source.decode()
        if isinstance(self._source, VideoSource):
            later = self._source.decode_from(self._start)
            if later is not None:
                frames, count, origin = later, self._start, self._source.origin
        for raw in frames:
            count += 1
            if origin is None:
                origin = raw.time
            if count <= self._start:
                continue
            if zero is None:
                zero = raw.time
                self.start_time = zero - origin
            yield Frame(raw.pixels(), raw.time - zero)
            if count == self._stop:
                return
        if zero is None:
            raise self._nothing_left(count)

    def scaled(self, size: tuple[int, int]) -> MediaReader:
        """Another reader of the same frames, scaled to (width, height); the file is not opened again.

        Raises `MediaError` where that is more than `max_pixels`.
        """
        self._options.check(self.info.path, *size)
        return MediaReader(self._source.scaled(size), self._start, self._stop, self._options)

    def times(self) -> list[Fraction]:
        """Seconds of every frame of the whole file, the first one's being 0; still pictures have [0].

        Where the packets of a video tell the times, nothing is decoded; else all of it is.

        Raises `MediaError` where the file turns out to be damaged or cut short.
        """
        if isinstance(self._source, VideoSource):
            return self._source.times()
        return [raw.time for raw in self._source.decode()]

    def close(self) -> None:
        """End all iterators and release the files they hold."""
        self._closed = True
        for frames in list(self._running):
            frames.close()

    def __enter__(self) -> MediaReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _sliced(info: MediaInfo, start: int, stop: int | None) -> MediaInfo:
    if info.kind == "image" or info.frame_count is None or (start == 0 and stop is None):
        return info
    count = max(0, min(info.frame_count, info.frame_count if stop is None else stop) - start)
    duration = count / info.frame_rate if info.frame_rate else None
    return replace(info, frame_count=count, duration=duration)


def _source(path: Path, options: ReadOptions) -> MediaSource:
    if path.is_dir():
        return StillSource(path, folder_frames(path), options, video=True)
    if not path.exists():
        if is_pattern(path):
            return StillSource(path, pattern_frames(path), options, video=True)
        raise MediaError(f"{path}: no such file or folder")
    if not path.is_file():
        raise MediaError(f"{path}: not an ordinary file; expected an image, a video or a folder of images")
    if path.stat().st_size == 0:
        raise MediaError(f"{path}: the file is empty; make or fetch it again")
    try:
        with open_image(path) as image:
            animated = is_animated(image)
    except PermissionError as error:
        raise MediaError(f"{path}: no permission to read it") from error
    except UnidentifiedImageError as error:
        if is_image_path(path):
            raise MediaError(f"{path}: not an image that can be read; is it damaged or misnamed?") from error
        return VideoSource(path, options)
    except Exception as error:
        raise MediaError(f"{path}: the image is damaged or cut short ({error})") from error
    if animated:
        return AnimationSource(path, options)
    return StillSource(path, [path], options, video=False)


def open_media(
    path: str | Path,
    *,
    frames: slice = slice(None),
    size: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> MediaReader:
    """Open an image or a video for reading its frames as uint8 (H, W, 3) RGB with their times.

    Parameters
    ----------
    path: an image, a video, an animated GIF/WebP/PNG (a video), a folder of images (a video at 24 frames per
        second, in natural order), or a pattern for such images: "dir/frame_%04d.png", or a glob with * and ?.
        An animation of one frame is an image. The content decides, not the suffix.
    frames: which frames to deliver, ``slice(a, b)``: a first, b left out, counted from 0; step 1. Videos are decoded
        from the keyframe before a where that gives the same frames, else from the start.
    size: (width, height) to scale to (Lanczos); None keeps the file's own.
    max_pixels: the most pixels a frame may have, against files that would fill the memory.

    What is delivered: rotation (display matrix, EXIF) applied; transparent parts over white; 16-bit, 10-bit,
    grey, palette and CMYK pictures as 8-bit RGB; videos by the colour matrix and range they are tagged with
    (untagged: BT.709 from 720 lines, else BT.601; limited range). High dynamic range is not tone-mapped, ICC
    profiles and non-square pixels are not applied. Of a TIFF with several pages, the first.

    Raises
    ------
    InputError: `frames`, `size` or `max_pixels` is not as above.
    MediaError: the file is missing, empty, not media, has no picture in it, is too large, or the slice leaves
        nothing. While iterating: the file is damaged or cut short, with how many frames can be read.
    """
    start, stop = check_frames(frames)
    if isinstance(max_pixels, bool) or not isinstance(max_pixels, int) or max_pixels < 1:
        raise InputError(f"max_pixels: expected a whole number from 1, got {max_pixels!r}")
    path = as_path(path)
    options = ReadOptions(check_size(size), max_pixels)
    if options.size is not None:
        options.check(Path(path), *options.size)
    try:
        source = _source(Path(path), options)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise MediaError(f"{path!r}: not a usable file name ({error})") from error
    except MediaError:
        raise
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror or error})") from error
    return MediaReader(source, start, stop, options)
