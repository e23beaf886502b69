"""On a GPU, where there is one: the same tokens and frames as on the CPU, by copies that overlap with computing."""

import numpy as np
import pytest
import torch
from small import FEW_KINDS, clip, fresh, pixels, time_axis

from cosmotok.pipeline import fetch, to_pixels

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
