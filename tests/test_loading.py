"""Loading by header and by value: what is read and made, who owns it, what is refused before memory is taken."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch
from fixtures import Fixture
from small import KINDS, clip, fresh, small, video
from torchscript import save_jit

from cosmotok import Tokenizer
from cosmotok.checkpoint.convert import convert_model
from cosmotok.checkpoint.load import load_checkpoint, load_config
from cosmotok.checkpoint.safetensors_file import SafetensorsFile
from cosmotok.config import find_model
from cosmotok.errors import CheckpointError, ConfigError, UnknownModelError


@pytest.fixture
def folder(tmp_path):
    fresh("dv4x8x8").save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("kind", KINDS)
def test_loading_draws_no_random_numbers_and_sets_every_buffer(kind, tmp_path):
    small(kind).save_pretrained(tmp_path)
    state = torch.random.get_rng_state()
    loaded = Tokenizer.from_pretrained(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(tensor.is_meta for tensor in (*loaded.network.parameters(), *loaded.network.buffers()))
    assert all(parameter.requires_grad for parameter in loaded.network.parameters())
    assert torch.equal(loaded.reconstruct(clip(5)), small(kind).reconstruct(clip(5)))


def test_weights_outlive_their_file_and_may_be_written_to(folder):
    loaded = Tokenizer.from_pretrained(folder)
    expected = small("dv4x8x8").encode(clip(5))
    weights = folder / "model.safetensors"
    weights.write_bytes(bytes(weights.stat().st_size))  # in place: a mapping would see it
    weights.unlink()
    assert torch.equal(loaded.encode(clip(5)), expected)
    with torch.no_grad():
        for parameter in loaded.network.parameters():
            parameter.add_(1)
    assert loaded.fingerprint != small("dv4x8x8").fingerprint


def test_a_checkpoint_at_hand_stays_its_owners():
    original = fresh("cv4x8x8")
    twin = Tokenizer.from_checkpoint(original.to_checkpoint())
    with torch.no_grad():
        twin.network.quant_conv.weight.zero_()
    assert original.fingerprint == small("cv4x8x8").fingerprint


def test_weights_of_half_precision_become_float32(folder):
    path = folder / "model.safetensors"
    tensors, metadata = safetensors.torch.load(path.read_bytes()), SafetensorsFile(path).metadata
    safetensors.torch.save_file({name: t.bfloat16() for name, t in tensors.items()}, path, metadata)
    loaded = Tokenizer.from_pretrained(folder)
    assert loaded.dtype == torch.float32
    assert all(torch.equal(loaded.network.state_dict()[name], t.bfloat16().float()) for name, t in tensors.items())


def test_tensors_are_those_that_the_library_reads(tmp_path):
    tensors = {
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "half": torch.randn(3, 5).bfloat16(),
        "whole": torch.arange(7, dtype=torch.int64),
        "flags": torch.tensor([True, False]),
    }
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors", {"key": "value"})
    file = SafetensorsFile(tmp_path / "a.safetensors")
    assert file.metadata == {"key": "value"}
    read = file.read(["half", "empty", "scalar", "flags", "whole"])
    assert all(read[name].dtype == t.dtype and torch.equal(read[name], t) for name, t in tensors.items())
    assert {name: (t.shape, t.dtype) for name, t in file.tensors.items()} == {
        name: (t.shape, t.dtype) for name, t in tensors.items()
    }


def test_a_file_that_shrank_since_its_header_was_read(folder):
    path = folder / "model.safetensors"
    file = SafetensorsFile(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: is truncated in .*fetch or copy it again"):
        file.read(file.tensors)


def test_a_tensor_of_another_shape_is_named_before_any_is_read(folder, monkeypatch):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"channels": 16}))
    monkeypatch.setattr(SafetensorsFile, "read", lambda *_: pytest.fail("read"))
    with pytest.raises(CheckpointError, match=r"has shape \[.*\], expected \["):
        Tokenizer.from_pretrained(folder)


@pytest.mark.parametrize("changes", [{"blocks": 2**10}, {"channels": 2**16}], ids=str)
def test_a_giant_config_takes_no_memory(changes, folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(CheckpointError, match="weights do not fit"):
        Tokenizer.from_pretrained(folder)


def test_whole_numbers_are_no_weights(folder):
    path = folder / "model.safetensors"
    tensors, metadata = safetensors.torch.load(path.read_bytes()), SafetensorsFile(path).metadata
    tensors["quant_conv.bias"] = tensors["quant_conv.bias"].long()
    safetensors.torch.save_file(tensors, path, metadata)
    with pytest.raises(CheckpointError, match=r"quant_conv\.bias is torch\.int64, expected floating point"):
        Tokenizer.from_pretrained(folder)


# The config alone -----------------------------------------------------------------------------------------------------


def test_configs_of_all_formats_without_their_weights(tmp_path, monkeypatch):
    Tokenizer(video(8, 8, (1, 1, 2), z_channels=4)).save_pretrained(tmp_path / "native")
    for to in ("diffusers", "reference"):
        convert_model(tmp_path / "native", tmp_path / to, to)
    (tmp_path / "jit").mkdir()
    save_jit(Fixture("DV8x16x16-720p").tensors(), tmp_path / "jit" / "autoencoder.jit")
    places = [tmp_path / "native", tmp_path / "native" / "model.safetensors", tmp_path / "diffusers"]
    places += [tmp_path / "reference", tmp_path / "jit", "cv4x8x8-tiny"]
    expected = [load_checkpoint(place).config for place in places]
    monkeypatch.setattr(SafetensorsFile, "read", lambda *_: pytest.fail("read"))
    for place, config in zip(places, expected, strict=True):
        found = load_checkpoint(place, values=False)
        assert load_config(place) == found.config == config
        assert found.tensors and all(tensor.is_meta for tensor in found.tensors.values())


def test_the_config_of_a_published_name_downloads_nothing(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert load_config("DI16x16") == find_model("DI16x16").config
    with pytest.raises(UnknownModelError, match="no such file or folder"):
        load_config("./nowhere")


# `variant=` -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [Tokenizer.from_pretrained, load_config])
def test_a_variant_that_a_bundled_model_is_not_is_refused(load):
    with pytest.raises(ConfigError, match=r"variant=CI8x8: but .*cv4x8x8-tiny.* has kind=video; leave it out"):
        load("cv4x8x8-tiny", variant="CI8x8")
    load("cv4x8x8-tiny", variant="CV4x8x8")


# What goes along ------------------------------------------------------------------------------------------------------


def test_conversion_keeps_the_calibration(tmp_path, int8_at_hand):
    tokenizer = fresh("cv4x8x8")
    tokenizer.calibrate([clip(5)])
    tokenizer.save_pretrained(tmp_path / "model")
    convert_model(tmp_path / "model", tmp_path / "copy")
    assert (tmp_path / "copy" / "int8.json").read_text() == (tmp_path / "model" / "int8.json").read_text()
    assert Tokenizer.from_pretrained(tmp_path / "copy", precision="int8").precision == "int8"
    fresh("cv4x8x8", seed=1).save_pretrained(tmp_path / "other")
    convert_model(tmp_path / "other", tmp_path / "copy")
    assert not (tmp_path / "copy" / "int8.json").exists()


def test_old_files_may_hold_tensors_in_lists(tmp_path):
    tensors = Fixture("CV8x8x8-720p").tensors()
    saved = {"optimizer": [torch.ones(3, dtype=torch.float64), {"step": (torch.zeros(5), [torch.ones(2)])}]} | tensors
    torch.save(saved, tmp_path / "CV8x8x8-720p.pt", _use_new_zipfile_serialization=False)
    torch.save(tensors, tmp_path / "model.pt")
    found = load_checkpoint(tmp_path / "CV8x8x8-720p.pt").tensors
    expected = load_checkpoint(tmp_path / "model.pt", variant="CV8x8x8-720p").tensors
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
