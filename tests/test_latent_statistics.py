"""Latent statistics against a direct computation in float64, over real files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from media_samples import encode
from PIL import Image
from small import fresh, small

from cosmotok.errors import ConfigError, InputError, MediaError
from cosmotok.evaluation.latents import LatentStatistics, RunningMoments, latent_statistics, with_statistics
from cosmotok.media import find_media, open_media


def noise(frames, height, width, seed):
    return list(np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two videos of other sizes and lengths, and an image."""
    folder = tmp_path_factory.mktemp("data")
    encode(folder / "a.mp4", noise(10, 32, 48, 0))
    encode(folder / "b.mp4", noise(3, 16, 32, 1))
    Image.fromarray(noise(1, 20, 20, 2)[0]).save(folder / "c.png")
    return folder


def direct(tokenizer, paths, frames=None):
    """All latents at once, as numpy has it."""
    values = []
    for path in paths:
        with open_media(path) as reader:
            pixels = np.stack([frame.pixels for frame in reader])[:frames]
        latents = tokenizer.encode(torch.from_numpy(pixels).permute(3, 0, 1, 2).unsqueeze(0))
        values.append(latents[0].flatten(1).double().numpy())
    values = np.concatenate(values, axis=1)
    return values.mean(1), values.std(1), values.shape[1]


def assert_agrees(statistics, expected):
    mean, std, count = expected
    assert statistics.count == count
    np.testing.assert_allclose(statistics.mean, mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(statistics.std, std, rtol=1e-9)


@pytest.mark.parametrize("kind", ["cv4x8x8", "cv8x8x8", "ci8x8"])
def test_agrees_with_a_direct_computation(folder, kind):
    files, ticks = find_media(folder), []
    statistics = latent_statistics(small(kind), files, advance=ticks.append)
    assert_agrees(statistics, direct(small(kind), files))
    assert (statistics.clips, statistics.skipped, ticks) == (3, (), [1, 1, 1])


def test_limits_of_frames_and_clips(folder):
    files = find_media(folder)
    statistics = latent_statistics(small("cv4x8x8"), files, frames=5, max_clips=2)
    assert_agrees(statistics, direct(small("cv4x8x8"), files[:2], frames=5))
    assert statistics.clips == 2


def test_normalised_latents_have_mean_0_and_deviation_1(folder):
    tokenizer = fresh("cv4x8x8")
    files = find_media(folder)[:1]
    config = with_statistics(tokenizer.config, latent_statistics(tokenizer, files))
    with open_media(files[0]) as reader:
        pixels = np.stack([frame.pixels for frame in reader])
    latents = tokenizer.encode(torch.from_numpy(pixels).permute(3, 0, 1, 2).unsqueeze(0))
    shape = (1, -1, 1, 1, 1)
    normal = (latents - torch.tensor(config.latents_mean).view(shape)) / torch.tensor(config.latents_std).view(shape)
    assert normal.mean(dim=(0, 2, 3, 4)).abs().max() < 1e-5
    assert (normal.std(dim=(0, 2, 3, 4), correction=0) - 1).abs().max() < 1e-5


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.floats(0, 1e8), st.integers(0, 1000))
def test_parts_merge_to_the_whole_without_cancelling(lengths, offset, seed):
    rng = np.random.default_rng(seed)
    parts = [rng.standard_normal((2, 3, n, 1, 2)) + offset for n in lengths]
    moments = RunningMoments(3)
    for part in parts:
        moments.update(torch.from_numpy(part))
    whole = np.concatenate([part.swapaxes(0, 1).reshape(3, -1) for part in parts], axis=1)
    assert moments.count == whole.shape[1]
    if moments.count:
        np.testing.assert_allclose(moments.mean, whole.mean(1), rtol=1e-14, atol=1e-13)
        np.testing.assert_allclose(moments.std, whole.std(1), atol=1e-7)


def test_bad_files_are_skipped_and_listed_and_leave_no_trace(folder, tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.png").write_text("not a picture")
    cut = tmp_path / "cut.gif"  # breaks off in the middle, when frames have been read already
    frames = [Image.fromarray(picture) for picture in noise(8, 32, 32, 3)]
    frames[0].save(cut, save_all=True, append_images=frames[1:])
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    bad, good = find_media(tmp_path), find_media(folder)
    statistics = latent_statistics(small("cv4x8x8"), bad + good)
    assert_agrees(statistics, direct(small("cv4x8x8"), good))
    assert len(statistics.skipped) == 3
    for path, message in zip(bad, statistics.skipped, strict=True):
        assert str(path) in message
    assert latent_statistics(small("cv4x8x8"), bad + good, max_clips=1).count == direct(small("cv4x8x8"), good[:1])[2]
    with pytest.raises(MediaError, match=r"the first of 3 that cannot be read: .*cut.gif"):
        latent_statistics(small("cv4x8x8"), bad)


def test_refusals(folder):
    with pytest.raises(InputError, match="is discrete"):
        latent_statistics(small("dv4x8x8"), find_media(folder))
    with pytest.raises(MediaError, match="no image or video"):
        latent_statistics(small("cv4x8x8"), [])
    for limit in ("max_clips", "frames"):
        with pytest.raises(InputError, match=f"{limit}=0"):
            latent_statistics(small("cv4x8x8"), find_media(folder), **{limit: 0})
    with pytest.raises(ConfigError, match="latents_std"):
        with_statistics(small("cv4x8x8").config, LatentStatistics((0.0,) * 4, (1.0, 1.0, 1.0, 0.0), 1, 1))


def test_memory_does_not_grow_with_the_number_of_latents():
    moments = RunningMoments(4)
    for _ in range(50):
        moments.update(torch.randn(1, 4, 2, 8, 8))
    assert moments.mean.shape == moments.squares.shape == (4,)
