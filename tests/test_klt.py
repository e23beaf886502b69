"""The start from the best linear transform."""

import math

import numpy as np
import pytest
import torch
from small import FSQ_LEVELS, fresh, image, randomise, video

from cosmotok import Tokenizer
from cosmotok.errors import InputError
from cosmotok.families.klt.transform import principal_components
from cosmotok.training.klt import initialise_from_continuous, initialise_with_klt


def test_principal_components_equal_those_of_the_svd():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((200, 6)) @ rng.standard_normal((6, 6)) + 3
    mean, directions, deviations = principal_components(torch.from_numpy(rows).float(), 4)
    _, singular, vectors = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    assert mean.tolist() == pytest.approx(rows.mean(axis=0), abs=1e-5)
    assert deviations.tolist() == pytest.approx(singular[:4] / math.sqrt(200), rel=1e-4)
    assert np.abs(directions.numpy() @ vectors[:4].T) == pytest.approx(np.eye(4), abs=1e-3)
    assert directions.dtype == torch.float64


def smooth_clips(count=3, frames=9, size=16):
    """Moving waves (B, 3, T, H, W) in [-1, 1], which a linear transform can compress."""
    rng = np.random.default_rng(0)
    t, y, x = np.meshgrid(*(np.arange(n) for n in (frames, size, size)), indexing="ij")
    clips = np.zeros((count, 3, frames, size, size))
    for i in range(count):
        for c in range(3):
            for _ in range(3):
                waves = rng.uniform(-0.5, 0.5, 3)
                phase = rng.uniform(0, 6)
                clips[i, c] += 0.3 * np.sin(waves[0] * t + waves[1] * y + waves[2] * x + phase)
    return torch.from_numpy(clips.astype(np.float32))


def to_blocks(clips, time, space):
    """The pixels (N, D) that belong to each latent position; the first frame is repeated to a group of its own."""
    clips = clips.double().numpy()
    clips = np.concatenate([clips[:, :, :1]] * (time - 1) + [clips], axis=2)
    b, c, t, h, w = clips.shape
    blocks = clips.reshape(b, c, t // time, time, h // space, space, w // space, space)
    return blocks.transpose(0, 2, 4, 6, 1, 3, 5, 7).reshape(-1, c * time * space * space)


def from_blocks(blocks, clips, time, space):
    b, c, _, h, w = clips.shape
    blocks = blocks.reshape(b, -1, h // space, w // space, c, time, space, space)
    padded = blocks.transpose(0, 4, 1, 5, 2, 6, 3, 7).reshape(b, c, -1, h, w)
    return torch.from_numpy(padded[:, :, time - 1 :]).float()


LINEAR = {
    "cv4x8x8": video(8, 4, (1, 2), linear_shortcut=True),
    "cv8x8x8": video(8, 8, (1, 1, 1), linear_shortcut=True),
    "cv4x8x8-patch2": video(8, 4, (1, 1, 1), patch=2, linear_shortcut=True),
    "ci8x8": image(8, (1, 1), patch=2, linear_shortcut=True),
}
each_linear = pytest.mark.parametrize("kind", LINEAR)


def linear_tokenizer(config):
    tokenizer = Tokenizer(config)
    randomise(tokenizer.network, seed=0)  # what is not initialised must not show
    return tokenizer


@each_linear
@torch.no_grad()
def test_the_start_is_the_best_linear_transform_of_pixel_blocks(kind):
    tokenizer, clips = linear_tokenizer(LINEAR[kind]), smooth_clips()
    network, config = tokenizer.network, tokenizer.config
    initialise_with_klt(network, list(clips.split(1)))
    # The Haar transform is a rotation but for one scale, so blocks of pixels have the same best transform.
    blocks = to_blocks(clips, config.temporal_factor, config.spatial_factor)
    mean = blocks.mean(axis=0)
    vectors = np.linalg.svd(blocks - mean, full_matrices=False)[2][: config.latent_channels]
    best = mean + (blocks - mean) @ vectors.T @ vectors
    expected = from_blocks(best, clips, config.temporal_factor, config.spatial_factor)
    assert (network(clips) - expected).abs().max() < 1e-4
    assert (expected - clips).abs().max() > 0.01  # it does lose something


@each_linear
@torch.no_grad()
def test_latents_start_uncorrelated_with_mean_0_and_variance_1(kind):
    network, clips = linear_tokenizer(LINEAR[kind]).network, smooth_clips()
    initialise_with_klt(network, [clips])
    latents = network.encode(clips).movedim(1, -1).flatten(0, -2).double()
    assert latents.mean(dim=0).abs().max() < 1e-3
    covariance = latents.T @ latents / len(latents)
    assert (covariance - torch.eye(latents.shape[1])).abs().max() < 1e-2


@torch.no_grad()
def test_a_discrete_start_decodes_by_least_squares_from_its_codes():
    config = video(8, 4, (1, 2), linear_shortcut=True, levels=FSQ_LEVELS, latent_channels=6)
    tokenizer, clips = linear_tokenizer(config), smooth_clips(count=6)
    initialise_with_klt(tokenizer.network, [clips])
    tokens = tokenizer.encode(clips)
    codes = tokenizer.network.quantizer.indices_to_codes(tokens).flatten(0, -2).double().numpy()
    codes = np.concatenate((codes, np.ones((len(codes), 1))), axis=1)
    blocks = to_blocks(clips, 4, 8)
    fitted = codes @ np.linalg.lstsq(codes, blocks, rcond=None)[0]
    assert (tokenizer.decode(tokens) - from_blocks(fitted, clips, 4, 8)).abs().max() < 1e-4


def test_a_network_without_shortcuts_is_refused():
    with pytest.raises(InputError, match="linear_shortcut=True"):
        initialise_with_klt(fresh("cv4x8x8").network, [smooth_clips()])


def test_only_a_discrete_network_starts_from_a_continuous_one():
    linear = linear_tokenizer(LINEAR["cv4x8x8"]).network
    with pytest.raises(InputError, match="a discrete network to initialise"):
        initialise_from_continuous(linear, linear, [smooth_clips()])
    discrete = video(8, 4, (1, 1), linear_shortcut=True, levels=FSQ_LEVELS, latent_channels=6)
    with pytest.raises(InputError, match="differ in their quantiser alone"):
        initialise_from_continuous(linear_tokenizer(discrete).network, linear, [smooth_clips()])
