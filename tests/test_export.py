"""Exported graphs against the network: ONNX Runtime and loaded torch programs, whole clips and streams, all sizes."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import KINDS, VIDEO_KINDS, clip, fresh, pixels, small, time_axis, tokens_for

from cosmotok import Tokenizer
from cosmotok.cli.app import command
from cosmotok.errors import CheckpointError, InputError, MissingExtraError
from cosmotok.export import PARTS, PRECISIONS, ExportedTokenizer, ExportError, OnnxTokenizer, ProgramTokenizer, export
from cosmotok.export.capture import capture
from cosmotok.export.graphs import graphs_of
from cosmotok.export.layers import whole_layers
from cosmotok.export.precision import round_weights
from cosmotok.export.verify import SIZES, TOLERANCE, Latents, tokens_agree, verify
from cosmotok.network import StreamState
from cosmotok.streaming import StreamEncoder

pytest.importorskip("onnxruntime")

RUNNERS = {"onnx": OnnxTokenizer, "torch-export": ProgramTokenizer}
Exporter = Callable[..., ExportedTokenizer]


@pytest.fixture(scope="module", autouse=True)
def _no_trace() -> Iterator[None]:
    """Without the tracer's log of every formula, which pytest would collect at great cost."""
    trace = logging.getLogger("torch.__trace")
    trace.propagate = False
    yield
    trace.propagate = True


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Exporter:
    """Exports of small tokenizers, each made once."""
    made = {}

    def make(kind: str, to: str, *parts: str) -> ExportedTokenizer:
        if to == "onnx" and torch.__version__.startswith("2.6."):
            pytest.skip("PyTorch 2.6 cannot, and says so")
        key = (kind, to, parts)
        if key not in made:
            folder = tmp_path_factory.mktemp("export") / "out"
            export(small(kind), folder, to=to, parts=parts or None)
            made[key] = RUNNERS[to](folder)
        return made[key]

    return make


class Modules(ExportedTokenizer):
    """The modules that would be exported."""

    to = ""

    def __init__(self, tokenizer):
        self.config, self.folder = tokenizer.config, Path()
        parts = PARTS if self.config.kind == "video" else PARTS[:2]
        graphs = [graph for part in parts for graph in graphs_of(tokenizer.network, tokenizer.config, part)]
        self._loaded = {graph.name: graph.module for graph in graphs}
        state = {graph.half: graph.state for graph in graphs if graph.state}
        self.manifest = {
            "graphs": {
                graph.name: {way: [port.to_dict() for port in getattr(graph, way)] for way in ("inputs", "outputs")}
                for graph in graphs
            },
            "state": {half: [vars(tensor) for tensor in state[half]] for half in state},
        }

    def _load(self, path):
        raise NotImplementedError

    @torch.no_grad()
    def _execute(self, graph, inputs):
        return list(graph(inputs[0]) if len(inputs) == 1 else graph(inputs[0], inputs[1], inputs[2:]))


sizes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))  # batch, latent height and width
contexts = st.sampled_from([None, 1, 2, 4])
cuts = st.lists(st.integers(1, 9), min_size=1, max_size=5)  # frames per push
several = settings(max_examples=12, deadline=None)


def stream(coder, data, axis, lengths):
    """Results of a stream that `data` is pushed into in pieces of `lengths`, repeated."""
    results, start, turn = [], 0, 0
    while start < data.shape[axis]:
        length = min(lengths[turn % len(lengths)], data.shape[axis] - start)
        results.append(coder.push(data.narrow(axis, start, length)))
        start, turn = start + length, turn + 1
    results.append(coder.flush())
    return torch.cat(results, dim=1 if results[0].ndim == 4 else 2)


def assert_close(got, expected):
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    assert (got - expected).abs().max().item() <= 1e-4 * max(1.0, expected.abs().max().item())


def assert_tokens(tokenizer, got, video, lengths=(10**9,), context=None):
    """`got` are the tokens of `video`, indices but for values on a rounding boundary."""
    if not tokenizer.config.is_discrete:
        assert_close(got, stream(tokenizer.stream_encoder(attention_context=context), video, 2, lengths))
        return
    latents = stream(StreamEncoder(Latents(tokenizer), context), video, 2, lengths)
    assert got.dtype == torch.int32
    assert got.shape == (latents.shape[0], *latents.shape[2:])
    assert tokens_agree(got, latents, tokenizer.network.quantizer).all()


def check_encoder_steps(tokenizer, runner):
    @several
    @given(sizes, st.integers(1, 18), cuts, contexts)
    def check(size, frames, lengths, context):
        batch, height, width = size
        factor = tokenizer.config.spatial_factor
        video = clip(frames, height * factor - 1, width * factor, batch)
        got = stream(runner.stream_encoder(attention_context=context), video, 2, lengths)
        assert_tokens(tokenizer, got, video, lengths, context)

    check()


def check_decoder_steps(tokenizer, runner):
    @several
    @given(sizes, st.integers(1, 8), cuts, contexts)
    def check(size, steps, lengths, context):
        batch, height, width = size
        tokens = torch.cat([tokens_for(tokenizer, steps, height, width, seed=i) for i in range(batch)])
        axis = time_axis(tokenizer)
        got = stream(runner.stream_decoder(attention_context=context), tokens, axis, lengths)
        assert_close(got, stream(tokenizer.stream_decoder(attention_context=context), tokens, axis, lengths))

    check()


def check_whole(tokenizer, runner, parts=("encoder", "decoder")):
    factor = tokenizer.config.spatial_factor
    # of an image network's single position, groups of two values are normalised: rounding decides over those
    least = 1 if tokenizer.config.kind == "video" else 2
    for batch, frames, height, width in [(1, 1, least, 1), (2, 6, 3, 2), (3, 17, 1, 2), (1, 12, 2, 5)]:
        video = clip(frames, height * factor, width * factor - 3, batch)
        if "encoder" in parts:
            assert_tokens(tokenizer, runner.encode(video), video)
        if "decoder" in parts:
            tokens = tokenizer.encode(video)
            expected = tokenizer.decode(tokens, size=tuple(video.shape[2:]))
            assert_close(runner.decode(tokens, size=tuple(video.shape[2:])), expected)


def step(tokenizer, half, data, state):
    return tokenizer.encode_step(data, state) if half == "encoder" else tokenizer.decode_step(data, state)


@torch.no_grad()
def check_lengths(tokenizer, runner, half, lengths):
    """Steps of `lengths` latent frames, the first of one: results, and states of the shapes that the manifest says."""
    time, axis = tokenizer.config.temporal_factor, time_axis(tokenizer)
    space = tokenizer.config.spatial_factor
    data = clip(1 + (sum(lengths) - 1) * time, 2 * space, 3 * space, batch=2)
    cuts = [1, *(n * time for n in lengths[1:])]
    if half == "decoder":
        data, cuts = tokens_for(tokenizer, sum(lengths), 2, 3), lengths
    pieces = data.split(cuts, dim=2 if half == "encoder" else axis)
    ours, theirs = StreamState(), StreamState()
    for number, piece in enumerate(pieces):
        expected, got = step(tokenizer, half, piece, ours), step(runner, half, piece, theirs)
        if half == "encoder" and tokenizer.config.is_discrete:
            assert torch.equal(got, expected)
        else:
            assert_close(got, expected)
        free = {"batch": data.shape[0], "latent_height": 2, "latent_width": 3}
        free |= {"latent_frames": lengths[number], "past": sum(lengths[:number])}
        graph = runner.manifest["graphs"][f"{half}_{'next' if number else 'first'}"]
        for port, value in zip(graph["outputs"][1:], theirs.frames.values(), strict=True):
            assert list(value.shape) == [eval(n, {}, free) if isinstance(n, str) else n for n in port["shape"]]


# The default suite: one graph of every sort ----------------------------------------------------------------------


def test_onnx_streams_give_the_same_indices(exported):
    check_encoder_steps(small("dv4x8x8"), exported("dv4x8x8", "onnx", "encoder_steps"))


def test_programs_of_an_image_network(exported):
    runner = exported("ci8x8", "torch-export", "encoder")
    check_whole(small("ci8x8"), runner, ("encoder",))
    check_encoder_steps(small("ci8x8"), runner)  # an image network's steps are whole clips
    images = pixels(1, 20, 28, batch=2).squeeze(2)
    assert_close(runner.encode(images), small("ci8x8").encode(images))


@pytest.mark.parametrize("name", ["ci8x8-tiny", "ci16x16-tiny", "di8x8-tiny"])
def test_rounding_stays_small_at_the_sizes_of_the_check(name):
    """Else a sound graph is refused, as an image network's was with norms over two positions."""
    plain, exact = (Tokenizer.from_pretrained(name) for _ in range(2))
    plain, exact, space = plain.network, exact.network.double(), plain.config.spatial_factor
    for batch, height, width in SIZES:
        for seed in range(8):
            video = clip(3, height * space, width * space, batch, seed)
            with torch.no_grad():
                expected = exact.encode(video.double())
                worst = (plain.encode(video) - expected).abs().max() / max(1, expected.abs().max())
            assert worst < TOLERANCE / 10


@pytest.mark.parametrize("kind", KINDS)
def test_modules_before_export(kind):
    """What is captured, run as it is: all kinds, at no cost."""
    runner = Modules(small(kind))
    check_encoder_steps(small(kind), runner)
    check_decoder_steps(small(kind), runner)
    check_whole(small(kind), runner)
    for half in ("encoder", "decoder") if kind in VIDEO_KINDS else ():
        check_lengths(small(kind), runner, half, [1, 1, 2, 3, 1])


def test_manifest_is_enough_to_drive_a_stream(exported):
    """ONNX Runtime, numpy and the manifest alone, as from another language."""
    import onnxruntime

    tokenizer, folder = small("dv4x8x8"), exported("dv4x8x8", "onnx", "encoder_steps").folder
    manifest = json.loads((folder / "manifest.json").read_text())
    names = [tensor["name"] for tensor in manifest["state"]["encoder"]]
    assert sum(tensor["frames"] is None for tensor in manifest["state"]["encoder"]) == 2
    video, free = clip(13, 16, 24, batch=2), {"batch": 2, "latent_height": 2, "latent_width": 3}
    state, tokens = {}, []
    for name, frames, latent_frames in [("first", video[:, :, :1], 1), ("next", video[:, :, 1:9], 2)]:
        entry = manifest["graphs"][f"encoder_{name}"]
        feed = {"frames": frames.numpy()}
        if name == "next":
            feed["attention_context"] = np.array(manifest["attention_context_for_all"], np.int64)
            feed |= {f"past.{key}": state[key] for key in names}
        session = onnxruntime.InferenceSession(folder / entry["file"])
        assert [port.name for port in session.get_inputs()] == [port["name"] for port in entry["inputs"]]
        assert [port.name for port in session.get_outputs()] == [port["name"] for port in entry["outputs"]]
        outputs = session.run(None, feed)
        free |= {"latent_frames": latent_frames, "past": 1}
        for port, value in zip(entry["outputs"], outputs, strict=True):
            shape = [eval(size, {}, free) if isinstance(size, str) else size for size in port["shape"]]
            assert (value.dtype, list(value.shape)) == (np.dtype(port["dtype"]), shape)
        for port in entry["inputs"]:
            shape = [eval(size, {}, free) if isinstance(size, str) else size for size in port["shape"]]
            assert (feed[port["name"]].dtype, list(feed[port["name"]].shape)) == (np.dtype(port["dtype"]), shape)
        tokens.append(torch.from_numpy(outputs[0]))
        state = dict(zip(names, outputs[1:], strict=True))
    assert_tokens(tokenizer, torch.cat(tokens, dim=1), video[:, :, :9])


LENGTHS = [[1, 1, 1, 2], [1, 2, 1, 3, 1], [1, 3, 3]]


@pytest.mark.parametrize("lengths", LENGTHS)
def test_steps_of_any_length_in_onnx(exported, lengths, capfd):
    check_lengths(small("dv4x8x8"), exported("dv4x8x8", "onnx", "encoder_steps"), "encoder", lengths)
    assert "VerifyOutputSizes" not in capfd.readouterr().err


def test_steps_of_any_length_in_programs(exported):
    tokenizer = small("cv8x8x8-legacy")
    runner = Modules(tokenizer)
    _, later = graphs_of(tokenizer.network, tokenizer.config, "decoder_steps")
    runner._loaded[later.name] = capture(later).module()
    for lengths in LENGTHS:
        check_lengths(tokenizer, runner, "decoder", lengths)


def test_layers_are_single_operators_for_onnx():
    """What keeps an export of a bundled model below a minute: the tracer's time goes with the number of operators."""
    tokenizer = small("dv4x8x8")
    graph = graphs_of(tokenizer.network, tokenizer.config, "decoder_steps")[1]
    plain = len(capture(graph).graph.nodes)
    with whole_layers(graph.module):
        nodes = capture(graph).graph.nodes
    assert len(nodes) < 0.6 * plain
    assert sum("cosmotok" in str(node.target) for node in nodes) > 20
    assert not any("forward" in vars(layer) for layer in graph.module.modules())


def test_nothing_is_decomposed_for_onnx(monkeypatch, tmp_path):
    """That would be another trace of all, which takes longer than the first."""
    if torch.__version__.startswith("2.6."):
        pytest.skip("PyTorch 2.6 cannot, and says so")

    def decompose(*_, **__):
        raise AssertionError("a program was decomposed")

    monkeypatch.setattr(torch.export.ExportedProgram, "run_decompositions", decompose)
    export(small("di8x8"), tmp_path / "out", parts=["encoder"])


def test_files_hold_one_half_and_no_paths(exported):
    folder = exported("dv4x8x8", "onnx", "encoder_steps").folder
    weights = sum(4 * p.numel() for p in small("dv4x8x8").network.encoder.parameters())
    for path in folder.glob("*.onnx"):
        assert weights <= path.stat().st_size <= weights + 300_000
        assert str(Path(__file__).parents[1]).encode() not in path.read_bytes()


@pytest.mark.parametrize(("precision", "share"), [("float16", 0.5), ("int8", 0.25)])
def test_weights_in_fewer_bytes(tmp_path, precision, share):
    """Files get smaller, results are those of the rounded weights, and hardly others."""
    if torch.__version__.startswith("2.6."):
        pytest.skip("PyTorch 2.6 cannot, and says so")
    tokenizer, said = Tokenizer.from_pretrained("ci8x8-tiny"), []
    weights = sum(4 * p.numel() for p in tokenizer.network.encoder.parameters())
    files = export(
        tokenizer,
        tmp_path / "out",
        parts=["encoder"],
        precision=precision,
        batch=1,
        size=(64, 96),
        progress=lambda *turn: said.append(turn),
    )
    assert said == [("encoder", 0, 1), ("verify", 1, 1)]
    assert files[0].stat().st_size < share * weights + 200_000
    runner = OnnxTokenizer(tmp_path / "out")
    images = pixels(1, 64, 96)
    expected, got = tokenizer.encode(images), runner.encode(images)
    difference = (got - expected).abs().max() / expected.abs().max()
    assert difference < 1e-5 if precision == "float16" else 1e-4 < difference < 0.1  # bundled weights are float16
    with pytest.raises(InputError, match=r"encoder takes frames of \(1, 3, .*, 64, 96\), got \(1, 3, 1, 64, 64\)"):
        runner.encode(pixels(1, 64, 64))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rounding_twice_is_rounding_once(precision):
    network = fresh("dv4x8x8").network
    round_weights(network, precision)
    once = [parameter.clone() for parameter in network.parameters()]
    round_weights(network, precision)
    for first, second in zip(once, network.parameters(), strict=True):
        assert torch.allclose(first, second, rtol=1e-6, atol=0)


def test_verify_notices_another_network(exported):
    runner = exported("dv4x8x8", "onnx", "encoder_steps")
    verify(small("dv4x8x8"), runner, ["encoder_steps"])
    with pytest.raises(ExportError, match=r"encoder_steps: .* tokens differ"):
        verify(fresh("dv4x8x8", seed=1), runner, ["encoder_steps"])
    runner = exported("ci8x8", "torch-export", "encoder")
    with pytest.raises(ExportError, match="encoder: results differ"):
        verify(fresh("ci8x8", seed=1), runner, ["encoder"])


def test_a_failed_export_leaves_the_earlier_one(exported, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    shutil.copytree(exported("ci8x8", "torch-export", "encoder").folder, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cosmotok.export.exporter.write_graph", fails)
    with pytest.raises(OSError, match="disk is full"):
        export(small("cv4x8x8"), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == [folder]


def test_an_export_replaces_the_earlier_one_and_nothing_else(exported, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    shutil.copytree(exported("ci8x8", "torch-export", "encoder").folder, folder)
    (folder / "notes.txt").write_text("mine")
    monkeypatch.setattr("cosmotok.export.exporter.write_graph", lambda graph, to, precision, file: file.write(b""))
    written = export(small("ci8x8"), folder, to="onnx", parts=["decoder"], verify=False)
    assert [path.name for path in written] == ["decoder.onnx", "manifest.json"]
    assert sorted(path.name for path in folder.iterdir()) == ["decoder.onnx", "manifest.json", "notes.txt"]


def test_a_lone_half_exports_its_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("cosmotok.export.exporter.write_graph", lambda graph, to, precision, file: file.write(b""))
    tokenizer = fresh("cv4x8x8")
    tokenizer.network.drop("decoder")
    written = export(tokenizer, tmp_path / "out", verify=False)
    assert [path.stem for path in written] == ["encoder", "encoder_first", "encoder_next", "manifest"]
    with pytest.raises(InputError, match="has no decoder;"):
        export(tokenizer, tmp_path / "out", parts=["decoder"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"to": "onxx"}, "to='onxx': expected one of onnx, torch-export; did you mean onnx?"),
        ({"precision": "int4"}, "precision='int4': expected one of float32, float16, int8; did you mean int8?"),
        ({"precision": "int8", "to": "torch-export"}, "programs of torch-export hold float32"),
        ({"batch": 0}, "batch=0: expected at least 1"),
        ({"size": (64, 60)}, "size=(64, 60): expected height and width in multiples of 8"),
        ({"size": (0, 64)}, "in multiples of 8"),
        ({"parts": ["encodr"]}, "expected some of encoder, decoder"),
        ({"parts": []}, "expected a list"),
        ({"parts": "encoder"}, "expected a list"),
        ({"parts": ["encoder_steps"]}, "has no encoder_steps"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, message):
    with pytest.raises(InputError) as caught:
        export(small("ci8x8"), tmp_path / "out", **arguments)
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        export(small("ci8x8"), tmp_path / "out")


def test_the_command_says_what_it_is_at(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("cosmotok.export.exporter.write_graph", lambda graph, to, precision, file: file.write(b""))
    monkeypatch.setattr("cosmotok.export.exporter.verify_parts", lambda tokenizer, exported, parts, fixed: None)
    words = [
        "export",
        "ci8x8-tiny",
        "-o",
        str(tmp_path / "out"),
        "--precision",
        "int8",
        "--batch",
        "2",
        "--size",
        "96x64",
    ]
    command(lambda given: None)(words, prog_name="cosmotok", standalone_mode=False)
    said = [line.partition(": ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said == ["0 of 2 graphs, encoder", "1 of 2 graphs, decoder", "2 of 2 graphs, comparing with the network"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["precision"] == "int8"
    assert manifest["graphs"]["encoder"]["inputs"][0]["shape"] == [2, 3, "latent_frames", 64, 96]


def test_missing_packages(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"cosmotok\[export\]"):
        export(small("ci8x8"), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_damaged_exports(exported, tmp_path):
    folder = tmp_path / "out"
    with pytest.raises(CheckpointError, match=r"manifest\.json: no such file"):
        ProgramTokenizer(folder)
    shutil.copytree(exported("ci8x8", "torch-export", "encoder").folder, folder)
    with pytest.raises(CheckpointError, match="expected an export to onnx, got one to torch-export"):
        OnnxTokenizer(folder)
    with pytest.raises(InputError, match="has no decoder, only encoder"):
        ProgramTokenizer(folder).decode(tokens_for(small("ci8x8"), 1))
    file = folder / "encoder.pt2"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"encoder\.pt2: cannot be loaded"):
        ProgramTokenizer(folder).encode(clip(1))
    file.unlink()
    with pytest.raises(CheckpointError, match=r"encoder\.pt2: no such file"):
        ProgramTokenizer(folder).encode(clip(1))
    manifest = folder / "manifest.json"
    whole = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(whole | {"manifest_version": 99}))
    with pytest.raises(CheckpointError, match="manifest_version=99, expected 1"):
        ProgramTokenizer(folder)
    manifest.write_text(json.dumps({key: whole[key] for key in whole if key != "graphs"}))
    with pytest.raises(CheckpointError, match="not a valid manifest"):
        ProgramTokenizer(folder)


# Everything ------------------------------------------------------------------------------------------------------


PROGRAMS = ["cv8x8x8-shortcut", "dv4x8x8", "di8x8"]  # torch.export comes first on the way to ONNX, so a few will do
ALL = [(kind, "onnx") for kind in KINDS] + [(kind, "torch-export") for kind in PROGRAMS]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "to"), ALL)
def test_whole_clips(exported, kind, to):
    check_whole(small(kind), exported(kind, to, "encoder", "decoder"))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "to"), [(kind, to) for kind, to in ALL if kind in VIDEO_KINDS])
def test_streams(exported, kind, to):
    runner = exported(kind, to, "encoder_steps", "decoder_steps")
    check_encoder_steps(small(kind), runner)
    check_decoder_steps(small(kind), runner)
    for half in ("encoder", "decoder"):
        check_lengths(small(kind), runner, half, [1, 1, 2, 3, 1])
