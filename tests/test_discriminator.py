"""Discriminators, adversarial losses, the adaptive weight, LeCam, and that each side's step reaches that side alone."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from small import clip
from torch import nn

from cosmotok.errors import InputError
from cosmotok.training.discriminator import PatchDiscriminator
from cosmotok.training.losses import AdversarialLoss, LossOptions
from cosmotok.training.losses.adversarial import LeCam, discriminator_loss, generator_loss

KINDS = ["hinge", "non-saturating"]
LOGITS = st.lists(st.floats(-5, 5), min_size=1, max_size=6)


def options(**changes):
    defaults = {"adversarial": 0.2, "adversarial_start": 0, "discriminator_width": 8, "discriminator_layers": 2}
    return LossOptions(**(defaults | changes))


def seeded(**changes):
    torch.manual_seed(0)
    return AdversarialLoss(options(**changes))


class Generator(nn.Module):
    """The least that has a last layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.hidden, self.last = nn.Conv3d(3, 4, 3, padding=1), nn.Conv3d(4, 3, 1)

    def forward(self, video):
        return self.last(self.hidden(video).tanh())


def step_of(generator, source):
    reconstruction = generator(source)
    return reconstruction, (reconstruction - source).abs().mean()


# Discriminators -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dimensions", "frames", "size", "expected"),
    [
        (2, 1, 32, (2, 1, 2, 2)),
        (2, 3, 64, (6, 1, 6, 6)),
        (3, 2, 32, (2, 1, 1, 2, 2)),
        (3, 9, 32, (2, 1, 3, 2, 2)),
        (3, 17, 40, (2, 1, 5, 3, 3)),
    ],
)
def test_logits_are_a_map_of_patches(dimensions, frames, size, expected):
    network = PatchDiscriminator(dimensions, width=8, layers=3)
    assert network(clip(frames, size, size, batch=2)).shape == expected


def test_a_patch_has_70_pixels_as_in_the_paper():
    """Behind three halving layers, a logit depends on a window of 70 x 70 pixels."""
    torch.manual_seed(0)
    network = PatchDiscriminator(2, width=2, layers=3)
    for i, layer in enumerate(network.layers):  # normalisation looks further
        if isinstance(layer, nn.GroupNorm):
            network.layers[i] = nn.Identity()
    frame = clip(1, 160, 160).requires_grad_()
    logits = network(frame)
    logits[0, 0, logits.shape[-2] // 2, logits.shape[-1] // 2].backward()
    touched = frame.grad[0].abs().sum(dim=(0, 1))
    assert [int((touched.sum(dim=i) > 0).sum()) for i in range(2)] == [70, 70]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_logits_of_a_sample_do_not_depend_on_its_batch(dimensions):
    torch.manual_seed(0)
    network = PatchDiscriminator(dimensions, width=16, layers=2)
    videos = clip(3, batch=3)
    parts = torch.cat([network(video[None]) for video in videos])
    torch.testing.assert_close(network(videos), parts, rtol=1e-4, atol=1e-5)
    assert not list(network.buffers())


def test_crops_too_small_are_refused():
    with pytest.raises(InputError, match=r"crops of 32x16: .* 24x24 or more.*discriminator_layers"):
        PatchDiscriminator(2, width=8, layers=3)(clip(1, 16, 32))


@pytest.mark.parametrize("kind", KINDS)
def test_discriminators_learn_to_tell_blurred_clips(kind):
    loss = seeded(adversarial_loss=kind, lecam=0.001)
    optimizer = torch.optim.Adam(loss.parameters(), lr=2e-3)
    for step in range(40):
        source = clip(2, batch=4, seed=step)
        blurred = F.avg_pool3d(source, (1, 3, 3), stride=1, padding=(0, 1, 1))
        optimizer.zero_grad()
        sum(loss.discriminator_loss(blurred, source, step).values()).backward()
        optimizer.step()
    unseen = clip(2, batch=8, seed=999)
    blurred = F.avg_pool3d(unseen, (1, 3, 3), stride=1, padding=(0, 1, 1))
    for network in loss.discriminators.values():
        assert network(unseen).mean() > 0.3
        assert network(blurred).mean() < -0.3


# Losses of logits -----------------------------------------------------------------------------------------------


@given(real=LOGITS, fake=LOGITS)
def test_adversarial_losses_equal_their_formulas(real, fake):
    r, f = torch.tensor(real, dtype=torch.float64), torch.tensor(fake, dtype=torch.float64)

    def mean(function, values):
        return sum(map(function, values)) / len(values)

    def log_loss(x):  # -log(sigmoid(x))
        return math.log(1 + math.exp(-x))

    hinge = (mean(lambda x: max(0, 1 - x), real) + mean(lambda x: max(0, 1 + x), fake)) / 2
    assert discriminator_loss("hinge", r, f).item() == pytest.approx(hinge, abs=1e-12)
    assert generator_loss("hinge", f).item() == pytest.approx(-np.mean(fake), abs=1e-12)
    cross_entropy = (mean(log_loss, real) + mean(lambda x: log_loss(-x), fake)) / 2
    assert discriminator_loss("non-saturating", r, f).item() == pytest.approx(cross_entropy, abs=1e-12)
    assert generator_loss("non-saturating", f).item() == pytest.approx(mean(log_loss, fake), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_adversarial_losses_have_the_slopes_of_finite_differences(kind):
    generator = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(6, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda r, f: discriminator_loss(kind, r, f), (real, fake))
    assert torch.autograd.gradcheck(lambda f: generator_loss(kind, f), fake)


@given(batches=st.lists(st.tuples(LOGITS, LOGITS), min_size=1, max_size=5), decay=st.floats(0, 0.999))
def test_lecam_equals_the_formula_around_running_means(batches, decay):
    lecam = LeCam(decay).double()
    mean_real = mean_fake = None
    for real, fake in batches:
        loss = lecam(torch.tensor(real).double(), torch.tensor(fake).double())
        if mean_real is None:
            mean_real, mean_fake = np.mean(real), np.mean(fake)
        else:
            mean_real = decay * mean_real + (1 - decay) * np.mean(real)
            mean_fake = decay * mean_fake + (1 - decay) * np.mean(fake)
        expected = np.mean(np.maximum(np.array(real) - mean_fake, 0) ** 2)
        expected += np.mean(np.maximum(mean_real - np.array(fake), 0) ** 2)
        assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_lecam_pulls_each_side_towards_the_other():
    lecam = LeCam(0.9).double()
    real = torch.tensor([3.0, 2.0], dtype=torch.float64, requires_grad=True)
    fake = torch.tensor([-1.0, -2.0], dtype=torch.float64, requires_grad=True)
    lecam(real, fake).backward()
    # d/dr of mean((r + 1.5)^2), d/df of mean((2.5 - f)^2)
    assert real.grad.tolist() == pytest.approx([4.5, 3.5])
    assert fake.grad.tolist() == pytest.approx([-3.5, -4.5])


# Both sides of the game -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_terms_are_the_weighted_losses_of_each_discriminator(kind, frames):
    loss = seeded(adversarial_loss=kind, adaptive=False, lecam=0.01)
    reconstruction, source = clip(frames, batch=2, seed=1), clip(frames, batch=2, seed=2)
    names = ["2d"] if frames == 1 else ["2d", "3d"]
    terms = loss.generator_terms(reconstruction, source, 0, torch.zeros(()))
    assert list(terms) == [f"adversarial_{name}" for name in names]
    losses = loss.discriminator_loss(reconstruction, source, 0)
    assert set(losses) == {f"{term}_{name}" for term in ("discriminator", "lecam") for name in names}
    for name in names:
        real, fake = (loss.discriminators[name](video) for video in (source, reconstruction))
        assert terms[f"adversarial_{name}"].item() == pytest.approx(0.2 * generator_loss(kind, fake).item(), rel=1e-5)
        expected = discriminator_loss(kind, real, fake)
        assert losses[f"discriminator_{name}"].item() == pytest.approx(expected.item(), rel=1e-5)
        expected = 0.01 * (F.relu(real - fake.mean()) ** 2).mean() + 0.01 * (F.relu(real.mean() - fake) ** 2).mean()
        assert losses[f"lecam_{name}"].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("frames", [1, 2])
def test_adaptive_weight_is_the_ratio_of_gradient_norms(frames):
    loss, generator = seeded(), Generator()
    reconstruction, others = step_of(generator, clip(frames, batch=2))
    terms = loss.generator_terms(reconstruction, clip(frames, batch=2), 0, others)
    plain = copy.deepcopy(loss)
    plain.options = options(adaptive=False, adversarial=1.0)
    total = sum(plain.generator_terms(reconstruction, clip(frames, batch=2), 0, others).values())
    norms = [torch.autograd.grad(x, reconstruction, retain_graph=True)[0].norm() for x in (others, total)]
    ratio = (norms[0] / (norms[1] + 1e-4)).item()
    weighted = sum(terms.values())
    assert weighted.item() == pytest.approx(0.2 * ratio * total.item(), rel=1e-4)
    # the weight counts as a constant, so the pull on the reconstruction is 0.2 of all other losses'
    pull = torch.autograd.grad(weighted, reconstruction)[0].norm().item()
    assert pull == pytest.approx(0.2 * norms[0].item(), rel=0.05)


def test_adaptive_weight_has_a_limit():
    loss, generator = seeded(adaptive_max=0.001), Generator()
    reconstruction, others = step_of(generator, clip(1))
    (term,) = loss.generator_terms(reconstruction, clip(1), 0, 1000 * others).values()
    assert term.item() == pytest.approx(0.001 * unscaled(loss, reconstruction), rel=1e-5)


def test_adaptive_weight_of_another_graph_is_refused():
    loss, generator = seeded(), Generator()
    reconstruction, _ = step_of(generator, clip(1))
    for wrong in (torch.zeros(()), step_of(Generator(), clip(1))[1]):
        with pytest.raises(InputError, match="pass the one that the other losses were computed from"):
            loss.generator_terms(reconstruction, clip(1), 0, wrong)


def test_each_step_reaches_its_own_side_alone():
    loss, generator = seeded(lecam=0.1), Generator()
    reconstruction, others = step_of(generator, clip(2))
    sum(loss.generator_terms(reconstruction, clip(2), 0, others).values()).backward()
    assert all(p.grad.abs().sum() > 0 for p in generator.parameters())
    assert all(p.grad is None and p.requires_grad for p in loss.parameters())

    generator.zero_grad()
    sum(loss.discriminator_loss(generator(clip(2)), clip(2), 0).values()).backward()
    assert all(p.grad is None for p in generator.parameters())
    assert all(p.grad.abs().sum() > 0 for name, p in loss.named_parameters() if not name.endswith("bias"))


def test_the_stage_starts_when_told():
    loss = AdversarialLoss(options(adversarial={0: 0.1, 30: 0.0, 40: 0.3}, adversarial_start=20, adaptive=False))
    video = clip(1, batch=2)
    active = {
        step: (bool(loss.generator_terms(video, video, step, torch.zeros(()))), bool(loss(video, video, step)))
        for step in (0, 19, 20, 29, 30, 40)
    }
    assert active == {
        0: (False, False),
        19: (False, False),
        20: (True, True),
        29: (True, True),
        30: (False, True),
        40: (True, True),
    }


def test_only_the_discriminators_named_are_built():
    assert list(AdversarialLoss(options(discriminators=["3d"])).discriminators) == ["3d"]
    image = clip(1)
    assert AdversarialLoss(options(discriminators=["3d"])).discriminator_loss(image, image, 0) == {}


def test_a_resumed_run_continues_bit_for_bit(tmp_path):
    def train(loss, generator, optimizers, steps):
        seen = []
        for step in steps:
            source = clip(2, batch=2, seed=step)
            reconstruction, others = step_of(generator, source)
            terms = loss.generator_terms(reconstruction, source, step, others)
            for side, total in enumerate((others + sum(terms.values()), None)):
                if side:
                    total = sum(loss.discriminator_loss(reconstruction, source, step).values())
                optimizers[side].zero_grad()
                total.backward()
                optimizers[side].step()
                seen.append(total.item())
        return seen

    def begin():
        loss, generator = seeded(lecam=0.1), Generator()
        return loss, generator, [torch.optim.Adam(m.parameters(), lr=1e-3) for m in (generator, loss)]

    loss, generator, optimizers = begin()
    train(loss, generator, optimizers, range(3))
    parts = [loss, generator, *optimizers]
    torch.save([part.state_dict() for part in parts], tmp_path / "state.pt")
    expected = train(loss, generator, optimizers, range(3, 6))

    torch.manual_seed(77)
    loss, generator, optimizers = begin()
    for part, state in zip([loss, generator, *optimizers], torch.load(tmp_path / "state.pt"), strict=True):
        part.load_state_dict(state)
    assert train(loss, generator, optimizers, range(3, 6)) == expected


# Precision and several processes ---------------------------------------------------------------------------------


def test_half_precision_networks_give_about_the_same_losses():
    loss, generator = seeded(lecam=0.1), Generator()
    results = []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            reconstruction, others = step_of(generator, clip(2))
            terms = loss.generator_terms(reconstruction, clip(2), 0, others)
            results.append(terms | copy.deepcopy(loss).discriminator_loss(reconstruction, clip(2), 0))
    for name, value in results[0].items():
        assert results[1][name].dtype == torch.float32
        assert results[1][name].item() == pytest.approx(value.item(), rel=0.05, abs=0.01)


def unscaled(loss, reconstruction):
    """The term of the discriminator of frames, weighted, without the adaptive weight."""
    fake = loss.discriminators["2d"](reconstruction)
    return loss.options.adversarial * generator_loss(loss.options.adversarial_loss, fake).item()


def two_steps(rank, count, wrapped):
    """Losses, gradients and running means of a step on clips and one on images: this process's part of four."""
    loss, generator = seeded(lecam=0.5, lecam_decay=0.9), Generator()
    judge = nn.parallel.DistributedDataParallel(loss, find_unused_parameters=True) if wrapped else loss
    part = slice(rank * 4 // count, (rank + 1) * 4 // count)
    results = []
    for frames in (2, 1):
        source = clip(frames, batch=4, seed=frames)[part]
        reconstruction, others = step_of(generator, source)
        terms = loss.generator_terms(reconstruction, source, 0, others)
        losses = judge(reconstruction, source, 0)
        loss.zero_grad(set_to_none=False)
        sum(losses.values()).backward()
        for parameter in loss.parameters():
            if count > 1 and not wrapped and parameter.grad is not None:
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= count
        results.append(
            {
                "adaptive": terms["adversarial_2d"].detach() / unscaled(loss, reconstruction),
                "losses": torch.stack([value.detach() for value in (*terms.values(), *losses.values())]),
                "gradients": torch.cat([p.grad.flatten() for p in loss.parameters() if p.grad is not None]),
                "means": torch.stack([buffer.clone() for buffer in loss.buffers()]),
            }
        )
    return results


def worker(rank, folder, wrapped):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    torch.save(two_steps(rank, 2, wrapped), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("wrapped", [False, pytest.param(True, id="DDP", marks=pytest.mark.slow)])
def test_two_processes_do_what_one_does(wrapped, tmp_path):
    torch.multiprocessing.spawn(worker, (str(tmp_path), wrapped), nprocs=2)
    steps = [*(torch.load(tmp_path / f"{rank}.pt") for rank in range(2)), two_steps(0, 1, wrapped=False)]
    for first, second, alone in zip(*steps, strict=True):
        for name, difference in (("adaptive", 1e-5), ("gradients", 0), ("means", 0)):
            torch.testing.assert_close(first[name], second[name], rtol=difference, atol=0)
            torch.testing.assert_close(first[name], alone[name], rtol=1e-3, atol=1e-5)
        mean = (first["losses"] + second["losses"]) / 2
        torch.testing.assert_close(mean, alone["losses"], rtol=1e-4, atol=1e-6)
