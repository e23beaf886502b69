"""Reading videos: containers, codecs, colours, timing, rotation, slices, damage."""

from __future__ import annotations

import itertools
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import media_samples as samples
import numpy as np
import pytest

from cosmotok.errors import InputError, MediaError
from cosmotok.media import open_media, parse_frames, parse_size

QUIET_X265 = {"x265-params": "log-level=none:pools=1"}
FORMATS = [
    ("a.mp4", "libx264", "yuv420p", {}),
    ("a.mov", "libx264", "yuv422p", {}),
    ("a.mkv", "libx264", "yuv444p", {}),
    ("a.ts", "libx264", "yuv420p", {}),
    ("a.flv", "libx264", "yuv420p", {}),
    ("hevc.mp4", "libx265", "yuv420p", QUIET_X265),
    ("hevc.mkv", "libx265", "yuv420p10le", QUIET_X265),
    ("ten.mp4", "libx264", "yuv420p10le", {}),
    ("ten422.mkv", "libx264", "yuv422p10le", {}),
    ("a.webm", "libvpx-vp9", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}),
    ("ten.webm", "libsvtav1", "yuv420p10le", {"preset": "12"}),
    ("vp8.webm", "libvpx", "yuv420p", {"deadline": "realtime", "b": "2000000"}),
    ("av1.mp4", "libsvtav1", "yuv420p", {"preset": "12"}),
    ("a.avi", "mpeg4", "yuv420p", {"b": "2000000"}),
    ("mjpeg.avi", "mjpeg", "yuvj420p", {"qmin": "1", "qmax": "2"}),
    ("a.mpg", "mpeg2video", "yuv420p", {"b": "2000000"}),
    ("a.wmv", "wmv2", "yuv420p", {"b": "2000000"}),
    ("prores.mov", "prores_ks", "yuv422p10le", {}),
    ("ffv1.mkv", "ffv1", "yuv444p", {}),
    ("ffv1rgb.mkv", "ffv1", "bgr0", {}),
    ("png.mov", "png", "rgb24", {}),
    ("raw.nut", "rawvideo", "rgb24", {}),
    ("x264rgb.mkv", "libx264rgb", "rgb24", {}),
]


@pytest.mark.parametrize(("name", "codec", "pix_fmt", "options"), FORMATS, ids=[f[0] for f in FORMATS])
def test_every_container_and_codec(
    tmp_path: Path, name: str, codec: str, pix_fmt: str, options: dict[str, str]
) -> None:
    assert codec in av.codecs_available
    rate = 25 if codec == "mpeg2video" else 10
    frames = [*samples.numbered(5), samples.quadrants()]
    path = samples.encode(tmp_path / name, frames, codec, pix_fmt=pix_fmt, rate=rate, options=options)
    with open_media(path) as reader:
        info = reader.info
        assert (info.kind, info.width, info.height, info.has_audio) == ("video", 64, 48, False)
        assert info.pixel_format == {"bgr0": "bgr0", "rgb24": info.pixel_format}.get(pix_fmt, pix_fmt)
        assert info.frame_rate is not None
        assert float(info.frame_rate) == pytest.approx(rate, rel=0.02)
        read = list(reader)
    assert [samples.frame_number(f.pixels) for f in read[:5]] == [0, 1, 2, 3, 4]
    assert len(read) == 6
    for index, frame in enumerate(read):
        assert frame.pixels.shape == (48, 64, 3)
        assert frame.pixels.dtype == np.uint8
        assert frame.pixels.flags.c_contiguous
        assert float(frame.time) == pytest.approx(index / rate, abs=0.0015)
    grey_error = np.abs(read[2].pixels.astype(int) - samples.grey_level(2)).max()
    assert grey_error <= 4
    assert np.abs(samples.corners(read[5].pixels) - np.array(samples.QUADRANTS)).max() <= 12


@pytest.mark.parametrize("name", ["coffee_landscape", "pose_square", "asl_hand_vertical", "video"])
def test_real_clips_agree_with_a_plain_decode(name: str) -> None:
    path = samples.real_clip(f"{name}.mp4")
    with open_media(path, frames=slice(0, 3)) as reader:
        ours = [frame.pixels for frame in reader]
        assert reader.info.frame_count == 3
    with av.open(str(path)) as source:
        some = itertools.islice(source.decode(video=0), 3)
        luma = [frame.reformat(format="gray").to_ndarray() for frame in some]
    assert len(ours) == 3
    for pixels, grey in zip(ours, luma, strict=True):
        assert pixels.shape[:2] == grey.shape
        assert np.corrcoef(pixels.mean(axis=2).ravel(), grey.ravel())[0, 1] > 0.98


PATCH = (196, 60, 92)


@pytest.mark.parametrize(
    ("lines", "matrix", "tagged", "full"),
    [
        (360, 5, False, False),
        (720, 1, False, False),
        (360, 1, True, False),
        (360, 5, True, False),
        (720, 5, True, False),
        (720, 1, True, False),
        (720, 9, True, False),
        (360, 5, True, True),
        (720, 1, True, True),
    ],
)
def test_colours_by_tag_or_convention(tmp_path: Path, lines: int, matrix: int, tagged: bool, full: bool) -> None:
    frames = [samples.solid(PATCH, 64, lines)]
    path = samples.encode(
        tmp_path / "a.mp4", frames, matrix=matrix, tagged=tagged, full_range=full, options={"crf": "4"}
    )
    with open_media(path) as reader:
        pixels = next(iter(reader)).pixels
    assert np.abs(pixels.astype(int) - PATCH).max() <= 3


def test_convention_goes_by_the_lines_of_the_file_not_by_the_size_asked_for(tmp_path: Path) -> None:
    path = samples.encode(
        tmp_path / "a.mp4", [samples.solid(PATCH, 64, 720)], matrix=1, tagged=False, options={"crf": "4"}
    )
    with open_media(path, size=(32, 360)) as reader:
        assert np.abs(next(iter(reader)).pixels.astype(int) - PATCH).max() <= 3


def test_grey_full_and_limited_range(tmp_path: Path) -> None:
    full = samples.encode(tmp_path / "full.mkv", samples.numbered(3), "ffv1", pix_fmt="gray")
    assert [int(f.pixels[0, 0, 1]) for f in open_media(full)] == [30, 42, 54]
    # Tagged limited range, the levels 16..235 stand for 0..255.
    coded = [samples.solid((level,) * 3) for level in (16, 235, 126, 5)]
    limited = samples.encode(
        tmp_path / "limited.mp4", coded, pix_fmt="gray", matrix=1, tagged=True, options={"crf": "1"}
    )
    levels = [int(f.pixels[0, 0, 1]) for f in open_media(limited)]
    assert np.abs(np.array(levels) - [0, 255, 128, 0]).max() <= 3


def test_alpha_is_put_over_white(tmp_path: Path) -> None:
    picture = np.zeros((48, 64, 4), np.uint8)
    picture[:, :32] = (200, 0, 0, 255)
    picture[:, 32:] = (0, 0, 100, 51)  # one fifth
    path = samples.encode(tmp_path / "a.mov", [picture], "png", pix_fmt="rgba")
    pixels = next(iter(open_media(path))).pixels
    assert tuple(pixels[10, 10]) == (200, 0, 0)
    assert np.abs(pixels[10, 50].astype(int) - (204, 204, 224)).max() <= 1


@pytest.mark.parametrize("size", [(63, 47), (1, 1), (33, 20), (64, 7)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = samples.numbered(2, *size)
    path = samples.encode(tmp_path / "a.mkv", frames, "ffv1", pix_fmt="yuv420p")
    with open_media(path) as reader:
        assert (reader.info.width, reader.info.height) == size
        assert [samples.frame_number(f.pixels) for f in reader] == [0, 1]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
def test_variable_frame_rate_times_are_delivered(tmp_path: Path, name: str) -> None:
    times = [Fraction(n, 1000) for n in (0, 40, 500, 533, 1200, 1201)]
    codec = "libvpx-vp9" if name.endswith("webm") else "libx264"
    path = samples.encode(tmp_path / name, samples.numbered(6), codec, times=times)
    read = list(open_media(path))
    assert [samples.frame_number(f.pixels) for f in read] == list(range(6))
    assert [f.time for f in read] == pytest.approx(times, abs=1e-4)
    sliced = list(open_media(path, frames=slice(2, 5)))
    assert [f.time for f in sliced] == pytest.approx([t - times[2] for t in times[2:5]], abs=1e-4)


TURNED = {  # which source quarter is where, after turning counter-clockwise
    0: [0, 1, 2, 3],
    90: [1, 3, 0, 2],
    180: [3, 2, 1, 0],
    270: [2, 0, 3, 1],
}


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
@pytest.mark.parametrize("angle", [90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, angle: int, name: str) -> None:
    path = samples.encode(
        tmp_path / name, [samples.quadrants(64, 48)] * 3, pix_fmt="yuv444p", rotation=angle, options={"crf": "4"}
    )
    upright = (64, 48) if angle == 180 else (48, 64)
    with open_media(path) as reader:
        assert (reader.info.width, reader.info.height) == upright
        pixels = next(iter(reader)).pixels
    assert pixels.shape == (upright[1], upright[0], 3)
    assert pixels.flags.c_contiguous
    expected = np.array([samples.QUADRANTS[i] for i in TURNED[angle]])
    assert np.abs(samples.corners(pixels) - expected).max() <= 6
    with open_media(path, size=(20, 30)) as reader:
        pixels = next(iter(reader)).pixels
    assert pixels.shape == (30, 20, 3)
    assert np.abs(samples.corners(pixels) - expected).max() <= 12


def test_mirrored_display_matrix(tmp_path: Path) -> None:
    path = samples.encode(tmp_path / "a.mp4", [samples.quadrants()], pix_fmt="yuv444p", options={"crf": "4"})
    data = bytearray(path.read_bytes())
    unity = b"".join(n.to_bytes(4, "big") for n in (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30))
    start = data.index(unity, data.index(b"tkhd"))
    data[start : start + 4] = (-65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    pixels = next(iter(open_media(path))).pixels
    assert np.abs(samples.corners(pixels) - np.array(samples.QUADRANTS)[[1, 0, 3, 2]]).max() <= 6


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (slice(None), list(range(12))),
        (slice(3), [0, 1, 2]),
        (slice(4, 7), [4, 5, 6]),
        (slice(10, None), [10, 11]),
        (slice(10, 99), [10, 11]),
        (slice(11, 12, 1), [11]),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_frame_slices(tmp_path: Path, name: str, chosen: slice, expected: list[int]) -> None:
    path = samples.encode(tmp_path / name, samples.numbered(12), options={"g": "5", "bf": "2"})
    with open_media(path, frames=chosen) as reader:
        read = list(reader)
        assert [samples.frame_number(f.pixels) for f in read] == expected
        assert read[0].time == 0
        assert reader.start_time == pytest.approx(expected[0] / 10, abs=1e-4)
        if name == "a.mp4":
            assert reader.info.frame_count == len(expected)
            assert reader.info.duration == pytest.approx(len(expected) / 10)
        assert [samples.frame_number(f.pixels) for f in reader] == expected  # anew from the start


@pytest.mark.parametrize("name", ["a.mp4", "a.ts"])
@pytest.mark.parametrize("chosen", [slice(5, None), slice(5, 9), slice(100, None), slice(2, 2), slice(4, 1)])
def test_a_slice_that_leaves_nothing(tmp_path: Path, name: str, chosen: slice) -> None:
    path = samples.encode(tmp_path / name, samples.numbered(5))
    with pytest.raises(MediaError, match=r"a\.(mp4|ts): frames .* 5 frames"):
        open_media(path, frames=chosen)


@pytest.mark.parametrize(
    "chosen", [slice(-3, None), slice(None, -1), slice(0, 4, 2), slice(4, 0, -1), slice("a"), slice(1.5), (0, 4), 3]
)
def test_slices_that_are_no_frame_range(tmp_path: Path, chosen: object) -> None:
    path = samples.encode(tmp_path / "a.mp4", samples.numbered(2))
    with pytest.raises(InputError, match="frames"):
        open_media(path, frames=chosen)  # type: ignore[arg-type]


def test_frames_and_sizes_as_text() -> None:
    assert parse_frames("10:50") == slice(10, 50)
    assert parse_frames(":30") == slice(None, 30)
    assert parse_frames(" 5: ") == slice(5, None)
    assert parse_frames(":") == slice(None)
    assert parse_size("640x360") == (640, 360)
    assert parse_size("8X4") == (8, 4)
    for text in ("", "5", "a:b", "-1:4", "1:2:3", "4:4", "9:2", ":0", "1.5:2", "٣:٤"):
        with pytest.raises(InputError, match="frames"):
            parse_frames(text)
    for text in ("", "640", "0x4", "4x0", "-4x4", "4x4x4", "4.5x4", "axb", "x4"):
        with pytest.raises(InputError, match="size"):
            parse_size(text)


def test_resize_is_antialiased(tmp_path: Path) -> None:
    stripes = np.zeros((48, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    path = samples.encode(tmp_path / "a.mkv", [stripes], "ffv1", pix_fmt="bgr0")
    with open_media(path, size=(16, 12)) as reader:
        assert (reader.info.width, reader.info.height) == (16, 12)
        pixels = next(iter(reader)).pixels
    assert pixels.shape == (12, 16, 3)
    assert np.abs(pixels[:, 2:-2].astype(int) - 128).max() < 20  # picking single pixels would give 0 or 255


@pytest.mark.parametrize("size", [(0, 4), (4, -1), (4,), 4, (4.0, 4), "4x4", (True, 4)])
def test_sizes_that_are_none(tmp_path: Path, size: object) -> None:
    path = samples.encode(tmp_path / "a.mp4", samples.numbered(1))
    with pytest.raises(InputError, match="size"):
        open_media(path, size=size)  # type: ignore[arg-type]


def test_reading_is_lazy_and_bounded(tmp_path: Path) -> None:
    width, height, count = 320, 240, 150
    path = samples.encode(tmp_path / "a.mkv", samples.numbered(1, width, height) * count, options={"g": "30"})
    with open_media(path) as reader:
        frames = iter(reader)
        next(frames)
        tracemalloc.start()
        for _ in frames:
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 20 * width * height * 3


def test_nothing_is_decoded_after_the_last_frame_wanted(tmp_path: Path) -> None:
    path = samples.encode(tmp_path / "a.mkv", samples.numbered(1, 320, 240) * 60, "mjpeg", pix_fmt="yuvj420p")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    assert len(list(open_media(path, frames=slice(0, 5)))) == 5


def test_closing_ends_the_iterators(tmp_path: Path) -> None:
    path = samples.encode(tmp_path / "a.mp4", samples.numbered(5))
    reader = open_media(path)
    frames = iter(reader)
    assert samples.frame_number(next(frames).pixels) == 0
    reader.close()
    reader.close()
    assert list(frames) == []
    with pytest.raises(InputError, match="closed"):
        iter(reader)


def test_two_iterators_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = samples.encode(tmp_path / "a.mp4", samples.numbered(6))
    with open_media(path) as reader:
        first, second = iter(reader), iter(reader)
        seen = [samples.frame_number(next(it).pixels) for it in (first, first, second, first, second)]
    assert seen == [0, 1, 0, 2, 1]


def test_the_frames_belong_to_the_caller(tmp_path: Path) -> None:
    path = samples.encode(tmp_path / "a.mp4", samples.numbered(4))
    kept = []
    for frame in open_media(path):
        kept.append(frame.pixels)
        assert frame.pixels.flags.writeable
    assert [samples.frame_number(pixels) for pixels in kept] == [0, 1, 2, 3]


def test_names_that_ffmpeg_would_misread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = samples.encode(tmp_path / "a.mp4", samples.numbered(2))
    for name in ("a:b.mp4", "100%.mp4", "clip [1].mp4", "what?.mp4", "frame_%04d.mp4", "ümläut .mp4", "-i.mp4"):
        Path(name).write_bytes(source.read_bytes())
        assert len(list(open_media(name))) == 2


def test_has_audio(tmp_path: Path) -> None:
    path = samples.encode(tmp_path / "a.mp4", samples.numbered(5), sound=("aac", 0.5))
    assert open_media(path).info.has_audio


def test_the_source_is_not_touched(tmp_path: Path) -> None:
    path = samples.encode(tmp_path / "a.mp4", samples.numbered(3))
    before, stamp = path.read_bytes(), path.stat().st_mtime_ns
    list(open_media(path))
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, stamp)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
