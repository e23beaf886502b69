"""Sources: what folders, patterns and lists have, under which keys, and that it can be opened."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from math import isfinite
from pathlib import Path
from typing import Any

import media_samples as samples
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cosmotok.dataset.sources import Columns, Source, find_sources
from cosmotok.dataset.sources.jsontext import objects, plain
from cosmotok.dataset.sources.names import from_address, to_address
from cosmotok.errors import InputError, MediaError
from cosmotok.media import open_media

Row = dict[str, Any]


def rows(*names: Path | str, columns: Columns | None = None) -> list[tuple[Source, Row]]:
    sources = find_sources([str(name) for name in names], columns=columns or Columns())
    return [(source, row) for source in sources for batch in source.entries() for row in batch.to_pylist()]


def keys(*names: Path | str) -> list[str]:
    return [row["key"] for _, row in rows(*names)]


def opened(source: Source, row: Row) -> tuple[bytes, dict[str, Any]]:
    """Content and metadata, as another process would have them."""
    with pickle.loads(pickle.dumps(source)).open(row["key"], row["address"]) as found:
        return found.path.read_bytes(), dict(found.metadata)


@pytest.fixture
def footage(tmp_path, monkeypatch) -> Path:
    """Pictures and clips in folders of a folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in/deep").mkdir(parents=True)
    for number, name in enumerate(("b.png", "a.png", "deep/c.png", "deep/.hidden.png", "z.png")):
        Image.fromarray(samples.solid((number * 40,) * 3, 16, 16)).save(tmp_path / "in" / name)
    samples.encode(tmp_path / "in/deep/v.mp4", samples.numbered(3), rate=10)
    (tmp_path / "in/notes.md").write_text("no picture")
    return tmp_path


# Folders -----------------------------------------------------------------------------------------------------------


def test_a_folder_is_all_below_it_in_order(footage):
    found = ["in/a.png", "in/b.png", "in/z.png", "in/deep/c.png", "in/deep/v.mp4"]
    assert keys("in") == keys("in/") == keys("./in") == keys("in/deep/..") == found
    assert keys(".") == found
    assert keys(footage / "in") == [str(footage / name) for name in found]
    for source, row in rows("in"):
        path = footage / row["key"]
        facts = path.stat()
        assert row["bytes"] == facts.st_size and row["stamp"] == f"{facts.st_size}-{facts.st_mtime_ns}"
        assert opened(source, row) == (path.read_bytes(), {})


def test_sources_find_their_files_from_another_folder(footage, monkeypatch, tmp_path_factory):
    ((source, row),) = rows("in/deep/v.mp4")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert opened(source, row)[0] == (footage / "in/deep/v.mp4").read_bytes()


def test_a_stamp_tells_of_a_change_beside_too(footage):
    def stamps() -> dict[str, str]:
        return {row["key"]: row["stamp"] for _, row in rows("in")}

    before = stamps()
    os.utime(footage / "in/a.png", ns=(1, 1))
    (footage / "in/b.txt").write_text("a caption")
    after = stamps()
    assert {key for key in before if before[key] != after[key]} == {"in/a.png", "in/b.png"}
    (footage / "in/b.txt").write_text("another one")
    assert stamps()["in/b.png"] != after["in/b.png"]


def test_captions_and_metadata_beside(footage):
    (footage / "in/b.txt").write_text("  a grey square\n")
    (footage / "in/b.json").write_text('{"place": "Köln", "speed": NaN, "nested": [1, {"x": Infinity}]}')
    (footage / "in/deep/v.json").write_text("[1, 2]")
    told = {row["key"]: opened(source, row)[1] for source, row in rows("in") + rows("in/deep/*.mp4")}
    assert told["in/b.png"] == {
        "caption": "a grey square",
        "place": "Köln",
        "speed": None,
        "nested": [1, {"x": None}],
    }
    assert told["in/deep/v.mp4"] == {"json": [1, 2]} and told["in/a.png"] == {}


@pytest.mark.parametrize(("name", "content"), [("b.json", b'{"a":'), ("b.json", b"[" * 10_000), ("b.txt", b"\xff")])
def test_damaged_metadata_is_that_inputs_error(footage, name, content):
    (footage / "in" / name).write_bytes(content)
    ((source, row),) = [each for each in rows("in") if each[1]["key"] == "in/b.png"]
    with pytest.raises(MediaError, match=name) as error:
        opened(source, row)
    assert "\n" not in str(error.value)


def test_links_neither_loop_nor_break(footage):
    (footage / "in/deep/up").symlink_to(footage / "in")
    (footage / "in/self.png").symlink_to("self.png")
    (footage / "in/gone.png").symlink_to("nowhere.png")
    (footage / "in/link.png").symlink_to("a.png")
    (footage / "in/z.txt").symlink_to("nowhere.txt")
    assert keys("in") == ["in/a.png", "in/b.png", "in/link.png", "in/z.png", "in/deep/c.png", "in/deep/v.mp4"]


@pytest.mark.skipif(os.name != "posix", reason="names are Unicode there")
def test_names_that_are_no_text(footage):
    os.rename(footage / "in/b.png", os.fsencode(footage) + b"/in/\xff\xfe.png")  # noqa: PTH104 - bytes
    (footage / "in/z.png").rename(footage / "in/new\nline\t.png")
    found = rows("in")
    assert [row["key"] for _, row in found][:3] == ["in/a.png", "in/new\nline\t.png", "in/\\xff\\xfe.png"]
    for source, row in found:
        json.dumps(row).encode()
        assert opened(source, row)[0]


VALUES = st.none() | st.text() | st.sampled_from(["{, ", '"', "\\", "\n", ", "])


@given(
    st.lists(st.fixed_dictionaries({"a": VALUES, 'b"': st.none() | st.integers(-9, 9), "c": st.none() | st.floats()}))
)
def test_columns_become_json_that_says_the_same(rows):
    kinds = {"a": pa.string(), 'b"': pa.int64(), "c": pa.float64()}
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()}
    told = [json.loads(text) for text in objects(columns, len(rows)).to_pylist()]
    assert told == [
        {
            name: plain(value)
            for name, value in row.items()
            if value is not None and not (name == "c" and not isfinite(value))
        }
        for row in rows
    ]


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name), st.none() | st.text())
def test_addresses_lead_back(name, inside):
    path = os.fsdecode(b"/" + name)
    address = to_address(path, inside)
    address.encode()
    assert from_address(address) == (path, inside)


# Patterns and single names -----------------------------------------------------------------------------------------


def test_patterns_have_the_keys_of_what_they_match(footage):
    assert keys("in/*.png") == ["in/a.png", "in/b.png", "in/z.png"]
    assert keys("./in/**/?.png") == ["in/a.png", "in/b.png", "in/deep/c.png", "in/z.png"]
    assert keys("i*") == keys("in")
    assert keys("in/{b,a}.png") == ["in/b.png", "in/a.png"]
    assert keys("in/deep/../[ab].png") == ["in/a.png", "in/b.png"]
    for source, row in rows("in/**/?.png"):
        assert opened(source, row)[0] == (footage / row["key"]).read_bytes()


def test_files_that_a_shell_named_are_one_source(footage):
    names = ["in/z.png", "in/deep", "in/a.png", "in/b.png", str(footage / "in/deep/v.mp4")]
    assert len(find_sources(names)) == 3
    assert keys(*names) == ["in/z.png", "in/deep/c.png", "in/deep/v.mp4", *names[2:]]


def test_names_with_marks_are_names_first(footage):
    for name in ("in/[a].png", "in/{x}.png"):
        shutil.copy(footage / "in/a.png", footage / name)
        assert keys(name) == [name]


@pytest.mark.parametrize("name", ["in/missing.png", "in/*.webm", "in/{a,nothing}.png", "in/{000..003}.tar", "", "  "])
def test_what_is_not_there(footage, name):
    with pytest.raises(InputError) as error:
        rows(name)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="none"):
        find_sources([])


def test_a_folder_without_media(footage):
    (footage / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no images or videos"):
        rows("empty")


def test_a_file_that_is_gone_when_it_is_wanted(footage):
    ((source, row),) = rows("in/a.png")
    (footage / "in/a.png").unlink()
    with pytest.raises(MediaError, match="no such file"):
        opened(source, row)
    os.mkfifo(footage / "in/a.png")
    with pytest.raises(MediaError, match="pipe"):
        opened(source, row)


# Lists -------------------------------------------------------------------------------------------------------------


def test_a_list_of_paths(footage):
    (footage / "in/list.txt").write_text("\ufeff# mine\na.png\n\n  deep/v.mp4 \nnot there.png\n../in/b.png")
    found = rows("in/list.txt")
    assert [row["key"] for _, row in found] == ["in/a.png", "in/deep/v.mp4", "in/not there.png", "in/b.png"]
    assert [row["stamp"] for _, row in found][2] == "missing"
    by_folder = {row["key"]: (row["stamp"], row["bytes"]) for _, row in rows("in")}
    for source, row in found:
        if row["stamp"] == "missing":
            with pytest.raises(MediaError, match=r"not there\.png: no such file"):
                opened(source, row)
        else:
            assert (row["stamp"], row["bytes"]) == by_folder[row["key"]]
            assert opened(source, row)[0] == (footage / row["key"]).read_bytes()


TABLE = [
    {"path": "a.png", "caption": 'say "hi", \\ you', "note": "x\ty", "n": "007"},
    {"path": "b.png", "caption": None, "note": "línea\nnueva", "n": None},
]


def as_csv(folder: Path) -> Path:
    import csv

    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(TABLE[0]))
        writer.writeheader()
        writer.writerows(TABLE)
    return folder / "list.csv"


def as_jsonl(folder: Path) -> Path:
    (folder / "list.jsonl").write_text("\n".join(json.dumps(row) for row in TABLE) + "\n\n")
    return folder / "list.jsonl"


@pytest.mark.parametrize("write", [as_csv, as_jsonl])
def test_a_list_with_columns(footage, write):
    path = write(footage / "in")
    found = [row for _, row in rows(path.relative_to(footage))]
    assert [row["key"] for row in found] == ["in/a.png", "in/b.png"]
    for row, line in zip(found, TABLE, strict=True):
        assert json.loads(row["metadata"]) == {name: line[name] for name in ("caption", "note", "n") if line[name]}


def test_other_names_of_columns(footage):
    (footage / "in/list.csv").write_text("Video,text,where\ndeep/v.mp4,hello,a.png\n")
    ((_, row),) = rows("in/list.csv")
    assert row["key"] == "in/deep/v.mp4" and json.loads(row["metadata"]) == {"caption": "hello", "where": "a.png"}
    ((_, row),) = rows("in/list.csv", columns=Columns("where", "Video"))
    assert row["key"] == "in/a.png" and json.loads(row["metadata"]) == {"caption": "deep/v.mp4", "text": "hello"}
    with pytest.raises(InputError, match=r"no column wher for images or videos; did you mean where\?"):
        rows("in/list.csv", columns=Columns("wher"))


def test_a_list_tells_facts_of_files_it_does_not_look_at(footage):
    (footage / "list.csv").write_text("path,bytes,stamp\ns3://nowhere/a.mp4,12,v1\n/nowhere/b.mp4,,v2\n")
    found = [row for _, row in rows("list.csv")]
    assert [(row["key"], row["bytes"], row["stamp"]) for row in found] == [
        ("s3://nowhere/a.mp4", 12, "v1"),
        ("/nowhere/b.mp4", 0, "v2"),
    ]


def test_json_lines_with_anything_in_them(footage):
    (footage / "list.jsonl").write_text(
        '{"path": "in/a.png", "deep": {"a": [1, NaN]}, "when": "2020-01-01", "n": 1, "odd": "\\ud800"}\n'
        '{"path": "in/b.png", "n": "one", "big": 123456789012345678901234567890, "inf": 1e999, "nul": null}\n'
    )
    told = [json.loads(row["metadata"]) for _, row in rows("list.jsonl")]
    assert told == [
        {"deep": {"a": [1, None]}, "when": "2020-01-01", "n": 1, "odd": "\ufffd"},
        {"n": "one", "big": 123456789012345678901234567890},
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "names nothing"),
        ("a.txt", b"a\0b.png\n", "row 1"),
        ("a.txt", b"caf\xe9.png\n", "UTF-8"),
        ("a.csv", b"", "column called path"),
        ("a.csv", b"path,n\n", "names nothing"),
        ("a.csv", b"name,n\nx,1\n", "column called path"),
        ("a.csv", b"path,path\nx,1\n", "two columns"),
        ("a.csv", b"path,n\nin/a.png\n", "Row #2|2 columns"),
        ("a.csv", b"path,n\nin/a.png,1\n,2\n", "row 2"),
        ("a.csv", b"path,n\nin/\xff.png,1\n", "UTF"),
        ("a.csv", b"path,bytes\nin/a.png,many\n", "bytes"),
        ("a.csv", b"path," + b",".join(b"c%d" % n for n in range(1001)) + b"\n", "columns"),
        ("a.csv", b'path,caption\nin/a.png,"never closed\n' + b"more\n" * 8_000_000, "close its quotes"),
        ("a.csv", b"path," + b"c," * 700_000 + b"\n", "columns|twice|called"),
        ("a.jsonl", b'{"path": "in/a.png"}\n{"path": \n', "line 2"),
        ("a.jsonl", b'{"path": "in/a.png"}\n\n[]\n', "line 3"),
        ("a.jsonl", b'{"path": "in/a.png", "caption": "caf\xe9"}\n', "line 1.*utf-8"),
        ("a.jsonl", b'{"file": "in/a.png"}\n{"path": "in/a.png"}\n', "row 1"),
        ("a.jsonl", b'{"path": "in/a.png", "x": ' + b"[" * 100_000 + b"\n", "line 1"),
        ("a.jsonl", b'{"path": "in/a.png", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "line 1"),
        ("a.jsonl", b'{"path":\n' * 100_000 + b"1" + b"}" * 100_000 + b"\n", "line 1"),
    ],
)
def test_a_bad_list_is_refused_in_one_line_that_says_where(footage, name, content, message):
    (footage / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        rows(name)
    assert name in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 500


def test_a_list_does_not_make_a_folder_or_a_pattern_an_input(footage):
    (footage / "list.txt").write_text("in\nin/*.png\n")
    for source, row in rows("list.txt"):
        with pytest.raises(MediaError):
            opened(source, row)


def test_what_is_opened_can_be_read(footage):
    for source, row in rows("in"):
        with source.open(row["key"], row["address"]) as found, open_media(found.path, frames=found.frames) as reader:
            assert next(iter(reader)).pixels.shape[2] == 3
