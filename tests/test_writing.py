"""The one way in which everything is written: whole or not at all, and what dead processes left is swept."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from refusals import refused
from written import names

from cosmotok.errors import InputError, MediaError
from cosmotok.writing import Together, buffered, output_file, output_folder, spare, write_file
from cosmotok.writing.hidden import hidden, sweep
from cosmotok.writing.system import calls

WRITER = """
import sys
from pathlib import Path
from cosmotok.writing import output_file
with output_file(Path(sys.argv[1]) / "out.bin") as file:
    file.write(b"half")
    print("begun", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writer(tmp_path):
    """A process that is writing a file."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"begun\n"
        yield process
        process.kill()


def test_leftovers_of_a_dead_process_are_swept(writer, tmp_path):
    [left] = names(tmp_path)
    write_file(tmp_path / "mine.txt", "x")
    assert names(tmp_path) == [left, "mine.txt"]  # a living one is spared
    writer.kill()
    writer.wait()
    again = "from cosmotok.writing import write_file; import sys; write_file(sys.argv[1], 'y')"
    subprocess.run([sys.executable, "-c", again, str(tmp_path / "other.txt")], check=True)
    assert names(tmp_path) == ["mine.txt", "other.txt"]


def test_leftovers_of_other_machines_and_other_names_stay(tmp_path):
    others = [".out.bin.00000000-999999-00000000.part", ".hidden.part", "out.part"]
    for name in others:
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert names(tmp_path) == sorted(others)


def test_a_new_folder_appears_whole(tmp_path):
    with output_folder(tmp_path / "a" / "b") as place:
        write_file(place / "one", "1")
        assert not (tmp_path / "a" / "b").exists()
    assert names(tmp_path / "a" / "b") == ["one"]
    with pytest.raises(ZeroDivisionError), output_folder(tmp_path / "c" / "d") as place:
        write_file(place / "one", "1")
        raise ZeroDivisionError
    assert names(tmp_path) == ["a"]


def test_a_folder_that_is_there_gets_all_or_nothing(tmp_path, monkeypatch):
    for name in ("one", "two", "mine"):
        (tmp_path / name).write_text("old")
    real, done = os.replace, []

    def second_fails(*paths):
        if Path(paths[1]).parent == tmp_path:
            done.append(paths)
            if len(done) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
        real(*paths)

    monkeypatch.setattr(calls, "rename", second_fails, raising=False)

    def write():
        with output_folder(tmp_path, replaces=("mine",)) as place:
            for name in ("one", "two"):
                write_file(place / name, "new")

    refused(write, "the disk is full", error=MediaError)
    assert {name: (tmp_path / name).read_text() for name in names(tmp_path)} == dict.fromkeys(
        ("mine", "one", "two"), "old"
    )
    monkeypatch.undo()
    write()
    assert {name: (tmp_path / name).read_text() for name in names(tmp_path)} == dict.fromkeys(("one", "two"), "new")


def test_together_or_not_at_all(tmp_path):
    with pytest.raises(ZeroDivisionError), Together() as together:
        with output_file(tmp_path / "a", together=together) as file:
            file.write(b"a")
        raise ZeroDivisionError
    assert names(tmp_path) == []
    with Together() as together:
        for name in ("a", "b"):
            with output_file(tmp_path / name, together=together) as file:
                file.write(name.encode())
        assert not (tmp_path / "a").exists()
    assert names(tmp_path) == ["a", "b"]


def test_small_pieces_go_in_large_ones(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(calls, "write", lambda fd, data: sizes.append(len(data)) or os.write(fd, data), raising=False)
    with output_file(tmp_path / "a") as file, buffered(file) as whole:
        for _ in range(10_000):
            whole.write(b"abc")
    assert (tmp_path / "a").read_bytes() == b"abc" * 10_000
    assert sizes == [30_000]


def test_a_disk_that_is_full_when_the_rest_is_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(calls, "write", full, raising=False)

    def write():
        with output_file(tmp_path / "a") as file, buffered(file) as whole:
            whole.write(b"abc")

    refused(write, "the disk is full", error=MediaError)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 256, "y" * 5000])
def test_names_that_no_file_can_have(name, tmp_path):
    refused(lambda: write_file(name and str(tmp_path / name), "x"), error=InputError)
    assert names(tmp_path) == []


def test_a_long_name_has_a_hidden_one(tmp_path):
    write_file(tmp_path / ("x" * 255), "x")
    assert len(hidden(tmp_path / ("é" * 127)).name.encode()) < 256


def test_what_is_read_is_spared(tmp_path):
    (tmp_path / "model").mkdir()
    weights = tmp_path / "model" / "weights"
    weights.touch()
    (tmp_path / "hard").hardlink_to(weights)
    inner = tmp_path / "pipeline" / "vae" / "weights"
    inner.parent.mkdir(parents=True)
    inner.touch()
    for output, source in (
        (inner, tmp_path / "pipeline"),
        (inner.parent, tmp_path / "pipeline"),
        (weights, weights),
        (tmp_path / "hard", tmp_path / "model"),
        (tmp_path / "model", weights),
        (tmp_path / "model", tmp_path / "model"),
    ):
        refused(lambda output=output, source=source: spare(output, source), "choose another", error=InputError)
    spare(tmp_path / "new", tmp_path / "model", None, "cv4x8x8-tiny")
