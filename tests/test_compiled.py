"""`Tokenizer.compile`: the same results, one graph for all later steps of a stream, no breaks in it."""

from __future__ import annotations

import copy
import shutil
from functools import partial

import pytest
import small
import torch
from refusals import refused

from cosmotok import Tokenizer
from cosmotok.families import find
from cosmotok.families.cosmos.model import announce_compiling

CONFIGS = {
    "cv4x4x4": small.video(4, 4, (1,), chunk=2),
    "cv8x8x8": small.video(8, 8, (1, 1, 1), chunk=2),
    "dv4x4x4": small.video(4, 4, (1,), chunk=2, **small.DISCRETE),
    "ci8x8": small.image(8, (1, 1)),
}
counters = torch._dynamo.utils.counters


@pytest.fixture(autouse=True)
def nothing_compiled():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture
def traced(monkeypatch):
    """Graphs are made, but run by PyTorch's operators: what makes them is under test, not what comes of them."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))


def pair(kind: str) -> tuple[Tokenizer, Tokenizer]:
    """A tokenizer as it is, and compiled."""
    both = Tokenizer(CONFIGS[kind]), Tokenizer(CONFIGS[kind])
    for one in both:
        small.randomise(one.network, 0)
    return both[0], both[1].compile()


def graphs() -> int:
    assert not counters["graph_break"]
    return counters["stats"]["unique_graphs"]


def same(actual: torch.Tensor, expected: torch.Tensor) -> None:
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    if not expected.is_floating_point():
        assert torch.equal(actual, expected)
    else:
        assert (actual - expected).abs().max() < 1e-5 * expected.abs().max()


def frames_of(tokenizer: Tokenizer, steps: int) -> int:
    return 1 + steps * tokenizer.config.chunk * tokenizer.config.temporal_factor


@pytest.mark.parametrize(
    ("kind", "context"), [("cv8x8x8", None), ("cv4x4x4", 1), ("cv4x4x4", 2), ("dv4x4x4", 5), ("ci8x8", None)]
)
def test_all_later_steps_are_one_graph(traced, kind, context):
    plain, compiled = pair(kind)
    video = small.clip(frames_of(plain, 5), batch=2)
    tokens = plain.encode(video, attention_context=context)
    for half, data, axis in (("encoder", video, 2), ("decoder", tokens, small.time_axis(plain))):
        before = graphs()
        streams = [getattr(one, f"stream_{half}")(attention_context=context) for one in (compiled, plain)]
        step = plain.config.chunk * (plain.config.temporal_factor if half == "encoder" else 1)
        made = []
        for part in data.split([1, *[step] * 5], dim=axis):
            same(*(stream.push(part) for stream in streams))
            made.append(graphs() - before)
        assert made == [1, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("kind", ["cv4x4x4", "dv4x4x4", "ci8x8"])
def test_streams_equal_whole_clips_to_the_bit(traced, kind):
    plain, compiled = pair(kind)
    video = small.clip(frames_of(plain, 3) + plain.config.temporal_factor, 17, 18)
    tokens = compiled.encode(video)
    same(tokens, plain.encode(video))
    decoded = compiled.decode(tokens, size=tuple(video.shape[2:]))
    same(decoded, plain.decode(tokens, size=tuple(video.shape[2:])))
    encoder, decoder = compiled.stream_encoder(), compiled.stream_decoder(size=(17, 18))
    before = graphs()
    axis = small.time_axis(plain)
    parts = [encoder.push(part) for part in video.split(3, dim=2)] + [encoder.flush()]
    assert torch.equal(torch.cat(parts, dim=axis), tokens)
    shown = [decoder.push(part) for part in tokens.split(1, dim=axis)] + [decoder.flush()]
    assert torch.equal(torch.cat(shown, dim=2), decoded)
    assert graphs() == before


def test_a_stream_remembers_no_more_than_without(traced):
    plain, compiled = pair("cv4x4x4")
    streams = [one.stream_encoder(attention_context=4) for one in (compiled, plain)]
    sizes = []
    for _ in range(6):
        for stream in streams:
            stream.push(small.clip(8, seed=len(sizes)))
        sizes.append([stream.state.nbytes for stream in streams])
    assert sizes[-1][0] == sizes[2][0] and sizes[-1][0] <= sizes[-1][1]


def test_many_sizes_still_work(traced):
    plain, compiled = pair("ci8x8")
    for side in range(8, 8 * 12, 8):
        image = small.clip(1, side, 16)[:, :, 0]
        same(compiled.encode(image), plain.encode(image))


def test_a_compiled_tokenizer_takes_no_integers():
    compiled = small.fresh("cv4x8x8").compile()
    assert compiled.compile() is compiled
    refused(lambda: compiled.set_precision("int8"), "compiled")
    refused(lambda: compiled.calibrate([small.clip(5)]), "compiled")


def test_a_tokenizer_in_integers_does_not_compile(int8_at_hand):
    integers = small.fresh("cv4x8x8")
    integers.calibrate([small.clip(5)])
    refused(integers.set_precision("int8").compile, "int8")


def test_a_machine_that_cannot_compile(monkeypatch):
    def fail(graph, inputs):
        raise RuntimeError("no compiler\nat all")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=fail))
    refused(
        lambda: Tokenizer(CONFIGS["cv4x4x4"]).compile().encode(small.clip(1)),
        "cannot compile on this machine",
        "no compiler",
    )


def test_a_subject_that_is_compiled(traced, caplog):
    announce_compiling.cache_clear()
    compiled, plain = (find(name) for name in ("cv4x8x8-tiny@compiled", "cv4x8x8-tiny"))
    find("cv4x8x8-tiny@compiled")
    (said,) = [message for message in caplog.messages if "compiling" in message]
    assert said.startswith("cv4x8x8-tiny@compiled: compiling ...")
    assert compiled.name == "cv4x8x8-tiny@compiled"
    image = small.clip(1, 16, 16)
    same(*(subject.load().encode(image) for subject in (compiled, plain)))
    assert graphs() == 1


@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="needs a C++ compiler")
@pytest.mark.slow  # the compiler takes its time
def test_fused_code_gives_the_same():
    plain, compiled = pair("cv4x4x4")
    video = small.clip(frames_of(plain, 3), 8, 8)
    tokens = compiled.encode(video)
    same(tokens, plain.encode(video))
    assert graphs() == 2
    encoder = compiled.stream_encoder()
    parts = [encoder.push(part) for part in video.split(3, dim=2)] + [encoder.flush()]
    assert torch.equal(torch.cat(parts, dim=2), tokens)
    assert graphs() == 2


def test_a_copy_computes_with_its_own_weights(traced):
    _, compiled = pair("cv4x4x4")
    video = small.clip(5)
    before = compiled.encode(video)
    twin = copy.deepcopy(compiled)
    with torch.no_grad():
        for parameter in twin.network.parameters():
            parameter.mul_(1.1)
    same(compiled.encode(video), before)
    same(twin.encode(video), Tokenizer.from_checkpoint(twin.to_checkpoint()).encode(video))
    assert (twin.encode(video) - before).abs().max() > 1e-3
