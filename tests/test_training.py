"""Losses, the start from the best linear transform, the data's crops, and the loop with its checkpoints."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import FSQ_LEVELS, fresh, image, pixels, randomise, small, video

from cosmotok import Tokenizer
from cosmotok.errors import CheckpointError, ConfigError, InputError
from cosmotok.training.data import MediaSet, random_crop
from cosmotok.training.klt import initialise_with_klt, principal_components
from cosmotok.training.loop import Trainer
from cosmotok.training.losses import charbonnier
from cosmotok.training.muon import Muon, orthogonalise
from cosmotok.training.recipe import Phase, Recipe

# Losses ---------------------------------------------------------------------------------------------------------


@given(epsilon=st.floats(1e-3, 1), seed=st.integers(0, 99))
def test_charbonnier_equals_the_formula_and_its_derivative(epsilon, seed):
    rng = np.random.default_rng(seed)
    y, x = rng.uniform(-1, 1, (2, 24))
    reconstruction = torch.tensor(y, requires_grad=True)
    loss = charbonnier(reconstruction, torch.tensor(x), epsilon)
    roots = [math.sqrt((a - b) ** 2 + epsilon**2) for a, b in zip(y, x, strict=True)]
    assert loss.item() == pytest.approx(sum(roots) / 24 - epsilon, abs=1e-12)
    (gradient,) = torch.autograd.grad(loss, reconstruction)
    expected = [(a - b) / root / 24 for a, b, root in zip(y, x, roots, strict=True)]
    assert gradient.tolist() == pytest.approx(expected, abs=1e-12)


def test_charbonnier_of_equals_is_zero_with_zero_gradient():
    x = torch.ones(3, requires_grad=True)
    loss = charbonnier(x, torch.ones(3), 0.05)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-8)
    assert x.grad.tolist() == [0, 0, 0]


# The linear start -----------------------------------------------------------------------------------------------


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


# Data -----------------------------------------------------------------------------------------------------------


@given(
    size=st.tuples(st.integers(1, 8), st.integers(1, 12), st.integers(1, 12)),
    frames=st.integers(1, 6),
    crop=st.integers(1, 10),
    seed=st.integers(0, 999),
)
def test_a_crop_is_a_part_of_the_clip_perhaps_mirrored_or_reversed(size, frames, crop, seed):
    t, y, x = np.meshgrid(*(np.arange(n) for n in size), indexing="ij")
    part = random_crop(np.random.default_rng(seed), np.stack((t, y, x), axis=-1), frames, crop)
    assert part.shape == (frames, crop, crop, 3)
    # Every axis counts up or down by one, or rests at the clip's edge.
    for axis, length in enumerate(size):
        line = np.moveaxis(part[..., axis], axis, 0).reshape(part.shape[axis], -1)
        assert (line == line[:, :1]).all()
        steps = np.diff(line[:, 0])
        assert set(steps) <= {0, 1} or (axis != 1 and set(steps) <= {0, -1})
        assert len(set(line[:, 0])) == min(length, part.shape[axis])


def test_crops_come_from_everywhere():
    rng = np.random.default_rng(0)
    t, y, x = np.meshgrid(np.arange(3), np.arange(4), np.arange(5), indexing="ij")
    crops = [random_crop(rng, np.stack((t, y, x), axis=-1), 1, 1) for _ in range(600)]
    assert len({tuple(part.flatten()) for part in crops}) == 3 * 4 * 5


def test_clips_and_photos_are_batches_of_the_published_range():
    data = MediaSet([np.zeros((9, 20, 30, 3), np.uint8)], [np.full((1, 20, 30, 3), 255, np.uint8)])
    rng = np.random.default_rng(0)
    clips, photos = data.clips(rng, 2, 5, 16), data.photos(rng, 3, 16)
    assert clips.shape == (2, 3, 5, 16, 16)
    assert photos.shape == (3, 3, 1, 16, 16)
    assert clips.unique().tolist() == [-1]
    assert photos.unique().tolist() == [1]
    assert MediaSet(data.videos, []).photos(rng, 1, 8).unique().tolist() == [-1]


# The loop -------------------------------------------------------------------------------------------------------


def recipe(**changes):
    values = {
        "phases": (Phase(until=1.0, frames=5, crop=16, clips=2, images=2),),
        "steps": 6,
        "warmup_steps": 1,
        "learning_rate": 3e-3,
        "image_every": 3,
    }
    return Recipe(**values | changes)


def data():
    frames = ((smooth_clips(count=4) + 1) * 127.5).clamp(0, 255).byte().movedim(1, -1).numpy()
    return MediaSet(list(frames[:3]), [frames[3][:1]])


def trainer(folder, tokenizer=None, **changes):
    if tokenizer is None:
        torch.manual_seed(0)
        tokenizer = Tokenizer(small("cv4x8x8").config)
    return Trainer(tokenizer, data(), recipe(**changes), folder)


def weights_equal(first, second):
    first, second = first.state_dict(), second.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@torch.no_grad()
def loss_of(network):
    clips = smooth_clips(frames=5)
    return charbonnier(network(clips), clips, 0.05).item()


def test_training_lowers_the_loss_and_leaves_a_model_to_load(tmp_path):
    run = trainer(tmp_path)
    before, old_fingerprint = loss_of(run.network), run.tokenizer.fingerprint
    reports = []
    run.run(reports.append, report_every=2)
    assert loss_of(run.network) < 0.9 * before
    assert loss_of(run.tokenizer.network) < before
    assert [report.step for report in reports] == [2, 4, 6]
    assert reports[-1].share == 1
    assert all(math.isfinite(r.loss) and math.isfinite(r.psnr) and r.seconds > 0 for r in reports)
    loaded = Tokenizer.from_pretrained(tmp_path)
    assert weights_equal(loaded.network, run.tokenizer.network)
    assert loaded.fingerprint == run.tokenizer.fingerprint != old_fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "model.safetensors",
        "training.pt",
    ]


def test_a_discrete_tokenizer_trains_through_its_quantiser(tmp_path):
    torch.manual_seed(0)
    run = trainer(tmp_path, Tokenizer(small("dv4x8x8").config), steps=1)
    before = copy.deepcopy(run.network)
    run.train_step()
    for name in ("encoder.conv_in.spatial.weight", "quant_conv.weight", "decoder.conv_in.spatial.weight"):
        assert not torch.equal(run.network.get_parameter(name), before.get_parameter(name))


def test_the_same_seed_gives_the_same_weights(tmp_path):
    runs = [trainer(tmp_path / str(i), seed=seed) for i, seed in enumerate((7, 7, 8))]
    for run in runs:
        for _ in range(3):
            run.train_step()
    assert weights_equal(runs[0].network, runs[1].network)
    assert not weights_equal(runs[0].network, runs[2].network)


def test_resume_continues_where_the_run_stopped(tmp_path):
    first = trainer(tmp_path, steps=8)
    for _ in range(3):
        first.train_step()
    first.seconds = 5.0
    first.save()
    second = trainer(tmp_path, fresh("cv4x8x8", seed=9), steps=8)
    second.resume()
    assert (second.step, second.seconds, second.share) == (3, 5.0, 3 / 8)
    assert weights_equal(second.network, first.network)
    assert weights_equal(second.tokenizer.network, first.tokenizer.network)
    for index, moment in enumerate(("momentum", "exp_avg")):
        moments = [list(run.optimizers[index].state_dict()["state"].values()) for run in (first, second)]
        assert len(moments[0]) == len(moments[1]) > 0
        assert all(torch.equal(a[moment], b[moment]) for a, b in zip(*moments, strict=True))
    steps = []
    second.run(lambda progress: steps.append(progress.step), report_every=1)
    assert steps == [4, 5, 6, 7, 8]


def test_there_must_be_something_to_resume(tmp_path):
    with pytest.raises(CheckpointError, match="nothing to resume"):
        trainer(tmp_path).resume()


def test_another_models_run_cannot_be_resumed(tmp_path):
    trainer(tmp_path).save()
    other = trainer(tmp_path, fresh("cv8x8x8"), phases=(Phase(1.0, 9, 16, 1, 1),))
    with pytest.raises(CheckpointError, match=r"training\.pt.*does not belong"):
        other.resume()


@pytest.mark.parametrize("kept", [0, 10, 5000])
def test_a_damaged_run_cannot_be_resumed(tmp_path, kept):
    trainer(tmp_path).save()
    path = tmp_path / "training.pt"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"training\.pt"):
        trainer(tmp_path).resume()


def test_an_interrupted_run_is_saved(tmp_path):
    run = trainer(tmp_path, steps=50)

    def interrupt(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.run(interrupt, report_every=1)
    again = trainer(tmp_path, steps=50)
    again.resume()
    assert again.step == 2


def test_a_step_that_is_not_finite_changes_no_weights(tmp_path):
    run = trainer(tmp_path)
    run.train_step()
    with torch.no_grad():
        run.network.quant_conv.bias.fill_(math.inf)
    before = copy.deepcopy(run.tokenizer.network)
    run.train_step()
    assert run.step == 2
    assert weights_equal(run.tokenizer.network, before)


def test_the_average_follows_quickly_at_first_then_slowly(tmp_path):
    run = trainer(tmp_path, ema_decay=0.5)
    for step in (1, 2, 30):
        before = [parameter.clone() for parameter in run.average.parameters()]
        run.train_step()
        run.average.load_state_dict(dict(zip(run.average.state_dict(), before, strict=True)))
        run.step = step
        run.update_average()
        kept = min(0.5, (1 + step) / (10 + step))
        for old, average, new in zip(before, run.average.parameters(), run.network.parameters(), strict=True):
            torch.testing.assert_close(average, kept * old + (1 - kept) * new)


def test_a_run_starts_from_the_linear_transform(tmp_path):
    torch.manual_seed(0)
    run = trainer(tmp_path, Tokenizer(LINEAR["cv4x8x8"]))
    before = loss_of(run.network)
    run.start_from_klt(batches=8)
    assert loss_of(run.network) < 0.5 * before
    assert weights_equal(run.network, run.tokenizer.network)


def test_shortcuts_learn_more_slowly_and_do_not_decay(tmp_path):
    run = trainer(tmp_path, Tokenizer(LINEAR["cv4x8x8"]), warmup_steps=4, vector_rate=1e-3, shortcut_rate=1e-5)
    run.train_step()
    (matrices,) = run.optimizers[0].param_groups
    vectors, shortcuts = run.optimizers[1].param_groups
    assert len(shortcuts["params"]) == 4
    assert all(p.ndim > 1 for p in matrices["params"])
    assert all(p.ndim == 1 for p in vectors["params"])
    groups = (matrices, vectors, shortcuts)
    assert sum(len(group["params"]) for group in groups) == len(list(run.network.parameters()))
    assert [group["weight_decay"] for group in groups] == [0.01, 0, 0]
    # the first of four steps of warming up
    assert [group["lr"] for group in groups] == pytest.approx([3e-3 / 4, 1e-3 / 4, 1e-5 / 4])


@pytest.mark.parametrize("shape", [(8, 8), (32, 8), (8, 96)])
def test_orthogonalised_updates_keep_their_directions(shape):
    torch.manual_seed(1)
    matrix = torch.randn(shape)
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    update = orthogonalise(matrix)
    in_their_basis = u.T @ update @ vh.T
    values = in_their_basis.diagonal()
    assert (in_their_basis - values.diag()).abs().max() < 1e-4
    assert values.min() > 0.3  # the quintic is steep at zero, so even small singular values come up
    assert values.max() < 1.3


def test_muon_moves_against_the_gradient_by_its_rate():
    weight = torch.nn.Parameter(torch.zeros(4, 4, 3))
    optimizer = Muon([weight], lr=0.1, weight_decay=0)
    target = torch.randn(4, 4, 3)
    losses = []
    for _ in range(30):
        loss = (weight - target).square().sum()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if len(losses) == 1:
            assert torch.linalg.matrix_norm(weight.detach().flatten(1), ord=2).item() == pytest.approx(0.1, rel=0.3)
    assert losses[-1] < 0.5 * losses[0]


def test_every_nth_batch_is_of_images(tmp_path):
    run = trainer(tmp_path, phases=(Phase(0.5, 5, 16, 2, 3), Phase(1.0, 9, 8, 1, 1)))
    shapes = []
    run.network.register_forward_pre_hook(lambda module, inputs: shapes.append(tuple(inputs[0].shape)))
    for _ in range(6):
        run.train_step()
    early, late = (2, 3, 5, 16, 16), (1, 3, 9, 8, 8)
    assert shapes == [early, early, (3, 3, 1, 16, 16), early, late, (1, 3, 1, 8, 8)]


def test_a_run_without_warming_up(tmp_path):
    loss, error = trainer(tmp_path, warmup_steps=0).train_step()
    assert math.isfinite(loss + error)


BAD_RECIPES = [
    {"phases": ()},
    {"phases": (Phase(0.5, 5, 16, 1, 1),)},
    {"phases": (Phase(1.0, 5, 16, 1, 1), Phase(0.5, 5, 16, 1, 1))},
    {"steps": 0},
    {"minutes": 0},
    {"minutes": -1.0},
    {"ema_decay": 1.0},
    {"ema_decay": 0.0},
    {"learning_rate": 0.0},
]


@pytest.mark.parametrize("changes", BAD_RECIPES)
def test_bad_recipes_are_refused(changes):
    with pytest.raises(ConfigError, match="expected"):
        recipe(**changes)


@pytest.mark.parametrize(
    ("frames", "crop"), [(4, 16), (7, 16), (5, 12), (0, 16), (-3, 16), (5, 0), (5, -8)], ids=lambda value: str(value)
)
def test_phases_that_do_not_fit_the_tokenizer_are_refused(tmp_path, frames, crop):
    with pytest.raises(InputError, match="multiple of 4 and crop a multiple of 8"):
        trainer(tmp_path, phases=(Phase(1.0, frames, crop, 1, 1),))


def test_a_video_tokenizer_needs_videos(tmp_path):
    images = MediaSet([], [pixels(1)[0].movedim(0, -1).numpy()])
    with pytest.raises(InputError, match="image_every=1"):
        Trainer(fresh("cv4x8x8"), images, recipe(), tmp_path)
    Trainer(fresh("cv4x8x8"), images, recipe(image_every=1), tmp_path).train_step()
    Trainer(fresh("ci8x8"), images, recipe(), tmp_path).train_step()
