"""PSNR and SSIM against scikit-image and a direct computation."""

import math

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from cosmotok.evaluation.metrics import RunningQuality, ssim


def noisy_pair(height, width, strength, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    source = (127 + 100 * np.sin(np.stack([x / 5 + y / 9, x / 7, y / 4], axis=-1))).astype(np.uint8)
    noise = rng.normal(0, strength, source.shape)
    return source, (source + noise).clip(0, 255).round().astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(7, 7), (48, 33), (90, 160)])
@pytest.mark.parametrize("strength", [1, 12, 80])
def test_ssim_is_that_of_scikit_image(height, width, strength):
    a, b = noisy_pair(height, width, strength)
    expected = structural_similarity(a, b, data_range=255, channel_axis=-1)
    assert ssim(a, b) == pytest.approx(expected, abs=1e-9)


def test_ssim_needs_a_whole_window():
    a, b = noisy_pair(6, 40, 5)
    assert ssim(a, b) is None
    quality = RunningQuality()
    quality.update(a, b)
    assert quality.ssim is None


def test_psnr_is_of_all_frames_together_and_does_not_wrap():
    pairs = [noisy_pair(20, 30, strength, seed) for seed, strength in enumerate((2, 60, 7))]
    pairs.append((np.zeros((20, 30, 3), np.uint8), np.full((20, 30, 3), 255, np.uint8)))  # wraps around in uint8
    quality = RunningQuality()
    for source, frame in pairs:
        quality.update(source, frame)
    difference = np.stack([s.astype(np.float64) - f for s, f in pairs])
    assert quality.psnr == pytest.approx(20 * math.log10(255 / math.sqrt((difference**2).mean())), abs=1e-9)
    each = [structural_similarity(s, f, data_range=255, channel_axis=-1) for s, f in pairs]
    assert quality.ssim == pytest.approx(np.mean(each), abs=1e-9)


def test_equal_videos():
    frame = noisy_pair(16, 16, 0)[0]
    quality = RunningQuality()
    quality.update(frame, frame)
    assert quality.psnr == math.inf
    assert quality.ssim == pytest.approx(1)
