"""Clips whose first frames are only remembered: the network is trained on the middle of a stream as it will meet it."""

from __future__ import annotations

import math

import pytest
import torch
from small import VIDEO_KINDS, clip, fresh
from small import video as video_config
from torch import Tensor

from cosmotok import Tokenizer
from cosmotok.network import Autoencoder
from cosmotok.network.state import StreamState
from cosmotok.training.klt import initialise_with_klt
from cosmotok.training.modes import checkpoint_activations, compile_steps
from cosmotok.training.optimizers import OptimizerOptions, make_optimizers, set_rates

PAST = 17


def video(seed: int = 0) -> Tensor:
    return clip(PAST + 16, seed=seed, batch=2).requires_grad_()


def gradients(network: Autoencoder, output: Tensor, target: Tensor) -> list[Tensor]:
    network.zero_grad()
    (output - target.detach()).square().mean().backward()
    return [p.grad.clone() for p in network.parameters() if p.grad is not None]


def largest(tensors: list[Tensor]) -> float:
    return max(tensor.abs().max().item() for tensor in tensors)


@pytest.mark.parametrize("kind", VIDEO_KINDS)
@pytest.mark.parametrize("past", [1, PAST])
def test_a_clip_with_a_past_is_the_rest_of_a_whole_one(kind: str, past: int) -> None:
    """And what the past gets no gradient of is the past alone."""
    network = fresh(kind).network.train()
    whole, parted = video(), video()
    expected, got = network(whole)[:, :, past:], network(parted, past)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    for source, result in ((whole, expected), (parted, got)):
        gradients(network, result, source[:, :, past:])
    assert parted.grad is not None
    assert whole.grad is not None
    assert parted.grad[:, :, :past].count_nonzero() == 0
    assert whole.grad[:, :, :past].count_nonzero() > 0
    scale = whole.grad.abs().max()
    torch.testing.assert_close(parted.grad[:, :, past:] / scale, whole.grad[:, :, past:] / scale, rtol=1e-3, atol=1e-4)


def reference(network: Autoencoder, source: Tensor) -> Tensor:
    """The same in small steps through a stream's own states, the last of them with gradients."""
    states = StreamState(), StreamState()

    def step(frames: Tensor) -> Tensor:
        z = network.encode(frames, states[0])
        if network.quantizer is not None:
            z = network.quantizer.quantize(z.movedim(1, -1)).movedim(-1, 1)
        return network.decode(z, states[1])

    with torch.no_grad():
        step(source[:, :, :1])
        for begin in range(1, PAST, 8):
            step(source[:, :, begin : begin + 8])
    for state in states:
        state.ends = True
    return step(source[:, :, PAST:])


@pytest.mark.parametrize("kind", VIDEO_KINDS)
@pytest.mark.parametrize("recomputed", [False, True])
def test_gradients_are_those_of_a_stream_whose_past_is_given(kind: str, recomputed: bool) -> None:
    network = fresh(kind).network.train()
    source = video().detach()
    expected = gradients(network, reference(network, source), source[:, :, PAST:])
    if recomputed:
        checkpoint_activations(network)
    found = gradients(network, network(source, PAST), source[:, :, PAST:])
    assert len(found) == len(expected) == len(list(network.parameters()))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5 * largest(expected))


def test_under_autocast_all_weights_get_gradients() -> None:
    """Autocast keeps 16-bit copies of the weights; those that it made for the past have no way back to them."""
    network = fresh("cv4x8x8").network.train()
    source = video().detach()
    expected = gradients(network, network(source, PAST), source[:, :, PAST:])
    with torch.autocast("cpu", torch.bfloat16):
        output = network(source, PAST)
    found = gradients(network, output.float(), source[:, :, PAST:])
    assert len(found) == len(list(network.parameters()))
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).norm() < 0.1 * theirs.norm() + 0.01 * largest(expected)


def test_without_a_past_nothing_is_different() -> None:
    network = fresh("cv8x8x8").network.train()
    source = clip(9)
    assert torch.equal(network(source), network.decode(network.encode(source)))
    assert torch.equal(network(source, 0), network(source))


@pytest.mark.slow
def test_compiled_steps_are_not_compiled_anew_for_every_length_of_the_past() -> None:
    torch.compiler.reset()  # of what other tests have compiled
    network = fresh("cv4x8x8").network.train()
    graphs = []

    def compiler(graph: torch.fx.GraphModule, _: list[Tensor]) -> object:
        graphs.append(graph)
        return graph.forward

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "compile", lambda: torch.nn.Module.compile(network, backend=compiler))
        compile_steps(network)
    counts = []
    for past in (0, 1, 5, 9, 17, 33):
        network(clip(past + 8 if past else 9), past).sum().backward()
        counts.append(len(graphs))
    assert counts[2:] == counts[2:3] * 4
    assert counts[0] > 0


# What it is good for ------------------------------------------------------------------------------------------------


def waves(frames: int, noise: torch.Generator, batch: int = 4) -> Tensor:
    """Two that move across each other, (B, 3, frames, 16, 16)."""
    t, y, x = (torch.arange(n).view(shape) for n, shape in ((frames, (-1, 1, 1)), (16, (-1, 1)), (16, (-1,))))

    def some(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(batch, 1, 1, 1, 1, generator=noise)

    both = [torch.sin(some(-0.5, 0.5) * y + some(-0.5, 0.5) * x + some(-0.8, 0.8) * t + some(0, 6.3)) for _ in "ab"]
    return (0.4 * sum(both)).expand(-1, 3, -1, -1, -1)


def psnr_by_group(past: int, steps: int = 100) -> tuple[float, float]:
    """Of long streams, after training on clips of a first frame and one group: the first group's, and all later ones'.

    Args:
        past: two of three steps have one of up to so many frames.
    """
    torch.manual_seed(0)
    changes = {"linear_shortcut": True, "chunk": 1, "latent_channels": 8}
    network = Tokenizer(video_config(8, 4, (1, 1), **changes)).network.train()
    noise = torch.Generator().manual_seed(1)
    initialise_with_klt(network, [waves(5, noise) for _ in range(20)])
    optimizers = make_optimizers(network, OptimizerOptions("muon", 1e-2, vector_rate=1e-3, shortcut_rate=2e-5))
    for step in range(steps):
        set_rates(optimizers, min(1, (step + 1) / 10) * (1 - step / steps))
        before = 1 + 4 * (step % (past // 4)) if past and step % 3 else 0
        clips = waves((before or 1) + 4, noise)
        network.zero_grad()
        (network(clips, before) - clips[:, :, before:]).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
    clips = waves(41, torch.Generator().manual_seed(2), batch=16)
    with torch.no_grad():
        errors = (network(clips) - clips).square().mean(dim=(0, 1, 3, 4))
    first, later = errors[1:5].mean().item(), errors[5:].mean().item()
    return 10 * math.log10(4 / first), 10 * math.log10(4 / later)


def test_a_model_trained_so_holds_past_the_length_of_its_clips() -> None:
    first, later = psnr_by_group(past=0)
    assert later < first - 0.6  # the fault: late frames are other than those it has seen
    held, late = psnr_by_group(past=24)
    assert late > held - 0.2
    assert late > later + 0.2
