"""The published layout computes what our networks and the published code compute, and can be measured beside them."""

import json
import sys

import pytest
import small
import torch
from fixtures import Fixture

from cosmotok import Tokenizer
from cosmotok.benchmark.counting import count_operations
from cosmotok.benchmark.run import chosen_baseline, find_models
from cosmotok.checkpoint import reference
from cosmotok.cli import main
from cosmotok.config import find_model, list_models
from cosmotok.errors import CosmotokError, InputError, UnknownModelError
from cosmotok.families import find
from cosmotok.families.cosmos.model import CosmosModel
from cosmotok.families.published.layout import PublishedLayout
from cosmotok.families.published.model import PublishedModel
from cosmotok.interface import Clip

KINDS = [kind for kind in small.KINDS if not small.CONFIGS[kind].linear_shortcut]
TOLERANCE = 1e-4  # of the tensor's largest value


def with_weights_of(tokenizer: Tokenizer) -> PublishedLayout:
    network = PublishedLayout(tokenizer.config).eval()
    network.load_state_dict(reference.to_reference_state_dict(tokenizer.to_checkpoint().tensors, tokenizer.config))
    return network


def assert_close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    assert (actual - expected).abs().max() < tolerance * expected.abs().max()


@pytest.mark.parametrize("groups", [0, 1, 3])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_it_computes_what_ours_does(kind, groups):
    tokenizer = small.small(kind)
    video = small.clip(1 + groups * tokenizer.config.temporal_factor, 32, 48, batch=2)
    if tokenizer.config.kind == "image":
        video = video[:, :, 0]
    network, tokens = with_weights_of(tokenizer), tokenizer.encode(video)
    if tokenizer.config.is_discrete:
        assert torch.equal(network.encode(video), tokens)
    else:
        assert_close(network.encode(video), tokens)
    assert_close(network.decode(tokens), tokenizer.decode(tokens))


@pytest.mark.parametrize("variant", ["CI8x8-360p", "CV8x8x8-720p", "DV4x8x8"])
@torch.no_grad()
def test_it_computes_what_the_published_code_does(variant):
    fixture = Fixture(variant)
    tensors = fixture.tensors()
    config = reference.config_from_tensors(tensors, find_model(variant).config)
    network = PublishedLayout(config).eval()
    network.load_state_dict({name: tensors[name] for name in network.state_dict()})
    if config.is_discrete:
        tokens = fixture.expected["indices"]
        assert (network.encode(fixture.input) == tokens).float().mean() > 0.99  # others lie next to a boundary
    else:
        tokens = network.encode(fixture.input)
        assert_close(tokens, fixture.expected["latents"], 2e-4)
    assert_close(network.decode(tokens), fixture.expected["reconstruction"], 2e-4)


def test_it_has_the_operations_and_parameters_of_ours():
    """But for the wavelet, a convolution here and sums in ours."""
    ours, theirs = (find(name, stand_in=True).outline() for name in ("CV8x8x8", "published:CV8x8x8"))
    clip = Clip(17, 256, 256)
    assert count_operations(theirs, clip) == pytest.approx(count_operations(ours, clip), rel=1e-3)
    sizes = [sum(p.numel() for p in codec.network.parameters()) for codec in (ours, theirs)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("kind", small.FEW_KINDS)
def test_a_subject_has_the_weights_of_its_twin(kind):
    twin = CosmosModel(kind, kind, small.CONFIGS[kind], random=True)
    model = PublishedModel(f"published:{kind}", twin)
    ours, theirs = twin.load(), model.load()
    clip = model.taken(Clip(4, 17, 16))
    assert clip == twin.taken(Clip(4, 17, 16))
    video = small.clip(clip.frames, clip.height, clip.width)
    tokens = ours.encode(video)
    assert theirs.encode(video).shape == tokens.shape
    assert_close(theirs.decode(tokens), ours.decode(tokens))
    assert model.notes == [f"weights of {kind}", "random weights"]


def test_published_models_have_it_by_name():
    names = [name for name in list_models() if not name.endswith("-tiny")]
    assert [find(f"published:{n.lower()}", stand_in=True).name for n in names] == [f"published:{n}" for n in names]
    ours, theirs = find_models(["CV8x8x8", "Published:CV8x8x8"], "float32", None)
    assert theirs.twin == ours
    assert chosen_baseline(None, [ours.name, theirs.name]) == 1


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("published:CV8x8x9", UnknownModelError, "did you mean"),
        ("published:", UnknownModelError, "as in published:CV8x8x8"),
        ("published:CV8x8x8@int8", InputError, "leave out @int8"),
        ("published:cv4x8x8-tiny", InputError, "no linear shortcut"),
    ],
)
def test_names_that_it_does_not_have_are_one_line(name, error, words):
    with pytest.raises(error, match=words) as caught:
        find(name)
    assert isinstance(caught.value, CosmotokError) and "\n" not in str(caught.value)


def test_the_benchmark_compares_it_with_ours(monkeypatch, capsys, tmp_path):
    folder = tmp_path / "small"
    small.small("cv4x8x8").save_pretrained(folder)
    models = f"{folder},published:{folder}"
    options = ["--size", "16x16", "--frames", "5", "--rounds", "1", "--threads", "1", "--device", "cpu", "--json"]
    monkeypatch.setattr(sys, "argv", ["cosmotok", "benchmark", "--models", models, *options])
    with pytest.raises(SystemExit) as exit:
        main()
    assert exit.value.code in (0, None)
    report = json.loads(capsys.readouterr().out)
    assert [result["error"] for result in report["results"]] == [None, None]
    (agreement,) = report["agreements"]
    assert agreement["latents"] < TOLERANCE and agreement["frames"] < TOLERANCE
    assert report["baseline"] == f"published:{folder}"
