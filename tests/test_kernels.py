"""The fast kernels compute what PyTorch's own operators do, and stand back where those are needed."""

import copy
import weakref

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cosmotok import Tokenizer
from cosmotok.config import TokenizerConfig
from cosmotok.kernels import float32, winograd
from cosmotok.kernels.attention import attention
from cosmotok.kernels.products import Product, suits
from cosmotok.network.causal import Pointwise, SpatialConv, TemporalConv

TOLERANCE = 1e-5  # of the range
CHANNELS = st.sampled_from([1, 3, 16, 128, 130])


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def close(actual, expected):
    assert actual.shape == expected.shape
    assert actual.is_contiguous()
    return (actual - expected).abs().max() <= TOLERANCE * max(1.0, expected.abs().max())


def layer_of(kind, channels, out_channels, **options):
    torch.manual_seed(0)
    layer = kind(channels, out_channels, **options)
    nn.init.normal_(layer.bias)
    return layer


@given(CHANNELS, CHANNELS, st.integers(1, 3), st.integers(1, 40), st.integers(1, 40))
def test_winograd_in_space_is_the_convolution(channels, out_channels, count, height, width):
    layer = layer_of(SpatialConv, channels, out_channels)
    x = torch.randn(count, height, width, channels)
    assert close(winograd.SpatialWinograd(layer.weight, layer.bias)(x), layer.convolve(x))


@given(st.integers(1, 80), st.integers(1, 80), st.sampled_from([1, 3, 9, 120]))
def test_blocks_of_any_size_meet(height, width, values):
    layer = layer_of(SpatialConv, 2, 3)
    x = torch.randn(2, height, width, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "SLICE", values)
        assert close(winograd.SpatialWinograd(layer.weight, layer.bias)(x), layer.convolve(x))


@given(CHANNELS, CHANNELS, st.integers(1, 2), st.integers(1, 9), st.integers(1, 60), st.booleans())
def test_winograd_in_time_is_the_convolution(channels, out_channels, batch, frames, width, starts):
    layer = layer_of(TemporalConv, channels, out_channels)
    x = torch.randn(batch, frames, 2, width, channels)
    past = None if starts else torch.randn(batch, 2, 2, width, channels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "SLICE", 50 * out_channels)
        kernel = winograd.TemporalWinograd(layer.weight, layer.bias)
        y = kernel(past, x)
        assert close(y, layer.convolve(past, x))
        if channels == out_channels and (frames > 1 or past is not None):
            assert kernel(past, x, x) is x
            assert torch.equal(x, y)


@given(CHANNELS, CHANNELS, st.lists(st.integers(1, 9), min_size=1, max_size=4), st.booleans())
def test_products_are_linear_layers(channels, out_channels, shape, biased):
    layer = layer_of(Pointwise, channels, out_channels)
    bias = layer.bias if biased else None
    x = torch.randn(*shape, channels)
    assert close(Product(layer.weight.detach(), bias)(x), F.linear(x, layer.weight, bias))


@given(st.integers(1, 3), st.sampled_from([1, 255, 256, 257, 700]), st.sampled_from([128, 200]))
def test_attention_is_that_of_pytorch(count, length, channels):
    q, k, v = torch.randn(3, count, length, channels, generator=torch.Generator().manual_seed(length))
    q *= 4
    expected = F.scaled_dot_product_attention(q.unsqueeze(1), k.unsqueeze(1), v.unsqueeze(1)).squeeze(1)
    assert close(attention(q, k, v), expected)
    assert torch.equal(attention(q, k, v), expected) == (length < 256)


def wide_layers():
    """Each with an input that its kernel is for."""
    return [
        (layer_of(SpatialConv, 128, 128), torch.randn(1, 2, 24, 24, 128), float32.spatial_kernel),
        (layer_of(TemporalConv, 128, 128), torch.randn(1, 2, 24, 24, 128), float32.temporal_kernel),
        (layer_of(Pointwise, 128, 128), torch.randn(1, 2, 24, 24, 128), float32.pointwise_kernel),
    ]


def kernel_for(layer, x, find):
    return find(x.flatten(0, 1) if isinstance(layer, SpatialConv) else x, layer.weight, layer.bias)


@pytest.mark.parametrize("which", range(3))
def test_wide_layers_are_fast_only_where_nobody_would_notice(which):
    layer, x, find = wide_layers()[which]
    assert kernel_for(layer, x, find) is not None
    with torch.enable_grad():
        assert kernel_for(layer, x, find) is None
        layer(x).sum().backward()
        assert layer.weight.grad is not None
    assert kernel_for(layer, x.double(), find) is None
    assert kernel_for(layer, x.to("meta"), find) is None
    assert kernel_for(layer_of(type(layer), 127, 128), x, find) is None
    exported = torch.export.export(nn.Sequential(layer), (x,))
    assert not any("mkldnn" in str(node.target) for node in exported.graph.nodes)


@pytest.mark.parametrize("which", range(3))
def test_weights_are_laid_out_once_and_anew_when_they_change(which):
    layer, x, find = wide_layers()[which]
    first = kernel_for(layer, x, find)
    assert kernel_for(layer, x, find) is first
    before = layer(x)
    layer.weight.mul_(2)
    layer.bias.mul_(2)
    assert close(layer(x), before * 2)
    layer.load_state_dict({name: value / 2 for name, value in layer.state_dict().items()})
    assert close(layer(x), before)
    layer.weight.data = layer.weight.data.clone().mul_(2)
    layer.bias.data = layer.bias.data.clone().mul_(2)
    assert close(layer(x), before * 2)
    twin = copy.deepcopy(layer)
    twin.weight.zero_()
    assert close(twin(x), twin.bias.expand_as(before).contiguous())
    assert close(layer(x), before * 2)


@pytest.mark.parametrize("which", range(3))
def test_writes_through_data_are_seen(which):
    layer, x, _ = wide_layers()[which]
    before = layer(x)
    layer.weight.data.mul_(2)
    layer.bias.data.mul_(2)
    assert close(layer(x), before * 2)
    layer.weight.data[5] = 0  # one output channel of 128
    layer.bias.detach().numpy()[5] = 0
    changed = layer(x)
    assert not changed[..., 5].any() and close(changed[..., 6:].contiguous(), before[..., 6:].contiguous() * 2)


@pytest.mark.parametrize("which", range(3))
def test_what_was_laid_out_goes_with_the_weights(which):
    layer, x, find = wide_layers()[which]
    kernel = weakref.ref(kernel_for(layer, x, find))
    assert kernel() is kernel_for(layer, x, find)
    layer.double()  # as .to("cuda") does: the parameter stays, its memory goes
    assert kernel() is None
    layer, x, find = wide_layers()[which]
    kernel = weakref.ref(kernel_for(layer, x, find))
    del layer
    assert kernel() is None


def test_tensors_made_for_inference_go_the_plain_way():
    with torch.inference_mode():
        layer = layer_of(Pointwise, 128, 128)
        x = torch.randn(100, 128)
        assert suits(x)
        assert float32.pointwise_kernel(x, layer.weight, layer.bias) is None
        assert layer(x).shape == x.shape


@pytest.fixture(scope="module")
def wide():
    """A network that is wide enough for all kernels."""
    torch.manual_seed(0)
    config = TokenizerConfig(
        variant="wide",
        spatial_factor=8,
        temporal_factor=8,
        patch=4,
        channels=128,
        encoder_multipliers=(1, 1, 1),
        decoder_multipliers=(1, 1, 1),
        blocks=1,
        z_channels=16,
        latent_channels=16,
    )
    return Tokenizer(config)


@settings(max_examples=3)
@given(frames=st.integers(1, 24))
def test_a_wide_network_gives_the_same_and_is_causal_to_the_bit(wide, frames):
    video = torch.rand(1, 3, frames, 104, 96, generator=torch.Generator().manual_seed(frames)) * 2 - 1
    latents = wide.encode(video)
    result = wide.decode(latents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(float32, "suits", lambda x, weight: False)
        assert not torch.equal(wide.encode(video), latents)  # or nothing was compared
        assert (wide.encode(video) - latents).abs().max() < 1e-5 * latents.abs().max()
        assert (wide.decode(latents) - result).abs().max() < 1e-5 * result.abs().max()
    changed = latents.clone()
    changed[:, :, -1] = 0
    past = 1 + 8 * (latents.shape[2] - 2)
    assert past < 0 or torch.equal(wide.decode(changed)[:, :, :past], result[:, :, :past])
