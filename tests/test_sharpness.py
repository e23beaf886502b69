"""The measure of fine detail, against scipy's Laplacian."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from small import clip, pixels

from cosmotok.errors import InputError
from cosmotok.metrics.sharpness import RunningSharpness, high_frequency_ratio


@given(frames=st.integers(1, 3), height=st.integers(3, 12), width=st.integers(3, 12), seed=st.integers(0, 99))
def test_ratio_equals_that_of_scipy_laplacians(frames, height, width, seed):
    videos = clip(frames, height, width, batch=2, seed=seed), clip(frames, height, width, batch=2, seed=seed + 1)
    energies = []
    for video in videos:
        luma = np.tensordot([0.299, 0.587, 0.114], video.numpy().astype(np.float64), axes=([0], [1]))
        maps = [ndimage.laplace(frame)[1:-1, 1:-1] for frame in luma.reshape(-1, height, width)]
        energies.append(np.square(maps).sum())
    assert high_frequency_ratio(*videos) == pytest.approx(energies[0] / energies[1], rel=1e-9)


@given(frames=st.integers(1, 3), height=st.integers(3, 12), width=st.integers(3, 12), seed=st.integers(0, 99))
def test_frame_by_frame_equals_the_whole_clip(frames, height, width, seed):
    source, result = np.random.default_rng(seed).integers(0, 256, (2, frames, height, width, 3), np.uint8)
    running = RunningSharpness()
    for pair in zip(source, result, strict=True):
        running.update(*pair)
    videos = [torch.from_numpy(video).permute(3, 0, 1, 2) for video in (result, source)]
    assert running.sharpness == pytest.approx(high_frequency_ratio(*videos), rel=1e-12)


def test_flat_tiny_and_missing_frames_have_no_sharpness():
    flat, noise = np.full((8, 8, 3), 9, np.uint8), np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    for frames in ([], [(flat, noise)], [(noise[:2], noise[:2])]):
        running = RunningSharpness()
        for pair in frames:
            running.update(*pair)
        assert running.sharpness is None


@given(gain=st.floats(0, 3), offset=st.floats(-1, 1))
def test_ratio_goes_by_the_square_of_contrast_and_not_by_brightness(gain, offset):
    video = clip(2)
    assert high_frequency_ratio(gain * video + offset, video) == pytest.approx(gain**2, rel=1e-4, abs=1e-9)


def test_blur_lowers_and_noise_raises_it():
    video = clip(2, 32, 32)
    assert high_frequency_ratio(F.avg_pool3d(video, (1, 3, 3), 1, (0, 1, 1)), video) < 0.1
    assert high_frequency_ratio(video + 0.5 * clip(2, 32, 32, seed=1), video) > 1.1
    assert high_frequency_ratio(video, video) == 1


def test_8_bit_videos_are_not_wrapped_around():
    a, b = pixels(2), pixels(2, seed=1)
    assert high_frequency_ratio(a, b) == pytest.approx(high_frequency_ratio(a.float(), b.float()), rel=1e-12)


def test_a_flat_source_has_no_ratio():
    assert math.isnan(high_frequency_ratio(clip(1), torch.zeros(1, 3, 1, 16, 16)))


@pytest.mark.parametrize("shape", [(1, 3, 1, 16, 15), (1, 3, 16, 16)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match="one shape"):
        high_frequency_ratio(torch.zeros(shape), clip(1))
