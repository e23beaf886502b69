"""Writing: arguments that are refused, places that cannot be written, and that a failure leaves nothing."""

from __future__ import annotations

import errno
import gc
import os
import resource
import signal
import tracemalloc
from fractions import Fraction
from pathlib import Path

import media_samples as samples
import numpy as np
import pytest
from written import names, write

from cosmotok.errors import InputError, MediaError
from cosmotok.media import OUTPUT_SUFFIXES, VideoWriter, open_media, write_image
from cosmotok.writing import OutputFile, output_file
from cosmotok.writing.system import calls


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    for suffix in sorted(OUTPUT_SUFFIXES):
        for error in (RuntimeError, KeyboardInterrupt, OSError):
            with (
                pytest.raises(error),
                VideoWriter(tmp_path / f"a{suffix}", width=64, height=48, frame_rate=10) as writer,
            ):
                for frame in samples.numbered(5):
                    writer.write(frame)
                raise error
            assert names(tmp_path) == []


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"old")
    with (
        pytest.raises(ZeroDivisionError),
        VideoWriter(tmp_path / "a.mp4", width=64, height=48, frame_rate=10) as writer,
    ):
        writer.write(samples.numbered(1)[0])
        raise ZeroDivisionError
    assert (tmp_path / "a.mp4").read_bytes() == b"old"
    assert names(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize("call", [1, 2, 3])
def test_an_interrupt_in_a_call_of_the_library(
    tmp_path: Path, call: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is not swallowed, with bytes of the file, by what calls Python from C."""
    written, whole = 0, OutputFile.write

    def write_and_stop(self: OutputFile, data: bytes) -> int:
        nonlocal written
        written += 1
        if written == call:
            signal.raise_signal(signal.SIGINT)
        return whole(self, data)

    monkeypatch.setattr(OutputFile, "write", write_and_stop)
    with (
        pytest.raises(KeyboardInterrupt),
        VideoWriter(tmp_path / "a.mkv", width=64, height=48, frame_rate=10) as writer,
    ):
        for frame in samples.numbered(9):
            writer.write(frame)
    assert written >= call
    assert names(tmp_path) == []
    assert capfd.readouterr().err == ""


def test_the_file_appears_only_when_whole(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", width=64, height=48, frame_rate=10) as writer:
        for frame in samples.numbered(3):
            writer.write(frame)
        assert not (tmp_path / "a.mp4").exists()
    assert names(tmp_path) == ["a.mp4"]
    writer.close()
    with pytest.raises(InputError, match="closed"):
        writer.write(samples.numbered(1)[0])


def test_a_forgotten_writer_leaves_nothing(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", width=64, height=48, frame_rate=10)
    writer.write(samples.numbered(1)[0])
    assert len(names(tmp_path)) == 1
    del writer
    gc.collect()
    assert names(tmp_path) == []


def test_no_frames_at_all(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no frame"):
        VideoWriter(tmp_path / "a.mp4", width=64, height=48, frame_rate=10).close()
    assert names(tmp_path) == []


def test_the_source_is_never_the_target(tmp_path: Path) -> None:
    source = samples.encode(tmp_path / "a.mp4", samples.numbered(4), sound=("aac", 0.4))
    before = source.read_bytes()
    (tmp_path / "link.mp4").symlink_to(source)
    (tmp_path / "hard.mp4").hardlink_to(source)
    for name in ("a.mp4", "link.mp4", "hard.mp4", "../" + tmp_path.name + "/a.mp4"):
        with pytest.raises(InputError, match="source"):
            VideoWriter(tmp_path / name, width=64, height=48, frame_rate=10, audio_from=source)
    assert source.read_bytes() == before


def test_overwriting(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", samples.numbered(2))
    with pytest.raises(MediaError, match="exists already"):
        write(tmp_path / "a.mp4", samples.numbered(3), overwrite=False)
    assert len(list(open_media(tmp_path / "a.mp4"))) == 2
    write(tmp_path / "a.mp4", samples.numbered(3))
    assert len(list(open_media(tmp_path / "a.mp4"))) == 3
    write(tmp_path / "b.mp4", samples.numbered(3), overwrite=False)
    assert names(tmp_path) == ["a.mp4", "b.mp4"]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").touch()
    for name, text in (
        ("no/a.mp4", "does not exist"),
        ("folder.mp4", "is a folder"),
        ("file/a.mp4", "not a folder"),
    ):
        with pytest.raises(MediaError, match=text):
            VideoWriter(tmp_path / name, width=8, height=8, frame_rate=1)
    with pytest.raises(InputError, match="at most 255 bytes"):
        VideoWriter(tmp_path / ("x" * 300 + ".mp4"), width=8, height=8, frame_rate=1)
    assert names(tmp_path) == ["file", "folder.mp4"]
    with pytest.raises(MediaError, match="not an ordinary file"):
        output_file("/dev/null").__enter__()


def test_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(calls, "open", refuse, raising=False)
    with pytest.raises(MediaError, match="no permission"):
        VideoWriter(tmp_path / "a.mp4", width=8, height=8, frame_rate=1)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".gif", ".png"])
def test_no_room_to_write(tmp_path: Path, suffix: str) -> None:
    """A limit on file size stands in for a full disk: the write calls fail half-way in the same place."""
    noise = [np.random.default_rng(i).integers(0, 256, (96, 128, 3), dtype=np.uint8) for i in range(30)]
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(MediaError, match=rf"a\{suffix}") as caught:
            if suffix == ".png":
                write_image(tmp_path / "a.png", noise[0])
            else:
                write(tmp_path / f"a{suffix}", noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_disk_full_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"a\.json: the disk is full"), output_file(tmp_path / "a.json") as file:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_output_file(tmp_path: Path) -> None:
    target = tmp_path / "a.safetensors"
    with output_file(target) as file:
        assert [path.name[0] for path in tmp_path.iterdir()] == ["."]
        file.write(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    mask = os.umask(0)
    os.umask(mask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~mask
    with pytest.raises(KeyboardInterrupt), output_file(target) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert target.read_bytes() == b"whole"
    (tmp_path / "link").symlink_to(target)
    with output_file(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["a.safetensors", "link"]


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 0},
        {"height": -2},
        {"width": 6.5},
        {"frame_rate": 0},
        {"frame_rate": float("nan")},
        {"frame_rate": -5},
        {"frame_rate": "25"},
        {"frame_rate": 1e9},
        {"crf": 0},
        {"crf": 52},
        {"crf": 14.5},
        {"audio_start": -1},
        {"audio_start": float("inf")},
        {"path": "a.txt"},
        {"path": "a"},
        {"path": "a.png"},
    ],
    ids=str,
)
def test_arguments_that_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    arguments: dict[str, object] = {"path": "a.mp4", "width": 8, "height": 8, "frame_rate": 10, **changes}
    path = tmp_path / str(arguments.pop("path"))
    with pytest.raises(InputError, match=rf"{next(iter(changes))}|a"):
        VideoWriter(path, **arguments)  # type: ignore[arg-type]
    assert names(tmp_path) == []


def test_a_size_no_encoder_takes(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"a\.mp4"):
        write(tmp_path / "a.mp4", [np.zeros((2, 20_000, 3), np.uint8)])
    with pytest.raises(MediaError, match=r"a\.mp4"):
        VideoWriter(tmp_path / "a.mp4", width=10**9, height=10**9, frame_rate=1)
    assert names(tmp_path) == []


def test_frames_that_are_refused(tmp_path: Path) -> None:
    good = samples.quadrants()
    with VideoWriter(tmp_path / "a.mp4", width=64, height=48, frame_rate=10) as writer:
        writer.write(good)
        for bad in (good.astype(np.float32), good[:-1], good[:, :-1], good[..., 0], good.transpose(1, 0, 2), None):
            with pytest.raises(InputError, match=r"pixels.*\(48, 64, 3\)"):
                writer.write(bad)  # type: ignore[arg-type]
        for time in (0, -1, Fraction(0), float("nan")):
            with pytest.raises(InputError, match="time"):
                writer.write(good, time)  # type: ignore[arg-type]
        writer.write(good, Fraction(1, 2))
    assert [f.time for f in open_media(tmp_path / "a.mp4")] == [0, Fraction(1, 2)]


def test_writing_is_bounded(tmp_path: Path) -> None:
    width, height = 320, 240
    frame = samples.solid((10, 20, 30), width, height)
    with VideoWriter(tmp_path / "a.mp4", width=width, height=height, frame_rate=10) as writer:
        writer.write(frame)
        tracemalloc.start()
        for _ in range(150):
            writer.write(frame)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 20 * width * height * 3
