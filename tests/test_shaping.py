"""Shaping: which frames of an input, at which size, make which segments."""

from __future__ import annotations

import itertools
import tracemalloc
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import media_samples as samples
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cosmotok.dataset.segments import cut, resampled, segments
from cosmotok.dataset.shaping import Segment, ShapedFrame, Shaping
from cosmotok.dataset.sources import Opened
from cosmotok.errors import InputError, MediaError
from cosmotok.media import Frame, MediaInfo

EXACT = {"preset": "ultrafast", "crf": "8"}


@dataclass
class Footage:
    """Stands for a reader of frames whose pixels tell their number."""

    times: list[Fraction]
    width: int = 4
    height: int = 2
    kind: str = "video"
    frame_rate: Fraction | None = Fraction(10)

    @property
    def info(self) -> MediaInfo:
        return MediaInfo(
            Path("footage"), self.kind, self.width, self.height, self.frame_rate, None, None, False, "none", "rgb24"
        )  # type: ignore[arg-type]

    def __iter__(self):
        for number, time in enumerate(self.times):
            yield Frame(np.full((self.height, self.width, 3), number % 251, np.uint8), time)


def steady(count: int, rate: Fraction | int = 10) -> Footage:
    return Footage([Fraction(n) / rate for n in range(count)], frame_rate=Fraction(rate))


def taken(footage: Footage, shaping: Shaping) -> list[tuple[Segment, list[ShapedFrame]]]:
    return [(segment, list(segment.frames)) for segment in segments(footage, shaping, ExitStack())]  # type: ignore[arg-type]


def of_file(path: Path, shaping: Shaping, frames: slice = slice(None)) -> list[tuple[Segment, list[ShapedFrame]]]:
    with cut(Opened(path, frames), shaping) as found:
        return [(segment, list(segment.frames)) for segment in found]


# Segments ----------------------------------------------------------------------------------------------------------


@given(count=st.integers(1, 80), segment=st.integers(1, 20), overlap=st.integers(0, 19), shortest=st.integers(1, 20))
def test_segments_have_every_frame_once_but_for_overlap_and_short_rests(count, segment, overlap, shortest):
    overlap, shortest = overlap % segment, min(shortest, segment)
    found = taken(steady(count), Shaping(segment=segment, overlap=overlap, min_frames=shortest))
    numbers = [[frame.number for frame in frames] for _, frames in found]
    new = [run[overlap if index else 0 :] for index, run in enumerate(numbers)]
    flat = list(itertools.chain.from_iterable(new))
    assert flat == list(range(len(flat)))
    left = count - len(flat)
    # What is left out is shorter than it may be, together with what it shares with the segment before.
    assert left == 0 or left + (overlap if found else 0) < shortest
    for index, (made, frames) in enumerate(found):
        assert made.number == index
        assert made.first_frame == frames[0].number == index * (segment - overlap)
        assert made.length == len(frames)
        assert len(frames) == segment or index == len(found) - 1
        assert len(frames) >= shortest
        assert index == 0 or len(frames) > overlap


@given(count=st.integers(0, 40), shortest=st.integers(1, 45))
def test_a_whole_video_is_one_segment_unless_it_is_too_short(count, shortest):
    found = taken(steady(count), Shaping(min_frames=shortest))
    if count < shortest:
        assert not found
    else:
        ((segment, frames),) = found
        assert segment.length is None and segment.first_frame == 0
        assert [frame.number for frame in frames] == list(range(count))


def test_frames_that_nobody_took_are_passed_over():
    found = [(made.number, next(made.frames).number) for made in segments(steady(10), Shaping(segment=4), ExitStack())]  # type: ignore[arg-type]
    assert found == [(0, 0), (1, 4), (2, 8)]


def test_an_image_is_one_frame_at_no_rate():
    image = Footage([Fraction(0)], kind="image", frame_rate=None)
    ((segment, frames),) = taken(image, Shaping(frame_rate=5, segment=1, scenes=True))
    assert (segment.length, segment.frame_rate, len(frames)) == (1, None, 1)


@pytest.mark.parametrize("shaping", [Shaping(), Shaping(frame_rate=7), Shaping(segment=17, overlap=3)])
def test_memory_does_not_grow_with_length(shaping):
    def peak(count: int) -> int:
        footage = Footage([Fraction(n, 10) for n in range(count)], 256, 256)
        tracemalloc.start()
        for segment in segments(footage, shaping, ExitStack()):  # type: ignore[arg-type]
            for _ in segment.frames:
                pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    short, long = peak(40), peak(400)
    assert long < short * 1.1 + 100_000
    assert long < (20 if shaping.segment is None else 40) * 256 * 256 * 3


# Frame rate --------------------------------------------------------------------------------------------------------


def shaped(times: list[Fraction]) -> list[ShapedFrame]:
    return [ShapedFrame(np.zeros((1, 1, 3), np.uint8), time, number) for number, time in enumerate(times)]


@given(
    steps=st.lists(st.fractions(Fraction(1, 100), 2, max_denominator=1000), max_size=40),
    rate=st.fractions(Fraction(1, 2), 60, max_denominator=1001),
)
def test_resampling_takes_the_last_frame_at_or_before_each_time(steps, rate):
    times = [Fraction(0), *itertools.accumulate(steps)]
    found = list(resampled(shaped(times), rate))
    assert [frame.time for frame in found] == [count / rate for count in range(len(found))]
    late = min(Fraction(1, 1000), 1 / (4 * rate))
    for frame in found:
        assert frame.number == max(n for n, time in enumerate(times) if time <= frame.time + late)
    assert found[-1].time <= times[-1] + late < found[-1].time + 1 / rate


def test_resampling_to_the_same_rate_changes_nothing_even_with_a_clock_of_milliseconds():
    rate = Fraction(30_000, 1001)
    rounded = [Fraction(round(1000 * n / rate), 1000) for n in range(300)]
    assert [frame.number for frame in resampled(shaped(rounded), rate)] == list(range(300))


def test_a_file_at_another_rate(tmp_path):
    path = samples.encode(tmp_path / "a.mp4", samples.numbered(16), rate=10, options=EXACT)
    ((half, frames),) = of_file(path, Shaping(frame_rate=5))
    assert half.frame_rate == 5
    assert [frame.number for frame in frames] == list(range(0, 16, 2))
    assert [samples.frame_number(frame.pixels) for frame in frames] == list(range(0, 16, 2))
    found = of_file(path, Shaping(frame_rate=20, segment=8))
    assert [made.first_frame for made, _ in found] == [0, 8, 16, 24]
    assert [frame.number for _, frames in found for frame in frames] == [n // 2 for n in range(31)]


def test_a_part_of_a_file_counts_from_its_own_start(tmp_path):
    path = samples.encode(tmp_path / "a.mp4", samples.numbered(16), rate=10, options=EXACT)
    ((_, frames),) = of_file(path, Shaping(), slice(5, 9))
    assert [(frame.number, frame.time) for frame in frames] == [(n, Fraction(n, 10)) for n in range(4)]
    assert [samples.frame_number(frame.pixels) for frame in frames] == [5, 6, 7, 8]


# Size --------------------------------------------------------------------------------------------------------------


def test_scaled_to_fill_and_cut_at_the_sides(tmp_path):
    # Three stripes; filling a square with a picture of 3:1 leaves the one in the middle.
    picture = np.concatenate([samples.solid(colour, 64, 64) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))], 1)
    Image.fromarray(picture).save(tmp_path / "a.png")
    ((segment, (frame,)),) = of_file(tmp_path / "a.png", Shaping.parse("32x32"))
    assert (segment.width, segment.height, segment.original_width, segment.original_height) == (32, 32, 192, 64)
    assert frame.pixels.shape == (32, 32, 3) and frame.pixels.flags.c_contiguous
    assert np.abs(frame.pixels[:, 4:28].astype(int) - (0, 250, 0)).max() <= 3


def test_a_turned_video_is_scaled_the_right_way_round(tmp_path):
    path = samples.encode(tmp_path / "a.mp4", [samples.quadrants(64, 48)] * 3, rotation=90, options=EXACT)
    ((segment, frames),) = of_file(path, Shaping(short_side=24))
    assert (segment.width, segment.height) == (24, 32) and (segment.original_width, segment.original_height) == (48, 64)
    ((_, whole),) = of_file(path, Shaping())
    assert np.abs(samples.corners(frames[0].pixels) - samples.corners(whole[0].pixels)).max() <= 6


def test_an_animation_is_scaled(tmp_path):
    pictures = [Image.fromarray(samples.solid((level,) * 3, 40, 20)) for level in (0, 90, 180)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    ((segment, frames),) = of_file(tmp_path / "a.gif", Shaping(short_side=10))
    assert [frame.pixels.shape for frame in frames] == [(10, 20, 3)] * 3 and segment.frame_rate == 10


@pytest.mark.parametrize(
    ("size", "bucket"),
    [((1920, 1080), (320, 192)), ((1080, 1920), (192, 320)), ((500, 480), (256, 256)), ((64, 64), (256, 256))],
)
def test_the_bucket_nearest_in_shape(size, bucket):
    shaping = Shaping.parse("256x256,320x192,192x320")
    scaled, target = shaping.sizes(*size)
    assert target == bucket
    assert all(side >= wanted for side, wanted in zip(scaled, bucket, strict=True))


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 300))
def test_sizes_fit_and_keep_the_shape(width, height, half):
    scaled, target = Shaping(short_side=2 * half).sizes(width, height)
    assert scaled == target and min(target) == 2 * half and all(side % 2 == 0 for side in target)
    scaled, target = Shaping(size=(2 * half, 64)).sizes(width, height)
    assert target == (2 * half, 64)
    over = [big - small for big, small in zip(scaled, target, strict=True)]
    assert min(over) == 0
    factor = max(Fraction(2 * half, width), Fraction(64, height))
    assert all(
        abs(side - factor * own) <= Fraction(1, 2) or side == 1
        for side, own in zip(scaled, (width, height), strict=True)
    )


def test_a_thread_of_a_picture_does_not_fill_the_memory(tmp_path):
    Image.fromarray(samples.solid((9, 9, 9), 4000, 1)).save(tmp_path / "a.png")
    with (
        pytest.raises(MediaError, match="more than 1,000,000 pixels"),
        cut(Opened(tmp_path / "a.png"), Shaping(size=(256, 256)), max_pixels=1_000_000) as found,
    ):
        list(found)


def test_small_inputs_are_left_out(tmp_path):
    Image.fromarray(samples.solid((9, 9, 9), 40, 30)).save(tmp_path / "a.png")
    assert len(of_file(tmp_path / "a.png", Shaping(min_side=30))) == 1
    assert not of_file(tmp_path / "a.png", Shaping(min_side=31, size=(64, 64)))


# Scenes ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """Three scenes of 20, 25 and 18 frames."""
    looks = ((20, (30, 30, 30)), (25, (240, 240, 240)), (18, (20, 60, 200)))
    frames = [samples.solid(colour) for count, colour in looks for _ in range(count)]
    return samples.encode(tmp_path_factory.mktemp("film") / "a.mp4", frames, rate=10, options=EXACT)


def test_cut_where_the_scene_changes(film):
    found = of_file(film, Shaping(scenes=True))
    assert [(made.number, made.first_frame, made.length) for made, _ in found] == [
        (0, 0, None),
        (1, 20, None),
        (2, 45, None),
    ]
    assert [[frame.number for frame in frames] for _, frames in found] == [
        list(range(20)), list(range(20, 45)), list(range(45, 63))
    ]  # fmt: skip
    assert [made.number for made, _ in of_file(film, Shaping(scenes=True, min_frames=20))] == [0, 1]


def test_segments_do_not_reach_over_a_cut(film):
    found = of_file(film, Shaping(scenes=True, segment=8, overlap=2, min_frames=8))
    assert [made.first_frame for made, _ in found] == [0, 6, 12, 20, 26, 32, 45, 51]
    assert all(len(frames) == 8 for _, frames in found)


# Mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frame_rate": 0}, "frame_rate"),
        ({"frame_rate": float("nan")}, "frame_rate"),
        ({"size": (0, 64)}, "size"),
        ({"size": (63, 64)}, "even"),
        ({"size": (64,)}, "size"),
        ({"buckets": ((64, 64), (64, 64))}, "twice"),
        ({"size": (64, 64), "short_side": 64}, "only one"),
        ({"size": (64, 64), "buckets": ((64, 64), (32, 64))}, "only one"),
        ({"short_side": -2}, "short side"),
        ({"short_side": 10**6}, "short side: expected an even number of pixels from 2 to 65536"),
        ({"segment": 10**20}, "segment: expected a whole number from 1 to 2147483647"),
        ({"segment": 0}, "segment"),
        ({"segment": True}, "segment"),
        ({"overlap": 1}, "segment"),
        ({"segment": 8, "overlap": 8}, "overlap"),
        ({"segment": 8, "overlap": -1}, "overlap"),
        ({"segment": 8, "min_frames": 9}, "min frames"),
        ({"min_frames": 0}, "min frames"),
        ({"min_side": 0}, "min side"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(changes, message):
    with pytest.raises(InputError, match=message) as error:
        Shaping(**changes)
    assert "\n" not in str(error.value)


def test_sizes_from_text():
    assert Shaping.parse("256x192", segment=9) == Shaping(size=(256, 192), segment=9)
    assert Shaping.parse("256x192, 64x64") == Shaping(buckets=((256, 192), (64, 64)))
    assert Shaping.parse() == Shaping()
    for text in ("", "256", "256x", "256x256,", "256x256;64x64", "-2x4"):
        with pytest.raises(InputError, match="size"):
            Shaping.parse(text)
