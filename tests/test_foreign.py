"""Files of strangers: numbers, text and JSON within limits, ordinary files alone, and one short line for all others."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
import zipfile
from fractions import Fraction

import numpy as np
import pytest
import torch
from refusals import refused
from small import fresh

from cosmotok import Tokenizer
from cosmotok.checkpoint.native import is_native_file, is_native_folder
from cosmotok.cli import app
from cosmotok.errors import CheckpointError, CosmotokError, UnknownModelError
from cosmotok.export import ProgramTokenizer
from cosmotok.families import find, is_known
from cosmotok.foreign import one_line, parse_fraction, parse_json, read_json, whole_number
from cosmotok.media import write_image


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
    begin = time.process_time()
    message = refused(lambda: Tokenizer.from_pretrained(folder), str(path), error=CheckpointError)
    assert time.process_time() - begin < 2
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


def write_manifest(folder, file):
    manifest = {
        "manifest_version": 1,
        "config": json.loads((folder / "config.json").read_text()),
        "to": "torch-export",
        "fingerprint": "",
        "graphs": {"encoder": {"file": file}},
        "state": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("file", ["../encoder.pt2", "/etc/passwd", "a/b.pt2", 5])
def test_a_manifest_names_files_beside_it(file, folder):
    write_manifest(folder, file)
    refused(lambda: ProgramTokenizer(folder), "manifest.json", "not a valid manifest", error=CheckpointError)


class Payload:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_name_runs_no_program(folder, tmp_path):
    """torch.export.load unpickles a program's sample inputs, whatever they are."""

    class Identity(torch.nn.Module):
        def forward(self, x):
            return (x,)

    torch.export.save(torch.export.export(Identity(), (torch.zeros(1),)), tmp_path / "good.pt2")
    pickled = io.BytesIO()
    torch.save(Payload(tmp_path / "ran"), pickled)
    with zipfile.ZipFile(tmp_path / "good.pt2") as good, zipfile.ZipFile(folder / "encoder.pt2", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, pickled.getvalue() if "sample_inputs" in name else good.read(name))
    write_manifest(folder, "encoder.pt2")
    refused(lambda: find(str(folder)).load().encode(torch.zeros(1, 3, 1, 16, 16)), str(folder), "can run code")
    assert not (tmp_path / "ran").exists()


def test_a_path_is_no_known_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_known("cv4x8x8-tiny@int8")
    (tmp_path / "cv4x8x8-tiny@int8").mkdir()
    assert not is_known("cv4x8x8-tiny@int8")


@pytest.mark.parametrize("name", ["~no such user/x", "x" * 300, "loop", "a\0b", "\ud800", "loop/x"], ids=ascii)
def test_names_that_cannot_be_looked_up(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    for whole in (name, f"diffusers:{name}", f"published:{name}"):
        refused(lambda whole=whole: find(whole), "cannot be looked up")
    with pytest.raises(CosmotokError, match="loop"):
        find("klt:4x8x8:16", fit=tmp_path / "loop")


def test_a_variant_leads_into_no_other_folder(folder, tmp_path):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"variant": "../../up"}))
    (tmp_path / "a").mkdir()
    write_image(tmp_path / "a/photo.png", np.zeros((16, 16, 3), np.uint8))
    app(["reconstruct", str(tmp_path / "a/photo.png"), "-m", str(folder)], standalone_mode=False)
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"photo.png", "photo...-..-up.png"}


def test_attention_contexts_that_no_stream_has(tmp_path):
    for context in (2**31, 10**24, 10**5000):
        refused(lambda c=context: fresh("cv4x8x8").stream_encoder(attention_context=c), "fewer than 2^31")
    write_image(tmp_path / "photo.png", np.zeros((16, 16, 3), np.uint8))
    for context in ("9" * 30, "9" * 5000):
        arguments = ["encode", str(tmp_path / "photo.png"), "--attention-context", context]
        refused(lambda a=arguments: app(a, standalone_mode=False), "expected a number")


# diffusers ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("autoencoder")
    pytest.importorskip("diffusers").AutoencoderKL(
        block_out_channels=(8,), norm_num_groups=4, latent_channels=2
    ).save_pretrained(folder)
    return folder


VAES = {
    "nested": "[" * 100_000,
    "list": "[]",
    "digits": '{"_class_name": "AutoencoderKL", "latent_channels": ' + "9" * 5000 + "}",
    "blocks": {"layers_per_block": 10**6},
    "widths": {"block_out_channels": 5},
    "stages": {"block_out_channels": [8] * 70},
    "kinds": {"down_block_types": ["os.system"]},
    "groups": {"norm_num_groups": 0},
    "weights": {"latent_channels": 3},
    "absent": {"layers_per_block": 2},
    "class": {"_class_name": ["AutoencoderKL"]},
    "terminal": {"_class_name": "\x1b[31m\n" * 1000},
    "factor": {"_class_name": "AutoencoderKLWan", "scale_factor_spatial": "x"},
    "infinite": {"_class_name": "AutoencoderKLWan", "scale_factor_temporal": 10**30},
}


@pytest.mark.parametrize("name", VAES)
def test_configs_of_diffusers(name, autoencoder, tmp_path):
    folder = shutil.copytree(autoencoder, tmp_path / "vae")
    path, change = folder / "config.json", VAES[name]
    whole = json.loads(path.read_text())
    path.write_text(change if isinstance(change, str) else json.dumps(whole | change))
    begin = time.process_time()
    message = refused(lambda: find(f"diffusers:{folder}").load(), str(folder), error=CosmotokError)
    assert time.process_time() - begin < 5
    assert message.isprintable()
    assert len(message) < 3 * len(str(path)) + 600


def test_files_of_diffusers_that_are_none(autoencoder, tmp_path):
    folder = shutil.copytree(autoencoder, tmp_path / "vae")
    os.mkfifo(folder / "pipe.json")
    (folder / "folder.bin").mkdir()
    assert len(find(f"diffusers:{folder}").load().fingerprint) == 16
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    refused(lambda: find(f"diffusers:{folder}"), "is a pipe", error=CheckpointError)
    for name in ("", "./nothing", "~/nothing", "/nothing"):
        refused(lambda name=name: find(f"diffusers:{name}"), "unknown model", error=UnknownModelError)


def test_weights_of_diffusers_run_no_code(autoencoder, tmp_path):
    folder = shutil.copytree(autoencoder, tmp_path / "vae")
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({"a": Payload(tmp_path / "ran")}, folder / "diffusion_pytorch_model.bin")
    refused(lambda: find(f"diffusers:{folder}").load(), str(folder), error=CheckpointError)
    assert not (tmp_path / "ran").exists()
