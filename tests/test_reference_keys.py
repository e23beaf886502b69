"""The published code's parameter names: every one of ours has its own, and published weights load at any width."""

import dataclasses
import math
import re

import pytest
import torch
from fixtures import VARIANTS, Fixture, made_up_weights
from small import RELEASED, clip

from cosmotok import Tokenizer
from cosmotok.checkpoint.reference import reference_key
from cosmotok.config import find_model
from cosmotok.errors import CheckpointError, UnknownModelError

# 0.1 files hold more than is used: the up- and down-sampling of stages that keep the size.
EXACT = [variant for variant in VARIANTS if "-" in variant]

NORM, CONV, FACTORIZED = r"\.norm", r"\.conv3d", r"\.[01]\.conv3d"
RESNET = rf"(norm[12]{NORM}|conv[12]{FACTORIZED}|nin_shortcut{CONV})"
VIDEO_GRAMMAR = rf"""
    ((encoder|decoder)\.(
        conv_in{FACTORIZED} | norm_out{NORM} | conv_out{FACTORIZED}
        | mid\.block_[12]\.{RESNET} | mid\.attn_1\.[01]\.(norm{NORM}|(q|k|v|proj_out){CONV})
        | (down|up)\.[0-2]\.block\.[0-2]\.{RESNET}
        | down\.[0-2]\.downsample\.conv[123]{CONV} | up\.[0-2]\.upsample\.conv[123]{CONV}
    ) | (post_)?quant_conv{CONV})\.(weight|bias)
"""
IMAGE_GRAMMAR = (
    VIDEO_GRAMMAR.replace(FACTORIZED, "")
    .replace(r"attn_1\.[01]", "attn_1")
    .replace("conv[123]", "conv")
    .replace(NORM, "")
    .replace(CONV, "")
)


def narrow(variant, channels=None):
    config = find_model(variant).config
    return Tokenizer(dataclasses.replace(config, channels=channels or (8 if config.kind == "video" else 32)))


def keys_of(tokenizer):
    return {name: reference_key(name, tokenizer.config) for name in tokenizer.network.state_dict()}


def reference_tensors(tokenizer):
    """The tokenizer's weights as the published code names and shapes them."""
    tensors = {}
    for name, tensor in tokenizer.network.state_dict().items():
        key = reference_key(name, tokenizer.config)
        if tensor.ndim == 3:  # temporal taps
            tensor = tensor[..., None, None]
        elif tensor.ndim == 4 and tokenizer.config.kind == "video":
            tensor = tensor.unsqueeze(2)
        elif tensor.ndim == 2:
            tensor = tensor.reshape(*tensor.shape, *(1,) * (3 if tokenizer.config.kind == "video" else 2))
        tensors[key] = tensor.clone()
    return tensors


def assert_same_weights(actual, expected):
    actual, expected = actual.network.state_dict(), expected.network.state_dict()
    assert list(actual) == list(expected)
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


@pytest.mark.parametrize("variant", RELEASED)
def test_names_and_keys_are_one_to_one(variant):
    tokenizer = narrow(variant)
    keys = keys_of(tokenizer)
    assert len(set(keys.values())) == len(keys)
    grammar = VIDEO_GRAMMAR if tokenizer.config.kind == "video" else IMAGE_GRAMMAR
    assert [key for key in keys.values() if not re.fullmatch(grammar, key, re.VERBOSE)] == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_keys_are_those_of_the_published_code(variant):
    fixture, tokenizer = Fixture(variant), narrow(variant, 32)
    keys = keys_of(tokenizer)
    unused = set(fixture.shapes) - set(keys.values())
    assert set(keys.values()) <= set(fixture.shapes)
    if variant in EXACT:
        assert unused == set()
    assert all(".upsample." in key or ".downsample." in key for key in unused)
    for name, tensor in tokenizer.network.state_dict().items():
        assert [n for n in fixture.shapes[keys[name]] if n > 1] == [n for n in tensor.shape if n > 1]


@pytest.mark.parametrize("variant", RELEASED)
def test_published_weights_load_at_another_width(variant):
    tokenizer = narrow(variant)
    loaded = Tokenizer.from_reference_state_dict(reference_tensors(tokenizer), variant=variant.lower())
    assert loaded.config == tokenizer.config
    assert_same_weights(loaded, tokenizer)


@pytest.mark.parametrize("variant", ["CV4x8x8-360p", "DI16x16"])
def test_the_shapes_of_a_fixture_load_at_twice_the_width(variant):
    # Which axes of a weight are widths shows by comparing two networks of other widths.
    shapes = {key: list(t.shape) for key, t in reference_tensors(narrow(variant, 64)).items()}
    tensors = made_up_weights(shapes)
    loaded = Tokenizer.from_reference_state_dict(tensors, variant=variant)
    assert loaded.config.channels == 64
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor.flatten(), tensors[reference_key(name, loaded.config)].flatten())


def test_depths_and_multipliers_are_read_from_the_tensors():
    config = dataclasses.replace(
        find_model("CV8x8x8").config,
        channels=4,
        encoder_multipliers=(1, 3),
        decoder_multipliers=(2, 1, 3, 2),
        blocks=3,
        z_channels=5,
        latent_channels=7,
    )
    tokenizer = Tokenizer(config)
    loaded = Tokenizer.from_reference_state_dict(reference_tensors(tokenizer), variant="CV8x8x8")
    assert loaded.config == config
    assert_same_weights(loaded, tokenizer)


@pytest.mark.parametrize("variant", ["CV8x8x8-720p", "DV4x8x8", "CI8x8-360p"])
def test_unused_weights_and_buffers_are_ignored(variant):
    tokenizer = narrow(variant)
    tensors = reference_tensors(tokenizer) | {
        "encoder.patcher3d.wavelets": torch.ones(2),
        "decoder.unpatcher3d._arange": torch.arange(2),
        "quantizer._levels": torch.ones(6),
        "quantizer._basis": torch.ones(6),
        "encoder.down.2.downsample.conv3.conv3d.weight": torch.zeros(3, 3),
    }
    assert_same_weights(Tokenizer.from_reference_state_dict(tensors, variant), tokenizer)


def test_all_missing_and_misshapen_keys_are_in_one_error():
    tensors = reference_tensors(narrow("CV8x8x8-720p"))
    del tensors["encoder.mid.block_1.conv1.0.conv3d.weight"]
    del tensors["decoder.up.1.upsample.conv2.conv3d.bias"]
    tensors["decoder.norm_out.norm.weight"] = torch.ones(3)
    tensors["encoder.mid.attn_1.1.q.conv3d.weight"] = torch.ones(8, 32, 1, 1, 1)
    with pytest.raises(CheckpointError) as caught:
        Tokenizer.from_reference_state_dict(tensors, variant="CV8x8x8-720p")
    message = str(caught.value)
    assert "\n" not in message
    assert "missing encoder.mid.block_1.conv1.0.conv3d.weight" in message
    assert "missing decoder.up.1.upsample.conv2.conv3d.bias" in message
    assert "decoder.norm_out.norm.weight has shape [3], expected [16]" in message
    assert "encoder.mid.attn_1.1.q.conv3d.weight has shape [8, 32, 1, 1, 1], expected [32, 32, 1, 1, 1]" in message


@pytest.mark.parametrize(
    "key",
    ["encoder.conv_in.0.conv3d.weight", "quant_conv.conv3d.weight", "decoder.up.0.block.0.conv1.0.conv3d.weight"],
)
def test_a_missing_key_that_tells_a_width_is_named(key):
    tensors = reference_tensors(narrow("CV8x8x8-720p"))
    del tensors[key]
    with pytest.raises(CheckpointError, match=re.escape(key)):
        Tokenizer.from_reference_state_dict(tensors, variant="CV8x8x8-720p")


@pytest.mark.parametrize("variant", ["CV8x8x8-720p", "CI8x8"])
def test_no_tensors_at_all(variant):
    with pytest.raises(CheckpointError, match=r"missing encoder\.conv_in"):
        Tokenizer.from_reference_state_dict({}, variant=variant)


@pytest.mark.parametrize(("given", "claimed"), [("CV8x8x8-720p", "DV4x8x8"), ("DV4x8x8", "CV4x8x8")])
def test_weights_of_the_other_sort_of_token_are_refused(given, claimed):
    with pytest.raises(CheckpointError, match="quant_conv"):
        Tokenizer.from_reference_state_dict(reference_tensors(narrow(given)), variant=claimed)


def test_an_unknown_variant_is_refused():
    with pytest.raises(UnknownModelError, match="did you mean CV8x8x8"):
        Tokenizer.from_reference_state_dict({}, variant="CV8x8x9")


def test_loaded_weights_do_not_share_memory_with_the_callers():
    tensors = reference_tensors(narrow("CV8x8x8-720p"))
    tokenizer = Tokenizer.from_reference_state_dict(tensors, variant="CV8x8x8-720p")
    expected = tokenizer.encode(clip(1))
    assert math.isfinite(expected.sum())
    for tensor in tensors.values():
        tensor.zero_()
    assert torch.equal(tokenizer.encode(clip(1)), expected)
