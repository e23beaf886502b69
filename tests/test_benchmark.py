"""The benchmark: what it counts, that models take turns, that peers run, and what it tells of failures."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from statistics import median

import diffusers
import pytest
import small
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cosmotok import Tokenizer, language
from cosmotok.benchmark import PEERS, Clip, Half, Machine, Report, Result, benchmark, jobs, run
from cosmotok.benchmark.counting import count_operations
from cosmotok.benchmark.findings import Agreement
from cosmotok.benchmark.jobs import MatrixProduct, ModelJob
from cosmotok.benchmark.memory import PeakMemory, free_memory, limit_memory
from cosmotok.benchmark.plot import write_plot
from cosmotok.benchmark.run import Turn, agree, chosen_baseline, find_models, take_turns
from cosmotok.benchmark.table import notes, rows
from cosmotok.checkpoint.diffusers_files import write_diffusers
from cosmotok.cli import main
from cosmotok.errors import CheckpointError, InputError, MissingExtraError, UnknownModelError
from cosmotok.families import find
from cosmotok.families.cosmos.model import CosmosModel
from cosmotok.families.diffusers.model import DiffusersModel
from cosmotok.families.diffusers.peers import Peer
from cosmotok.processes import CallError, Remote

CLIP = Clip(5, 32, 32)
SQUARE = replace(small.CONFIGS["cv4x8x8"], z_channels=4)
SHRUNKEN = {
    "AutoencoderKLAllegro": {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1},
    "AutoencoderVidTok": {"ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1},
    "AutoencoderKLCogVideoX": {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1},
    "AutoencoderKLWan": {"base_dim": 8, "num_res_blocks": 1},
    "AutoencoderKLHunyuanVideo": {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1},
    "AutoencoderKLMochi": {
        "encoder_block_out_channels": (32, 32, 32, 32),
        "decoder_block_out_channels": (32, 32, 32, 32),
        "layers_per_block": (1, 1, 1, 1, 1),
    },
    "AutoencoderKLLTXVideo": {
        "block_out_channels": (8, 8, 8, 8),
        "decoder_block_out_channels": (8, 8, 8, 8),
        "layers_per_block": (1, 1, 1, 1, 1),
        "decoder_layers_per_block": (1, 1, 1, 1, 1),
    },
    "AutoencoderKLCosmos": {
        "encoder_block_out_channels": (8, 8, 8, 8),
        "decode_block_out_channels": (8, 8, 8, 8),
        "num_layers": 1,
    },
    "AutoencoderDC": {
        "attention_head_dim": 8,
        "latent_channels": 4,
        "encoder_block_out_channels": (16,) * 6,
        "decoder_block_out_channels": (16,) * 6,
        "encoder_layers_per_block": (1,) * 6,
        "decoder_layers_per_block": (1,) * 6,
    },
    "AutoencoderKL": {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1},
    "AutoencoderTiny": {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4},
}


def need(peer: Peer) -> None:
    if not hasattr(diffusers, peer.cls):
        pytest.skip(f"diffusers {diffusers.__version__} has no {peer.cls}")


def shrunken(name: str) -> DiffusersModel:
    peer = PEERS[name]
    need(peer)
    return DiffusersModel(name, replace(peer, config={**peer.config, **SHRUNKEN[peer.cls]}))


def square() -> Tokenizer:
    """A small tokenizer of the kind that diffusers' class can express."""
    tokenizer = Tokenizer(SQUARE)
    small.randomise(tokenizer.network, 0)
    return tokenizer


def noise(clip: Clip) -> torch.Tensor:
    return small.clip(clip.frames, clip.height, clip.width)


# Peers ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_runs_in_a_small_form(name):
    model = shrunken(name)
    codec, clip = model.load(), model.taken(CLIP)
    latents = codec.encode(noise(clip))
    frames = codec.decode(latents)
    assert frames.shape == (1, 3, clip.frames, clip.height, clip.width)
    assert frames.isfinite().all()
    assert latents.shape[-1] == clip.width // PEERS[name].space
    assert not frames.requires_grad


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_has_its_published_shape_and_can_be_counted_without_memory(name):
    need(PEERS[name])
    model = find(f"diffusers:{name}", stand_in=True)
    codec = model.outline()
    encoding, decoding = count_operations(codec, model.taken(Clip(1, 32, 32)))
    assert 0 < encoding < decoding
    assert {tensor.device.type for tensor in codec.network.state_dict().values()} == {"meta"}


def test_allegro_without_tiles_equals_a_single_tile_of_diffusers():
    codec = shrunken("Allegro").load()
    model = codec.network
    model.kernel, model.stride, model.use_tiling = (8, 32, 32), (4, 16, 16), True
    video = noise(Clip(8, 32, 32))
    with torch.no_grad():
        latents = model.encode(video).latent_dist.mode()
        assert torch.allclose(codec.encode(video), latents, atol=1e-6)
        assert torch.allclose(codec.decode(latents), model.decode(latents).sample.transpose(1, 2), atol=1e-5)


def test_vidtok_gets_frames_as_its_forward_gives_them():
    codec = shrunken("VidTok").load()
    video = noise(CLIP)
    with torch.no_grad():
        whole = codec.network(video, sample_posterior=False).sample
    assert torch.allclose(codec.decode(codec.encode(video)), whole, atol=1e-5)


@given(
    st.integers(1, 40),
    st.integers(1, 100),
    st.integers(1, 100),
    st.builds(lambda f, t, n, s: Peer("", "", "", {}, f, t, n, s), *[st.integers(1, 9)] * 4),
)
def test_a_peer_takes_the_smallest_clip_that_contains_the_one_asked_for(frames, height, width, peer):
    spec, group = peer.spec("peer", 4), peer.time * peer.latents
    taken, *sides = spec.size(spec.grid(frames, height, width))
    assert taken >= max(frames, peer.first) and (taken - peer.first) % group == 0
    assert taken - group < max(frames, peer.first) and spec.missing(frames, started=False) == taken - frames
    for side, asked in zip(sides, (height, width), strict=True):
        assert asked <= side < asked + peer.space and side % peer.space == 0


def test_a_peer_can_be_a_folder(tmp_path):
    tokenizer = square()
    write_diffusers(tokenizer.to_checkpoint(), tmp_path / "vae")
    subject = find(f"diffusers:{tmp_path}")
    codec = subject.load()
    assert subject.taken(Clip(2, 9, 8)) == Clip(5, 16, 8)
    assert torch.allclose(codec.encode(noise(CLIP)), tokenizer.encode(noise(CLIP)), atol=1e-4)
    assert count_operations(subject.outline(), CLIP)[0] > 0


# Ours -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dv4x8x8", "ci8x8"])
def test_ours_run_and_repeat_their_random_weights(kind):
    subject = CosmosModel(kind, kind, small.CONFIGS[kind], random=True)
    codec, again = subject.load(), subject.load()
    clip = subject.taken(Clip(4, 17, 16))
    assert (clip.height, clip.width) == (24, 16)
    tokens = codec.encode(noise(clip))
    assert codec.decode(tokens).shape[2:] == (clip.frames, clip.height, clip.width)
    assert torch.equal(again.encode(noise(clip)), tokens)
    encoding, decoding = count_operations(subject.outline(), clip)
    assert 0 < encoding < decoding


def test_a_name_that_says_its_precision_goes_before_the_option():
    said, given = find_models(["cv4x8x8-tiny@compiled", "dv4x8x8-tiny"], "int8", None)
    assert (said.name, given.name) == ("cv4x8x8-tiny@compiled", "dv4x8x8-tiny@int8")


def test_ours_in_integers(int8_at_hand):
    subject = find("cv4x8x8-tiny@int8")
    assert subject.name == "cv4x8x8-tiny@int8"
    random = CosmosModel("small", "small", small.CONFIGS["cv4x8x8"], random=True, precision="int8", stand_in=True)
    for codec in (subject.load(), random.load()):
        assert codec.precision == "int8"
        assert codec.decode(codec.encode(noise(CLIP))).shape == noise(CLIP).shape


# Counting -------------------------------------------------------------------------------------------------------------


class OneConvolution(nn.Module):
    """An outline whose operations can be counted by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 7, 3, padding=1), nn.Linear(7, 3)

    @property
    def network(self):
        return self

    def encode(self, video):
        return self.down(video[0].transpose(0, 1))

    def decode(self, latents):
        return self.up(latents.movedim(1, -1)).movedim(-1, 0)[None]


@given(st.integers(1, 5), st.integers(1, 40), st.integers(1, 40))
def test_operations_of_one_convolution_and_one_product(frames, height, width):
    with torch.device("meta"):
        codec = OneConvolution()
    positions = frames * height * width
    assert count_operations(codec, Clip(frames, height, width)) == (2 * 9 * 3 * 7 * positions, 2 * 7 * 3 * positions)


def test_ours_and_diffusers_have_the_published_number_of_operations():
    """382 and 695 GFLOP for 17 frames of 256x256."""
    clip = Clip(17, 256, 256)
    ours, theirs = (
        count_operations(find(name, stand_in=True).outline(), clip) for name in ("CV8x8x8", "diffusers:Cosmos")
    )
    assert [round(n / 1e9) for n in ours] == [382, 695]
    assert theirs == pytest.approx(ours, rel=1e-3)  # theirs computes the wavelet by convolutions, ours by sums


def test_a_faster_algorithm_does_not_count_less(monkeypatch):
    """Counted are the shapes, whatever kernels would run."""
    from cosmotok.kernels import float32

    subject = CosmosModel("small", "small", small.CONFIGS["cv4x8x8"], random=True)
    before = count_operations(subject.outline(), CLIP)
    monkeypatch.setattr(float32, "CHANNELS", 0)
    assert count_operations(subject.outline(), CLIP) == before


# Names ----------------------------------------------------------------------------------------------------------------


def test_the_default_pair_shares_weights():
    ours, theirs = find_models(["cv8x8x8", "diffusers:cosmos"], "float32", None)
    assert (ours.name, theirs.name) == ("CV8x8x8", "diffusers:Cosmos")
    assert theirs.twin == ours
    assert (
        find_models(["cv4x8x8-tiny", "diffusers:Cosmos"], "float32", None)[1].twin is None
    )  # diffusers has no linear shortcut


@pytest.mark.parametrize(
    ("names", "asked", "baseline"),
    [
        (["cv4x8x8-tiny", "diffusers:Wan", "diffusers:Cosmos"], None, 2),
        (["cv4x8x8-tiny", "diffusers:Wan", "diffusers:SD"], None, 1),
        (["cv4x8x8-tiny", "dv4x8x8-tiny"], None, 0),
        (["cv4x8x8-tiny", "diffusers:Wan"], "CV4x8x8-tiny", 0),
    ],
)
def test_whose_speed_is_one(names, asked, baseline):
    assert chosen_baseline(asked, names) == baseline


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        ([], InputError, "at least one name"),
        (["CV8x8x9"], UnknownModelError, "did you mean"),
        (["diffusers:Cosmo"], UnknownModelError, "did you mean Cosmos"),
        (["diffusers:nothing at all"], UnknownModelError, "CogVideoX, Wan"),
        (["wan"], UnknownModelError, "did you mean diffusers:Wan"),
        (["CV8x8x8", "cv8x8x8"], InputError, "twice"),
        (["CV8x8x8@int4"], InputError, "float32 or int8"),
    ],
)
def test_wrong_names_are_one_line_with_the_nearest(names, error, words):
    with pytest.raises(error, match=re.escape(words)) as caught:
        find_models(names, "float32", None)
    assert "\n" not in str(caught.value)


def test_peers_without_diffusers(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        find_models(["diffusers:Wan"], "float32", None)
    assert find_models(["cv4x8x8-tiny"], "float32", None)  # which needs none


def test_a_folder_of_another_class(tmp_path):
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(UnknownModelError, match="UNet2DModel"):
        find_models([f"diffusers:{tmp_path}"], "float32", None)


def test_a_folder_without_a_model_leaves_the_others_to_be_measured(tmp_path):
    found = find_models([f"diffusers:{tmp_path}", "ci8x8-tiny"], "float32", None)
    assert [model.name for model in found] == [f"diffusers:{tmp_path}", "ci8x8-tiny"]
    for ask in (found[0].load, lambda: found[0].spec):
        with pytest.raises(CheckpointError, match=r"no config\.json .* nor in vae/"):
            ask()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sizes": [(0, 8)]}, "sizes"),
        ({"frames": [0]}, "frames"),
        ({"rounds": 0}, "rounds"),
        ({"threads": 0}, "threads"),
        ({"threads": 99999999}, "threads=99999999: expected a whole number from 1 to 1024"),
        ({"rounds": 99999999}, "rounds=99999999: expected a whole number from 1 to 1024"),
        ({"device": "toaster"}, "cpu"),
        ({"baseline": "CV8x8"}, "cv4x8x8-tiny"),
    ],
)
def test_values_that_make_no_sense(arguments, words):
    with pytest.raises(InputError, match=words):
        benchmark(["cv4x8x8-tiny"], **arguments)


def test_a_clip_that_memory_cannot_hold_is_refused_before_anything_is_measured(monkeypatch):
    monkeypatch.setattr(run, "free_memory", lambda: 10**9)
    monkeypatch.setattr(run, "Remote", None)  # no process begins
    words = r"size 8000x3000: a clip of 9 frames takes 2\.6 GB, but 1\.0 GB of memory are free; try a smaller --size"
    with pytest.raises(InputError, match=words):
        benchmark(["cv4x8x8-tiny"], sizes=[(16, 16), (8000, 3000)], frames=[1, 9])


# Turns ----------------------------------------------------------------------------------------------------------------


class Here:
    """A `Remote` in this process, which writes down what was called."""

    def __init__(self, log, name, job, fails_at=None):
        self.log, self.name, self.job, self.fails_at = log, name, job, fails_at

    def call(self, method, *arguments):
        self.log.append((self.name, method))
        if method == self.fails_at:
            raise CallError("out of memory")
        return getattr(self.job, method)(*arguments)

    def close(self):
        self.log.append((self.name, "close"))


def local_turn(log, subject, fails_at=None):
    return Turn(subject, CLIP, Here(log, subject.name, ModelJob(subject, CLIP, "cpu", torch.float32), fails_at))


@pytest.fixture
def unlimited(monkeypatch):
    """The limit is for processes of their own."""
    monkeypatch.setattr(jobs, "limit_memory", lambda: None)


@pytest.fixture
def pair():
    ours = CosmosModel("ours", "ours", SQUARE, random=True)
    return ours, DiffusersModel("theirs", PEERS["Cosmos"], weights_of=ours)


def test_models_take_turns_and_the_same_weights_give_the_same(unlimited, pair, monkeypatch):
    monkeypatch.setitem(jobs.MATRIX, "cpu", 64)
    log, steps = [], []
    turns = [local_turn(log, subject) for subject in pair]
    machine = Here([], "machine", MatrixProduct("cpu", torch.float32))
    assert take_turns(turns, machine, 2, steps.append)["torch.mm"] > 0
    assert [name for name, method in log if method == "round"] == ["ours", "theirs"] * 2
    assert log.index(("theirs", "warm_up")) < log.index(("ours", "round"))
    assert sum(steps) == 2 * (1 + 2)
    (agreement,) = agree(turns)
    assert 0 < agreement.latents < 1e-4 and 0 < agreement.frames < 1e-4
    result = turns[0].result
    assert result.taken == CLIP and result.error is None
    assert result.encode.frames_per_second == pytest.approx(5 / min(result.encode.seconds))


@pytest.mark.parametrize("fails_at", ["count", "build", "warm_up", "round"])
def test_a_model_that_fails_says_why_and_the_others_go_on(unlimited, pair, monkeypatch, fails_at):
    monkeypatch.setitem(jobs.MATRIX, "cpu", 64)
    log = []
    turns = [local_turn(log, pair[0], fails_at), local_turn(log, pair[1])]
    take_turns(turns, Here([], "machine", MatrixProduct("cpu", torch.float32)), 2, lambda n: None)
    assert agree(turns) == []
    bad, good = (turn.result for turn in turns)
    assert (bad.error, bad.encode, bad.decode) == ("out of memory", None, None)
    assert good.error is None and len(good.encode.seconds) == 2
    assert log[-1][0] == "theirs"  # nothing more of the one that failed
    assert ("ours", "close") in log


# Processes ------------------------------------------------------------------------------------------------------------


class Job:
    """Runs in a process of its own."""

    def __init__(self) -> None:
        self.calls = 0

    def count(self):
        self.calls += 1
        return self.calls, torch.get_num_threads()

    def fail(self):
        raise ValueError("first line\nsecond line")

    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def peak(self):
        peak = PeakMemory(torch.device("cpu"))
        torch.ones(60_000_000, dtype=torch.uint8)
        return peak.read()

    def greedy(self):
        limit_memory()
        return torch.empty(free_memory() + 500_000_000, dtype=torch.uint8).numel()


def test_a_process_of_its_own():
    with Remote(Job, threads=1) as remote:
        assert [remote.call("count") for _ in range(2)] == [(1, 1), (2, 1)]
        with pytest.raises(CallError, match=r"^ValueError: first line$"):
            remote.call("fail")
        assert remote.call("count") == (3, 1)  # and lives on
        peak = remote.call("peak")
        assert 0.9 * 60e6 <= peak < 90e6
        if free_memory() is not None:
            with pytest.raises(CallError, match=r"^out of memory$"):
                remote.call("greedy")
        with pytest.raises(CallError, match="exit code -9, most likely out of memory"):
            remote.call("die")
        with pytest.raises(CallError):
            remote.call("count")


# Reports --------------------------------------------------------------------------------------------------------------


def half(*seconds: float, frames: int = 4, peak: int | None = 10**8) -> Half:
    return Half(frames, 8 * 10**9, seconds, peak)


def report(clips=(CLIP,), failing=False) -> Report:
    machine = Machine(
        "cpu", "A processor", "float32", 1, "2.6", None, {clip: {"torch.mm": 1e9, "oneDNN": 4e9} for clip in clips}
    )
    results = []
    for clip in clips:
        scale = clip.frames * clip.pixels / 1000
        results += [
            Result("ours", clip, clip, 10**6, half(scale, 2 * scale), half(3 * scale, 3 * scale), ["random weights"]),
            Result("diffusers:Wan", clip, clip, 10**7, half(4 * scale, 4 * scale), half(6 * scale, 3 * scale)),
        ]
        if failing:
            results.append(Result("big", clip, clip, 10**9, None, None, error="out of memory"))
    return Report(machine, 2, "diffusers:Wan", results, [])


times = st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=1, max_size=7)


@given(times)
def test_ratios_are_medians_over_rounds_of_frames_per_second(seconds):
    mine, its = zip(*seconds, strict=True)
    ours = Result("ours", CLIP, CLIP, 1, half(*mine, frames=6), None)
    theirs = Result("theirs", CLIP, CLIP, 1, half(*its, frames=4), None)
    both = replace(report(), baseline="theirs", results=[ours, theirs])
    assert both.speedup(ours, "encode") == pytest.approx(median(6 / 4 * b / a for a, b in seconds))
    assert both.speedup(theirs, "encode") == pytest.approx(1)
    assert both.speedup(ours, "decode") is None


def test_a_report_in_numbers_and_words():
    found = report(failing=True)
    plain = json.loads(json.dumps(found.to_dict()))
    ours, _, big = plain["results"]
    scale = CLIP.frames * CLIP.pixels / 1000
    assert ours["encode"]["frames_per_second"] == pytest.approx(4 / scale)
    assert ours["encode"]["gflop_per_frame"] == 2
    assert ours["encode"]["share_of_attainable"] == pytest.approx(2 / scale)
    assert ours["encode"]["speedup"] == pytest.approx(3)
    assert ours["peak_memory"] == 10**8
    assert (big["encode"], big["error"]) == (None, "out of memory")
    rates = {"torch.mm": 1.0, "oneDNN": 4.0}
    assert plain["machine"]["products"] == [{"frames": 5, "height": 32, "width": 32, "gflop_per_second": rates}]
    assert found.failed and not report().failed
    assert [row[:2] for row in rows(found, CLIP)][-1] == ("big", "failed")
    assert notes(found, CLIP) == ["ours: random weights", "big: failed: out of memory"]


def test_notes_speak_portuguese():
    found = report(failing=True)
    said = ["weights of CV8x8x8", "best linear transform of blocks of 4 x 8 x 8"]
    found.results[0] = replace(found.results[0], notes=said)
    found.agreements.append(Agreement("ours", "theirs", CLIP, 1.5e-6, 2e-7))
    english = notes(found, CLIP)
    assert english[-1].endswith("latents equal within 1.5e-06 of their range, frames within 2.0e-07")
    language.speak({"LANG": "pt_BR.UTF-8"})
    try:
        ours, *others = notes(found, CLIP)
    finally:
        language.speak({})
    assert ours == "ours: pesos de CV8x8x8; a melhor transformada linear de blocos de 4 x 8 x 8"
    assert others[0] == "big: falhou: memória insuficiente"
    assert others[-1].startswith("ours e theirs, com os mesmos pesos: latentes iguais a menos de 1,5e-06")


GRID = tuple(Clip(frames, side, side) for side in (64, 128) for frames in (1, 17))


@pytest.mark.parametrize("clips", [(CLIP,), GRID, GRID[:2]])
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_plots(tmp_path, clips, suffix):
    path = tmp_path / f"plot{suffix}"
    write_plot(report(clips, failing=True), path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG" if suffix == ".png" else b"<?xml")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    if suffix == ".svg":
        text = content.decode()
        assert "diffusers:Wan" in text and ("failed" in text) == (clips == (CLIP,))


def test_plots_that_cannot_be(tmp_path):
    with pytest.raises(InputError, match=r"\.png"):
        write_plot(report(), tmp_path / "plot.xyz")
    failed = replace(report(), results=[report(failing=True).results[-1]])
    with pytest.raises(InputError, match="every model failed"):
        write_plot(failed, tmp_path / "plot.png")
    assert not list(tmp_path.iterdir())


# The command ----------------------------------------------------------------------------------------------------------


def test_the_command_with_a_model_that_fails(tmp_path):
    small.small("cv4x8x8").save_pretrained(tmp_path / "small")
    models = f"{tmp_path / 'small'},nobody/nothing"
    command = [sys.executable, "-m", "cosmotok", "benchmark", "--models", models, "--size", "20x16", "--frames", "3"]
    options = ["--rounds", "1", "--threads", "1", "--device", "cpu", "--json", "--plot", "b.svg", "-o", "b.json"]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([*command, *options], cwd=tmp_path, env=offline, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: 1 of 2 measurements failed, first nobody/nothing: ")
    found = json.loads(done.stdout)
    assert json.loads((tmp_path / "b.json").read_text()) == found
    assert (tmp_path / "b.svg").read_bytes().startswith(b"<?xml")
    good, bad = found["results"]
    assert good["taken"] == {"frames": 5, "height": 16, "width": 24}
    assert good["encode"]["frames_per_second"] > 0 and good["error"] is None
    assert bad["encode"] is None and "nobody/nothing" in bad["error"]
    assert found["machine"]["threads"] == 1 and found["baseline"] == good["name"]


SMALL = ["--models", "ci8x8-tiny", "--size", "16x16", "--frames", "1", "--rounds", "1", "--device", "cpu"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--models", "CV8x8x9"], "did you mean"),
        (["--size", "big"], "WIDTHxHEIGHT"),
        (["--frames", "1,x"], "--frames x"),
        (["--frames", "9" * 5000], "--frames 999"),
        (["--dtype", "int4"], "--dtype int4"),
        (["--plot", "plot.xyz"], ".svg"),
        (["--plot", "missing/plot.png"], "missing"),
        (["-o", "missing/numbers.json"], "missing"),
        (["--precision", "int4"], "int8"),
        (["--models", "model@int8", "-o", "model/config.json"], "is read for this"),
        (["--fit", "model", "--plot", "model/config.svg"], "is read for this"),
    ],
)
def test_errors_of_the_command_are_one_line(monkeypatch, capsys, tmp_path, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    for name in ("config.json", "config.svg"):
        (tmp_path / "model" / name).touch()
    monkeypatch.setattr(sys, "argv", ["cosmotok", "benchmark", *SMALL, *arguments])
    with pytest.raises(SystemExit) as exit:
        main()
    out, err = capsys.readouterr()
    assert exit.value.code == 1
    assert out == "" and err.count("\n") == 1 and words in err


def test_help_names_the_peers(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["cosmotok", "benchmark", "--help"])
    with pytest.raises(SystemExit):
        main()
    text = capsys.readouterr().out
    assert all(name in text for name in PEERS)
