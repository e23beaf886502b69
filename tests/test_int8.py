"""8-bit integers on the CPU: kernels against exact sums, streams, saving, refusals, and what real pictures lose."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused
from small import KINDS, clip, fresh, time_axis
from torch import Tensor
from typer.testing import CliRunner

import cosmotok.cli.calibrate  # noqa: F401 - registers the verb
from cosmotok import Tokenizer
from cosmotok.checkpoint.calibration import Calibration
from cosmotok.cli import app
from cosmotok.errors import CheckpointError, InputError
from cosmotok.families import find
from cosmotok.frames import to_pixels
from cosmotok.kernels import int8
from cosmotok.kernels.int8 import Grid, PointwiseInt8, SpatialInt8, TemporalInt8, UpsampledInt8
from cosmotok.media import write_image
from cosmotok.metrics.quality import RunningQuality
from cosmotok.quantization import Watch, calibration_clips, layers

pytestmark = pytest.mark.usefixtures("int8_at_hand")

VAL = Path(__file__).parents[2] / "shared" / "data" / "val"


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def quantized():
    """Small tokenizers in int8, each made once."""
    made: dict[str, Tokenizer] = {}

    def make(kind: str) -> Tokenizer:
        if kind not in made:
            made[kind] = calibrated(kind)
        return made[kind]

    return make


def calibrated(kind: str, seed: int = 0) -> Tokenizer:
    tokenizer = fresh(kind, seed)
    tokenizer.calibrate([clip(9, 16, 32, seed=seed)])
    return tokenizer.set_precision("int8")


# Kernels ---------------------------------------------------------------------------------------------------------


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rounded(weight: Tensor) -> Tensor:
    """Weights as 8-bit integers have them, in float64."""
    scale = weight.flatten(1).abs().amax(1).view(-1, *[1] * (weight.ndim - 1)) / 127
    return (weight / scale).round().double() * scale


def on_grid(x: Tensor, grid: Grid) -> Tensor:
    return (grid.quantize(x).double() - grid.zero_point) * grid.scale


def spatial(x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1) -> Tensor:
    x = F.pad(x, (0, 0, 1, 1, 1, 1) if stride == 1 else (0, 0, 0, 1, 0, 1))
    return F.conv2d(x.permute(0, 3, 1, 2), weight, bias.double(), stride=stride).permute(0, 2, 3, 1)


def equal(found: Tensor, exact: Tensor) -> bool:
    return found.dtype == torch.float32 and torch.allclose(found.double(), exact, rtol=1e-5, atol=1e-4)


sizes = st.integers(1, 9)
channels = st.sampled_from([1, 3, 8, 16, 33])
grids = st.sampled_from([Grid.over(-3, 3), Grid.over(-0.3, 5), Grid.over(0, 2), Grid.over(-2, -1)])
seeds = st.integers(0, 5)


@settings(max_examples=40, deadline=None)
@given(sizes, sizes, channels, channels, st.sampled_from([1, 2]), grids, seeds)
def test_spatial_convolution_is_exact_on_rounded_values(height, width, ins, outs, stride, grid, seed):
    x, weight, bias = (
        noise(2, height * 2, width * 2, ins, seed=seed),
        noise(outs, ins, 3, 3, seed=seed),
        noise(outs, seed=seed),
    )
    found = SpatialInt8(weight, bias, stride, grid)(x)
    assert equal(found, spatial(on_grid(x, grid), rounded(weight), bias, stride))


@settings(max_examples=20, deadline=None)
@given(sizes, sizes, channels, channels, grids, seeds)
def test_convolution_of_repeated_pixels_is_exact_with_summed_weights(height, width, ins, outs, grid, seed):
    small, bias = noise(2, height, width, ins, seed=seed), noise(outs, seed=seed)
    x = small.repeat_interleave(2, 1).repeat_interleave(2, 2)
    # integers from the start, and the largest weight of every sum fixed, so that sums need no further rounding
    weight = torch.randint(-30, 31, (outs, ins, 3, 3), generator=torch.Generator().manual_seed(seed)).float()
    weight[:, 0] = torch.tensor([[127.0, 0, 0], [0, 0, 0], [0, 0, 127]])
    weight[:, 0, 0, 2] = weight[:, 0, 2, 0] = 127
    found = UpsampledInt8(weight, bias, grid)(x)
    assert equal(found, spatial(on_grid(x, grid), weight.double(), bias))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), sizes, channels, channels, st.sampled_from([1, 2]), st.booleans(), grids, seeds)
def test_temporal_convolution_is_exact_on_rounded_values(frames, width, ins, outs, stride, starts, grid, seed):
    x = noise(2, frames * stride, 3, width, ins, seed=seed)
    weight, bias = noise(outs, ins, 3, seed=seed), noise(outs, seed=seed)
    past = None if starts else noise(2, 3 - stride, 3, width, ins, seed=seed + 1)
    lead = x[:, :1].expand(-1, 3 - stride, -1, -1, -1) if past is None else past
    exact = F.conv3d(
        on_grid(torch.cat((lead, x), 1), grid).permute(0, 4, 1, 2, 3),
        rounded(weight)[..., None, None],
        bias.double(),
        stride=(stride, 1, 1),
    ).permute(0, 2, 3, 4, 1)
    assert equal(TemporalInt8(weight, bias, stride, grid)(past, x), exact)


@settings(max_examples=20, deadline=None)
@given(sizes, sizes, channels, channels, grids, seeds)
def test_pointwise_product_is_exact_on_rounded_values(height, width, ins, outs, grid, seed):
    x, weight, bias = noise(1, 2, height, width, ins, seed=seed), noise(outs, ins, seed=seed), noise(outs, seed=seed)
    exact = F.linear(on_grid(x, grid), rounded(weight), bias.double())
    assert equal(PointwiseInt8(weight, bias, grid)(x), exact)


def test_integers_handed_on_are_the_rounded_result():
    x, weight, bias = noise(1, 8, 8, 16, seed=0), noise(16, 16, 3, 3, seed=1), noise(16, seed=2)
    grid, out = Grid.over(-3, 3), Grid.over(-40, 30)
    handed_on = SpatialInt8(weight, bias, 1, grid, out)(x)
    assert handed_on.dtype == torch.uint8
    expected = out.quantize(SpatialInt8(weight, bias, 1, grid)(x))
    assert (handed_on.int() - expected.int()).abs().max() <= 1  # a tie may fall to either side
    assert (handed_on == expected).float().mean() > 0.99


@settings(max_examples=60, deadline=None)
@given(st.floats(-100, 100), st.floats(-100, 100), seeds)
def test_grid_holds_zero_and_rounds_to_the_nearest(a, b, seed):
    low, high = min(a, b), max(a, b)
    grid = Grid.over(low, high)
    assert 0 <= grid.zero_point <= 255
    assert on_grid(torch.zeros(1), grid).item() == 0
    x = torch.rand(100, generator=torch.Generator().manual_seed(seed)) * (high - low) + low
    assert (on_grid(x, grid) - x).abs().max() <= grid.scale * 1.01 + 1e-6  # the ends may lie half a step off


def test_grid_without_quantised_tensors(monkeypatch):
    grid, x = Grid.over(-0.3, 5), noise(4000, seed=0) * 4
    integers = grid.quantize(x)
    monkeypatch.delattr(torch, "quantize_per_tensor")
    assert torch.equal(grid.quantize(x), integers)


# Tokenizers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_streams_equal_whole_clips(kind, quantized):
    tokenizer = quantized(kind)
    video, axis = clip(21, 24, 16, seed=3), time_axis(tokenizer)
    whole = tokenizer.encode(video)
    encoder = tokenizer.stream_encoder()
    parts = [encoder.push(video[:, :, a:b]) for a, b in ((0, 2), (2, 3), (3, 14), (14, 21))]
    assert torch.equal(torch.cat([*parts, encoder.flush()], axis), whole)
    decoder = tokenizer.stream_decoder()
    parts = [decoder.push(tokens) for tokens in whole.split(1, axis)]
    decoded = tokenizer.decode(whole)
    assert torch.equal(torch.cat([*parts, decoder.flush()], 2), decoded)
    assert torch.equal(tokenizer.encode(video[:, :, :1]), whole.narrow(axis, 0, 1))
    assert torch.equal(tokenizer.decode(whole.narrow(axis, 0, 1)), decoded[:, :, :1])


@pytest.mark.parametrize("kind", KINDS)
def test_near_float32_and_back(kind):
    tokenizer = fresh(kind)
    video = clip(9, 32, 32)
    before = {name: tensor.clone() for name, tensor in tokenizer.network.state_dict().items()}
    tokens = tokenizer.encode(video)
    decoded = tokenizer.decode(tokens)
    tokenizer.calibrate([video])
    assert torch.equal(tokenizer.decode(tokens), decoded)  # calibration changes nothing by itself
    tokenizer.set_precision("int8")
    assert all(layer.kernel is not None for _, layer in layers(tokenizer.network))
    error = tokenizer.decode(tokens) - decoded
    assert 0 < error.norm() < 0.2 * decoded.norm()
    if not tokenizer.config.is_discrete:
        assert 0 < (tokenizer.encode(video) - tokens).norm() < 0.2 * tokens.norm()
    after = tokenizer.network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    tokenizer.set_precision("float32")
    assert torch.equal(tokenizer.decode(tokens), decoded)
    assert torch.equal(tokenizer.encode(video), tokens)


def test_calibration_is_deterministic_and_saved(tmp_path):
    tokenizer = calibrated("cv4x8x8")
    assert tokenizer.calibration == calibrated("cv4x8x8").calibration
    tokenizer.save_pretrained(tmp_path)
    loaded = Tokenizer.from_pretrained(tmp_path, precision="int8")
    video = clip(9)
    assert loaded.precision == "int8"
    assert loaded.calibration == tokenizer.calibration
    assert torch.equal(loaded.encode(video), tokenizer.encode(video))
    assert torch.equal(copy.deepcopy(loaded).encode(video), tokenizer.encode(video))
    assert Tokenizer.from_pretrained(tmp_path).precision == "float32"
    fresh("cv4x8x8", seed=1).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"has none; make one with `tokenizer.calibrate"):
        Tokenizer.from_pretrained(tmp_path, precision="int8")


def test_one_half_calibrates_alone():
    tokenizer = fresh("cv4x8x8")
    tokenizer.network.drop("decoder")
    calibration = tokenizer.calibrate([clip(5)])
    assert calibration.ranges
    assert all(path.startswith("encoder") for path in calibration.ranges)
    assert tokenizer.set_precision("int8").encode(clip(5)).isfinite().all()


def test_a_layer_with_few_huge_inputs_stays_float32():
    tokenizer = fresh("ci8x8")
    block = tokenizer.network.decoder.stages[1].blocks[1]
    plain = tokenizer.calibrate([clip(1, 64, 64)]).ranges
    assert "decoder.stages.1.blocks.1.conv1" in plain
    block.norm1.weight[0] = 3000.0
    assert set(plain) - set(tokenizer.calibrate([clip(1, 64, 64)]).ranges) == {"decoder.stages.1.blocks.1.conv1"}
    tokenizer.set_precision("int8")
    assert block.conv1.kernel is None
    assert block.conv2.kernel is not None


def test_a_smaller_calibration_leaves_no_old_integer_layers():
    tokenizer = calibrated("cv4x8x8")
    few = dict(list(tokenizer.calibration.ranges.items())[:3])
    tokenizer.calibration = replace(tokenizer.calibration, ranges=few)
    tokenizer.set_precision("int8")
    assert {name for name, layer in layers(tokenizer.network) if layer.kernel is not None} == set(few)
    tokenizer.calibration = replace(tokenizer.calibration, ranges=few | {"nowhere": (0.0, 1.0)})
    with pytest.raises(CheckpointError):
        tokenizer.set_precision("int8")
    assert {name for name, layer in layers(tokenizer.network) if layer.kernel is not None} == set(few)


@pytest.mark.parametrize("channels", [96, 3, 64, 7])
def test_every_channel_is_among_the_activations_looked_at(channels):
    watch = Watch()
    x = torch.arange(channels).float().expand(1, 1, 1, 9 * 1024 // channels, channels)
    watch(torch.nn.Identity(), (x,))
    assert set(torch.cat(watch.samples).tolist()) == set(range(channels))


def test_calibration_of_other_weights_is_refused():
    tokenizer, other = calibrated("cv4x8x8"), fresh("cv4x8x8", seed=1)
    other.calibration = tokenizer.calibration
    with pytest.raises(InputError, match="one of other weights"):
        other.set_precision("int8")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"int8_format": 2}',
        '{"int8_format": 1, "fingerprint": "0", "clips": 1}',
        '{"int8_format": 1, "fingerprint": 0, "clips": 1, "ranges": {}}',
        '{"int8_format": 1, "fingerprint": "0", "clips": 1, "ranges": {"a": [1, 0]}}',
        '{"int8_format": 1, "fingerprint": "0", "clips": 1, "ranges": {"a": [0, NaN]}}',
        '{"int8_format": 1, "fingerprint": "0", "clips": 1, "ranges": {"a": 1}}',
    ],
)
def test_damaged_file_is_named(text, tmp_path):
    fresh("cv4x8x8").save_pretrained(tmp_path)
    (tmp_path / "int8.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"int8\.json: not a valid calibration .* delete it, or calibrate again"):
        Tokenizer.from_pretrained(tmp_path)


def test_refusals(monkeypatch):
    tokenizer = fresh("cv4x8x8")
    with pytest.raises(InputError, match="precision='int4': expected 'float32' or 'int8'"):
        Tokenizer.from_pretrained("cv4x8x8-tiny", precision="int4")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"runs on the CPU, not on device=cuda|not on this machine"):
        Tokenizer.from_pretrained("cv4x8x8-tiny", precision="int8", device="cuda")
    with pytest.raises(InputError, match=r"needs dtype=torch\.float32.* got torch\.bfloat16"):
        Tokenizer.from_pretrained("cv4x8x8-tiny", precision="int8", dtype=torch.bfloat16)
    with pytest.raises(InputError, match="at least one image or video"):
        tokenizer.calibrate([])
    with pytest.raises(InputError, match="needs a calibration and has none"):
        tokenizer.set_precision("int8")
    calibration = tokenizer.calibrate([clip(1)])
    ranges = calibration.ranges | {"encoder.nowhere": (0.0, 1.0)}
    tokenizer.calibration = Calibration(calibration.fingerprint, 1, ranges)
    with pytest.raises(CheckpointError, match=r"names encoder\.nowhere, which this network lacks"):
        tokenizer.set_precision("int8")
    tokenizer.calibration = calibration
    tokenizer.set_precision("int8")
    with pytest.raises(InputError, match=r"needs dtype=torch\.float32"):
        tokenizer.to(dtype=torch.bfloat16)
    with torch.enable_grad(), pytest.raises(InputError, match="has no gradients"):
        tokenizer.network(clip(1))


@pytest.mark.parametrize("lack", ["processor", "engine", "operator"])
def test_what_cannot_compute_integers_is_told(lack, monkeypatch):
    tokenizer = fresh("cv4x8x8")
    tokenizer.calibrate([clip(1)])
    if lack == "processor":
        monkeypatch.setattr(int8.platform, "machine", lambda: "arm64")
    elif lack == "engine":
        monkeypatch.setattr(int8, "engines", lambda: ["qnnpack"])
    else:
        monkeypatch.setattr(int8, "OPERATORS", ("qconv_prepack", "no_such_operator"))
    int8.require_int8.cache_clear()
    try:
        with pytest.raises(InputError, match=r'precision="int8": .*use precision="float32"'):
            tokenizer.set_precision("int8")
        assert tokenizer.precision == "float32"
    finally:
        int8.require_int8.cache_clear()


def test_command_calibrates(tmp_path):
    generator = torch.Generator().manual_seed(0)
    for name in ("a", "b", "c"):
        image = torch.randint(0, 256, (40, 48, 3), dtype=torch.uint8, generator=generator)
        write_image(tmp_path / f"{name}.png", image.numpy())
    fresh("cv4x8x8").save_pretrained(tmp_path / "model")
    arguments = ["calibrate", str(tmp_path / "model"), str(tmp_path), "-o", str(tmp_path / "out"), "--clips", "2"]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["clips"] == 2
    assert told["int8_layers"] > told["float32_layers"] == 0
    files = [str(tmp_path / name) for name in ("a.png", "int8.png", "float32.png")]
    for precision, target in zip(("int8", "float32"), files[1:], strict=True):
        arguments = ["reconstruct", files[0], "-o", target, "-m", str(tmp_path / "out"), "--precision", precision]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
    assert Path(files[1]).read_bytes() != Path(files[2]).read_bytes()


@pytest.mark.parametrize("name", ["cv4x8x8-tiny", "dv4x8x8-tiny"])
def test_real_pictures_lose_at_most_a_tenth_of_a_decibel(name):
    if not VAL.is_dir():
        pytest.skip("no real pictures at hand")
    plain, integers = Tokenizer.from_pretrained(name), Tokenizer.from_pretrained(name, precision="int8")
    losses = []
    for video in calibration_clips(VAL, count=6, frames=5, size=128):
        scores = []
        for tokenizer in (plain, integers):
            quality = RunningQuality()
            result = to_pixels(tokenizer.reconstruct(video))
            for source, frame in zip(video[0].permute(1, 2, 3, 0).numpy(), result, strict=True):
                quality.update(source, frame)
            scores.append(quality.psnr)
        losses.append(scores[0] - scores[1])
    assert len(losses) == 6
    assert any(losses)
    assert sum(losses) / len(losses) <= 0.1


def test_one_precision_is_asked_for():
    refused(lambda: find("dv4x8x8-tiny@compiled", precision="int8"), "asks for compiled", "leave one of them out")
    assert find("dv4x8x8-tiny@int8", precision="int8").name == "dv4x8x8-tiny@int8"
