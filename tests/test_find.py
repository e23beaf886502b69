"""`from_pretrained` and the command take what users have, whole or one half, and say what is wrong with the rest."""

import json
import shutil
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import refused as refused_with
from safetensors.torch import load_file
from small import clip, randomise, small, video
from torchscript import save_jit

from cosmotok import Tokenizer
from cosmotok.checkpoint.convert import convert_model
from cosmotok.checkpoint.fingerprint import same_weights
from cosmotok.checkpoint.load import is_model, load_checkpoint
from cosmotok.checkpoint.reference import HALF_KEYS, to_reference_state_dict
from cosmotok.cli.app import app
from cosmotok.errors import CheckpointError, ConfigError, CosmotokError, InputError, UnknownModelError

VIDEO = clip(19, 24, 16)


@cache
def model():
    """A small model that all formats can express."""
    tokenizer = Tokenizer(video(8, 8, (1, 1, 2), z_channels=4))
    randomise(tokenizer.network, 0)
    return tokenizer


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder with the small model's encoder.jit and decoder.jit, under a name that tells the variant."""
    folder = tmp_path_factory.mktemp("files") / "CV8x8x8-720p"
    folder.mkdir()
    tokenizer = model()
    tensors = to_reference_state_dict(tokenizer.network.state_dict(), tokenizer.config)
    for half, keys in HALF_KEYS.items():
        save_jit({key: tensor for key, tensor in tensors.items() if key.startswith(keys)}, folder / f"{half}.jit")
    return folder


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    folder = tmp_path_factory.mktemp("native")
    model().save_pretrained(folder)
    return folder


def refused(call, *words, error=CheckpointError):
    refused_with(call, *words, error=error)


def run(*arguments):
    """The command in this process, as its `main` runs it but for catching errors."""
    app([str(argument) for argument in arguments], standalone_mode=False)


# What loads -----------------------------------------------------------------------------------------------------------


def test_every_way_gives_the_same_model(published, native, tmp_path):
    expected = model().reconstruct(VIDEO)
    convert_model(published, tmp_path / "reference", "reference")
    convert_model(published, tmp_path / "diffusers", "diffusers")
    shutil.copytree(tmp_path / "diffusers", tmp_path / "pipeline" / "vae")
    (tmp_path / "pipeline" / "model_index.json").write_text('{"_class_name": "CosmosPipeline"}')
    ways = [
        native,
        native / "model.safetensors",
        published,
        tmp_path / "reference",
        tmp_path / "reference" / "model.pt",
        tmp_path / "diffusers",
        tmp_path / "pipeline",
    ]
    for way in ways:
        assert is_model(way), way
        loaded = Tokenizer.from_pretrained(way)
        assert torch.equal(loaded.reconstruct(VIDEO), expected), way
        assert loaded.fingerprint == model().fingerprint


def test_a_lone_safetensors_needs_no_config_beside_it(native, tmp_path):
    shutil.copy(native / "model.safetensors", tmp_path / "mine.safetensors")
    assert Tokenizer.from_pretrained(tmp_path / "mine.safetensors").config == model().config


def test_an_argument_says_what_names_do_not(published, tmp_path):
    shutil.copy(published / "encoder.jit", tmp_path / "encoder.jit")
    shutil.copy(published / "decoder.jit", tmp_path / "decoder.jit")
    assert Tokenizer.from_pretrained(tmp_path, variant="CV8x8x8").config.variant == "CV8x8x8"


# One half -------------------------------------------------------------------------------------------------------------


def test_halves_work_alone_and_together(published):
    encoder = Tokenizer.from_pretrained(published / "encoder.jit")
    decoder = Tokenizer.from_pretrained(published / "decoder.jit")
    assert (encoder.halves, decoder.halves) == ({"encoder"}, {"decoder"})
    assert encoder.parameters + decoder.parameters == model().parameters
    tokens = encoder.encode(VIDEO)
    assert torch.equal(tokens, model().encode(VIDEO))
    assert torch.equal(decoder.decode(tokens, VIDEO.shape[2:]), model().reconstruct(VIDEO))
    refused(lambda: encoder.decode(tokens), "cannot decode", "decoder.jit")
    refused(lambda: encoder.stream_decoder(), "cannot decode")
    refused(lambda: decoder.encode(VIDEO), "cannot encode", "encoder.jit")


def test_a_half_can_be_saved_and_moved(published, tmp_path):
    encoder = Tokenizer.from_pretrained(published / "encoder.jit", dtype=torch.bfloat16)
    assert encoder.dtype == torch.bfloat16
    encoder.save_pretrained(tmp_path / "half")
    again = Tokenizer.from_pretrained(tmp_path / "half")
    assert again.halves == {"encoder"}


def test_fingerprints_of_halves_know_their_own(published):
    whole, other = model().fingerprint, small("cv8x8x8-shortcut").fingerprint
    encoder = Tokenizer.from_pretrained(published / "encoder.jit").fingerprint
    decoder = Tokenizer.from_pretrained(published / "decoder.jit").fingerprint
    assert encoder[:8] == whole[:8] and decoder[8:] == whole[8:]
    assert same_weights(encoder, whole) and same_weights(decoder, whole) and same_weights(encoder, decoder)
    assert not same_weights(encoder, other) and not same_weights(decoder, other) and not same_weights(whole, other)


def test_tokens_of_one_half_are_decoded_by_the_other(published, tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    tokens, wrong = tmp_path / "photo.safetensors", tmp_path / "wrong"
    run("encode", tmp_path / "photo.png", "-o", tokens, "-m", published / "encoder.jit")
    run("decode", tokens, "-o", tmp_path / "back.png", "-m", published / "decoder.jit")
    run("decode", tokens, "-o", tmp_path / "whole.png", "-m", published)
    pictures = [np.asarray(Image.open(tmp_path / name)) for name in ("back.png", "whole.png")]
    assert pictures[0].shape == photo.shape
    assert np.array_equal(*pictures)
    small("cv8x8x8-shortcut").save_pretrained(wrong)
    refused(lambda: run("decode", tokens, "-m", wrong), "made by", error=CosmotokError)


# Conversion -----------------------------------------------------------------------------------------------------------


def test_there_and_back_is_the_same_to_the_bit(native, tmp_path):
    original = load_file(native / "model.safetensors")
    for to in ("diffusers", "reference", "native"):
        run("convert", native, tmp_path / to, "--to", to, "--json")
        run("convert", tmp_path / to, tmp_path / f"{to}-back", "--json")
        back = load_file(tmp_path / f"{to}-back" / "model.safetensors")
        assert set(back) == set(original)
        assert all(torch.equal(back[name], tensor) for name, tensor in original.items())


def test_conversion_keeps_the_dtype(native, tmp_path):
    Tokenizer.from_pretrained(native, dtype=torch.bfloat16).save_pretrained(tmp_path / "half")
    for to in ("diffusers", "reference"):
        convert_model(tmp_path / "half", tmp_path / to, to)
        assert {t.dtype for t in load_checkpoint(tmp_path / to).tensors.values()} == {torch.bfloat16}


def test_conversions_that_make_no_sense(native, published, tmp_path):
    refused(lambda: convert_model(native, native), "never overwritten", error=InputError)
    refused(lambda: convert_model(native, tmp_path / "x", "difusers"), "did you mean diffusers", error=InputError)
    (tmp_path / "file").write_text("")
    refused(lambda: convert_model(native, tmp_path / "file"), "expected a folder", error=InputError)
    small("dv4x8x8").save_pretrained(tmp_path / "discrete")
    refused(lambda: convert_model(tmp_path / "discrete", tmp_path / "y", "diffusers"), error=CosmotokError)
    assert not (tmp_path / "y").exists()
    refused(lambda: run("convert", native, tmp_path / "z", "--weights", "best"), "--weights best", error=InputError)


def test_info_tells_what_a_model_is(published, native, capsys):
    for model in (published, published / "encoder.jit", native / "model.safetensors"):
        run("info", model, "--json")
        facts = json.loads(capsys.readouterr().out)
        assert facts["what"] == "model"
        assert facts["spatial_factor"] == 8
        assert "encoder" in facts["halves"]


# What is refused ------------------------------------------------------------------------------------------------------


def test_files_that_are_no_models(published, native, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    refused(lambda: Tokenizer.from_pretrained(tmp_path / "notes.txt"), "notes.txt", "not a model")
    refused(lambda: Tokenizer.from_pretrained(tmp_path), str(tmp_path), "model.safetensors", "encoder.jit", "vae/")
    refused(lambda: Tokenizer.from_pretrained("no/such/model.pt"), "no such file", error=UnknownModelError)
    refused(lambda: Tokenizer.from_pretrained("./nothing"), "no such file or folder", error=UnknownModelError)
    for missing in ("variant", "CV8x8x9"):
        refused(lambda name=missing: Tokenizer.from_pretrained(native, variant=name), error=UnknownModelError)


def test_a_variant_that_contradicts_the_config(native):
    refused(lambda: Tokenizer.from_pretrained(native, variant="CV8x16x16"), "spatial_factor=8", error=ConfigError)
    assert Tokenizer.from_pretrained(native, variant="cv8x8x8").config == model().config


def test_a_token_file_is_no_model(native, tmp_path):
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "black.png")
    run("encode", tmp_path / "black.png", "-o", tmp_path / "black.safetensors", "-m", native, "--json")
    assert not is_model(tmp_path / "black.safetensors")
    refused(lambda: Tokenizer.from_pretrained(tmp_path / "black.safetensors"), "is a token file, not a model")


def test_a_half_that_is_missing_by_accident(native, tmp_path):
    from safetensors.torch import save_file

    tensors = {k: t for k, t in load_file(native / "model.safetensors").items() if not k.startswith("decoder.")}
    tensors = {k: t for k, t in tensors.items() if not k.startswith("post_quant_conv.")}
    shutil.copy(native / "config.json", tmp_path)
    save_file(tensors, tmp_path / "model.safetensors")
    refused(lambda: Tokenizer.from_pretrained(tmp_path), "the whole decoder is missing")
