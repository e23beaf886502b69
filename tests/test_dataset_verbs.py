"""`cosmotok info`, `decode --row` and `verify` of a data set."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from docs_blocks import write_clip, write_photo

from cosmotok import Tokenizer
from cosmotok.cli.app import command
from cosmotok.dataset import TokenDataset
from cosmotok.dataset.manifest import Manifest
from cosmotok.dataset.options import Options, differences
from cosmotok.dataset.reading.clips import RowTokens, fraction_of
from cosmotok.dataset.reading.facts import changed_options
from cosmotok.dataset.run import tokenize
from cosmotok.dataset.shaping import Shaping
from cosmotok.errors import InputError, TokenFileError
from cosmotok.frames import to_pixels
from cosmotok.media import open_media
from cosmotok.pipeline import decode_file

MODELS = ("cv4x8x8-tiny", "dv4x8x8-tiny")


@pytest.fixture(scope="module", params=MODELS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three clips and a photo, and the folder `clips` beside it."""
    folder = tmp_path_factory.mktemp("made")
    for seed in range(3):
        write_clip(folder / "clips" / f"{seed}.mp4", 11 + 4 * seed, seed=seed)
    write_photo(folder / "clips" / "photo.png", seed=5)
    options = Options(shaping=Shaping(size=(64, 48), segment=9), shard_inputs=2)
    tokenize([str(folder / "clips")], str(folder / "tokens"), request.param, options=options)
    return folder / "tokens"


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "tokens"))


def run(capsys: pytest.CaptureFixture[str], *words: object, faults: bool = False) -> str:
    """What a command prints."""
    capsys.readouterr()
    with pytest.raises(InputError, match=r"faults found: \d+") if faults else nullcontext():
        command(lambda given: None)([str(word) for word in words], prog_name="cosmotok", standalone_mode=False)
    return capsys.readouterr().out


def change(folder: Path, **values: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


# info --------------------------------------------------------------------------------------------------------------


def test_info_tells_what_a_data_set_is(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = Manifest.parse((made / "manifest.json").read_text(), "manifest")
    found = json.loads(run(capsys, "info", made, "--json"))
    assert found["what"] == "data set" and found["model"] == manifest.model and found["complete"]
    assert (found["inputs"], found["rows"], found["shards"]) == (4, len(TokenDataset(made)), 2)
    assert found["options"]["shaping"]["segment"] == 9
    text = run(capsys, "info", made)
    assert "segment 9, size 64x48, shard inputs 2" in text and "overlap" not in text


def test_sizes_are_shown_as_they_are_given() -> None:
    plain, fixed, several = (
        Options(shaping=shaping).record()
        for shaping in (Shaping(), Shaping(size=(64, 48)), Shaping(buckets=((64, 48), (48, 64))))
    )
    assert differences(fixed, plain) == ["shaping.size: 64x48, not None"]
    assert differences(plain, several) == ["shaping.buckets: none, not 64x48, 48x64"]
    assert changed_options(dict(several)) == ["buckets 64x48, 48x64"]


def test_info_of_a_set_that_is_not_complete(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(copy, complete=False, shards=[])
    assert not json.loads(run(capsys, "info", copy, "--json"))["complete"]


# decode ------------------------------------------------------------------------------------------------------------


def test_any_row_is_played(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = TokenDataset(made)
    tokenizer = Tokenizer.from_pretrained(dataset.manifest.model)
    for number in range(len(dataset)):
        row = dataset[number]
        still = row["frame_rate"] == 0
        output = tmp_path / f"{number}{'.png' if still else '.mp4'}"
        report = json.loads(run(capsys, "decode", made, "--row", number, "-o", output, "--json"))
        frames, height, width = row["size"]
        assert (report["frames"], report["height"], report["width"]) == (frames, height, width)
        assert report["frame_rate"] == (None if still else 25)
        with open_media(output) as reader:
            pixels = np.stack([frame.pixels for frame in reader])
            assert still or reader.info.frame_rate == 25
        tokens = row["tokens"].int() if tokenizer.config.is_discrete else row["tokens"]
        expected = to_pixels(tokenizer.decode(tokens[None], size=row["size"], attention_context=32))
        assert np.abs(pixels.astype(int) - expected).mean() < (0.01 if still else 4)  # H.264 in between


def test_rows_get_a_name_beside_the_data_set(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "decode", copy, "--row", "0")
    assert (copy.parent / "tokens.row-0.mp4").is_file()


def test_rows_that_are_not_there_and_other_models_are_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a data set; say which of its rows with --row"):
        command(lambda given: None)(["decode", str(copy)], standalone_mode=False)
    with pytest.raises(InputError, match=r"row 99: .* has rows 0 to"):
        RowTokens(copy, 99)
    with pytest.raises(InputError, match=r"--row: .* is no data set"):
        command(lambda given: None)(["decode", "x.safetensors", "--row", "1"], standalone_mode=False)
    with pytest.raises(TokenFileError, match=r"row 0: made by .* not by cv8x8x8-tiny"):
        decode_file(Tokenizer.from_pretrained("cv8x8x8-tiny"), RowTokens(copy, 0), tmp_path / "x.mp4")
    change(copy, model="/somewhere/else")
    with pytest.raises(TokenFileError, match="neither bundled nor published"):
        command(lambda given: None)(["decode", str(copy), "--row", "0"], standalone_mode=False)


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(24), Fraction(25, 2), Fraction(123457, 1000)])
def test_frame_rates_are_fractions_again(rate: Fraction) -> None:
    assert fraction_of(float(rate)) == rate


# verify ------------------------------------------------------------------------------------------------------------


def faults(capsys: pytest.CaptureFixture[str], folder: Path, *more: str) -> list[str]:
    found = json.loads(run(capsys, "verify", folder, "--json", *more, faults=True))
    assert found["faults"]
    return list(found["faults"])


def test_a_sound_data_set_has_no_faults(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = len(TokenDataset(made))
    found = json.loads(run(capsys, "verify", made, "--sample", "99", "--json"))
    assert found == {
        **{"shards": 2, "rows": rows, "faults": [], "remarks": []},
        **{"same": rows, "close": 0, "other": 0, "not_reached": 0},
    }
    told = run(capsys, "verify", made)
    assert "same" not in told
    assert "all is well" in told


def test_each_fault_is_a_line(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = sorted((copy / "data").iterdir())
    whole = first.read_bytes()
    first.write_bytes(whole[:-1] + b"!")
    second.unlink()
    (copy / "data" / "left.parquet").write_bytes(b"x")
    (copy / "quarantine.jsonl").write_text("{}\n")
    found = faults(capsys, copy)
    expected = ["left.parquet: is no part", "names 1 inputs, not the 0", "has another hash", "no such file"]
    assert len(found) == 4 and all(text in line for text, line in zip(expected, found, strict=True))
    told = run(capsys, "verify", copy, faults=True)
    assert told.splitlines()[-4:] == found
    assert "all is well" not in told


def test_counts_that_do_not_add_up_are_faults(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    change(copy, counts={**manifest["counts"], "frames": 7, "planned": 9})
    found = faults(capsys, copy)
    assert len(found) == 2 and "do not add up to 9 planned" in found[0] and "not the 7 of the manifest" in found[1]
    change(copy, counts=manifest["counts"], complete=False)
    assert "is not complete" in faults(capsys, copy)[0]
    change(copy, complete=True, spec={**manifest["spec"], "spatial_factor": 16})
    assert "with tokens of shape" in faults(capsys, copy)[0]


def test_sources_that_changed_show_and_those_that_are_gone_do_not(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips, output = tmp_path / "clips", tmp_path / "out"
    shutil.copytree(made.parent / "clips", clips)
    manifest = Manifest.parse((made / "manifest.json").read_text(), "manifest")
    tokenize([str(clips)], str(output), manifest.model, options=Options.parse(manifest.options))
    write_clip(clips / "1.mp4", 9, seed=8)
    (clips / "2.mp4").unlink()
    found = json.loads(run(capsys, "verify", output, "--sample", "99", "--json", faults=True))
    # of 15 frames in two segments one is left, and of other content; 2.mp4 had three
    assert (found["same"], found["other"], found["not_reached"]) == (3, 2, 3)
    assert len(found["faults"]) == 2 and all("1.mp4" in line for line in found["faults"])
    assert any("has no segment 1" in line for line in found["faults"])
    assert len(found["remarks"]) == 1
    shutil.rmtree(clips)
    found = json.loads(run(capsys, "verify", output, "--sample", "2", "--json"))
    assert found["not_reached"] == 2 and not found["faults"]


def test_another_model_is_refused(made: Path) -> None:
    with pytest.raises(InputError, match=r"not by cv8x8x8-tiny .* name the right one with --model"):
        command(lambda given: None)(["verify", str(made), "--sample", "1", "-m", "cv8x8x8-tiny"], standalone_mode=False)


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no data set there"):
        command(lambda given: None)(["verify", str(tmp_path)], standalone_mode=False)
