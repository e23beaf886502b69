"""Sample images and videos for the tests, made with PyAV and Pillow and not with the code under test."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

OWN_PROCESS = ("libx265", "libsvtav1")
"""x265 now and then aborts the process that closes it, mostly after the file is complete. SVT-AV1 makes the
superuser's whole process a real-time one, whose threads then wait for each other for ever."""
ATTEMPTS = 5
_BT2020 = 9

REAL_CLIPS = Path(__file__).parents[2] / "shared/data/sample"


def real_clip(name: str) -> Path:
    """A real clip beside the checkout; the test is skipped where there is none."""
    if not REAL_CLIPS.exists():
        pytest.skip("no real clips beside this checkout")
    return REAL_CLIPS / name


QUADRANTS = ((230, 30, 30), (30, 200, 40), (40, 50, 220), (240, 240, 240))
"""Colours of the four quarters of `quadrants`: top left, top right, bottom left, bottom right."""


def solid(colour: tuple[int, int, int], width: int = 64, height: int = 48) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy()


def quadrants(width: int = 64, height: int = 48) -> np.ndarray:
    picture = np.empty((height, width, 3), np.uint8)
    h, w = height // 2, width // 2
    picture[:h, :w], picture[:h, w:], picture[h:, :w], picture[h:, w:] = QUADRANTS
    return picture


def waves(frames, height, width, seed=0):
    """Moving waves of soft colours: a list of (H, W, 3), uint8."""
    rng = np.random.default_rng(seed)
    t, y, x = np.meshgrid(*(np.arange(n) for n in (frames, height, width)), indexing="ij")
    clip = np.empty((frames, height, width, 3))
    common = sum(np.sin(a * t + b * y + c * x + d) for a, b, c, d in rng.uniform(-0.25, 0.25, (3, 4)))
    for channel in range(3):
        a, b, c, d = rng.uniform(-0.08, 0.08, 4)
        clip[..., channel] = 128 + 30 * common + 12 * np.sin(a * t + b * y + c * x + d)
    return list(clip.round().clip(0, 255).astype(np.uint8))


def corners(pixels: np.ndarray) -> np.ndarray:
    """The colours at the middle of the four quarters, in the order of `QUADRANTS`: (4, 3)."""
    h, w = pixels.shape[0], pixels.shape[1]
    rows, columns = (h // 4, h - 1 - h // 4), (w // 4, w - 1 - w // 4)
    return np.array([pixels[row, column] for row in rows for column in columns], dtype=int)


def grey_level(index: int) -> int:
    """The level of frame `index` of `numbered`."""
    return 30 + 12 * index


def numbered(count: int, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Frames that tell their number by their grey level."""
    return [solid((grey_level(i),) * 3, width, height) for i in range(count)]


def frame_number(pixels: np.ndarray) -> int:
    """Which frame of `numbered` this is."""
    return round((float(pixels.mean()) - 30) / 12)


def encode(
    path: Path,
    frames: Sequence[np.ndarray],
    codec: str = "libx264",
    *,
    pix_fmt: str = "yuv420p",
    rate: Fraction | int = 10,
    times: Sequence[Fraction] | None = None,
    options: dict[str, str] | None = None,
    matrix: int | None = None,
    tagged: bool = True,
    full_range: bool = False,
    rotation: int | None = None,
    sound: tuple[str, float] | None = None,
    container_options: dict[str, str] | None = None,
    container: str | None = None,
) -> Path:
    """Encode `frames` (uint8 (H, W, 3) RGB; grey formats take their red channel).

    matrix: AVColorSpace to convert with (1 BT.709, 5 BT.601, 9 BT.2020), and to tag with if `tagged`.
    rotation: degrees counter-clockwise a player has to turn the frames by. sound: (codec, seconds) of a tone.
    """
    arguments = dict(locals())
    if codec in OWN_PROCESS and multiprocessing.parent_process() is None:
        for _ in range(ATTEMPTS):
            child = multiprocessing.get_context("spawn").Process(target=encode, kwargs=arguments)
            child.start()
            child.join()
            if child.exitcode == 0 or opens(path):
                break
        return path
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", format=container, options=container_options or {}) as output:
        video: Any = output.add_stream(codec, rate=rate, options=options or {})
        video.width, video.height, video.pix_fmt = width, height, pix_fmt
        clock = Fraction(1, 90_000)
        if times is not None:
            video.codec_context.time_base = clock
        if matrix == _BT2020 and int(av.__version__.split(".")[0]) < 18:
            pytest.skip("PyAV before 18 converts to BT.2020 by another matrix")
        if rotation is not None and not hasattr(video, "set_display_rotation"):
            pytest.skip("this PyAV writes no rotation")
        if matrix is not None and tagged:
            video.codec_context.colorspace = {1: 1, 5: 6, 9: 9}[matrix]
            video.codec_context.color_range = 2 if full_range else 1
        if rotation is not None:
            video.set_display_rotation(rotation)
        audio: Any = None
        if sound is not None:
            audio = output.add_stream(sound[0], rate=48_000, options={"strict": "experimental"})
            audio.codec_context.layout = "stereo"
        for index, pixels in enumerate(frames):
            if pix_fmt.startswith("gray"):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[..., 0]), format="gray")
            elif pixels.shape[2] == 4:
                frame = av.VideoFrame.from_ndarray(pixels, format="rgba")
            else:
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(
                format=pix_fmt,
                dst_colorspace=matrix or 5,
                src_color_range=2,
                dst_color_range=2 if full_range or "rgb" in pix_fmt or "bgr" in pix_fmt else 1,
            )
            if not tagged or matrix is None:
                frame.colorspace, frame.color_range = 2, 0
            if times is None:
                frame.pts = index
            else:
                frame.pts, frame.time_base = round(times[index] / clock), clock
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if audio is not None:
            _write_tone(output, audio, sound[1] if sound else 0)
    return path


def opens(path: Path) -> bool:
    """Whether the file was finished."""
    try:
        with av.open(str(path)) as file:
            return next(file.decode(video=0), None) is not None
    except (av.FFmpegError, OSError):
        return False


def _write_tone(output: Any, audio: Any, seconds: float) -> None:
    for frame in tone_frames(seconds):
        output.mux(audio.encode(frame))
    output.mux(audio.encode(None))


def tone(seconds: float, rate: int = 48_000) -> np.ndarray:
    """float32 (n,): a tone that steps from 300 Hz up by 300 Hz every half second."""
    moments = np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * 300 * (1 + np.floor(moments * 2)) * moments)).astype(np.float32)


def tone_frames(seconds: float, rate: int = 48_000) -> list[av.AudioFrame]:
    samples = np.stack([tone(seconds, rate)] * 2)
    frames = []
    for start in range(0, samples.shape[1], 1024):
        block = np.ascontiguousarray(samples[:, start : start + 1024])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        frames.append(frame)
    return frames


def audio_only(path: Path, codec: str = "aac", seconds: float = 1.0) -> Path:
    with av.open(str(path), "w") as output:
        audio: Any = output.add_stream(codec, rate=48_000)
        audio.codec_context.layout = "stereo"
        _write_tone(output, audio, seconds)
    return path


def read_sound(path: Path) -> tuple[np.ndarray, float]:
    """float32 (n,) of the first sound track (left channel, 48 kHz), and the second its first sample is at."""
    blocks, first = [], None
    with av.open(str(path)) as source:
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=48_000)
        for frame in source.decode(audio=0):
            if first is None:
                first = float(frame.pts * frame.time_base)
            blocks += [block.to_ndarray()[0] for block in resampler.resample(frame)]
    return np.concatenate(blocks), first or 0.0


def streams_of(path: Path) -> dict[str, dict[str, Any]]:
    """By stream type: codec, seconds to the end of the last packet, and the dts of all packets."""
    found: dict[str, dict[str, Any]] = {}
    with av.open(str(path)) as source:
        for packet in source.demux():
            if packet.pts is None:
                continue
            stream = packet.stream
            entry = found.setdefault(stream.type, {"codec": stream.codec_context.name, "end": 0, "order": []})
            end = (packet.pts + (packet.duration or 0)) * packet.time_base
            entry["end"] = max(entry["end"], end)
            moment = packet.pts if packet.dts is None else packet.dts
            entry["order"].append((packet.pos, moment * packet.time_base))
        for stream in source.streams:
            if stream.type in found and stream.duration:
                found[stream.type]["duration"] = stream.duration * stream.time_base
    return found
