"""Files of strangers: numbers, text and JSON within limits, ordinary files alone, and one short line for all others."""

from __future__ import annotations

import json
import os
import shutil
import time
from fractions import Fraction

import pytest
from refusals import refused
from small import fresh

from cosmotok import Tokenizer
from cosmotok.checkpoint.native import is_native_file, is_native_folder
from cosmotok.errors import CheckpointError
from cosmotok.export import ProgramTokenizer
from cosmotok.foreign import one_line, parse_fraction, parse_json, read_json, whole_number


def test_one_line():
    assert one_line("cv4x8x8") == "cv4x8x8"
    assert one_line("a\nb\x1b[31mc\udc80") == "a b?[31mc?"
    assert one_line("x" * 500) == "x" * 77 + "..."
    assert len(one_line(10**10_000)) <= 80


@pytest.mark.parametrize("text", ["1e400", "-1e400", "Infinity", "NaN", "1" * 4000, "1" * 301, "[" * 100_000, "{", ""])
def test_json_beyond_its_limits(text):
    with pytest.raises(ValueError):
        parse_json(text)


def test_json_within_them():
    values = {"a": [1, -2.5, None, True, "x"], "b": {"c": 10**17}}
    assert parse_json(json.dumps(values)) == values


@pytest.mark.parametrize("text", ["1e9", "1e99999999", "0", "-1", "1/0", "0/3", "nan", "", "1" * 13, "1/2/3", "٣", 30])
def test_fractions_that_are_refused(text):
    with pytest.raises(ValueError, match="rate: expected a number above 0"):
        parse_fraction("rate", text)


def test_fractions():
    assert parse_fraction("rate", "30000/1001") == Fraction(30000, 1001)
    assert parse_fraction("rate", "29.97") == Fraction(2997, 100)
    assert parse_fraction("rate", "60") == 60


def test_whole_numbers():
    assert whole_number("n", 7, 1, 7) == 7
    for value in (0, 8, True, 7.0, "7", None, 10**5000):
        with pytest.raises(ValueError, match="n: expected a whole number from 1 to 7"):
            whole_number("n", value, 1, 7)


# Readers ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    fresh("cv4x8x8").save_pretrained(tmp_path / "model")
    return tmp_path / "model"


CONFIGS = {
    "nested": "[" * 100_000,
    "infinite": '{"config_version": 1, "latents_mean": [Infinity, 1, 1, 1]}',
    "1e400": '{"config_version": 1, "latents_std": [1e400, 1, 1, 1]}',
    "digits": '{"config_version": 1, "channels": ' + "1" * 5000 + "}",
    "channels": {"channels": 10**9},
    "blocks": {"blocks": 10**5},
    "stages": {"encoder_multipliers": [1] * 100_000},
    "levels": {"levels": [8] * 100_000},
    "factor": {"spatial_factor": 2**40},
    "surrogates": {"variant": "\udc80"},
    "path": {"variant": "x" * 5000},
    "terminal": {"variant": "\x1b[31m\n"},
    "key": {"k" * 100_000: 1},
    "type": {"channels": "9" * 100_000},
    "version": {"config_version": "9" * 100_000},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_beyond_their_limits(name, folder):
    path, change = folder / "config.json", CONFIGS[name]
    whole = json.loads(path.read_text())
    path.write_text(change if isinstance(change, str) else json.dumps(whole | change))
    begin = time.monotonic()
    message = refused(lambda: Tokenizer.from_pretrained(folder), str(path), error=CheckpointError)
    assert time.monotonic() - begin < 2
    assert message.isprintable()
    assert len(message) < len(str(path)) + 300


def test_pipes_are_not_waited_for(folder, tmp_path):
    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)
    assert not is_native_file(pipe)
    with pytest.raises(ValueError, match="pipe"):
        read_json(pipe)
    for name in ("pipe.safetensors", "model.pt", "model/int8.json", "model/model.safetensors", "model/config.json"):
        path = tmp_path / name
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        whole = folder if path.parent == folder else path
        refused(lambda whole=whole: Tokenizer.from_pretrained(whole), name, "is a pipe", error=CheckpointError)
    (folder / "model.safetensors").unlink()
    assert not is_native_folder(folder)
    shutil.rmtree(folder)


def test_names_of_tensors_are_not_echoed_at_length(folder):
    import safetensors.torch

    path = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    tensors["quant_conv." + "x" * 100_000] = tensors["quant_conv.bias"].clone()
    safetensors.torch.save_file(tensors, path)
    message = refused(lambda: Tokenizer.from_pretrained(folder), str(path), "unexpected", error=CheckpointError)
    assert len(message) < len(str(path)) + 400


@pytest.mark.parametrize("shape", [[0, 2**64 - 1], [0, 2**63], [2**62, 0, 2**62]], ids=str)
def test_shapes_beyond_all_bounds(shape, folder):
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    refused(lambda: Tokenizer.from_pretrained(folder), str(folder), error=CheckpointError)


@pytest.mark.parametrize("file", ["../encoder.pt2", "/etc/passwd", "a/b.pt2", 5])
def test_a_manifest_names_files_beside_it(file, folder):
    manifest = {
        "manifest_version": 1,
        "config": json.loads((folder / "config.json").read_text()),
        "to": "torch-export",
        "fingerprint": "",
        "graphs": {"encoder": {"file": file}},
        "state": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    refused(lambda: ProgramTokenizer(folder), "manifest.json", "not a valid manifest", error=CheckpointError)
