"""Files that hold many inputs: WebDataset shards and Parquet tables, good and bad."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import media_samples as samples
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cosmotok.dataset.sources import Columns, find_sources, tables
from cosmotok.errors import InputError, MediaError
from cosmotok.media import open_media


def rows(*names: Path | str, columns: Columns | None = None) -> list:
    sources = find_sources([str(name) for name in names], columns=columns or Columns())
    return [(source, row) for source in sources for batch in source.entries() for row in batch.to_pylist()]


def opened(source, row) -> tuple[bytes, dict[str, Any]]:
    with pickle.loads(pickle.dumps(source)).open(row["key"], row["address"]) as found:
        copy = found.path
        content = copy.read_bytes(), dict(found.metadata)
    assert not copy.exists() or "cosmotok-" not in str(copy)
    return content


@pytest.fixture(scope="module")
def picture() -> bytes:
    file = io.BytesIO()
    Image.fromarray(samples.solid((9, 99, 199), 8, 8)).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, body in members:
            about = tarfile.TarInfo(name)
            about.size = len(body)
            archive.addfile(about, io.BytesIO(body))
    return path


# Shards ------------------------------------------------------------------------------------------------------------


def test_samples_of_a_shard(tmp_path, picture):
    shard = write_tar(
        tmp_path / "s-000.tar",
        [
            ("a/1.json", b'{"n": NaN, "m": 2}'),
            ("a/1.png", picture),
            ("a/1.txt", b"first"),
            ("a/1.seg.png", picture + b"seg"),
            ("a/1.cls", b"7"),
            ("b/1.png", picture + b"b"),
            ("._b/.2.png", picture),
            ("b/3.txt", b"nothing to see"),
        ],
    )
    found = rows(shard)
    assert [row["key"].removeprefix(f"{shard}::") for _, row in found] == ["a/1.png", "a/1.seg.png", "b/1.png"]
    told = {"caption": "first", "n": None, "m": 2}
    assert [opened(*each) for each in found] == [(picture, told), (picture + b"seg", told), (picture + b"b", {})]
    assert [row["bytes"] for _, row in found] == [len(picture), len(picture) + 3, len(picture) + 1]


def test_names_of_members_lead_nowhere(tmp_path, picture):
    names = ["../../out.png", "/etc/root.png", "a\nb.png", "c::d.png", "x." + "p" * 90 + ".png", "\udcff.png"]
    found = rows(write_tar(tmp_path / "s.tar", [(name, picture) for name in names]))
    before = sorted(path.name for path in tmp_path.parent.iterdir())
    assert len(found) == len(names)
    for source, row in found:
        json.dumps(row).encode()
        assert opened(source, row)[0] == picture
    assert sorted(path.name for path in tmp_path.parent.iterdir()) == before


def test_a_name_that_is_there_twice(tmp_path, picture):
    found = rows(write_tar(tmp_path / "s.tar", [("1.png", picture), ("2.png", b""), ("1.png", picture + b"again")]))
    assert [row["key"].partition("::")[2] for _, row in found] == ["1.png", "2.png", "1.png#2"]
    assert [opened(*each)[0] for each in found] == [picture, b"", picture + b"again"]


def test_many_shards_by_braces_and_globs(tmp_path, picture):
    for number in range(11):
        write_tar(tmp_path / f"s-{number:03}.tar", [(f"{number}.png", picture)])
    by_braces = [row["key"] for _, row in rows(tmp_path / "s-{000..010}.tar")]
    assert by_braces == [f"{tmp_path}/s-{number:03}.tar::{number}.png" for number in range(11)]
    assert [row["key"] for _, row in rows(tmp_path / "s-*.tar")] == by_braces
    assert [row["key"] for _, row in rows(tmp_path)] == by_braces
    with pytest.raises(InputError, match=r"s-011\.tar: no such file"):
        rows(tmp_path / "s-{009..011}.tar")


def test_a_damaged_shard_among_others_is_an_input_that_cannot_be_had(tmp_path, picture):
    whole = write_tar(tmp_path / "a.tar", [("1.png", picture), ("2.png", picture)])
    (tmp_path / "b.tar").write_bytes(whole.read_bytes()[: -10_240 + 1024 + 600])
    (tmp_path / "c.tar").write_bytes(b"\x1f\x8b" + bytes(600))
    write_tar(tmp_path / "d.tar", [("notes.md", b"")])
    found = {row["key"].removeprefix(f"{tmp_path}/"): (source, row) for source, row in rows(tmp_path)}
    assert {"a.tar::1.png", "a.tar::2.png", "c.tar"} <= set(found) and "d.tar" not in found
    with pytest.raises(MediaError, match="compressed with gzip"):
        opened(*found["c.tar"])
    for name, message in (("c.tar", "gzip"), ("d.tar", "no images or videos")):
        with pytest.raises(InputError, match=message):
            rows(tmp_path / name)


@pytest.mark.parametrize("damage", [lambda whole: whole[:1324], lambda whole: whole[:1024] + b"x" * 512 + whole[1536:]])
def test_a_shard_that_is_damaged_between_two_members(tmp_path, picture, damage):
    """`tarfile` takes that for the end."""
    shard = write_tar(tmp_path / "a.tar", [(f"{number}.png", picture[:512]) for number in range(3)])
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(InputError, match=r"a\.tar: the shard is damaged or cut short at byte 1,024"):
        rows(shard)


def test_a_shard_that_became_shorter(tmp_path, picture):
    shard = write_tar(tmp_path / "a.tar", [("1.png", picture)])
    ((source, row),) = rows(shard)
    shard.write_bytes(shard.read_bytes()[:520])
    with pytest.raises(MediaError, match=r"1\.png: the shard is shorter"):
        opened(source, row)


def test_errors_in_a_member_name_the_member(tmp_path):
    ((source, row),) = rows(write_tar(tmp_path / "a.tar", [("broken.png", b"no picture")]))
    with (
        pytest.raises(MediaError, match=r"a\.tar::broken\.png: not an image") as error,
        source.open(row["key"], row["address"]) as found,
    ):
        open_media(found.path)
    assert "cosmotok-" not in str(error.value)


# Tables ------------------------------------------------------------------------------------------------------------


def cells(picture: bytes, count: int) -> list[dict[str, Any]]:
    return [{"bytes": picture + bytes([n]), "path": f"{n}.png"} for n in range(count)]


def test_a_data_set_of_hugging_face(tmp_path, picture):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "image": datasets.Image(decode=False),
            "text": datasets.Value("string"),
            "score": datasets.Value("float32"),
            "boxes": datasets.Sequence(datasets.Value("int32")),
        }
    )
    content = {
        "image": cells(picture, 3),
        "text": ["one", None, "three"],
        "score": [0.5, float("nan"), None],
        "boxes": [[1, 2], [], [3]],
    }
    datasets.Dataset.from_dict(content, features=features).to_parquet(tmp_path / "train-00000.parquet")
    found = rows(tmp_path)
    assert [row["key"] for _, row in found] == [f"{tmp_path}/train-00000.parquet::{n}" for n in range(3)]
    assert [opened(*each)[0] for each in found] == [cell["bytes"] for cell in content["image"]]
    told = [json.loads(row["metadata"]) for _, row in found]
    assert [each.get("caption") for each in told] == ["one", None, "three"]
    assert [each.get("score") for each in told] == [0.5, None, None]
    assert [each["boxes"] for each in told] == [[1, 2], [], [3]]


def test_sound_is_no_picture(tmp_path, picture):
    table = pa.table({"voice": cells(b"RIFF", 2), "look": cells(picture, 2)})
    features = {"voice": {"_type": "Audio"}, "look": {"_type": "Image"}}
    for noted, columns in (({"info": {"features": features}}, {"look"}), ([], {"look", "voice"})):
        pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(noted)}), tmp_path / "a.parquet")
        addresses = [row["address"] for _, row in rows(tmp_path / "a.parquet")]
        assert {address.rpartition(":")[2] for address in addresses} == columns


def test_several_columns_groups_and_any_order(tmp_path, picture):
    table = pa.table(
        {
            "left": cells(picture, 20),
            "right": [{"bytes": bytes([n]) + picture, "path": None} for n in range(20)],
            "extra": [picture] * 20,
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    found = {row["key"].partition("::")[2]: (source, row) for source, row in rows(tmp_path / "a.parquet")}
    assert set(found) == {f"{n}::{side}" for n in range(20) for side in ("left", "right")}
    for number in (0, 1, 5, 19, 3, 4, 13, 14, 2):
        assert opened(*found[f"{number}::left"])[0] == picture + bytes([number])
        assert opened(*found[f"{number}::right"])[0] == bytes([number]) + picture
    results: list[bytes | None] = [None] * 20

    def read(number: int) -> None:
        results[number] = opened(*found[f"{number}::left"])[0]

    threads = [threading.Thread(target=read, args=[number]) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [picture + bytes([number]) for number in range(20)]


def test_a_column_of_bytes_or_the_one_that_was_named(tmp_path, picture):
    pq.write_table(pa.table({"image": [picture], "jpeg": [picture + b"j"], "id": [5]}), tmp_path / "a.parquet")
    ((source, row),) = rows(tmp_path / "a.parquet")
    assert opened(source, row)[0] == picture and json.loads(row["metadata"]) == {"id": 5}
    ((source, row),) = rows(tmp_path / "a.parquet", columns=Columns("jpeg", "id"))
    assert opened(source, row)[0] == picture + b"j" and json.loads(row["metadata"]) == {"caption": 5}


def test_paths_in_a_table_stay_below_its_folder(tmp_path, picture):
    (tmp_path / "secret.png").write_bytes(picture)
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/a.png").write_bytes(picture)
    names = ["deep/a.png", "deep/../deep/a.png", "../secret.png", str(tmp_path / "secret.png"), "deep/../../secret.png"]
    names += ["file:///etc/passwd", "http://127.0.0.1:1/a.png", "gone.png", "", None, "deep", "..", "a\0b"]
    pq.write_table(pa.table({"image": names}), folder / "a.parquet")
    found = rows(folder / "a.parquet")
    assert [opened(*each)[0] for each in found[:2]] == [picture] * 2
    for (source, row), message in zip(
        found[2:],
        ["not below"] * 5 + ["no such file", "nothing", "nothing", "folder", "not below", "not below"],
        strict=True,
    ):
        with pytest.raises(MediaError, match=message) as error:
            opened(source, row)
        assert "\n" not in str(error.value)


def test_memory_for_a_cell_is_that_of_a_few(tmp_path):
    cell = bytes(1_000_000)
    pq.write_table(
        pa.table({"video": [{"bytes": cell, "path": "a.mp4"}] * 40}), tmp_path / "a.parquet", compression="none"
    )
    found = rows(tmp_path / "a.parquet")
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    most = 0
    for source, row in found:
        opened(source, row)
        most = max(most, pa.total_allocated_bytes() - before)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 16 * len(cell) and peak < 8 * len(cell)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-30], "damaged"),
        (lambda content: b"PAR1" + bytes(40) + b"PAR1", "damaged"),
        (lambda content: b"", "damaged"),
        (lambda content: content[:-8] + (1 << 30).to_bytes(4, "little") + b"PAR1", "damaged"),
    ],
)
def test_a_damaged_table(tmp_path, picture, damage, message):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": cells(picture, 3)}), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=rf"a\.parquet: .*{message}") as error:
        rows(path)
    assert "\n" not in str(error.value)
    (tmp_path / "b.png").write_bytes(picture)
    broken = [each for each in rows(tmp_path) if each[1]["key"].endswith("a.parquet")]
    with pytest.raises(MediaError, match=message):
        opened(*broken[0])


def test_damage_inside_a_cell_is_that_inputs_error(tmp_path, picture):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": cells(picture * 50, 40)}), path, compression="zstd", row_group_size=4)
    found = rows(path)
    content = bytearray(path.read_bytes())
    start = pq.read_metadata(path).row_group(3).column(0).dictionary_page_offset
    content[start : start + 60] = bytes(60)
    path.write_bytes(content)
    tables._cursors.clear()
    good = bad = 0
    for source, row in found:
        try:
            opened(source, row)
            good += 1
        except MediaError as error:
            assert "a.parquet::" in str(error) and "\n" not in str(error)
            bad += 1
    assert (good, bad) == (36, 4)


@pytest.mark.parametrize("content", ["text", [1, 2], 7], ids=str)
def test_a_cell_of_something_else_is_that_inputs_error(tmp_path, picture, content):
    cells = [{"bytes": content, "path": "a.png"}, {"bytes": None, "path": None}, None]
    pq.write_table(pa.table({"image": cells}), tmp_path / "t.parquet")
    for (source, row), message in zip(
        rows(tmp_path / "t.parquet"), ("expected bytes", "nothing", "nothing"), strict=True
    ):
        with pytest.raises(MediaError, match=message):
            opened(source, row)
    pq.write_table(pa.table({"image": [{"bytes": picture, "path": 5}]}), tmp_path / "u.parquet")
    (found,) = rows(tmp_path / "u.parquet")
    assert opened(*found)[0] == picture


def test_times_that_python_has_no_type_for_are_left_out(tmp_path, picture):
    columns = {
        "date": pa.array([2**30, 0], pa.date32()),
        "time": pa.array([-(2**62), 0], pa.timestamp("us")),
        "zone": pa.array([0, 0], pa.timestamp("s", tz="No/Where")),
    }
    pq.write_table(pa.table({"image": [picture, picture], **columns}), tmp_path / "t.parquet")
    told = [json.loads(row["metadata"]) for _, row in rows(tmp_path / "t.parquet")]
    assert told == [{}, {"date": "1970-01-01", "time": "1970-01-01 00:00:00"}]


def test_tables_without_media(tmp_path, picture):
    for name, table in (
        ("none.parquet", pa.table({"a": [1], "b": ["x"]})),
        ("empty.parquet", pa.table({"image": pa.array([], pa.binary())})),
    ):
        pq.write_table(table, tmp_path / name)
        with pytest.raises(InputError, match=r"no column with images|without rows"):
            rows(tmp_path / name)
    (tmp_path / "b.png").write_bytes(picture)
    assert [row["key"] for _, row in rows(tmp_path)] == [f"{tmp_path}/b.png"]
    broken = pa.StringArray.from_buffers(1, pa.py_buffer(bytes([0, 0, 0, 0, 1, 0, 0, 0])), pa.py_buffer(b"\xff"))
    pq.write_table(pa.table({"image": [picture], "b": broken}), tmp_path / "text.parquet")
    with pytest.raises(InputError, match=r"UTF-?8"):
        rows(tmp_path / "text.parquet")
