"""Seeking: a slice read from a keyframe on holds the frames that decoding from the start gives, to the last bit."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import media_samples as samples
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmotok.errors import MediaError
from cosmotok.media import Frame, index, open_media, video

COUNT = 48


def moving(count: int = COUNT, width: int = 48, height: int = 32) -> list[np.ndarray]:
    """A gradient that drifts, with some noise: frames that predict each other, none like another."""
    noise = np.random.default_rng(0).integers(0, 40, (height, width + count, 3))
    ramp = (np.arange(width + count) * 5 % 200)[None, :, None]
    picture = (ramp + noise).astype(np.uint8)
    return [np.ascontiguousarray(picture[:, i : i + width]) for i in range(count)]


def x264(**parameters: int) -> dict[str, str]:
    return {"preset": "veryfast", "x264-params": ":".join(f"{k}={v}" for k, v in parameters.items())}


UNEVEN = [Fraction(sum(range(i)) % 7 + 40 * i, 1000) for i in range(COUNT)]
VP9 = {"deadline": "realtime", "cpu-used": "8", "g": "12", "auto-alt-ref": "1", "lag-in-frames": "8"}
# name: file, codec, how it is encoded, whether seeking is possible at all
KINDS: dict[str, tuple[str, str, dict[str, Any], bool]] = {
    "no b-frames": ("a.mp4", "libx264", {"options": x264(keyint=10, bframes=0)}, True),
    "b-frames": ("a.mp4", "libx264", {"options": x264(keyint=12, bframes=3, **{"b-adapt": 0})}, True),
    "pyramid mkv": ("a.mkv", "libx264", {"options": x264(keyint=16, bframes=5, **{"b-adapt": 0})}, True),
    "short groups": ("a.mp4", "libx264", {"options": x264(keyint=3, bframes=2, **{"b-adapt": 0})}, True),
    "open groups": (
        "a.mp4",
        "libx264",
        {"options": x264(keyint=8, bframes=3, **{"open-gop": 1, "b-adapt": 0, "scenecut": 0})},
        True,
    ),
    "open mkv": (
        "a.mkv",
        "libx264",
        {"options": x264(keyint=8, bframes=3, **{"open-gop": 1, "b-adapt": 0, "scenecut": 0})},
        True,
    ),
    "intra refresh": ("a.mkv", "libx264", {"options": x264(keyint=12, **{"intra-refresh": 1})}, False),
    "stream": ("a.ts", "libx264", {"options": x264(keyint=12, bframes=2)}, True),
    "flash": ("a.flv", "libx264", {"options": x264(keyint=12, bframes=2)}, True),
    "hevc": (
        "a.mp4",
        "libx265",
        {"options": {"x265-params": "log-level=none:pools=1:keyint=8:min-keyint=8:open-gop=1:bframes=3"}},
        True,
    ),
    "vp9": ("a.webm", "libvpx-vp9", {"options": VP9}, True),
    "vp9 mp4": ("a.mp4", "libvpx-vp9", {"options": VP9}, True),
    "vp8": ("a.webm", "libvpx", {"options": {"deadline": "realtime", "g": "12", "auto-alt-ref": "1"}}, False),
    "av1": ("a.mp4", "libsvtav1", {"options": {"preset": "12", "g": "12"}}, True),
    "uneven": ("a.mp4", "libx264", {"options": x264(keyint=12, bframes=3), "times": UNEVEN}, True),
    "uneven vp9": ("a.webm", "libvpx-vp9", {"options": VP9, "times": UNEVEN}, True),
    "odd times": (
        "a.mkv",
        "libx264",
        {"options": x264(keyint=12, bframes=3), "times": [t + Fraction(77777, 10_000) for t in UNEVEN]},
        True,
    ),
    "late start": (
        "a.mp4",
        "libx264",
        {"options": x264(keyint=12, bframes=2), "times": [Fraction(1001 * i, 30_000) + 3 for i in range(COUNT)]},
        True,
    ),
    "mjpeg": ("a.avi", "mjpeg", {"pix_fmt": "yuvj420p"}, True),
    "mjpeg mov": ("a.mov", "mjpeg", {"pix_fmt": "yuvj420p"}, True),
    "mpeg4": ("a.avi", "mpeg4", {"options": {"g": "10", "bf": "2"}}, False),
    "ffv1": ("a.mkv", "ffv1", {"pix_fmt": "yuv444p"}, True),
    "turned": ("a.mp4", "libx264", {"options": x264(keyint=10), "rotation": 90}, True),
}


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seek to near frames too."""
    monkeypatch.setattr(video, "_WORTH_SEEKING", 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("seek")


_whole: dict[str, tuple[Path, list[Frame]]] = {}


def sample(folder: Path, kind: str) -> tuple[Path, list[Frame]]:
    """The file and all its frames, decoded from the start."""
    if kind not in _whole:
        name, codec, options, _ = KINDS[kind]
        path = samples.encode(folder / f"{kind} {name}", moving(), codec, **{"rate": 25} | options)
        _whole[kind] = path, list(open_media(path))
    return _whole[kind]


def seeks(path: Path, start: int) -> bool:
    with open_media(path) as reader:
        return reader._source.decode_from(start) is not None  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
def test_every_slice_is_what_decoding_from_the_start_gives(folder: Path, kind: str) -> None:
    path, whole = sample(folder, kind)
    assert len(whole) == COUNT
    assert len({frame.pixels.tobytes() for frame in whole}) > COUNT * 0.9
    for start in (1, 7, 11, 12, 13, 15, 23, 24, 25, 30, 36, 44, 47):
        with open_media(path, frames=slice(start, start + 3)) as reader:
            read = list(reader)
            assert reader.start_time == whole[start].time
        expected = whole[start : start + 3]
        assert len(read) == len(expected)
        for ours, theirs in zip(read, expected, strict=True):
            assert np.array_equal(ours.pixels, theirs.pixels)
            assert ours.time == theirs.time - whole[start].time
    with open_media(path) as reader:
        assert reader.times() == [frame.time for frame in whole]


@pytest.mark.parametrize("kind", KINDS)
def test_seeking_happens_where_it_can(folder: Path, kind: str) -> None:
    path, _ = sample(folder, kind)
    possible = KINDS[kind][3]
    assert any(seeks(path, start) for start in (20, 30, 40)) == possible


@given(
    keyint=st.integers(1, 20),
    bframes=st.integers(0, 4),
    open_gop=st.booleans(),
    suffix=st.sampled_from(["mp4", "mkv", "ts"]),
    first=st.fractions(0, 5, max_denominator=1000),
    steps=st.lists(st.integers(1, 90), min_size=COUNT, max_size=COUNT),
    starts=st.lists(st.integers(1, COUNT - 1), min_size=4, max_size=4),
)
def test_any_file_any_slice(
    folder: Path,
    keyint: int,
    bframes: int,
    open_gop: bool,
    suffix: str,
    first: Fraction,
    steps: list[int],
    starts: list[int],
) -> None:
    options = x264(keyint=keyint, bframes=bframes, **{"open-gop": int(open_gop), "min-keyint": 1})
    times = [first + Fraction(step, 1000) for step in itertools.accumulate(steps)]
    path = samples.encode(folder / f"any.{suffix}", moving(), rate=1000, options=options, times=times)
    whole = list(open_media(path))
    for start in starts:
        read = list(open_media(path, frames=slice(start, start + 4)))
        for ours, theirs in zip(read, whole[start : start + 4], strict=True):
            assert np.array_equal(ours.pixels, theirs.pixels)
            assert ours.time == theirs.time - whole[start].time
    assert open_media(path).times() == [frame.time for frame in whole]


@pytest.mark.parametrize("kind", ["b-frames", "vp9"])
def test_only_what_is_needed_is_read_and_decoded(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = sample(folder, kind)
    index._known.clear()
    part, whole = index.packet_index(path, 14), index.packet_index(path)
    assert part is not None
    assert whole is not None
    assert not part.complete
    assert 14 < len(part.pts) < COUNT
    assert np.array_equal(part.pts, whole.pts[: len(part.pts)])
    assert np.array_equal(part.keyframes, whole.keyframes[: len(part.keyframes)])
    decoded = []
    plain = video._decoded

    def counted(*args: Any) -> Any:
        for frame in plain(*args):
            decoded.append(frame)
            yield frame

    with open_media(path, frames=slice(40, 42)) as reader:
        monkeypatch.setattr(video, "_decoded", counted)
        assert len(list(reader)) == 2
    assert len(decoded) <= 18  # a group is 12 frames


def test_near_frames_are_decoded_from_the_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    path, _ = sample(folder, "no b-frames")
    assert not seeks(path, 12)
    assert seeks(path, 30)


def repacked(source: Path, target: Path, *, drop: int = 0, shift: int = 0) -> Path:
    """The packets of `source` without the first `drop`, `shift` ticks of 1/90000 s earlier."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(old.streams.video[0])):
            if packet.dts is None or number < drop:
                continue
            ticks = round(shift / 90_000 / packet.time_base)
            packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks
            packet.stream = stream
            new.mux(packet)
    return target


@pytest.mark.parametrize(
    ("name", "drop", "shift"), [("cut.ts", 5, 0), ("edited.mp4", 0, 20_000), ("later.mkv", 0, -900_000)]
)
def test_files_that_start_in_the_middle(folder: Path, name: str, drop: int, shift: int) -> None:
    source, _ = sample(folder, "b-frames")
    path = repacked(source, folder / name, drop=drop, shift=shift)
    whole = list(open_media(path))
    assert (len(whole) < COUNT) == (name != "later.mkv")
    for start in range(1, len(whole), 3):
        (frame,) = open_media(path, frames=slice(start, start + 1))
        assert np.array_equal(frame.pixels, whole[start].pixels)
    assert len(open_media(path).times()) == len(whole)


def test_a_cut_file_says_so_wherever_it_is_read(folder: Path) -> None:
    source, _ = sample(folder, "pyramid mkv")
    path = folder / "short.mkv"
    path.write_bytes(source.read_bytes()[: source.stat().st_size * 2 // 3])
    good = []
    with pytest.raises(MediaError, match="cut short"):
        for frame in open_media(path):
            good.append(frame)
    assert 20 < len(good) < COUNT
    (last,) = open_media(path, frames=slice(len(good) - 1, len(good)))
    assert np.array_equal(last.pixels, good[-1].pixels)
    for action in (lambda: list(open_media(path, frames=slice(20, None))), lambda: open_media(path).times()):
        with pytest.raises(MediaError, match=rf"cut short; the first {len(good)} frames can be read"):
            action()


def test_a_file_that_changes_is_indexed_anew(folder: Path) -> None:
    path = folder / "changing.mp4"
    for count in (40, 20):
        samples.encode(path, moving(count), options=x264(keyint=10))
        assert len(open_media(path).times()) == count


def test_times_of_pictures_and_animations(tmp_path: Path) -> None:
    from PIL import Image

    stills = [Image.fromarray(frame) for frame in moving(3)]
    stills[0].save(tmp_path / "a.png")
    stills[0].save(tmp_path / "a.gif", save_all=True, append_images=stills[1:], duration=200)
    assert open_media(tmp_path / "a.png").times() == [0]
    assert open_media(tmp_path / "a.gif").times() == [0, Fraction(1, 5), Fraction(2, 5)]
