"""PSNR, SSIM and temporal consistency against scikit-image, torchmetrics and direct computations."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from cosmotok.metrics.quality import PLACES, ErrorByPlace, RunningError, RunningQuality, RunningTemporal, psnr, ssim

CLOSE = 1e-9  # dB; the protocol asks for 1e-3


def noisy_pair(height, width, strength, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    source = (127 + 100 * np.sin(np.stack([x / 5 + y / 9, x / 7, y / 4], axis=-1))).astype(np.uint8)
    noise = rng.normal(0, strength, source.shape)
    return source, (source + noise).clip(0, 255).round().astype(np.uint8)


def noisy_clip(frames, seed=0, height=20, width=30):
    """Original and reconstruction, uint8 (T, H, W, 3), with an error that varies from frame to frame."""
    strengths = np.random.default_rng(seed).uniform(1, 60, frames)
    pairs = [noisy_pair(height, width, strength, seed + t) for t, strength in enumerate(strengths)]
    return tuple(np.stack(side) for side in zip(*pairs, strict=True))


def decibels(error):
    """20 log10(255 / rms), in float64 and from the definition."""
    return 20 * math.log10(255 / math.sqrt(np.mean(np.asarray(error, np.float64) ** 2)))


clips = st.builds(
    lambda seed, shape: np.random.default_rng(seed).integers(0, 256, (2, *shape, 3), dtype=np.uint8),
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(2, 5), st.integers(1, 9), st.integers(1, 9)),
)


def run(measure, source, reconstruction):
    for pair in zip(source, reconstruction, strict=True):
        measure.update(*pair)
    return measure


# SSIM -----------------------------------------------------------------------------------------------------------


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


# PSNR -----------------------------------------------------------------------------------------------------------


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


@given(clips)
def test_psnr_in_its_variants(clip):
    source, result = clip
    whole = run(RunningError(), source, result)
    assert whole.psnr == pytest.approx(peak_signal_noise_ratio(source, result, data_range=255), abs=CLOSE)
    assert whole.psnr == pytest.approx(decibels(source.astype(np.float64) - result), abs=CLOSE)
    each = [peak_signal_noise_ratio(s, r, data_range=255) for s, r in zip(source, result, strict=True)]
    assert whole.mean_psnr == pytest.approx(np.mean(each), abs=CLOSE)
    assert whole.mean_psnr >= whole.psnr - CLOSE  # as 1 / x is convex

    wrapped = run(RunningError(wrapped=True), source, result)
    error = ((source - result) ** 2).mean()  # uint8 minus uint8, squared in uint8: the mistake, word for word
    assert wrapped.psnr == pytest.approx(20 * math.log10(255 / math.sqrt(error)), abs=CLOSE)
    assert wrapped.psnr >= whole.psnr


def test_wrapping_flatters():
    source, result = noisy_clip(4)
    assert run(RunningError(wrapped=True), source, result).psnr > run(RunningError(), source, result).psnr + 2


def test_sums_do_not_overflow():
    black, white = np.zeros((1080, 1920, 3), np.uint8), np.full((1080, 1920, 3), 255, np.uint8)
    error = run(RunningError(), [black] * 2, [white] * 2)
    assert error.squared_error == 2 * 1080 * 1920 * 3 * 255**2  # eight times what 32 bits hold, for each frame
    assert error.psnr == 0
    change = run(RunningTemporal(), [black, white], [white, black])
    assert change.temporal == pytest.approx(-20 * math.log10(2))


def test_before_the_first_frame():
    error, quality = RunningError(), RunningQuality()
    assert (error.psnr, error.mean_psnr, quality.ssim, RunningTemporal().temporal) == (None,) * 4


@given(clips, clips)
def test_errors_of_several_files_pool(first, second):
    a, b = run(RunningError(), *first), run(RunningError(), *second)
    both = [np.concatenate([first[side].ravel(), second[side].ravel()]) for side in (0, 1)]
    expected = peak_signal_noise_ratio(*both, data_range=255)
    assert psnr(a.squared_error + b.squared_error, a.values + b.values) == pytest.approx(expected, abs=CLOSE)


@pytest.mark.parametrize("frames", [1, 2, 17, 18, 33, 34, 81, 82, 100])
def test_the_error_by_place_is_that_of_these_frames(frames):
    source, result = noisy_clip(frames, height=4, width=5)
    found = run(ErrorByPlace(), source, result)
    for name, part in zip(PLACES, (slice(1), slice(1, 17), slice(17, 33), slice(33, 81), slice(81, None)), strict=True):
        direct = run(RunningError(), source[part], result[part])
        assert vars(found.places[name]) == vars(direct)
    whole = run(RunningError(), source, result)
    assert (found.whole.psnr, found.whole.frames) == (whole.psnr, frames)
    assert found.whole.mean_psnr == pytest.approx(whole.mean_psnr, abs=CLOSE)


def test_torchmetrics_agrees():
    image = pytest.importorskip("torchmetrics.functional.image")
    import torch

    source, result = noisy_clip(3, height=40, width=50)
    ours = run(RunningQuality(), source, result)
    pair = [torch.from_numpy(clip).permute(0, 3, 1, 2).double() for clip in (result, source)]
    assert ours.psnr == pytest.approx(float(image.peak_signal_noise_ratio(*pair, data_range=255.0)), abs=1e-3)
    # it takes the windows' biased variances; scikit-image with those differs by as much
    options = {"gaussian_kernel": False, "kernel_size": 7, "data_range": 255.0}
    assert ours.ssim == pytest.approx(
        float(image.structural_similarity_index_measure(*pair, **options)), abs=BIASED_VARIANCES
    )


BIASED_VARIANCES = 2e-3


def test_how_much_biased_variances_change():
    source, result = noisy_clip(3, height=40, width=50)
    options = {"data_range": 255, "channel_axis": -1, "use_sample_covariance": False}
    biased = [structural_similarity(s, r, **options) for s, r in zip(source, result, strict=True)]
    assert run(RunningQuality(), source, result).ssim == pytest.approx(np.mean(biased), abs=BIASED_VARIANCES)


# Temporal consistency -------------------------------------------------------------------------------------------


@given(clips)
def test_temporal_is_the_psnr_of_differences_between_frames(clip):
    source, result = clip.astype(np.float64)
    expected = decibels(np.diff(result, axis=0) - np.diff(source, axis=0))
    assert run(RunningTemporal(), *clip).temporal == pytest.approx(expected, abs=CLOSE)


def test_an_error_that_stays_does_not_flicker():
    source = np.random.default_rng(0).integers(0, 200, (4, 8, 8, 3), dtype=np.uint8)
    assert run(RunningTemporal(), source, source + 40).temporal == math.inf
    assert run(RunningTemporal(), source[:1], source[:1]).temporal is None
