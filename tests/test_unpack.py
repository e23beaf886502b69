"""`cosmotok unpack`: the rows of a data set in other formats, as their readers read them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from token_sets import CONTINUOUS, DISCRETE, MEAN, tokens_of, write_set

from cosmotok import Tokenizer
from cosmotok.cli.app import command
from cosmotok.dataset import TokenDataset
from cosmotok.dataset.manifest import Manifest
from cosmotok.dataset.unpacking import FORMATS, unpack
from cosmotok.errors import InputError
from cosmotok.pipeline import decode_file
from cosmotok.tokenfile import TokenFile

SIZES = ((5, 16, 24), (1, 16, 16), (9, 24, 16))
ROWS = 9


@pytest.fixture(scope="module")
def indices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("made") / "indices", [4, 5], sizes=SIZES)


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("made") / "latents", [2, 3], spec=CONTINUOUS)


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_flat_file_keeps_the_bounds_of_rows(indices: Path, tmp_path: Path) -> None:
    assert unpack(indices, tmp_path / "flat", "bin") == ROWS
    tokens = np.memmap(tmp_path / "flat" / "tokens.bin", dtype="<u2", mode="r")
    index = np.load(tmp_path / "flat" / "index.npy", mmap_mode="r")
    assert index.dtype == np.int64 and index.shape == (ROWS, 4)
    end = 0
    for number, (offset, *shape) in enumerate(index.tolist()):
        assert offset == end  # nothing between rows, and no row in another
        end += int(np.prod(shape))
        clip = tokens[offset:end].reshape(shape).astype(np.int32)
        assert np.array_equal(clip, tokens_of(number, DISCRETE, *SIZES[number % 3]).numpy())
    assert end == len(tokens)
    lines = lines_of(tmp_path / "flat" / "rows.jsonl")
    assert [line["key"] for line in lines] == [f"clip-{number}" for number in range(ROWS)]
    assert lines[1]["caption"] == "clip 1" and lines[0]["caption"] is None and lines[2]["metadata"] == {"number": 2}
    about = json.loads((tmp_path / "flat" / "about.json").read_text())
    assert (about["format"], about["vocab_size"], about["rows"], about["tokens"]) == ("cosmotok-bin", 64_000, ROWS, end)


def test_large_vocabularies_take_four_bytes(indices: Path, tmp_path: Path) -> None:
    manifest = Manifest.parse((indices / "manifest.json").read_text(), "m")
    spec = {**vars(manifest.spec), "vocab_size": 2**18}
    folder = write_set(tmp_path / "large", [2], spec=type(manifest.spec)(**spec))
    unpack(folder, tmp_path / "flat", "bin")
    tokens = np.memmap(tmp_path / "flat" / "tokens.bin", dtype="<u4", mode="r")
    assert np.array_equal(tokens[: len(tokens) // 2], TokenDataset(folder)[0]["tokens"].flatten().numpy())


@pytest.mark.parametrize("kind", ["indices", "latents"])
def test_archives_are_read_by_hugging_face(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    folder = request.getfixturevalue(kind)
    unpack(folder, tmp_path / "tars", "webdataset")
    assert sorted(path.name for path in (tmp_path / "tars").iterdir()) == [
        *("00000-00000.tar", "00000-00001.tar", "about.json")
    ]
    loaded = datasets.load_dataset(
        "webdataset", data_files=str(tmp_path / "tars" / "*.tar"), split="train", cache_dir=str(tmp_path / "cache")
    )
    expected = TokenDataset(folder)
    assert len(loaded) == len(expected)
    for number, row in enumerate(loaded):
        assert row["__key__"] == f"{number:09}" and row["json"]["key"] == f"clip-{number}"
        assert np.array_equal(np.array(row["tokens.npy"]), expected[number]["tokens"].numpy())
        assert row["txt"] == expected[number]["caption"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8"])
def test_archives_and_files_have_floats_of_every_kind_of_latent(tmp_path: Path, dtype: str) -> None:
    folder = write_set(tmp_path / "set", [2], spec=CONTINUOUS, dtype=dtype)  # type: ignore[arg-type]
    expected = TokenDataset(folder)[1]["tokens"]
    close = {"float16": 0, "bfloat16": 0, "int8": 2e-3}[dtype]
    unpack(folder, tmp_path / "tars", "webdataset")
    with tarfile.open(tmp_path / "tars" / "00000-00000.tar") as archive:
        found = np.load(io.BytesIO(archive.extractfile("000000001.tokens.npy").read()))  # type: ignore[union-attr]
    torch.testing.assert_close(torch.from_numpy(found).float(), expected, atol=close, rtol=0)
    unpack(folder, tmp_path / "files", "safetensors")
    with safe_open(tmp_path / "files" / "000000001.safetensors", framework="pt") as file:
        torch.testing.assert_close(file.get_tensor("latents").float(), expected, atol=close, rtol=0)
    assert json.loads((tmp_path / "tars" / "about.json").read_text())["mean"] == list(MEAN)


def test_token_files_decode(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_pretrained("dv4x8x8-tiny")
    folder = write_set(tmp_path / "set", [2, 1], spec=tokenizer.spec, sizes=SIZES)
    manifest = json.loads((folder / "manifest.json").read_text())
    changed = {**manifest, "model": "dv4x8x8-tiny", "fingerprint": tokenizer.fingerprint}
    (folder / "manifest.json").write_text(json.dumps(changed))
    unpack(folder, tmp_path / "files", "safetensors")
    lines = lines_of(tmp_path / "files" / "rows.jsonl")
    for line, size in zip(lines, SIZES, strict=True):
        file = TokenFile(tmp_path / "files" / f"{line['row']:09}.safetensors")
        assert file.info.size == size and file.info.kind == ("image" if size[0] == 1 else "video")
        report = decode_file(tokenizer, file, tmp_path / f"{line['row']}{'.png' if size[0] == 1 else '.mp4'}")
        assert report.frames == size[0]


def test_the_command_says_what_it_wrote(indices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["unpack", str(indices), "--to", "bin", "-o", str(tmp_path / "flat"), "--json"]
    command(lambda given: None)(words, standalone_mode=False)
    assert json.loads(capsys.readouterr().out) == {"output": str(tmp_path / "flat"), "rows": ROWS}


def test_what_cannot_be_unpacked_leaves_nothing(indices: Path, latents: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bin: is a format for indices"):
        unpack(latents, tmp_path / "out", "bin")
    with pytest.raises(InputError, match="expected bin, webdataset, safetensors, got 'zip'"):
        unpack(indices, tmp_path / "out", "zip")
    with pytest.raises(InputError, match="expected a folder of this machine"):
        unpack(indices, "s3://bucket/out", "bin")
    with pytest.raises(InputError, match="is the source itself"):
        unpack(indices, indices, "bin")
    with pytest.raises(InputError, match="is the source itself"):
        unpack(indices, indices / "data", "bin")
    assert not list(tmp_path.iterdir())


def test_an_earlier_output_is_replaced(indices: Path, latents: Path, tmp_path: Path) -> None:
    unpack(latents, tmp_path / "out", "webdataset")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    unpack(indices, tmp_path / "out", "bin")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("about.json", "index.npy", "notes.txt", "rows.jsonl", "tokens.bin")
    ]


def test_signals_go_into_archives(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", [3], spec=CONTINUOUS, signals=True)
    unpack(folder, tmp_path / "tars", "webdataset")
    with tarfile.open(tmp_path / "tars" / "00000-00000.tar") as archive:
        assert "000000001.signal-action.npy" not in archive.getnames()  # it has none
        found = np.load(io.BytesIO(archive.extractfile("000000002.signal-action.npy").read()))  # type: ignore[union-attr]
    assert np.array_equal(found, TokenDataset(folder)[2]["signals"]["action"].numpy())


@pytest.mark.parametrize("to", sorted(FORMATS))
def test_a_damaged_row_leaves_nothing(tmp_path: Path, to: str) -> None:
    folder = write_set(tmp_path / "set", [3, 3])
    second = folder / "data" / "00000-00001.parquet"
    second.write_bytes(b"\0" * second.stat().st_size)
    with pytest.raises(InputError, match="damaged"):
        unpack(folder, tmp_path / "out", to)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
