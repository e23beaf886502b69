"""Captions and metadata of any length and with anything in them."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_tokenize import MODEL, SMALL, clips, rows_of  # noqa: F401 - a fixture

from cosmotok.dataset import TokenDataset
from cosmotok.dataset.rows import GROUP_BYTES, RowFile
from cosmotok.dataset.run import tokenize
from cosmotok.dataset.schema import row_schema
from cosmotok.spec import TokenizerSpec


@pytest.mark.parametrize("name", ["caption", "metadata"])
def test_a_row_group_ends_by_all_that_its_rows_hold(made_row: dict, name: str) -> None:
    row, spec = made_row
    packed = io.BytesIO()
    rows = RowFile(packed, row_schema(spec, "float16", {}))  # type: ignore[arg-type]
    for _ in range(50):
        rows.write({**row, name: "\u00fc" * 1_000_000})
    rows.close()
    about = pq.read_metadata(packed)
    sizes = [about.row_group(number).num_rows for number in range(about.num_row_groups)]
    assert sizes == [8] * 6 + [2] and GROUP_BYTES // 2_000_000 == 8


@pytest.fixture
def made_row(clips: Path, tmp_path: Path) -> tuple[dict, TokenizerSpec]:  # noqa: F811
    manifest = tokenize([str(clips / "photo.png")], str(tmp_path / "one"), MODEL, options=SMALL)
    return rows_of(tmp_path / "one")[0], manifest.spec


ODD = "half \\ud83d, none \\u0000, whole \\ud83d\\ude00"
"""As JSON has it."""
MENDED = "half \ufffd, none \ufffd, whole \U0001f600"


def test_halves_of_characters_and_nul_are_mended_to_be_seen(clips: Path, tmp_path: Path) -> None:  # noqa: F811
    """In files beside, in tar archives, in lists, flat or not, and in tables that have NUL alone."""
    photo, folder = clips / "photo.png", tmp_path / "in"
    folder.mkdir()
    for name in "abcdefg":
        shutil.copy(photo, folder / f"{name}.png")
    about = f'{{"caption": "{ODD}", "{ODD}": ["{ODD}", {{"deep": "{ODD}"}}]}}'
    (folder / "a.json").write_text(about)
    (folder / "b.txt").write_bytes(b"none \0, whole \xf0\x9f\x98\x80")
    with tarfile.open(folder / "c.tar", "w") as archive:
        for name, content in (("c.png", photo.read_bytes()), ("c.json", about.encode())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    (folder / "c.png").unlink()
    flat = {"path": "d.png", "caption": "none \0", "other": "none \0"}
    (folder / "flat.jsonl").write_text(json.dumps(flat) + "\n")
    (folder / "deep.jsonl").write_text(about.replace("{", '{"path": "e.png", ', 1) + "\n")
    (folder / "list.csv").write_bytes(b"path,caption,other\nf.png,none \0,none \0\n")
    table = pa.table({"image": [photo.read_bytes()], "caption": ["none \0"], "other": ["none \0"]})
    pq.write_table(table, folder / "g.parquet")
    names = ["a.png", "b.png", "c.tar", "flat.jsonl", "deep.jsonl", "list.csv", "g.parquet"]
    manifest = tokenize([str(folder / name) for name in names], str(tmp_path / "out"), MODEL, options=SMALL)
    assert manifest.counts.done == len(names)
    rows = {Path(row["key"].partition("::")[0]).stem: row for row in rows_of(tmp_path / "out")}
    deep = {MENDED: [MENDED, {"deep": MENDED}]}
    assert [rows[name]["caption"] for name in "ace"] == [MENDED] * 3
    assert [json.loads(rows[name]["metadata"]) for name in "ace"] == [deep] * 3
    assert rows["b"]["caption"] == "none \ufffd, whole \U0001f600"
    assert [rows[name]["caption"] for name in "dfg"] == ["none \ufffd"] * 3
    assert [json.loads(rows[name]["metadata"]) for name in "dfg"] == [{"other": "none \ufffd"}] * 3
    assert [row["caption"] for row in map(TokenDataset(tmp_path / "out").__getitem__, range(len(rows)))]


def test_a_name_with_half_a_character_is_quarantined(clips: Path, tmp_path: Path) -> None:  # noqa: F811
    listing = tmp_path / "list.jsonl"
    listing.write_text('{"path": "half \\ud83d.png"}\n' + json.dumps({"path": str(clips / "photo.png")}) + "\n")
    manifest = tokenize([str(listing)], str(tmp_path / "out"), MODEL, options=SMALL, most_quarantined=0.5)
    assert (manifest.counts.done, manifest.counts.quarantined) == (1, 1)
    (line,) = (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"].endswith("half \ufffd.png: no such file")
