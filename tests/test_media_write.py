"""Writing: formats, timing, colours, sound, and that a failure leaves nothing behind."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import media_samples as samples
import numpy as np
import pytest
from written import names, write

from cosmotok.media import OUTPUT_SUFFIXES, VideoWriter, open_media

CODECS = {".mp4": "h264", ".m4v": "h264", ".mov": "h264", ".mkv": "h264", ".webm": "vp9", ".gif": "gif"}


@pytest.mark.parametrize("suffix", sorted(CODECS))
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, [*samples.numbered(7), samples.quadrants()], rate=25)
    with open_media(path) as reader:
        info = reader.info
        assert (info.width, info.height, info.codec) == (64, 48, CODECS[suffix])
        assert float(info.frame_rate or 0) == pytest.approx(25, rel=0.001)
        assert float(info.duration or 0) == pytest.approx(8 / 25, abs=0.001)
        read = list(reader)
    assert [samples.frame_number(f.pixels) for f in read[:7]] == list(range(7))
    assert [float(f.time) for f in read] == pytest.approx([n / 25 for n in range(8)], abs=0.0006)
    assert np.abs(read[3].pixels.astype(int) - samples.grey_level(3)).max() <= 2
    assert np.abs(samples.corners(read[7].pixels) - samples.QUADRANTS).max() <= 8
    assert names(tmp_path) == [f"a{suffix}"]
    assert set(CODECS) == OUTPUT_SUFFIXES


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_what_a_browser_needs(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, samples.numbered(3))
    with av.open(str(path)) as source:
        context = source.streams.video[0].codec_context
        assert context.pix_fmt == "yuv420p"
        assert [context.colorspace, context.color_primaries, context.color_trc, context.color_range] == [1] * 4
    if suffix in (".mp4", ".mov"):
        data = path.read_bytes()
        assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("lines", [360, 720])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_colours_survive(tmp_path: Path, suffix: str, lines: int) -> None:
    patches = [(196, 60, 92), (10, 180, 70), (250, 250, 250), (3, 3, 3), (30, 60, 200)]
    path = tmp_path / f"a{suffix}"
    write(path, [samples.solid(patch, 64, lines) for patch in patches], crf=8)
    for patch, frame in zip(patches, open_media(path), strict=True):
        assert np.abs(frame.pixels[lines // 2, 32].astype(int) - patch).max() <= 3


@pytest.mark.parametrize(
    "rate", [Fraction(30000, 1001), Fraction(24000, 1001), 60, 50.0, Fraction(8000, 133), Fraction(1, 2), 240, 12.5]
)
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_frame_rates_are_exact(tmp_path: Path, suffix: str, rate: Fraction | float) -> None:
    write(tmp_path / f"a{suffix}", samples.numbered(6), rate=rate)
    with open_media(tmp_path / f"a{suffix}") as reader:
        assert reader.info.frame_rate == Fraction(rate)
        assert reader.info.frame_count == 6
        assert reader.info.duration == 6 / Fraction(rate)
        assert [f.time for f in reader] == [n / Fraction(rate) for n in range(6)]


@pytest.mark.parametrize(("given", "meant"), [(29.97, 30), (23.976, 24), (59.94, 60), (23.98, 24)])
def test_decimal_rates_are_the_ones_they_stand_for(tmp_path: Path, given: float, meant: int) -> None:
    write(tmp_path / "a.mp4", samples.numbered(4), rate=given)
    assert open_media(tmp_path / "a.mp4").info.frame_rate == Fraction(meant * 1000, 1001)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".gif"])
def test_variable_times(tmp_path: Path, suffix: str) -> None:
    times = [Fraction(n, 1000) for n in (0, 40, 500, 530, 1200, 1230)]
    path = tmp_path / f"a{suffix}"
    with VideoWriter(path, width=64, height=48, frame_rate=5) as writer:
        for frame, time in zip(samples.numbered(6), times, strict=True):
            writer.write(frame, time)
    tolerance = {".gif": 0.0051, ".mkv": 0.00051, ".webm": 0.00051}.get(suffix, 1e-5)
    read = list(open_media(path))
    assert [samples.frame_number(f.pixels) for f in read] == list(range(6))
    assert [float(f.time) for f in read] == pytest.approx([float(t) for t in times], abs=tolerance)
    # The last frame is shown for one period, for the one before was unusually short.
    if suffix in (".mp4", ".mov"):
        header = path.read_bytes()[path.read_bytes().index(b"mvhd") + 16 :]
        clock, ticks = (int.from_bytes(header[n : n + 4], "big") for n in (0, 4))
        assert ticks / clock == pytest.approx(1.43, abs=0.002)
    elif suffix != ".gif":
        assert float(samples.streams_of(path)["video"]["end"]) == pytest.approx(1.43, abs=0.002)


def test_times_of_a_real_variable_rate_file_come_back(tmp_path: Path) -> None:
    times = [Fraction(n, 90_000) for n in (0, 3003, 4000, 4001, 90_000, 90_500)]
    source = samples.encode(tmp_path / "a.mp4", samples.numbered(6), times=times)
    with (
        open_media(source) as reader,
        VideoWriter(tmp_path / "b.mp4", width=64, height=48, frame_rate=reader.info.frame_rate or 1) as writer,
    ):
        for frame in reader:
            writer.write(frame.pixels, frame.time)
    assert [f.time for f in open_media(tmp_path / "b.mp4")] == pytest.approx(times, abs=1e-5)


@pytest.mark.parametrize(
    ("size", "suffix", "written"),
    [
        ((63, 47), ".mp4", (64, 48)),
        ((64, 47), ".mkv", (64, 48)),
        ((1, 1), ".mp4", (2, 2)),
        ((63, 47), ".webm", (63, 47)),
        ((63, 47), ".gif", (63, 47)),
    ],
)
def test_odd_sizes(tmp_path: Path, size: tuple[int, int], suffix: str, written: tuple[int, int]) -> None:
    frames = samples.numbered(3, *size)
    writer = write(tmp_path / f"a{suffix}", frames, crf=4)
    assert (writer.coded_width, writer.coded_height) == written
    assert (writer.width, writer.height) == size
    read = list(open_media(tmp_path / f"a{suffix}"))
    assert read[0].pixels.shape == (written[1], written[0], 3)
    for index, frame in enumerate(read):  # the row and column that were added look like their neighbours
        assert np.abs(frame.pixels.astype(int) - samples.grey_level(index)).max() <= 3


def test_one_frame(tmp_path: Path) -> None:
    for suffix in sorted(OUTPUT_SUFFIXES):
        write(tmp_path / f"a{suffix}", samples.numbered(1))
        assert len(list(open_media(tmp_path / f"a{suffix}"))) == 1


def test_crf_is_quality(tmp_path: Path) -> None:
    noise = [np.random.default_rng(i).integers(0, 256, (48, 64, 3), dtype=np.uint8) for i in range(4)]
    for suffix in (".mp4", ".webm"):
        write(tmp_path / f"good{suffix}", noise, crf=10)
        write(tmp_path / f"bad{suffix}", noise, crf=45)
        good, bad = ((tmp_path / f"{kind}{suffix}").stat().st_size for kind in ("good", "bad"))
        assert good > 2 * bad


def test_a_gif_has_many_colours(tmp_path: Path) -> None:
    ramp = np.zeros((48, 64, 3), np.uint8)
    ramp[..., 0] = np.arange(64) * 4
    ramp[..., 2] = np.arange(48)[:, None] * 5
    write(tmp_path / "a.gif", [ramp])
    pixels = next(iter(open_media(tmp_path / "a.gif"))).pixels
    assert np.abs(pixels.astype(int) - ramp).mean() < 6


def test_frames_are_copied_and_may_have_any_layout(tmp_path: Path) -> None:
    scratch = np.empty((64, 48, 3), np.uint8)
    with VideoWriter(tmp_path / "a.mp4", width=64, height=48, frame_rate=10) as writer:
        for frame in samples.numbered(5):
            scratch[:] = frame.transpose(1, 0, 2)
            writer.write(scratch.transpose(1, 0, 2))
            scratch[:] = 0
    assert [samples.frame_number(f.pixels) for f in open_media(tmp_path / "a.mp4")] == [0, 1, 2, 3, 4]
