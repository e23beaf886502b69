"""On a GPU, where there is one: the same tokens and frames as on the CPU, by copies that overlap with computing."""

import numpy as np
import pytest
import torch
from small import FEW_KINDS, clip, fresh, pixels, time_axis

from cosmotok.frames import fetch, to_pixels

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(autouse=True)
def full_precision():
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("kind", FEW_KINDS)
def test_the_gpu_reconstructs_as_the_cpu_does(kind):
    video = clip(13)
    expected = fresh(kind)
    tokenizer = fresh(kind).to("cuda")
    tokens = expected.encode(video)
    torch.testing.assert_close(tokenizer.decode(tokens.cuda()).cpu(), expected.decode(tokens), atol=1e-3, rtol=1e-3)
    if not tokenizer.config.is_discrete:  # a rounding may fall to the other side
        torch.testing.assert_close(tokenizer.encode(video).cpu(), tokens, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", FEW_KINDS)
def test_streaming_on_the_gpu_equals_the_whole_clip(kind):
    tokenizer, video = fresh(kind).to("cuda"), pixels(22)
    encoder = tokenizer.stream_encoder()
    parts = [encoder.push(video[:, :, i : i + 3]) for i in range(0, 22, 3)] + [encoder.flush()]
    assert torch.equal(torch.cat(parts, dim=time_axis(tokenizer)), tokenizer.encode(video))


def test_frames_arrive_in_pinned_memory():
    tokenizer = fresh("cv4x8x8").to("cuda")
    tokens = tokenizer.encode(clip(13))
    expected = tokenizer.decode(tokens)
    out = torch.empty(expected.shape, pin_memory=True)
    assert torch.equal(tokenizer.decode(tokens, out=out), expected.cpu())
    waiting = [fetch(video) for video in (expected, -expected)]
    for video, wait in zip((expected, -expected), waiting, strict=True):
        np.testing.assert_array_equal(wait(), to_pixels(video.cpu()))


@pytest.mark.parametrize("kind", ["cv4x8x8", "dv4x8x8", "ci8x8"])
def test_compiled_steps_on_the_gpu_equal_uncompiled_ones(kind):
    """And streams equal whole clips to the bit, by graphs that are not compiled again."""
    torch._dynamo.reset()
    plain, compiled = fresh(kind).to("cuda"), fresh(kind).to("cuda").compile()
    video, axis = clip(1 + 6 * plain.config.chunk * plain.config.temporal_factor).cuda(), time_axis(plain)
    tokens = compiled.encode(video)
    if not plain.config.is_discrete:  # a rounding may fall to the other side
        torch.testing.assert_close(tokens, plain.encode(video), atol=1e-3, rtol=1e-3)
    frames = compiled.decode(tokens)
    torch.testing.assert_close(frames, plain.decode(tokens), atol=1e-3, rtol=1e-3)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    encoder, decoder = compiled.stream_encoder(), compiled.stream_decoder()
    parts = [encoder.push(part) for part in video.split(3, dim=2)] + [encoder.flush()]
    assert torch.equal(torch.cat(parts, dim=axis), tokens)
    parts = [decoder.push(part) for part in tokens.split(1, dim=axis)] + [decoder.flush()]
    assert torch.equal(torch.cat(parts, dim=2), frames)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before
