"""`TokenizerConfig` and the registry: every published variant is there, as published."""

import dataclasses
import json

import pytest
import torch
from small import CONFIGS, clip, image, video

from cosmotok import Tokenizer, TokenizerConfig, list_models
from cosmotok.config import bundled_models, find_model
from cosmotok.errors import ConfigError, UnknownModelError

# variant: spatial factor, temporal factor, Haar patch, z_channels, repository on the Hub
FACTS = {
    "CI8x8": (8, 1, 4, 16, "Cosmos-0.1-Tokenizer-CI8x8"),
    "CI16x16": (16, 1, 4, 16, "Cosmos-0.1-Tokenizer-CI16x16"),
    "DI8x8": (8, 1, 4, 256, "Cosmos-0.1-Tokenizer-DI8x8"),
    "DI16x16": (16, 1, 4, 256, "Cosmos-0.1-Tokenizer-DI16x16"),
    "CV4x8x8": (8, 4, 4, 16, "Cosmos-0.1-Tokenizer-CV4x8x8"),
    "CV8x8x8": (8, 8, 4, 16, "Cosmos-0.1-Tokenizer-CV8x8x8"),
    "CV8x16x16": (16, 8, 4, 16, "Cosmos-0.1-Tokenizer-CV8x16x16"),
    "DV4x8x8": (8, 4, 4, 16, "Cosmos-0.1-Tokenizer-DV4x8x8"),
    "DV8x8x8": (8, 8, 4, 16, "Cosmos-0.1-Tokenizer-DV8x8x8"),
    "DV8x16x16": (16, 8, 4, 16, "Cosmos-0.1-Tokenizer-DV8x16x16"),
    "CI8x8-360p": (8, 1, 2, 16, "Cosmos-Tokenize1-CI8x8-360p"),
    "CI16x16-360p": (16, 1, 2, 16, "Cosmos-Tokenize1-CI16x16-360p"),
    "DI8x8-360p": (8, 1, 2, 256, "Cosmos-Tokenize1-DI8x8-360p"),
    "DI16x16-360p": (16, 1, 2, 256, "Cosmos-Tokenize1-DI16x16-360p"),
    "CV4x8x8-360p": (8, 4, 2, 16, "Cosmos-Tokenize1-CV4x8x8-360p"),
    "DV4x8x8-360p": (8, 4, 2, 256, "Cosmos-Tokenize1-DV4x8x8-360p"),
    "CV8x8x8-720p": (8, 8, 4, 16, "Cosmos-Tokenize1-CV8x8x8-720p"),
    "DV8x16x16-720p": (16, 8, 4, 16, "Cosmos-Tokenize1-DV8x16x16-720p"),
}
each_published = pytest.mark.parametrize("variant", FACTS)


@each_published
def test_published_variants_are_as_published(variant):
    assert variant in list_models()
    config = find_model(variant).config
    space, time, patch, z_channels, _ = FACTS[variant]
    discrete, is_video = variant[0] == "D", variant[1] == "V"
    assert config == TokenizerConfig(
        variant=variant,
        kind="video" if is_video else "image",
        spatial_factor=space,
        temporal_factor=time,
        levels=(8, 8, 8, 5, 5, 5) if discrete else (),
        patch=patch,
        channels=128,
        encoder_multipliers=(2, 4, 4),
        decoder_multipliers=(2, 4) if variant == "CV4x8x8" else (2, 4, 4),
        blocks=2,
        z_channels=z_channels,
        latent_channels=6 if discrete else 16,
        legacy_mode=False,
        linear_shortcut=False,
        chunk=16 // time,
    )
    assert config.is_discrete == discrete
    assert config.vocab_size == (64_000 if discrete else None)


def test_the_published_variants_are_the_only_ones_on_the_hub():
    assert {name for name in list_models() if find_model(name).hub} == set(FACTS)
    assert {entry.name for entry in bundled_models()} == set(list_models()) - set(FACTS)


@each_published
def test_hub_names_and_capitals(variant):
    entry = find_model(variant)
    repository = f"nvidia/{FACTS[variant][-1]}"
    assert entry.hub == repository
    for name in (repository, repository.lower(), variant.lower(), variant.upper()):
        assert find_model(name) == entry


def test_cosmos_1_0_is_the_720p_models_under_other_names():
    assert find_model("nvidia/Cosmos-1.0-Tokenizer-CV8x8x8").name == "CV8x8x8-720p"
    assert find_model("NVIDIA/cosmos-1.0-Tokenizer-DV8x16x16").name == "DV8x16x16-720p"


@pytest.mark.parametrize("name", ["CV9x9x9", "", "nvidia/Cosmos-2-Tokenizer", "CV8x8x8-720p "])
def test_other_names_are_unknown(name):
    with pytest.raises(UnknownModelError, match="unknown model"):
        find_model(name)


@pytest.mark.parametrize("variant", list_models())
def test_every_model_encodes_and_decodes_to_its_grid(variant):
    config = find_model(variant).config
    small_config = dataclasses.replace(config, channels=8 if config.kind == "video" else 32)
    tokenizer = Tokenizer(small_config)
    tokens = tokenizer.encode(clip(10, 17, 30))
    space, time = config.spatial_factor, config.temporal_factor
    grid = (1 + -(-9 // time), -(-17 // space), -(-30 // space))
    assert tokens.shape == ((1, *grid) if config.is_discrete else (1, 16, *grid))
    frames = tokenizer.decode(tokens)
    assert frames.shape == (1, 3, 1 + (grid[0] - 1) * time, grid[1] * space, grid[2] * space)
    assert torch.isfinite(frames).all()


@pytest.mark.parametrize("config", [*CONFIGS.values(), TokenizerConfig(), find_model("DI16x16-360p").config])
def test_a_config_survives_json(config):
    values = json.loads(json.dumps(config.to_dict()))
    assert TokenizerConfig.from_dict(values) == config
    assert set(values) == {"config_version", *(field.name for field in dataclasses.fields(config))}


def test_a_config_is_frozen_and_hashable():
    config = TokenizerConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.channels = 64
    assert hash(config) == hash(TokenizerConfig())


def test_lists_become_tuples():
    assert TokenizerConfig(encoder_multipliers=[2, 4, 4]) == TokenizerConfig()


def test_chunk_is_about_sixteen_frames_unless_given():
    chunks = [
        TokenizerConfig(
            spatial_factor=64, temporal_factor=n, encoder_multipliers=(1,) * 7, decoder_multipliers=(1,) * 7
        ).chunk
        for n in (4, 8, 16, 32)
    ]
    assert chunks == [4, 2, 1, 1]
    assert TokenizerConfig(chunk=5).chunk == 5


@pytest.mark.parametrize(
    ("frames", "height", "width", "grid"),
    [(1, 1, 1, (1, 1, 1)), (2, 8, 9, (2, 1, 2)), (9, 16, 17, (2, 2, 3)), (10, 720, 1280, (3, 90, 160))],
)
def test_grid(frames, height, width, grid):
    assert TokenizerConfig().grid(frames, height, width) == grid


BAD = {
    "kind": ({"kind": "audio"}, "kind='audio'"),
    "patch": ({"patch": 3}, "patch=3"),
    "no width": ({"channels": 0}, "channels=0"),
    "fractional width": ({"channels": 12.5}, "channels=12.5"),
    "no blocks": ({"blocks": 0}, "blocks=0"),
    "no latents": ({"latent_channels": -1}, "latent_channels=-1"),
    "chunk": ({"chunk": -2}, "chunk=-2"),
    "odd space": ({"spatial_factor": 12}, "spatial_factor=12"),
    "space below patch": ({"spatial_factor": 2}, "spatial_factor=2"),
    "odd time": ({"temporal_factor": 6}, "temporal_factor=6"),
    "time below patch": ({"temporal_factor": 2}, "temporal_factor=2"),
    "more time than space": ({"temporal_factor": 16}, "temporal_factor=16"),
    "time as text": ({"temporal_factor": "8"}, "temporal_factor='8'"),
    "images with time": ({"kind": "image"}, "temporal_factor=8"),
    "image width": ({"kind": "image", "temporal_factor": 1, "channels": 48}, "channels=48"),
    "no stages": ({"encoder_multipliers": ()}, "encoder_multipliers=()"),
    "zero multiplier": ({"decoder_multipliers": (2, 0, 4)}, "decoder_multipliers=(2, 0, 4)"),
    "number for multipliers": ({"encoder_multipliers": 4}, "encoder_multipliers=4"),
    "too few encoder stages": ({"encoder_multipliers": (4,)}, "at least 2 stages"),
    "too few decoder stages": ({"decoder_multipliers": (2, 4)}, "at least 3 stages"),
    "level of one": ({"levels": (8, 1), "latent_channels": 2}, "levels=(8, 1)"),
    "levels and channels": ({"levels": (8, 8), "latent_channels": 16}, "latent_channels=16"),
    "too many codes": ({"levels": (1024,) * 4, "latent_channels": 4}, "below 2^31"),
}


@pytest.mark.parametrize("bad", BAD)
def test_values_that_do_not_fit_are_refused(bad):
    changes, words = BAD[bad]
    with pytest.raises(ConfigError) as caught:
        TokenizerConfig(**changes)
    message = str(caught.value)
    assert words in message
    assert "expected" in message
    assert "\n" not in message


def test_the_fewest_stages_allowed_do_build():
    for config in (
        video(8, 8, (1, 1, 1)),
        video(8, 8, (1, 1), legacy_mode=True),
        video(16, 8, (1, 1, 1)),
        video(4, 4, (1,)),
        video(8, 8, (1, 1, 1, 1), patch=2),
        image(16, (2, 2)),
        image(4, (2,)),
    ):
        tokenizer = Tokenizer(config)
        assert tokenizer.reconstruct(clip(5)).shape == (1, 3, 5, 16, 16)


def test_unknown_keys_are_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"'z_chanels'; did you mean z_channels"):
        TokenizerConfig.from_dict(TokenizerConfig().to_dict() | {"z_chanels": 16})
