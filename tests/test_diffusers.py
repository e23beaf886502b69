"""Conversion to and from the real diffusers: equal outputs, equal tensors, and nothing half-loaded."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from small import CONFIGS, fresh, randomise

from cosmotok import Tokenizer
from cosmotok.checkpoint.diffusers import config_from_diffusers, config_to_diffusers, pooled_statistics
from cosmotok.checkpoint.diffusers_files import is_diffusers_folder, read_diffusers, write_diffusers
from cosmotok.config import find_model
from cosmotok.errors import CheckpointError, ConfigError

VARIANTS = ["CV4x8x8", "CV8x8x8-720p", "CV8x16x16", "CV4x8x8-360p"]
WEIGHTS = "diffusion_pytorch_model.safetensors"
TOLERANCE = 1e-5  # of the output's range


@pytest.fixture(scope="module")
def real():
    return pytest.importorskip("diffusers").AutoencoderKLCosmos


def narrow(variant, **changes):
    """A published shape at a width that a test can afford."""
    return replace(find_model(variant).config, **{"channels": 16, **changes})


def tokenizer_of(config, seed=0):
    tokenizer = Tokenizer(config)
    randomise(tokenizer.network, seed)
    return tokenizer


def real_of(real, config, seed=0, **changes):
    """The real class with random weights."""
    values = {k: v for k, v in config_to_diffusers(config).items() if not k.startswith("_")}
    model = real(**(values | changes)).eval()
    randomise(model, seed)
    return model


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def assert_equal_outputs(model, tokenizer, lengths=3):
    config = tokenizer.config
    space, time = config.spatial_factor, config.temporal_factor
    for steps, (rows, columns) in zip(range(lengths), [(2, 3), (4, 2), (2, 2)], strict=False):
        video = noise(1, 3, 1 + steps * time, rows * space, columns * space, seed=steps)
        with torch.no_grad():
            latents = model.encode(video).latent_dist.mode()
            decoded = model.decode(latents).sample
        assert_close(tokenizer.encode(video), latents)
        assert_close(tokenizer.decode(latents), decoded)


def assert_close(actual, expected):
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() < TOLERANCE * (expected.max() - expected.min())


def assert_same_tensors(one, other):
    assert set(one) == set(other)
    for name, tensor in one.items():
        assert other[name].dtype == tensor.dtype
        assert torch.equal(other[name], tensor), name


# Equal outputs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_real_diffusers_computes_the_same_from_what_we_write(real, tmp_path, variant):
    tokenizer = tokenizer_of(narrow(variant))
    write_diffusers(tokenizer.to_checkpoint(), tmp_path)
    model, facts = real.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(facts.values())  # nothing missing, unexpected or mismatched
    assert_equal_outputs(model, tokenizer)


@pytest.mark.parametrize("variant", VARIANTS)
def test_we_compute_the_same_from_what_real_diffusers_writes(real, tmp_path, variant):
    model = real_of(real, narrow(variant), seed=1)
    model.save_pretrained(tmp_path)
    assert_equal_outputs(model, Tokenizer.from_checkpoint(read_diffusers(tmp_path)))


def test_depths_and_multipliers_are_taken_from_the_config(real, tmp_path):
    config = narrow("CV4x8x8", channels=8, blocks=1, encoder_multipliers=(1, 3, 2), decoder_multipliers=(2, 1, 1, 3))
    model = real_of(real, config)
    model.save_pretrained(tmp_path)
    checkpoint = read_diffusers(tmp_path)
    assert replace(checkpoint.config, variant=config.variant) == config
    assert_equal_outputs(model, Tokenizer.from_checkpoint(checkpoint), lengths=2)


def test_the_published_config_is_the_default_of_the_real_class(real):
    ours = config_to_diffusers(find_model("CV8x8x8-720p").config)
    for name, parameter in inspect.signature(real).parameters.items():
        if not name.startswith(("latents_", "attention_")):  # unknown here; and that default lists no stage's
            assert (tuple(ours[name]) if isinstance(ours[name], list) else ours[name]) == parameter.default, name


# Round trips ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_round_trip_from_ours_is_bit_exact(tmp_path, dtype):
    statistics = {"latents_mean": tuple(i / 7 for i in range(4)), "latents_std": (0.1, 0.2, 0.3, 1 / 3)}
    config = replace(CONFIGS["cv8x8x8"], z_channels=4, chunk=3, variant="mine", **statistics)
    checkpoint = tokenizer_of(config).to("cpu", dtype).to_checkpoint()
    write_diffusers(checkpoint, tmp_path)
    back = read_diffusers(tmp_path)
    assert back.config == config
    assert_same_tensors(checkpoint.tensors, back.tensors)


def test_round_trip_from_diffusers_is_bit_exact(real, tmp_path):
    real_of(real, narrow("CV8x16x16", channels=8)).save_pretrained(tmp_path / "theirs")
    write_diffusers(read_diffusers(tmp_path / "theirs"), tmp_path / "ours")
    assert_same_tensors(load_file(tmp_path / "theirs" / WEIGHTS), load_file(tmp_path / "ours" / WEIGHTS))


def test_published_names_are_found(tmp_path):
    for name in ("CV4x8x8", "CV8x8x8-720p", "CV8x16x16", "CV4x8x8-360p"):
        config = find_model(name).config
        assert config_from_diffusers(config_to_diffusers(config)) == config
    assert config_from_diffusers(config_to_diffusers(narrow("CV8x16x16"))).variant == "CV8x16x16"


@given(
    st.integers(1, 5).flatmap(
        lambda n: st.lists(
            st.tuples(st.floats(-3, 3), st.floats(0.01, 3)),
            min_size=4 * n,
            max_size=4 * n,
        )
    )
)
def test_statistics_per_frame_are_pooled_as_of_all_frames_together(pairs):
    mean, std = ([pair[i] for pair in pairs] for i in (0, 1))
    pooled_mean, pooled_std = pooled_statistics(mean, std, 4)
    frames = len(pairs) // 4
    for channel in range(4):
        part = slice(channel * frames, (channel + 1) * frames)
        # two samples per frame, one standard deviation off its mean, have just these moments
        samples = np.array([[m - s, m + s] for m, s in zip(mean[part], std[part], strict=True)])
        assert pooled_mean[channel] == pytest.approx(samples.mean(), abs=1e-12)
        assert pooled_std[channel] == pytest.approx(samples.std(), rel=1e-9)


def test_statistics_of_the_real_default_config_are_pooled(real):
    config = config_from_diffusers(dict(real_of(real, narrow("CV8x8x8-720p", channels=8)).config))
    assert config.latents_mean == ()  # null in a config means unknown
    means, stds = (inspect.signature(real).parameters[name].default for name in ("latents_mean", "latents_std"))
    mean, std = pooled_statistics(means, stds, 16)
    assert len(mean) == len(std) == 16
    assert mean[0] == pytest.approx(np.mean(means[:16]))
    assert np.mean(stds[:16]) < std[0] < max(stds[:16]) + np.std(means[:16])


# Where the files are --------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(real, tmp_path):
    """A folder that the real class wrote, with small weights."""
    real_of(real, narrow("CV4x8x8", channels=8, blocks=1)).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_pipeline_folder_and_file_are_found(folder, tmp_path):
    expected = read_diffusers(folder).tensors
    pipeline = tmp_path / "pipeline"
    pipeline.mkdir()
    (pipeline / "model_index.json").write_text('{"vae": ["diffusers", "AutoencoderKLCosmos"]}')
    folder.rename(pipeline / "vae")
    for path in (pipeline, pipeline / "vae", pipeline / "vae" / WEIGHTS):
        assert_same_tensors(read_diffusers(path).tensors, expected)
        assert_same_tensors(Tokenizer.from_pretrained(path).to_checkpoint().tensors, expected)
    assert is_diffusers_folder(pipeline)
    assert is_diffusers_folder(pipeline / "vae")
    assert not is_diffusers_folder(tmp_path)


def test_our_own_folder_is_none_of_diffusers(tmp_path):
    fresh("cv4x8x8").save_pretrained(tmp_path)
    assert not is_diffusers_folder(tmp_path)


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_shards_and_variants_are_read(real, folder, tmp_path, variant):
    model = real.from_pretrained(folder)
    model.save_pretrained(tmp_path / "parts", max_shard_size="20KB", variant=variant)
    assert len(list((tmp_path / "parts").glob("*-of-*"))) > 2
    model.save_pretrained(tmp_path / "one", variant=variant)
    for name in ("parts", "one"):
        assert_same_tensors(read_diffusers(tmp_path / name).tensors, read_diffusers(folder).tensors)


def test_full_precision_is_preferred_to_a_variant(real, folder):
    half = real.from_pretrained(folder, torch_dtype=torch.float16)
    half.save_pretrained(folder, variant="fp16")
    path = folder / "diffusion_pytorch_model.fp16.safetensors"
    assert {t.dtype for t in read_diffusers(folder).tensors.values()} == {torch.float32}
    assert {t.dtype for t in read_diffusers(path).tensors.values()} == {torch.float16}
    (folder / WEIGHTS).unlink()
    assert {t.dtype for t in read_diffusers(folder).tensors.values()} == {torch.float16}
    half.save_pretrained(folder, variant="other")
    with pytest.raises(CheckpointError, match=r"fp16.*other.*give the path"):
        read_diffusers(folder)


# Refusals -------------------------------------------------------------------------------------------------------------


def edit(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def test_every_bad_tensor_is_named(folder):
    def change(tensors):
        del tensors["encoder.conv_in.conv_s.weight"]
        tensors["decoder.up_blocks.9.bias"] = torch.zeros(3)
        tensors["quant_conv.bias"] = torch.zeros(5)
        tensors["quant_conv.weight"] = tensors["quant_conv.weight"].squeeze()
        tensors["post_quant_conv.bias"] = torch.zeros(16, dtype=torch.int64)

    edit(folder, change)
    with pytest.raises(CheckpointError) as error:
        read_diffusers(folder)
    text = str(error.value)
    assert "missing encoder.conv_in.conv_s.weight" in text
    assert "unexpected decoder.up_blocks.9.bias" in text
    assert "quant_conv.bias has shape [5], expected [16]" in text
    assert "quant_conv.weight has shape [16, 16], expected [16, 16, 1, 1, 1]" in text
    assert "post_quant_conv.bias is torch.int64, expected floating point" in text
    assert str(folder) in text


def test_a_long_list_of_bad_tensors_is_cut(folder):
    edit(folder, lambda tensors: [tensors.pop(name) for name in list(tensors)[:30]])
    with pytest.raises(CheckpointError, match="; and 18 more") as error:
        read_diffusers(folder)
    assert str(error.value).count("missing") == 12


BAD_CONFIGS = {
    "in_channels": (4, "expected 3"),
    "patch_type": ("rearrange", "'haar'"),
    "patch_size": (3, "patch=3: expected 2 or 4"),
    "num_layers": (True, "a whole number"),
    "latent_channels": (10**30, "a whole number"),
    "encoder_block_out_channels": ([8], "at least 2"),
    "decode_block_out_channels": ([16, 32, 16], "the same width twice"),
    "attention_resolutions": ([128], "none that a stage has"),
    "spatial_compression_ratio": (12, "power of two"),
    "temporal_compression_ratio": (64, "at most spatial_factor"),
    "latents_mean": ([0.0] * 15, "a multiple of latent_channels=16"),
    "latents_std": ([1.0] * 16, "null in both"),
    "spatial_compresion_ratio": (8, "did you mean spatial_compression_ratio"),
    "_class_name": ("AutoencoderKLWan", "is of class AutoencoderKLWan; expected AutoencoderKLCosmos"),
}


@pytest.mark.parametrize("key", BAD_CONFIGS)
def test_configs_of_another_network_are_refused(folder, key):
    value, expected = BAD_CONFIGS[key]
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(CheckpointError, match=expected) as error:
        read_diffusers(folder)
    assert str(path) in str(error.value)


def test_a_giant_config_builds_nothing(folder):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_layers": 2**9}))
    with pytest.raises(CheckpointError, match="fewer than 512 blocks"):
        read_diffusers(folder)


def test_attention_in_stages_is_what_the_real_class_makes(real):
    """Where we say that a stage attends, the real network has weights for it."""
    config = narrow("CV4x8x8", channels=8, blocks=1)
    base = {k: v for k, v in config_to_diffusers(config).items() if not k.startswith("_")}
    for attended in (8, 16, 32, 64, 128, 256):
        values = base | {"attention_resolutions": [attended], "resolution": 256}
        has_weights = any("blocks" in k and "attentions" in k for k in real(**values).state_dict() if "mid" not in k)
        try:
            config_from_diffusers(values)
        except ConfigError:
            assert has_weights, attended
        else:
            assert not has_weights, attended


def test_damaged_files_are_named(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=WEIGHTS):
        read_diffusers(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match="no diffusion_pytorch_model"):
        read_diffusers(folder)
    (folder / "diffusion_pytorch_model.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match="save them as safetensors"):
        read_diffusers(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"no config.json of diffusers"):
        read_diffusers(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda places, name: places.update({name: "../model.safetensors"}),
        lambda places, name: places.update({name: "/etc/passwd"}),
        lambda places, name: places.update({name: "no.safetensors"}),
        lambda places, name: places.pop(name),
        lambda places, name: places.update({"more": places[name]}),
        lambda places, name: places.update({name: 3}),
    ],
)
def test_an_index_that_lies_is_refused(real, folder, tmp_path, change):
    real.from_pretrained(folder).save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    index = tmp_path / "parts" / f"{WEIGHTS}.index.json"
    values = json.loads(index.read_text())
    change(values["weight_map"], "quant_conv.weight")
    index.write_text(json.dumps(values))
    with pytest.raises(CheckpointError):
        read_diffusers(tmp_path / "parts")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("ci8x8", "an image model"),
        ("dv4x8x8", "discrete"),
        ("cv8x8x8-legacy", "legacy_mode"),
        ("cv8x8x8-shortcut", "linear_shortcut"),
        ("cv4x8x8", "z_channels=8 and latent_channels=4 differ"),
    ],
)
def test_what_diffusers_cannot_express_is_not_written(tmp_path, kind, reason):
    with pytest.raises(CheckpointError, match=reason):
        write_diffusers(fresh(kind).to_checkpoint(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_half_a_model_is_not_written(tmp_path):
    checkpoint = tokenizer_of(narrow("CV4x8x8", channels=8)).to_checkpoint()
    tensors = {n: t for n, t in checkpoint.tensors.items() if n.startswith(("encoder.", "quant_conv."))}
    with pytest.raises(CheckpointError, match="its decoder is missing"):
        write_diffusers(replace(checkpoint, tensors=tensors), tmp_path / "out")


def test_tensors_that_do_not_fit_are_not_written(tmp_path):
    checkpoint = tokenizer_of(narrow("CV4x8x8", channels=8)).to_checkpoint()
    with pytest.raises(CheckpointError, match="unexpected odd"):
        write_diffusers(replace(checkpoint, tensors=checkpoint.tensors | {"odd": torch.zeros(1)}), tmp_path)
    assert not any(tmp_path.iterdir())


def test_another_model_is_not_shadowed(real, folder, tmp_path):
    checkpoint = read_diffusers(folder)
    real.from_pretrained(folder).save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    fresh("cv4x8x8").save_pretrained(tmp_path / "native")
    for name in ("parts", "native"):
        with pytest.raises(CheckpointError, match="holds another model"):
            write_diffusers(checkpoint, tmp_path / name)
