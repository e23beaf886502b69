"""`Tokenizer`: every size and dtype in, the same size out; bad input, damaged files and wrong names are refused."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused
from safetensors.torch import load_file, save_file
from small import (
    CONTINUOUS_KINDS,
    DISCRETE_KINDS,
    FEW_KINDS,
    KINDS,
    clip,
    fresh,
    image,
    pixels,
    randomise,
    small,
    time_axis,
    tokens_for,
)

import cosmotok.tokenizer
from cosmotok import Tokenizer
from cosmotok.errors import CheckpointError, CosmotokError, InputError, UnknownModelError

each_kind = pytest.mark.parametrize("kind", KINDS)
few_kinds = pytest.mark.parametrize("kind", FEW_KINDS)
sizes = {
    "frames": st.integers(1, 14),
    "height": st.integers(1, 35),
    "width": st.integers(1, 35),
    "batch": st.integers(1, 2),
}


# Sizes ----------------------------------------------------------------------------------------------------------


@each_kind
@settings(max_examples=6)
@given(**sizes)
def test_any_size_goes_in_and_comes_out(kind, frames, height, width, batch):
    tokenizer, config = small(kind), small(kind).config
    video = clip(frames, height, width, batch)
    tokens = tokenizer.encode(video)
    time, space = config.temporal_factor, config.spatial_factor
    grid = (1 + math.ceil((frames - 1) / time), math.ceil(height / space), math.ceil(width / space))
    assert config.grid(frames, height, width) == grid
    if config.is_discrete:
        assert tokens.shape == (batch, *grid)
        assert tokens.dtype == torch.int32
        assert 0 <= tokens.min() <= tokens.max() < config.vocab_size
    else:
        assert tokens.shape == (batch, config.latent_channels, *grid)
        assert tokens.dtype == torch.float32
    full = tokenizer.decode(tokens)
    assert full.shape == (batch, 3, 1 + (grid[0] - 1) * time, grid[1] * space, grid[2] * space)
    cropped = full[:, :, :frames, :height, :width]
    assert torch.equal(tokenizer.decode(tokens, size=(frames, height, width)), cropped)
    assert torch.equal(tokenizer.reconstruct(video), cropped)


def test_the_narrowest_image_network_takes_the_smallest_image():
    tokenizer = Tokenizer(image(8, (1, 1)))
    assert tokenizer.reconstruct(clip(1, 8, 8)).shape == (1, 3, 1, 8, 8)


@each_kind
def test_images_are_videos_of_one_frame(kind):
    tokenizer, axis = small(kind), time_axis(small(kind))
    images = clip(1, 17, 9, batch=2).squeeze(2)
    tokens = tokenizer.encode(images)
    assert torch.equal(tokens, tokenizer.encode(images.unsqueeze(2)).squeeze(axis))
    decoded = tokenizer.decode(tokens, size=(17, 9))
    assert torch.equal(decoded, tokenizer.decode(tokens.unsqueeze(axis), size=(1, 17, 9)).squeeze(2))
    assert torch.equal(tokenizer.reconstruct(images), decoded)
    assert decoded.shape == images.shape
    assert tokenizer.decode(tokens).shape[-2:] != images.shape[-2:]


@each_kind
def test_tokens_equal_those_of_a_clip_padded_by_hand(kind):
    tokenizer, config = small(kind), small(kind).config
    video = clip(6, 13, 21)
    frames = torch.cat((video, *[video[:, :, -1:]] * (-5 % config.temporal_factor)), dim=2)
    down, right = -13 % config.spatial_factor, -21 % config.spatial_factor
    padded = F.pad(frames, (0, right, 0, down, 0, 0), mode="replicate")
    assert padded.shape[2:] != video.shape[2:]
    assert torch.equal(tokenizer.encode(padded), tokenizer.encode(video))


@few_kinds
def test_a_batch_is_its_clips(kind):
    tokenizer, videos = small(kind), clip(6, batch=3)
    one_by_one = torch.cat([tokenizer.encode(video) for video in videos.split(1)])
    torch.testing.assert_close(tokenizer.encode(videos), one_by_one, atol=1e-5, rtol=1e-5)


@few_kinds
def test_sizes_at_the_ends_of_the_range_fit_and_others_do_not(kind):
    tokenizer, config = small(kind), small(kind).config
    tokens = tokens_for(tokenizer, 3)
    time, space = config.temporal_factor, config.spatial_factor
    least, most = (2 + time, 1 + space, 1 + space), (1 + 2 * time, 2 * space, 2 * space)
    assert tokenizer.decode(tokens, size=least).shape == (1, 3, *least)
    assert tokenizer.decode(tokens, size=most).shape == (1, 3, *most)
    wrong = [(0, *most[1:]), (-1, *most[1:]), most[1:], (1, *most), ()]
    for axis in range(3):
        wrong += [
            (*least[:axis], least[axis] - 1, *least[axis + 1 :]),
            (*most[:axis], most[axis] + 1, *most[axis + 1 :]),
        ]
    for size in wrong:
        message = refused(lambda size=size: tokenizer.decode(tokens, size=size), "size", "(T, H, W)")
        for low, high in zip(least, most, strict=True):
            assert f"{low}..{high}" in message


# Dtypes ---------------------------------------------------------------------------------------------------------


@few_kinds
def test_uint8_equals_float(kind):
    tokenizer, video = small(kind), pixels(6)
    assert torch.equal(tokenizer.encode(video), tokenizer.encode(video.float() / 127.5 - 1))


@few_kinds
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(kind, dtype):
    tokenizer, exact = fresh(kind).to(dtype=dtype), small(kind)
    assert tokenizer.dtype == dtype
    video = clip(6, 9, 16)
    tokens = tokenizer.encode(video)
    if not tokenizer.config.is_discrete:
        assert tokens.dtype == dtype
        assert (tokens - exact.encode(video)).square().mean() < 1e-2 * exact.encode(video).square().mean()
    expected = exact.decode(tokens if tokenizer.config.is_discrete else tokens.float())
    frames = tokenizer.decode(tokens)
    assert frames.dtype == dtype
    assert (frames.float() - expected).square().mean() < 1e-2 * expected.square().mean()


@few_kinds
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_any_float_dtype_goes_in(kind, dtype):
    tokenizer, video = small(kind), clip(6).to(dtype)
    assert torch.equal(tokenizer.encode(video), tokenizer.encode(video.float()))


@pytest.mark.parametrize("kind", DISCRETE_KINDS)
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint16])
def test_any_integer_dtype_is_an_index(kind, dtype):
    tokenizer = small(kind)
    indices = tokens_for(tokenizer, 3)
    indices[0, 0, 0, 0] = tokenizer.config.vocab_size - 1
    assert torch.equal(tokenizer.decode(indices.to(dtype)), tokenizer.decode(indices))


@few_kinds
def test_frames_are_written_where_the_caller_says(kind):
    tokenizer, tokens = small(kind), tokens_for(small(kind), 3)
    video = tokenizer.decode(tokens)
    shorter = int(tokenizer.config.kind == "video")
    size = (video.shape[2] - shorter, video.shape[3] - 3, video.shape[4])
    expected = video[:, :, : size[0], : size[1]]
    out = torch.full((*video.shape[:2], *size), math.nan)
    assert tokenizer.decode(tokens, size, out=out) is out
    assert torch.equal(out, expected)
    eight_bit = torch.empty(out.shape, dtype=torch.uint8)
    tokenizer.decode(tokens, size, out=eight_bit)
    assert torch.equal(eight_bit, ((expected.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8))
    refused(lambda: tokenizer.decode(tokens, out=out), "out", "expected")
    refused(lambda: tokenizer.decode(tokens, size, out=out.int()), "out", "expected")


def test_an_image_is_written_where_the_caller_says():
    tokenizer = small("ci8x8")
    latents = tokenizer.encode(clip(1, 16, 16)[:, :, 0])
    out = torch.empty(1, 3, 16, 16)
    tokenizer.decode(latents, out=out)
    assert torch.equal(out, tokenizer.decode(latents))


@few_kinds
def test_the_same_clip_gives_the_same_tokens_without_gradients(kind):
    tokenizer, video = small(kind), clip(6).requires_grad_()
    assert torch.equal(tokenizer.encode(video), tokenizer.encode(video))
    assert not tokenizer.encode(video).requires_grad
    assert not tokenizer.reconstruct(video).requires_grad


# Bad input ------------------------------------------------------------------------------------------------------


def with_value(x, value):
    x = x.clone()
    x.view(-1)[x.numel() // 2] = value
    return x


BAD_VIDEOS = {
    "NaN": (with_value(clip(2), math.nan), "NaN"),
    "infinity": (with_value(clip(2), math.inf), "inf"),
    "above the range": (with_value(clip(2), 1.5), "[-1, 1], got -0.99"),
    "below the range": (with_value(clip(2), -1.5), "[-1, 1], got -1.5"),
    "0 to 255 as float": (pixels(2).float(), "got 0 to 255; scale 0..255"),
    "int64": (pixels(2).long(), "floating point in [-1, 1] or uint8 in 0..255, got torch.int64"),
    "bool": (pixels(2).bool(), "uint8 in 0..255, got torch.bool"),
    "rank 3": (clip(2)[0, 0], "(B, 3, T, H, W)"),
    "rank 6": (clip(2)[None], "(B, 3, T, H, W)"),
    "one channel": (clip(2)[:, :1], "(B, 3, T, H, W)"),
    "channels last": (clip(2).movedim(1, -1), "(B, 3, T, H, W)"),
    "image of one channel": (clip(2)[:, :1, 0], "(B, 3, H, W)"),
    "no frames": (clip(0), "at least one frame"),
    "no height": (clip(2, 0, 8), "at least 1"),
    "no width": (clip(2, 8, 0), "at least 1"),
    "no clips": (clip(2, batch=0), "at least 1"),
}


@pytest.mark.parametrize("bad", BAD_VIDEOS)
@pytest.mark.parametrize("kind", ["cv4x8x8", "di8x8"])
def test_bad_videos_are_refused(kind, bad):
    video, words = BAD_VIDEOS[bad]
    for call in (small(kind).encode, small(kind).reconstruct):
        refused(lambda call=call: call(video), "video: expected", words)


def test_a_resized_picture_may_overshoot_a_little():
    assert small("cv4x8x8").encode(with_value(clip(1), 1.04)).isfinite().all()


INDICES, LATENTS = tokens_for(small("dv4x8x8"), 2), tokens_for(small("cv4x8x8"), 2)
BAD_TOKENS = {
    "float indices": ("dv4x8x8", INDICES.float(), "integer indices", "torch.float32"),
    "bool indices": ("dv4x8x8", INDICES.bool(), "integer indices", "torch.bool"),
    "negative index": ("dv4x8x8", with_value(INDICES, -1), "0..63999", "got -1.."),
    "too large an index": ("dv4x8x8", with_value(INDICES, 64_000), "0..63999", "..64000"),
    "latents as indices": ("dv4x8x8", LATENTS, "(B, T', H', W')", str(tuple(LATENTS.shape))),
    "indices of rank 2": ("dv4x8x8", INDICES[0, 0], "(B, T', H', W')", "(2, 2)"),
    "no indices": ("dv4x8x8", INDICES[:, :0], "at least one latent frame"),
    "indices without height": ("dv4x8x8", INDICES[:, :, :0], "(B, T', H', W')", "(1, 2, 0, 2)"),
    "wrong channels": ("cv4x8x8", LATENTS[:, :3], "(B, 4, T', H', W')", "(1, 3, 2, 2, 2)"),
    "indices as latents": ("cv4x8x8", INDICES[:, None].expand(1, 4, 2, 2, 2), "floating-point", "torch.int32"),
    "latents of rank 3": ("cv4x8x8", LATENTS[0, 0], "(B, 4, T', H', W')", "(2, 2, 2)"),
    "NaN latents": ("cv4x8x8", with_value(LATENTS, math.nan), "finite", "NaN"),
    "infinite latents": ("cv4x8x8", with_value(LATENTS, -math.inf), "finite", "infinity"),
    "no latents": ("cv4x8x8", LATENTS[:, :, :0], "at least one latent frame"),
}


@pytest.mark.parametrize("bad", BAD_TOKENS)
def test_bad_tokens_are_refused(bad):
    kind, tokens, *words = BAD_TOKENS[bad]
    refused(lambda: small(kind).decode(tokens), "tokens: expected", *words)


@pytest.mark.parametrize("kind", ["cv4x8x8", "dv4x8x8"])
def test_arrays_that_are_no_tensors_are_refused(kind):
    tokenizer = small(kind)
    for array in (clip(2).numpy(), clip(2)[:, :, 0].numpy(), clip(1).tolist()):
        refused(lambda array=array: tokenizer.encode(array), "video: expected", "torch.Tensor")
    refused(lambda: tokenizer.decode(tokens_for(tokenizer, 2).numpy()), "tokens: expected", "torch.Tensor")


def test_bad_dtypes_and_devices_are_refused():
    tokenizer = fresh("cv4x8x8")
    refused(lambda: tokenizer.to(dtype=torch.int8), "dtype=torch.int8", "torch.bfloat16")
    refused(lambda: tokenizer.to(dtype=torch.float64), "dtype=torch.float64", "torch.float32")
    refused(lambda: tokenizer.to(device="cuda:99"), "device=cuda:99")
    refused(lambda: tokenizer.to(device="abacus"), "device=abacus")
    assert tokenizer.dtype == torch.float32
    assert torch.equal(tokenizer.encode(clip(2)), small("cv4x8x8").encode(clip(2)))


# Files ----------------------------------------------------------------------------------------------------------


@each_kind
def test_saving_and_loading_keeps_every_bit(kind, tmp_path):
    tokenizer = small(kind)
    tokenizer.save_pretrained(tmp_path / "new" / "folder")
    loaded = Tokenizer.from_pretrained(tmp_path / "new" / "folder")
    assert loaded.config == tokenizer.config
    weights, loaded_weights = tokenizer.network.state_dict(), loaded.network.state_dict()
    assert list(weights) == list(loaded_weights)
    assert all(torch.equal(weights[name], loaded_weights[name]) for name in weights)
    assert loaded.fingerprint == tokenizer.fingerprint
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    assert torch.equal(loaded.reconstruct(clip(6)), tokenizer.reconstruct(clip(6)))


def test_loading_into_another_dtype(tmp_path):
    small("cv4x8x8").save_pretrained(tmp_path)
    loaded = Tokenizer.from_pretrained(str(tmp_path), device="cpu", dtype=torch.bfloat16)
    assert loaded.dtype == torch.bfloat16
    assert loaded.fingerprint == small("cv4x8x8").fingerprint


def test_fingerprint_is_of_the_weights_and_outlives_a_change_of_dtype():
    tokenizer = fresh("cv4x8x8")
    assert tokenizer.to(dtype=torch.bfloat16).fingerprint == small("cv4x8x8").fingerprint
    assert len(tokenizer.fingerprint) == 16
    int(tokenizer.fingerprint, 16)


def test_a_network_that_came_in_half_precision_has_a_fingerprint_of_its_own_weights():
    config = small("cv4x8x8").config
    half = Tokenizer(config, fresh("cv4x8x8").network.to(torch.bfloat16))
    rounded = Tokenizer(config, fresh("cv4x8x8").network.to(torch.bfloat16).float())
    assert half.dtype == torch.bfloat16
    assert half.fingerprint == rounded.fingerprint != small("cv4x8x8").fingerprint
    half.network.quant_conv.weight.data.mul_(2)
    assert half.fingerprint != rounded.fingerprint


def test_the_fingerprint_is_worked_out_once(monkeypatch):
    asked = []
    hashed = cosmotok.tokenizer.fingerprint
    monkeypatch.setattr(cosmotok.tokenizer, "fingerprint", lambda tensors: asked.append(1) or hashed(tensors))
    tokenizer = fresh("cv4x8x8")
    seen = [tokenizer.fingerprint for _ in range(3)]
    assert len(asked) == 1 and len(set(seen)) == 1
    tokenizer.network.quant_conv.weight.data.mul_(2)
    assert tokenizer.fingerprint != seen[0] and len(asked) == 2
    tokenizer.network.quant_conv.weight.data.div_(2)
    assert tokenizer.to(dtype=torch.bfloat16).fingerprint == seen[0] and len(asked) == 3


def test_fingerprint_changes_with_any_weight():
    seen = {small("cv4x8x8").fingerprint, fresh("cv4x8x8", seed=1).fingerprint}
    names = [name for name, _ in fresh("cv4x8x8").network.named_parameters()]
    for name in names[:: len(names) // 8]:
        changed = fresh("cv4x8x8")
        with torch.no_grad():
            changed.network.get_parameter(name).view(-1)[-1] += 1e-6
        seen.add(changed.fingerprint)
    assert len(seen) == 2 + len(names[:: len(names) // 8])


def test_weights_saved_in_bfloat16_are_the_same_model(tmp_path):
    tokenizer = fresh("cv4x8x8").to(dtype=torch.bfloat16)
    tokenizer.save_pretrained(tmp_path)
    loaded = Tokenizer.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert torch.equal(loaded.encode(clip(3)), tokenizer.encode(clip(3)))


@pytest.fixture
def folder(tmp_path):
    small("cv4x8x8").save_pretrained(tmp_path)
    return tmp_path


def cannot_load(folder, *words):
    refused(lambda: Tokenizer.from_pretrained(folder), *words, error=CheckpointError)


def edit_weights(folder, edit):
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize("kept", [0, 4, 100, 2000])
def test_truncated_weights_are_refused(folder, kept):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    cannot_load(folder, str(path))


def test_missing_weights_are_refused(folder):
    (folder / "model.safetensors").unlink()
    cannot_load(folder, "model.safetensors", "missing")


def test_every_wrong_key_is_named_at_once(folder):
    def edit(tensors):
        tensors["extra.weight"] = torch.zeros(1)
        tensors["quant_conv.weight"] = torch.zeros(2, 3)
        del tensors["decoder.norm_out.bias"]

    edit_weights(folder, edit)
    cannot_load(
        folder,
        "missing decoder.norm_out.bias",
        "unexpected extra.weight",
        "quant_conv.weight has shape [2, 3], expected [4, 8]",
    )


DAMAGED_CONFIGS = {
    "nothing": ("", []),
    "broken JSON": ('{"channels": ', []),
    "not UTF-8": (b"\xff\xfe\x00", []),
    "a list": ("[1, 2]", []),
    "null": ("null", []),
    "a string": ('"cv4x8x8"', []),
    "an unknown key": ({"chanels": 8}, ["'chanels'", "did you mean channels"]),
    "a wrong type": ({"channels": "8"}, ["channels='8'", "int"]),
    "a truth value for a number": ({"blocks": True}, ["blocks=True", "int"]),
    "a number for a list": ({"levels": 8}, ["levels=8", "tuple"]),
    "a bad value": ({"patch": 3}, ["patch=3", "2 or 4"]),
    "a newer version": ({"config_version": 99}, ["config_version=99", "upgrade"]),
    "no version": ({"config_version": None}, ["config_version"]),
}


@pytest.mark.parametrize("damage", DAMAGED_CONFIGS)
def test_damaged_configs_are_refused(folder, damage):
    text, words = DAMAGED_CONFIGS[damage]
    path = folder / "config.json"
    if isinstance(text, dict):
        text = json.dumps(json.loads(path.read_text()) | text)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    cannot_load(folder, str(path), *words)


def test_a_folder_without_a_model_is_refused(tmp_path):
    cannot_load(tmp_path, str(tmp_path), "config.json", "model.safetensors")


def test_saving_over_a_file_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    refused(lambda: small("cv4x8x8").save_pretrained(tmp_path / "taken"), "taken", error=CosmotokError)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("cv4x8x8-tny", "cv4x8x8-tiny"), ("CV8x8x8-720", "CV8x8x8-720p"), ("di16-16", "DI16x16")],
)
def test_unknown_names_suggest_the_nearest(name, nearest):
    refused(lambda: Tokenizer.from_pretrained(name), repr(name), "did you mean", nearest, error=UnknownModelError)


def test_fresh_weights_are_random_but_seeded():
    def weights(seed):
        torch.manual_seed(seed)
        return Tokenizer(small("cv4x8x8").config).network.encoder.conv_in.spatial.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_the_helper_makes_lively_tokens():
    for kind in CONTINUOUS_KINDS:
        assert 0.1 < small(kind).encode(clip(9)).std() < 10
    for kind in DISCRETE_KINDS:
        tokenizer = fresh(kind)
        randomise(tokenizer.network, seed=3)
        assert len(tokenizer.encode(clip(9, 48, 48)).unique()) > 5


@pytest.mark.parametrize(
    ("out", "word"),
    [
        (torch.nested.nested_tensor([torch.zeros(3), torch.zeros(4)], layout=torch.jagged), "nested"),
        (torch.empty(1, 3, 1, 16, 16, device="meta"), "meta"),
    ],
)
def test_an_output_without_plain_values_is_refused(out, word):
    tokenizer = Tokenizer.from_pretrained("ci8x8-tiny")
    with pytest.raises(InputError, match=f"^out: .*{word}"):
        tokenizer.decode(torch.zeros(1, 16, 1, 2, 2), out=out)
