"""NVIDIA's files: TorchScript and state dicts of every sort load with the right variant, or say what is wrong."""

import dataclasses
import functools
import json
import re
import warnings

import pytest
import torch
from fixtures import VARIANTS, Fixture
from small import CONFIGS, KINDS, RELEASED, clip, fresh, small
from torchscript import Tree, save_jit

from cosmotok import Tokenizer, TokenizerConfig
from cosmotok.checkpoint.contents import Checkpoint, half_of
from cosmotok.checkpoint.reference import HALF_KEYS, to_reference_state_dict
from cosmotok.checkpoint.reference_files import read_reference, write_reference
from cosmotok.config import find_model
from cosmotok.errors import CheckpointError, MediaError

SMALL_PUBLISHED = ["CV8x8x8-720p", "DV4x8x8", "DI8x8-360p"]
WITHOUT_SHORTCUT = [kind for kind in KINDS if not CONFIGS[kind].linear_shortcut]


def half(tensors, name):
    return {key: tensor for key, tensor in tensors.items() if key.startswith(HALF_KEYS[name])}


@functools.cache
def narrow_once(variant, seed):
    torch.manual_seed(seed)
    config = find_model(variant).config
    config = dataclasses.replace(config, channels=8 if config.kind == "video" else 32, blocks=1)
    tokenizer = Tokenizer(config)
    return to_reference_state_dict(tokenizer.network.state_dict(), config)


def narrow(variant, seed=0):
    """Reference tensors of a published variant at a small width, random."""
    return dict(narrow_once(variant, seed))


def tensors_of_everything(variant, tensors):
    """As the files of Cosmos 0.1: with the resampling that stages do not use."""
    tensors = dict(tensors)
    for key in list(tensors):
        stage = re.match(r"(encoder\.down|decoder\.up)\.(\d+)\.block\.0\.conv1\.0\.conv3d\.weight", key)
        last = find_model(variant).config.encoder_multipliers
        if stage is None or int(stage[2]) == (len(last) - 1 if stage[1] == "encoder.down" else 0):
            continue
        width = tensors[key].shape[0]
        kernels = [(1, 3, 3), (3, 1, 1), (1, 1, 1)]
        name = "downsample" if stage[1] == "encoder.down" else "upsample"
        for conv, kernel in zip((1, 2, 3) if name == "downsample" else (2, 1, 3), kernels, strict=True):
            prefix = f"{stage[1]}.{stage[2]}.{name}.conv{conv}.conv3d"
            tensors.setdefault(f"{prefix}.weight", torch.zeros(width, width, *kernel))
            tensors.setdefault(f"{prefix}.bias", torch.zeros(width))
    return tensors


def assert_same(actual, expected):
    assert set(actual) == set(expected)
    for name, tensor in expected.items():
        assert actual[name].dtype == tensor.dtype, name
        assert torch.equal(actual[name], tensor), name


def expected_native(tensors, variant):
    return Tokenizer.from_reference_state_dict(tensors, variant).network.state_dict()


def blank(variant):
    """What a fixture's file holds, but zeros."""
    fixture = Fixture(variant)
    buffers = {name: torch.tensor(value) for name, value in dict(fixture.buffers).items()}
    return {name: torch.zeros(shape) for name, shape in fixture.shapes.items()} | buffers


# TorchScript ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", SMALL_PUBLISHED)
@pytest.mark.parametrize("layout", ["halves", "whole"])
def test_torchscript_loads_bit_for_bit(variant, layout, tmp_path):
    tensors, folder = narrow(variant), tmp_path / f"Cosmos-Tokenizer-{variant}"
    folder.mkdir()
    buffers = {"encoder.patcher3d._arange": torch.arange(4)}
    if find_model(variant).config.is_discrete:
        buffers["quantizer._levels"] = torch.tensor([8, 8, 8, 5, 5, 5], dtype=torch.int32)
    if layout == "halves":
        save_jit(half(tensors, "encoder") | buffers, folder / "encoder.jit")
        save_jit(half(tensors, "decoder"), folder / "decoder.jit")
    else:
        save_jit(tensors | buffers, folder / "autoencoder.jit")
    checkpoint = read_reference(folder)
    assert checkpoint.config.variant == variant
    assert_same(checkpoint.tensors, expected_native(tensors, variant))
    file = folder / ("encoder.jit" if layout == "halves" else "autoencoder.jit")
    expected = half(tensors, "encoder") if layout == "halves" else tensors
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_same(torch.jit.load(file).state_dict(), expected | buffers)


@pytest.mark.parametrize("name", ["encoder", "decoder"])
@pytest.mark.parametrize("variant", SMALL_PUBLISHED)
def test_one_half_alone(variant, name, tmp_path):
    tensors = narrow(variant)
    folder = tmp_path / variant
    folder.mkdir()
    save_jit(half(tensors, name), folder / f"{name}.jit")
    checkpoint = read_reference(folder / f"{name}.jit")
    assert checkpoint.halves == {name}
    expected = {n: t for n, t in expected_native(tensors, variant).items() if half_of(n) == name}
    assert_same(checkpoint.tensors, expected)
    whole = Tokenizer.from_reference_state_dict(tensors, variant)
    alone = Tokenizer.from_checkpoint(checkpoint)
    assert alone.config.channels == whole.config.channels
    x = clip(1, batch=1)
    if name == "encoder":
        assert torch.equal(alone.encode(x), whole.encode(x))
    else:
        z = whole.encode(x)
        assert torch.equal(alone.decode(z), whole.decode(z))
    assert read_reference(folder).halves == {name}


def test_bfloat16_and_mixed_dtypes_stay(tmp_path):
    tensors = {k: t.bfloat16() if "norm" not in k else t for k, t in narrow("CV8x8x8-720p").items()}
    save_jit(tensors, tmp_path / "autoencoder.jit")
    torch.save(tensors, tmp_path / "model.pt")
    for name in ("autoencoder.jit", "model.pt"):
        found = read_reference(tmp_path / name).tensors
        assert found["encoder.norm_out.weight"].dtype == torch.float32
        assert found["encoder.conv_in.spatial.weight"].dtype == torch.bfloat16
        expected = tensors["encoder.conv_in.0.conv3d.weight"].squeeze(2)
        assert torch.equal(found["encoder.conv_in.spatial.weight"], expected)


def test_a_traced_and_a_frozen_file(tmp_path):
    tensors = narrow("CV8x8x8-720p")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Tree(tensors), torch.zeros(1)).save(tmp_path / "autoencoder.jit")
        torch.jit.freeze(torch.jit.script(Tree(tensors).eval())).save(tmp_path / "frozen.jit")
    assert_same(read_reference(tmp_path).tensors, expected_native(tensors, "CV8x8x8-720p"))
    with pytest.raises(CheckpointError, match=r"frozen\.jit.*no tensors go by names"):
        read_reference(tmp_path / "frozen.jit")


# State dicts ---------------------------------------------------------------------------------------------------------


def prefixed(prefix, tensors):
    return {prefix + key: tensor for key, tensor in tensors.items()}


def averaged(tensors, prefix="ema.network-"):
    return {prefix + key.replace(".", "-"): tensor + 1 for key, tensor in tensors.items()}


WRAPPERS = {
    "plain": lambda t: t,
    "model": lambda t: {"model": t, "iteration": 7},
    "state_dict": lambda t: {"state_dict": t},
    "network": lambda t: {"model": prefixed("network.", t), "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}},
    "module": lambda t: prefixed("module.", t),
    "compiled": lambda t: {"model": prefixed("network._orig_mod.", t)},
    "averaged": lambda t: {
        "model": prefixed("network.", {k: x - 1 for k, x in t.items()}) | averaged(t, "ema.network-")
    },
    "averaged-compiled": lambda t: {"model": averaged(t, "ema.network-_orig_mod-")},
    "averaged-module": lambda t: {"ema": {k: x + 1 for k, x in t.items()}, "model": t},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("old", [False, True], ids=["zip", "before-1.6"])
def test_state_dicts_however_wrapped(wrapper, old, tmp_path):
    tensors = narrow("CV8x8x8-720p")
    wrapped = WRAPPERS[wrapper](tensors)
    torch.save(wrapped, tmp_path / "iter_000000010.pt", _use_new_zipfile_serialization=not old)
    expected = {k: t + 1 for k, t in tensors.items()} if "averaged" in wrapper else tensors
    checkpoint = read_reference(tmp_path)
    assert_same(checkpoint.tensors, expected_native(expected, "CV8x8x8-720p"))


def test_plain_or_averaged(tmp_path):
    tensors = narrow("CV8x8x8-720p")
    path = tmp_path / "iter_000000010.pt"
    torch.save({"model": prefixed("network.", tensors) | averaged(tensors)}, path)
    plain, average = expected_native(tensors, "CV8x8x8-720p"), {k: t + 1 for k, t in tensors.items()}
    assert_same(read_reference(path, weights="plain").tensors, plain)
    assert_same(read_reference(path, weights="averaged").tensors, expected_native(average, "CV8x8x8-720p"))
    torch.save({"model": prefixed("network.", tensors) | {"ema.num_updates": torch.tensor(3)}}, path)
    assert_same(read_reference(path).tensors, plain)
    with pytest.raises(CheckpointError, match="no averaged weights"):
        read_reference(path, weights="averaged")


def test_plain_weights_do_not_fill_gaps_of_the_average(tmp_path):
    tensors = narrow("CV8x8x8-720p")
    average = averaged(tensors)
    del average["ema.network-encoder-norm_out-norm-bias"]
    torch.save({"model": prefixed("network.", tensors) | average}, tmp_path / "iter_000000010.pt")
    with pytest.raises(CheckpointError, match=r"missing encoder\.norm_out\.norm\.bias"):
        read_reference(tmp_path)


def test_the_newest_iteration_and_what_comes_before_it(tmp_path):
    tensors = narrow("CV8x8x8-720p")
    for number, name in enumerate(["iter_000000900.pt", "iter_000010000.pt", "iter_000001000.pt"]):
        torch.save({k: t + number for k, t in tensors.items()}, tmp_path / name)
    assert_same(
        read_reference(tmp_path).tensors,
        expected_native({k: t + 1 for k, t in tensors.items()}, "CV8x8x8-720p"),
    )
    torch.save({k: t + 5 for k, t in tensors.items()}, tmp_path / "model.pt")
    expected = expected_native({k: t + 5 for k, t in tensors.items()}, "CV8x8x8-720p")
    assert_same(read_reference(tmp_path).tensors, expected)
    save_jit(half(tensors, "encoder"), tmp_path / "encoder.jit")
    assert_same(read_reference(tmp_path).tensors, expected)  # not a half where there is a whole
    save_jit(half(tensors, "decoder"), tmp_path / "decoder.jit")
    assert_same(read_reference(tmp_path).tensors, expected_native(tensors, "CV8x8x8-720p"))


def test_a_folder_of_other_files(tmp_path):
    with pytest.raises(CheckpointError, match="found none"):
        read_reference(tmp_path)
    torch.save(narrow("CV8x8x8-720p"), tmp_path / "one.pt")
    assert read_reference(tmp_path).config.variant == "CV8x8x8-720p"
    torch.save({}, tmp_path / "two.pt")
    with pytest.raises(CheckpointError, match=r"found one\.pt, two\.pt: pass one"):
        read_reference(tmp_path)
    with pytest.raises(CheckpointError, match=r"two\.pt: .*no tensors"):
        read_reference(tmp_path / "two.pt")
    with pytest.raises(CheckpointError, match="no such file"):
        read_reference(tmp_path / "three.pt")


# Variants ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_fixtures_variants_by_name(variant, tmp_path):
    folder = tmp_path / find_model(variant).hub.partition("/")[2]
    folder.mkdir()
    torch.save(blank(variant), folder / "model.pt")
    checkpoint = read_reference(folder)
    assert checkpoint.config == dataclasses.replace(find_model(variant).config, channels=32)
    assert len(checkpoint.tensors) <= len(Fixture(variant).shapes)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if "-" in v] + ["DI16x16"])
@pytest.mark.parametrize("halves", ["both", "encoder", "decoder"])
def test_the_fixtures_variants_by_keys_and_shapes(variant, halves, tmp_path):
    tensors = blank(variant)
    torch.save(tensors if halves == "both" else half(tensors, halves), tmp_path / "x.pt")
    assert read_reference(tmp_path / "x.pt").config == dataclasses.replace(find_model(variant).config, channels=32)


@pytest.mark.parametrize("variant", RELEASED)
def test_every_published_variant_by_keys_and_shapes_alone(variant, tmp_path):
    path = tmp_path / "x.pt"
    torch.save(narrow(variant), path)
    found = read_reference(path).config
    expected = find_model(variant).config
    # Without unused weights a file is one of Tokenize1, whose 720p models have the shapes of two older ones.
    sibling = {"CV8x8x8": "CV8x8x8-720p", "DV8x16x16": "DV8x16x16-720p"}.get(variant, variant)
    assert found.variant == sibling
    assert dataclasses.replace(found, channels=128, blocks=2, variant=variant) == expected


@pytest.mark.parametrize(
    ("variant", "candidates"),
    [
        ("DV4x8x8", ["DV4x8x8", "DV8x8x8", "DV8x16x16", "DV8x16x16-720p"]),
        ("CV8x16x16", ["CV8x8x8", "CV8x16x16", "CV8x8x8-720p"]),
    ],
)
def test_ambiguous_files_list_the_candidates(variant, candidates, tmp_path):
    path = tmp_path / "model.pt"
    tensors = narrow(variant)
    torch.save(tensors_of_everything(variant, tensors), path)
    with pytest.raises(CheckpointError) as caught:
        read_reference(path)
    assert " or ".join(candidates) in str(caught.value)
    assert "--variant" in str(caught.value)
    expected = expected_native(tensors, variant)
    for found in (
        read_reference(path, variant.lower()),
        read_reference(path, names=["somebody/cosmos_" + variant.lower()]),
        read_reference(path.rename(tmp_path / f"{variant}.pt")),
    ):
        assert found.config.variant == variant
        assert_same(found.tensors, expected)


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("nvidia/Cosmos-1.0-Tokenizer-CV8x8x8", "CV8x8x8-720p"),
        ("models--nvidia--Cosmos-1.0-Tokenizer-CV8x8x8", "CV8x8x8-720p"),
        ("nvidia/Cosmos-0.1-Tokenizer-CV8x8x8", "CV8x8x8"),
        ("Cosmos-Tokenize1-CV8x8x8-720p", "CV8x8x8-720p"),
        ("cv8x8x8_720p_finetuned", "CV8x8x8-720p"),
    ],
)
def test_names(name, variant, tmp_path):
    torch.save(tensors_of_everything(variant, narrow("CV8x8x8")), tmp_path / "model.pt")
    assert read_reference(tmp_path, names=[name]).config.variant == variant


def test_the_name_in_the_hubs_cache(tmp_path):
    folder = tmp_path / "models--nvidia--Cosmos-0.1-Tokenizer-DV8x8x8" / "snapshots" / "0123abcd"
    folder.mkdir(parents=True)
    torch.save(tensors_of_everything("DV8x8x8", narrow("DV8x8x8")), folder / "model.pt")
    assert read_reference(folder).config.variant == "DV8x8x8"


@pytest.mark.parametrize(
    ("file", "claimed", "because"),
    [
        ("CV8x8x8-720p", "DV8x8x8", "continuous, video"),
        ("DV8x16x16-720p", "CV8x16x16", "discrete, video"),
        ("CV8x8x8-720p", "CI8x8", "continuous, video"),
        ("CI8x8-360p", "CV8x8x8", "continuous, image"),
        ("CV4x8x8-360p", "CV4x8x8", "perhaps CV4x8x8-360p"),
        ("DV8x16x16-720p", "DV4x8x8", "8x16x16"),
        ("CI16x16-360p", "CI8x8-360p", "16x16"),
    ],
)
def test_a_contradiction_is_said(file, claimed, because, tmp_path):
    path = tmp_path / f"my-{claimed}.pt"
    torch.save(narrow(file), path)
    for arguments in ({}, {"variant": claimed}):
        with pytest.raises(CheckpointError) as caught:
            read_reference(path, **arguments)
        assert claimed in str(caught.value)
        assert because in str(caught.value)
        assert str(path) in str(caught.value)
    assert read_reference(path, variant=file).config.variant == file


def test_a_bundled_model_is_no_variant_of_these_files(tmp_path):
    torch.save(narrow("CV4x8x8"), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="cv4x8x8-tiny"):
        read_reference(tmp_path, variant="cv4x8x8-tiny")


PUBLISHED_SETTINGS = {"name": "CV", "channels_mult": [2, 4, 4], "patch_size": 4, "spatial_compression": 8}


@pytest.mark.parametrize(
    ("settings", "variant"),
    [
        ({"variant": "CV8x8x8"}, "CV8x8x8"),
        ({"_name_or_path": "nvidia/Cosmos-0.1-Tokenizer-CV8x8x8"}, "CV8x8x8"),
        (PUBLISHED_SETTINGS | {"temporal_compression": 8}, "CV8x8x8-720p"),
        (PUBLISHED_SETTINGS | {"temporal_compression": 8, "variant": "mine"}, "mine"),
    ],
)
def test_a_config_beside_the_file_tells(settings, variant, tmp_path):
    torch.save(tensors_of_everything("CV8x8x8", narrow("CV8x8x8")), tmp_path / "model.pt")
    (tmp_path / "config.json").write_text(json.dumps(settings))
    config = read_reference(tmp_path).config
    assert (config.variant, config.temporal_factor, config.spatial_factor) == (variant, 8, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable JSON"),
        ('{"spatial_compression": "8"}', "spatial_compression='8': expected int"),
        ('{"variant": "CV8x8x8", "temporal_compression": 4, "spatial_compression": 8}', r"config\.json says \(4, 8\)"),
        ('{"temporal_compression": 4, "spatial_compression": 16}', "says"),
        ('{"temporal_compression": 8, "spatial_compression": 9, "variant": "x"}', "spatial_factor"),
    ],
)
def test_a_bad_config_beside_the_file(text, message, tmp_path):
    torch.save(narrow("CV8x8x8-720p"), tmp_path / "model.pt")
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_reference(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", '{"architectures": ["CausalVideoTokenizer"], "levels": null}'])
def test_a_config_of_other_things_is_no_matter(text, tmp_path):
    torch.save(narrow("CV8x8x8-720p"), tmp_path / "model.pt")
    (tmp_path / "config.json").write_text(text)
    assert read_reference(tmp_path).config.variant == "CV8x8x8-720p"


def test_the_levels_are_those_of_the_buffer(tmp_path):
    levels = (4, 4, 4, 4, 4, 4)
    torch.save(narrow("DV4x8x8-360p") | {"quantizer._levels": torch.tensor(levels)}, tmp_path / "model.pt")
    config = read_reference(tmp_path).config
    assert (config.variant, config.levels, config.vocab_size) == ("DV4x8x8-360p", levels, 4**6)
    torch.save(narrow("DV4x8x8-360p") | {"quantizer._levels": torch.ones(6)}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model\.pt|levels"):
        read_reference(tmp_path)


def test_a_model_of_ones_own_tells_its_factors(tmp_path):
    config = dataclasses.replace(CONFIGS["cv4x8x8-patch2"], temporal_factor=2)
    torch.save(to_reference_state_dict(Tokenizer(config).network.state_dict(), config), tmp_path / "mine.pt")
    found = read_reference(tmp_path / "mine.pt").config
    assert (found.temporal_factor, found.spatial_factor, found.patch) == (2, 8, 2)
    assert found.encoder_multipliers == config.encoder_multipliers


# Never half-loaded ---------------------------------------------------------------------------------------------------


def refused(path, **arguments):
    with pytest.raises(CheckpointError) as caught:
        read_reference(path, **arguments)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def test_all_that_is_wrong_is_named(tmp_path):
    path = tmp_path / "CV8x8x8-720p.pt"
    tensors = narrow("CV8x8x8-720p")
    del tensors["encoder.mid.block_1.conv1.0.conv3d.weight"]
    tensors["decoder.norm_out.norm.weight"] = torch.ones(3)
    tensors["encoder.mid.block_3.conv1.0.conv3d.weight"] = torch.ones(3)
    tensors["decoder.norm_out.norm.bias"] = torch.ones(16, dtype=torch.int64)
    torch.save(tensors, path)
    message = refused(path)
    assert "missing encoder.mid.block_1.conv1.0.conv3d.weight" in message
    assert "decoder.norm_out.norm.weight has shape [3], expected [16]" in message
    assert "unexpected encoder.mid.block_3.conv1.0.conv3d.weight" in message
    assert "decoder.norm_out.norm.bias is torch.int64" in message


@pytest.mark.parametrize("stranger", ["quantizer.embedding.weight", "quantizer.layers.0._levels", "head.weight"])
def test_a_tensor_too_many_is_named(stranger, tmp_path):
    torch.save(narrow("CV8x8x8-720p") | {stranger: torch.ones(2)}, tmp_path / "model.pt")
    assert stranger in refused(tmp_path if "." not in stranger else tmp_path / "model.pt")


def test_a_long_list_is_cut(tmp_path):
    tensors = narrow("CV8x8x8-720p")
    kept = {key: tensor for key, tensor in tensors.items() if ".mid." not in key}
    torch.save(kept, tmp_path / "model.pt")
    message = refused(tmp_path / "model.pt")
    absent = [key for key in tensors if key not in kept]
    assert sum(key in message for key in absent) == 12
    assert f"and {len(absent) - 12} more" in message


def test_a_missing_layer_that_tells_the_factors_is_named(tmp_path):
    tensors = narrow("CV8x8x8-720p")
    lost = "encoder.down.0.downsample.conv2.conv3d"
    kept = {key: tensor for key, tensor in tensors.items() if not key.startswith(lost)}
    torch.save(kept, tmp_path / "CV8x8x8-720p.pt")
    message = refused(tmp_path / "CV8x8x8-720p.pt")
    assert f"missing {lost}.weight; missing {lost}.bias" in message


@pytest.mark.parametrize("name", ["model.pt", "iter_000000001.pt"])
@pytest.mark.parametrize("lost", ["encoder", "decoder"])
def test_a_whole_without_a_half(name, lost, tmp_path):
    tensors = narrow("CV8x8x8-720p")
    kept = half(tensors, {"encoder": "decoder", "decoder": "encoder"}[lost])
    torch.save(kept, tmp_path / name)
    assert f"the whole {lost} is missing" in refused(tmp_path / name)


def test_files_of_two_models(tmp_path):
    one, other = narrow("CV8x8x8-720p"), narrow("CV8x8x8-720p", seed=1)
    save_jit(one, tmp_path / "encoder.jit")
    save_jit(half(other, "decoder"), tmp_path / "decoder.jit")
    assert "encoder.jit and decoder.jit differ in " in refused(tmp_path)


def test_a_key_twice(tmp_path):
    tensors = narrow("CV8x8x8-720p")
    torch.save({"model": tensors, "state_dict": tensors}, tmp_path / "model.pt")
    assert "more than once" in refused(tmp_path / "model.pt")


# Writing -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("halves", ["both", "encoder", "decoder"])
@pytest.mark.parametrize("kind", WITHOUT_SHORTCUT)
def test_there_and_back(kind, halves, tmp_path):
    checkpoint = small(kind).to_checkpoint()
    if halves != "both":
        kept = {name: tensor for name, tensor in checkpoint.tensors.items() if half_of(name) == halves}
        checkpoint = dataclasses.replace(checkpoint, tensors=kept)
    write_reference(checkpoint, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "model.pt"]
    found = read_reference(tmp_path / "out")
    assert found.config == checkpoint.config
    assert found.halves == checkpoint.halves
    assert_same(found.tensors, checkpoint.tensors)
    plain = torch.load(tmp_path / "out" / "model.pt", weights_only=True)
    assert all(tensor.ndim in (1, 5 if checkpoint.config.kind == "video" else 4) for tensor in plain.values())


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_written_has_the_keys_and_shapes_of_the_published_code(variant, tmp_path):
    fixture = Fixture(variant)
    tokenizer = Tokenizer.from_reference_state_dict(blank(variant), variant)
    write_reference(tokenizer.to_checkpoint(), tmp_path)
    written = torch.load(tmp_path / "model.pt", weights_only=True)
    for key, tensor in written.items():
        assert list(tensor.shape) == fixture.shapes[key]
    if "-" in variant:
        assert set(written) == set(fixture.shapes)
    found = read_reference(tmp_path)
    assert found.config == tokenizer.config
    settings = json.loads((tmp_path / "config.json").read_text())
    facts = fixture_settings(variant)
    assert {k: settings.get(k) for k in facts} == facts


def fixture_settings(variant):
    from fixtures import PARITY

    settings = json.loads((PARITY / f"{variant}.json").read_text())["config"]
    unsettled = {"attn_resolutions", "num_quantizers", "latent_channels"}
    return {key: value for key, value in settings.items() if key not in unsettled}


def test_statistics_and_dtypes_survive(tmp_path):
    config = dataclasses.replace(CONFIGS["cv4x8x8"], latents_mean=(0.5,) * 4, latents_std=(2.0, 1.0, 1.0, 3.5))
    tensors = {name: tensor.bfloat16() for name, tensor in fresh("cv4x8x8").network.state_dict().items()}
    write_reference(Checkpoint(config, tensors, "x"), tmp_path)
    found = read_reference(tmp_path)
    assert found.config == config
    assert_same(found.tensors, tensors)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if CONFIGS[kind].linear_shortcut])
def test_a_linear_shortcut_is_refused(kind, tmp_path):
    with pytest.raises(CheckpointError, match="linear shortcut"):
        write_reference(small(kind).to_checkpoint(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MediaError, match="out: cannot be written"):
        write_reference(small("cv4x8x8").to_checkpoint(), tmp_path / "file" / "out")


def test_the_config_is_one_that_our_own_format_does_not_mistake(tmp_path):
    write_reference(small("cv4x8x8").to_checkpoint(), tmp_path)
    assert "config_version" not in json.loads((tmp_path / "config.json").read_text())
    loaded = Tokenizer.from_pretrained(tmp_path)
    assert isinstance(loaded.config, TokenizerConfig)
    assert torch.equal(loaded.encode(clip(5)), small("cv4x8x8").encode(clip(5)))
