"""Nothing sees the future, in any variant, to the last bit; and attention sees its context and no more."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import KINDS, VIDEO_KINDS, clip, small, time_axis, tokens_for

from cosmotok.network import StreamState
from cosmotok.network.blocks import TemporalAttention

pytestmark = pytest.mark.usefixtures("every_kernel")


def changed(x, step):
    """`x` (B, C, T, H, W) with other values in one frame."""
    x = x.clone()
    x[:, :, step] = -x[:, :, step] + 0.25
    return x


def latent_of(frame, time):
    """The latent frame that stands for a video frame."""
    return 0 if frame == 0 else 1 + (frame - 1) // time


@pytest.mark.parametrize("kind", VIDEO_KINDS)
@torch.no_grad()
def test_a_frame_changes_no_earlier_latent_and_all_later_ones(kind):
    network, time = small(kind).network, small(kind).config.temporal_factor
    frames = 1 + 2 * time
    x = clip(frames)
    z = network.encode(x)
    for t in range(frames):
        other = network.encode(changed(x, t))
        first = latent_of(t, time)
        assert torch.equal(other[:, :, :first], z[:, :, :first])
        for later in range(first, z.shape[2]):
            assert not torch.equal(other[:, :, later], z[:, :, later])


@pytest.mark.parametrize("kind", VIDEO_KINDS)
@torch.no_grad()
def test_a_latent_changes_no_earlier_pixel_and_all_later_frames(kind):
    network, config = small(kind).network, small(kind).config
    z = torch.randn(1, config.latent_channels, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    x = network.decode(z)
    for t in range(4):
        other = network.decode(changed(z, t))
        first = 0 if t == 0 else 1 + (t - 1) * config.temporal_factor
        assert torch.equal(other[:, :, :first], x[:, :, :first])
        for later in range(first, x.shape[2]):
            assert not torch.equal(other[:, :, later], x[:, :, later])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in VIDEO_KINDS])
@torch.no_grad()
def test_an_image_tokenizer_treats_frames_one_by_one(kind):
    network = small(kind).network
    x = clip(4)
    z = network.encode(x)
    y = network.decode(z)
    for t in range(4):
        assert [torch.equal(network.encode(changed(x, t))[:, :, i], z[:, :, i]) for i in range(4)] == [
            i != t for i in range(4)
        ]
        assert [torch.equal(network.decode(changed(z, t))[:, :, i], y[:, :, i]) for i in range(4)] == [
            i != t for i in range(4)
        ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_latent_and_frame_stand_alone(kind):
    tokenizer = small(kind)
    axis = time_axis(tokenizer)
    x, tokens = clip(11), tokens_for(tokenizer, 3)
    assert torch.equal(tokenizer.encode(x).narrow(axis, 0, 1), tokenizer.encode(x[:, :, :1]))
    assert torch.equal(tokenizer.decode(tokens)[:, :, :1], tokenizer.decode(tokens.narrow(axis, 0, 1)))


CHANNELS = 6


def attention_layer():
    torch.manual_seed(0)
    layer = TemporalAttention(CHANNELS, groups=1)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    layer.path = "attention"
    return layer.requires_grad_(False)


def attention_input(frames, seed=0):
    return torch.randn(2, frames, 2, 3, CHANNELS, generator=torch.Generator().manual_seed(seed))


def direct_attention(layer, x, context):
    """The same by definition, in float64."""
    x = x.double()
    variance, mean = torch.var_mean(x, dim=(2, 3, 4), keepdim=True, correction=0)
    h = (x - mean) / (variance + 1e-6).sqrt() * layer.norm.weight.double() + layer.norm.bias.double()
    q, k, v = (h @ m.weight.double().T + m.bias.double() for m in (layer.q, layer.k, layer.v))
    out = torch.zeros_like(x)
    for now in range(x.shape[1]):
        oldest = 0 if context is None else max(0, now - context + 1)
        seen = slice(oldest, now + 1)
        scores = (q[:, now : now + 1] * k[:, seen]).sum(dim=-1, keepdim=True) / math.sqrt(CHANNELS)
        out[:, now] = (scores.softmax(dim=1) * v[:, seen]).sum(dim=1)
    return x + out @ layer.proj_out.weight.double().T + layer.proj_out.bias.double()


def in_chunks(layer, x, chunks, context):
    state = StreamState(context)
    return torch.cat([layer(part, state) for part in x.split(chunks, dim=1)], dim=1)


@settings(max_examples=60)
@given(
    chunks=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    context=st.one_of(st.none(), st.integers(1, 9)),
)
def test_temporal_attention_equals_softmax_over_its_context(chunks, context):
    layer, x = attention_layer(), attention_input(sum(chunks))
    expected = direct_attention(layer, x, context).float()
    torch.testing.assert_close(in_chunks(layer, x, chunks, context), expected, atol=1e-5, rtol=1e-5)


def test_temporal_attention_without_a_state_equals_softmax():
    layer, x = attention_layer(), attention_input(7)
    torch.testing.assert_close(layer(x), direct_attention(layer, x, None).float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("chunks", [[8], [1] * 8, [3, 1, 4]])
@pytest.mark.parametrize("context", [1, 2, 3, 5])
def test_frames_beyond_the_context_have_no_influence(chunks, context):
    layer, x = attention_layer(), attention_input(8)
    y = in_chunks(layer, x, chunks, context)
    for t in range(8):
        other = x.clone()
        other[:, t] = attention_input(1, seed=1)[:, 0]
        result = in_chunks(layer, other, chunks, context)
        influenced = [not torch.equal(result[:, i], y[:, i]) for i in range(8)]
        assert influenced == [t <= i < t + context for i in range(8)]
