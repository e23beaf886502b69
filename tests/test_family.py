"""A family of one's own works in every verb, by one registry entry."""

from __future__ import annotations

import dataclasses
import json
import sys

import numpy as np
import pytest
import torch
from media_samples import encode, waves
from PIL import Image
from toy_family import TOY, MeanColours

from cosmotok import families
from cosmotok.cli import main
from cosmotok.errors import InputError, MissingExtraError, UnknownModelError
from cosmotok.families import FAMILIES, family_of, find, known_names
from cosmotok.media import open_media


@pytest.fixture
def run(monkeypatch, capsys):
    monkeypatch.setitem(FAMILIES, "toy", TOY)

    def run(*arguments, fails=False):
        """What a verb prints with --json, or its error."""
        monkeypatch.setattr(sys, "argv", ["cosmotok", *map(str, arguments), *([] if fails else ["--json"])])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert (ended.value.code in (0, None)) != fails, printed.err
        return printed.err.strip() if fails else json.loads(printed.out)

    return run


@pytest.fixture
def clip(tmp_path):
    encode(tmp_path / "data" / "clip.mp4", waves(7, 22, 30), options={"crf": "8"})
    return tmp_path / "data" / "clip.mp4"


@pytest.fixture(autouse=True)
def folder(tmp_path):
    (tmp_path / "data").mkdir()


def frames_of(path):
    with open_media(path) as media:
        return np.stack([frame.pixels for frame in media])


def test_reconstruct_encode_and_decode(run, clip, tmp_path):
    there = run("reconstruct", clip, "-m", "toy:4")
    assert there["token_grid"] == [7, 6, 8] and there["model"] == "toy-4" and there["psnr"] > 15
    tokens = run("encode", clip, "-m", "toy:4", "--latent-dtype", "float32")["output"]
    run("decode", tokens, "-m", "toy:4", "-o", tmp_path / "back.mp4")
    original = torch.from_numpy(frames_of(clip)).permute(3, 0, 1, 2).unsqueeze(0)
    assert MeanColours(4).reconstruct(original).shape == original.shape
    assert frames_of(tmp_path / "back.mp4").shape == (7, 22, 30, 3)
    assert "toy-4" in run("decode", tokens, "-m", "toy:8", "-o", tmp_path / "x.mp4", fails=True).replace(
        "toy:4", "toy-4"
    )


def test_info_and_stats(run, clip):
    assert run("info", "toy:8")["compression"] == "8x8"
    found = run("stats", clip, "-m", "toy:4")
    assert len(found["mean"]) == 3 and found["positions"] == 7 * 6 * 8


def test_tokenize(run, clip, tmp_path):
    found = run("tokenize", clip.parent, "-m", "toy:4", "-o", tmp_path / "tokens")
    assert (found["done"], found["rows"], found["tokens"]) == (1, 1, 7 * 6 * 8)


def test_evaluate_and_compare(run, clip, tmp_path):
    Image.fromarray(waves(1, 24, 24)[0]).save(clip.with_name("photo.png"))
    one = run("evaluate", "-m", "toy:4", "--data", clip.parent, "--jobs", 1)
    assert one["models"][0]["name"] == "toy:4"
    both = run("compare", "-m", "toy:4,toy:8,webp", "--data", clip.parent, "--jobs", 1)
    names = [model["name"] for model in both["models"]]
    assert names[:2] == ["toy:4", "toy:8"] and len(names) == 4 and names[2].startswith("webp@")


def test_benchmark(run):
    found = run("benchmark", "-m", "toy:4,toy:8", "--size", "16x16", "--frames", 5, "--rounds", 1, "--threads", 1)
    assert [result["error"] for result in found["results"]] == [None, None]
    assert found["results"][0]["encode"]["gflop_per_frame"] is None


def test_what_it_cannot_do_is_one_line(run, clip, tmp_path):
    for verb in (["export", "toy:8", "-o", tmp_path / "x"], ["calibrate", "toy:8", clip, "-o", tmp_path / "x"]):
        assert "takes a Cosmos tokenizer, and this is a toy" in run(*verb, fails=True)
    assert "a toy takes no --precision" in run("reconstruct", clip, "-m", "toy:8", "--precision", "int8", fails=True)
    assert "a toy takes no --fit" in run("reconstruct", clip, "-m", "toy:8", "--fit", clip.parent, fails=True)
    assert "did you mean toy:8" in run("reconstruct", clip, "-m", "toy8", fails=True)
    assert not (tmp_path / "x").exists()


def test_families_are_found_by_their_names(tmp_path):
    titles = {name: family_of(name).title for name in ("klt:8x8:16", "Diffusers:Wan", "published:CV8x8x8", "cv4x8x8")}
    assert list(titles.values()) == [FAMILIES[f].title for f in ("klt", "diffusers", "published", "cosmos")]
    assert {"cv4x8x8-tiny", "diffusers:Wan", "klt:4x8x8:16"} <= set(known_names())
    (tmp_path / "manifest.json").write_text("{}")
    assert family_of(str(tmp_path)) is FAMILIES["exported"]


@pytest.mark.parametrize("name", ["klt:4x8x8:16", "diffusers:no such", "published:x", "nothing", "", "a/b/c", "klt:"])
def test_every_family_refuses_in_one_line(name):
    with pytest.raises((InputError, UnknownModelError, MissingExtraError)) as caught:
        find(name)
    assert "\n" not in str(caught.value)


class Fours(MeanColours):
    """Four frames to a latent one, from the first on, all of them the same."""

    @property
    def spec(self):
        return dataclasses.replace(super().spec, clips=True, temporal_factor=4, first=4, chunk=None)

    def encode_step(self, frames, state):
        return super().encode_step(frames, state)[:, :, ::4]

    def decode_step(self, tokens, state):
        return super().decode_step(tokens, state).repeat_interleave(4, 2)


def test_an_image_of_one_whose_first_latent_stands_for_several_frames():
    fours, image = Fours(8), torch.rand(2, 3, 16, 24)
    tokens = fours.encode(image)
    assert tokens.shape == (2, 3, 2, 3)
    whole = fours.decode(tokens)
    assert whole.shape == image.shape
    assert torch.equal(fours.decode(tokens, (13, 20)), whole[..., :13, :20])
    assert torch.equal(fours.decode(tokens, (1, 13, 20)), whole[..., :13, :20])
    assert torch.equal(fours.decode(tokens, out=torch.zeros_like(image)), whole)
    assert fours.decode(tokens.unsqueeze(2)).shape == (2, 3, 4, 16, 24)
    for frames in (0, 3, 4):
        with pytest.raises(InputError, match="expected \\(H, W\\), or T = 1"):
            fours.decode(tokens, (frames, 16, 24))


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs a package with one family: its name, and the text of its module, which is `NAME_family`."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(families.registry, "FAMILIES", dict(FAMILIES))

    def install(name, module):
        about = tmp_path / "site" / f"cosmotok_{name}-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: cosmotok-{name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[cosmotok.families]\n{name} = {name}_family:FAMILY\n")
        (tmp_path / "site" / f"{name}_family.py").write_text(module)
        monkeypatch.delitem(sys.modules, f"{name}_family", raising=False)

    return install


def test_another_package_can_add_one_by_an_entry_point(installed):
    installed("squares", "from toy_family import TOY as FAMILY")
    families.registry._discover()
    assert families.registry.FAMILIES["squares"] is TOY


@pytest.mark.parametrize(
    "module, reason",
    [
        ("import not_there_at_all", "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("OTHER = 1", "AttributeError: module 'broken_family' has no attribute 'FAMILY'"),
        ("FAMILY = 'x'", "TypeError: broken_family:FAMILY is no cosmotok.families.Family"),
    ],
)
def test_one_that_cannot_be_imported_leaves_the_others_of_use(installed, caplog, monkeypatch, module, reason):
    installed("broken", module)
    installed("squares", "from toy_family import TOY as FAMILY")
    families.registry._discover()
    (warning,) = caplog.messages
    expected = f"the family broken of the package cosmotok-broken cannot be used ({reason}"
    assert warning.startswith(expected) and "\n" not in warning
    assert families.registry.FAMILIES["squares"] is TOY
    assert find("cv4x8x8-tiny").spec.spatial_factor == 8
    for options in ({}, {"variant": "CV8x8x8"}):
        with pytest.raises(InputError) as caught:
            find("Broken:large", **options)
        assert str(caught.value).startswith(f"Broken:large: {expected}")
    caplog.clear()
    monkeypatch.setattr(families.registry, "parent_process", lambda: "somebody")
    families.registry._discover()
    assert not caplog.messages, "a worker says it once more"
