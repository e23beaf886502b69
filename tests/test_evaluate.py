"""What an evaluation leaves behind: rows, pictures, and that it goes on where it was cut off, however that was."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from contenders import Rounder, Watched
from hypothesis import given
from hypothesis import strategies as st
from media_samples import encode
from PIL import Image
from refusals import refused

from cosmotok import Tokenizer
from cosmotok.evaluation.existing import compare_folders
from cosmotok.evaluation.measure import JudgeOptions
from cosmotok.evaluation.options import Options
from cosmotok.evaluation.protocols import PROTOCOLS
from cosmotok.evaluation.results import FileResult
from cosmotok.evaluation.run import compare
from cosmotok.evaluation.store import Finished, RowStore, read_examples, slug
from cosmotok.evaluation.worker import Row
from cosmotok.media import open_media

MODEL = "dv4x8x8-tiny"
WORDS = ("cosmotok", "evaluate", "--model", MODEL)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Forty pictures that get worse and worse, and two clips."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for i in range(40):
        pixels = rng.normal(128, 2 + i, (48, 48, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    for name, width in (("y.mkv", 32), ("z.mkv", 48)):
        frames = rng.integers(0, 256, (5, 24, width, 3), np.uint8)
        frames[3] //= 3  # the worst of a rounder has most to round
        encode(folder / name, list(frames), "ffv1", pix_fmt="bgr0")
    return folder


def command(data: Path, folder: Path, *more: str) -> subprocess.Popen[str]:
    arguments = ["-m", "cosmotok.cli", *WORDS[1:], "--data", str(data), "-o", str(folder), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_rows(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    rows = folder / MODEL / "rows.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if rows.exists() and rows.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.01)
    process.kill()
    pytest.fail(f"no rows came: {process.communicate()}")


def without_seconds(comparison) -> list[dict[str, object]]:
    return [{**vars(row), "seconds": None} for row in comparison.models[0].files]


def ours():
    from cosmotok.evaluation.find import find_contestants

    return find_contestants([MODEL])


# Cut off --------------------------------------------------------------------------------------------------------------


def test_it_goes_on_after_a_kill_and_after_control_c(data, tmp_path):
    folder = tmp_path / "out"
    process = command(data, folder, "--jobs", "1")
    wait_for_rows(folder, 2, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    rows = folder / MODEL / "rows.jsonl"
    first = rows.read_bytes()
    with rows.open("ab") as file:
        file.write(b'{"result": {"file": "17.png", "ki')  # as where the disk was slower than the kill

    process = command(data, folder, "--jobs", "2", "--resume")
    wait_for_rows(folder, first.count(b"\n") + 2, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "--resume" in err and "Traceback" not in err
    with pytest.raises(ProcessLookupError):  # no worker goes on
        for _ in range(50):
            os.killpg(process.pid, 0)
            time.sleep(0.1)
    second = rows.read_bytes()
    whole = first[: first.rfind(b"\n") + 1]
    assert second.startswith(whole) and len(second) > len(whole)

    found = compare(ours(), data, Options(folder=folder, jobs=1, resume=True))
    assert rows.read_bytes().startswith(second[: second.rfind(b"\n") + 1])
    clean = compare(ours(), data, Options(jobs=1))
    assert [row["file"] for row in without_seconds(found)] == [row["file"] for row in without_seconds(clean)]
    for one, other in zip(found.models[0].files, clean.models[0].files, strict=True):
        assert one.psnr == pytest.approx(other.psnr, abs=1e-6)
    assert found.models[0].perplexity == pytest.approx(clean.models[0].perplexity, rel=1e-6)
    assert found.models[0].code_usage == pytest.approx(clean.models[0].code_usage, rel=1e-6)


def test_finished_files_are_not_measured_again(data, tmp_path):
    Watched.pulled = 0
    first = compare([Watched()], data, Options(folder=tmp_path, jobs=1))
    assert Watched.pulled == 40 + 2 * 5
    counted: list[int] = []
    again = compare([Watched()], data, Options(folder=tmp_path, jobs=1, resume=True), advance=counted.append)
    assert Watched.pulled == 40 + 2 * 5 and sum(counted) == 42
    assert again == first


def test_a_failed_file_is_tried_again(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    Image.new("RGB", (16, 16)).save(data / "a.png")
    (data / "b.png").write_bytes(b"not yet")
    assert set(compare([Rounder()], data, Options(folder=out, jobs=1)).unread) == {"b.png"}
    Image.new("RGB", (16, 16)).save(data / "b.png")
    found = compare([Rounder()], data, Options(folder=out, jobs=1, resume=True))
    assert found.is_complete and [row.file for row in found.models[0].files] == ["a.png", "b.png"]
    (data / "a.png").unlink()
    found = compare([Rounder()], data, Options(folder=out, jobs=1, resume=True))
    assert [row.file for row in found.models[0].files] == ["b.png"]


def test_results_of_other_settings_are_not_mixed(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    Image.new("RGB", (16, 16)).save(data / "a.png")
    compare([Rounder()], data, Options(folder=out, frames=9, jobs=1))
    before = (out / "rounder/rows.jsonl").read_bytes()
    refused(lambda: compare([Rounder()], data, Options(folder=out, frames=9, jobs=1)), "--resume")
    for words, contestant, options in (
        ("frames 0:9, now it is 0:17", Rounder(), {"frames": 17}),
        ("size", Rounder(), {"frames": 9, "size": (8, 8)}),
        ("protocol tokenbench, now it is pooled", Rounder(), {"frames": 9, "protocol": PROTOCOLS["pooled"]}),
        ("metrics", Rounder(), {"frames": 9, "judges": JudgeOptions(wanted=("psnr",))}),
        ("model", Rounder(step=8), {"frames": 9}),
    ):
        refused(
            lambda c=contestant, o=options: compare([c], data, Options(folder=out, jobs=1, resume=True, **o)), words
        )
    assert (out / "rounder/rows.jsonl").read_bytes() == before
    both = compare(
        [Rounder(), Rounder("other", 8)], data, Options(folder=out, frames=9, jobs=1, resume=True)
    )  # one more
    assert [len(model.files) for model in both.models] == [1, 1]


@pytest.fixture
def two_folders(tmp_path) -> list[Path]:
    """With an image and a clip of the same names, and other content."""
    rng = np.random.default_rng(0)
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / "a.png")
        encode(folder / "b.mkv", list(rng.integers(0, 256, (3, 16, 16, 3), np.uint8)), "ffv1", pix_fmt="bgr0")
    return folders


def test_files_of_the_same_names_and_other_content_are_measured_anew(two_folders, tmp_path):
    one, other = two_folders
    options = Options(folder=tmp_path / "out", jobs=1, resume=True)
    first = compare([Rounder()], one, options).models[0].files
    again = compare([Rounder()], other, options).models[0].files
    fresh = compare([Rounder()], other, Options(jobs=1)).models[0].files
    assert [row.psnr for row in again] == [row.psnr for row in fresh] != [row.psnr for row in first]
    for example in read_examples(options.folder):  # of that data, too
        with open_media(other / example.file, frames=slice(example.frame, None)) as reader:
            assert np.array_equal(example.original, next(iter(reader)).pixels)
    assert compare([Rounder()], one, options).models[0].files == first  # with the same times: they were kept
    shutil.copy(other / "a.png", one / "a.png")
    assert [row.psnr for row in compare([Rounder()], one, options).models[0].files] == [fresh[0].psnr, first[1].psnr]


def test_reconstructions_of_other_content_are_measured_anew(two_folders, tmp_path):
    one, other = two_folders
    options = Options(folder=tmp_path / "out", jobs=1, resume=True)
    assert {row.psnr for row in compare_folders(one, one, options).models[0].files} == {math.inf}
    for name in ("a.png", "b.mkv"):
        shutil.copy(other / name, one / name)
    assert {row.psnr for row in compare_folders(other, one, options).models[0].files} == {math.inf}
    spoilt = Image.fromarray(np.zeros((16, 16, 3), np.uint8))
    spoilt.save(one / "a.png")
    assert compare_folders(other, one, options).models[0].files[0].psnr < 10


def test_speeds_of_other_settings_are_not_mixed(two_folders, tmp_path):
    data, more = two_folders
    options = Options(folder=tmp_path / "out", jobs=1, resume=True)
    threads = torch.get_num_threads()
    first = compare([Rounder()], data, options)
    shutil.copy(more / "a.png", data / "c.png")
    try:
        torch.set_num_threads(threads + 1)
        second = compare([Rounder()], data, options)
    finally:
        torch.set_num_threads(threads)
    times = {row.file: row.seconds for row in first.models[0].files}
    assert second.machine == first.machine  # that of most files
    assert {row.file: row.seconds for row in second.models[0].files} == {**times, "c.png": None}
    assert second.models[0].images.megapixels_per_second == pytest.approx(256e-6 / times["a.png"])


def test_a_model_is_loaded_once(two_folders, tmp_path, monkeypatch):
    loads = []
    load = Tokenizer.from_pretrained
    monkeypatch.setattr(Tokenizer, "from_pretrained", lambda *args, **more: loads.append(args) or load(*args, **more))
    options = Options(folder=tmp_path / "out", jobs=1, resume=True)
    compare(ours(), two_folders[0], options)
    assert len(loads) == 1
    compare(ours(), two_folders[0], options)
    assert len(loads) == 2


# Rows -----------------------------------------------------------------------------------------------------------------


def finished(file: str, seed: int) -> Finished:
    rng = np.random.default_rng(seed)
    result = FileResult(file, "image", 1, 8, 9, psnr=float("inf") if seed == 1 else 30 + seed / 3, codes=seed)
    features = {"inception": rng.normal(size=(2, 1, 8))} if seed % 2 else {}
    codes = None if seed % 3 == 0 else rng.integers(0, 3, 50)
    return Finished(Row(result, 10.0 * seed, 216, 1), features, codes)


@given(st.integers(0, 2000))
def test_a_file_cut_anywhere_keeps_its_whole_lines(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("rows")
    settings = {"protocol": "tokenbench"}
    store = RowStore(folder, "a model/of mine", settings)
    store.begin("abc")
    written = {name: finished(name, seed) for seed, name in enumerate(("a.png", "b/ü.png", "b_ü.png", "c"))}
    for one in written.values():
        store.add(one)
    content = store.rows.read_bytes()
    store.rows.write_bytes(content[: cut % (len(content) + 1)])
    lines = store.rows.read_bytes().count(b"\n")
    store = RowStore(folder, "a model/of mine", settings)
    found = store.finished()
    assert [file for file, _ in found] == list(written)[:lines]
    for name in list(written)[lines:]:
        store.add(written[name])
    found = {file: one for (file, _), one in RowStore(folder, "a model/of mine", settings).finished().items()}
    for name, one in written.items():
        assert found[name].row == one.row
        assert set(found[name].features) == set(one.features)
        assert all(np.array_equal(found[name].features[key], value) for key, value in one.features.items())
        assert (found[name].codes is None) == (one.codes is None)
        assert one.codes is None or np.array_equal(found[name].codes, one.codes)


def test_a_damaged_row_is_named(tmp_path):
    store = RowStore(tmp_path, "model", {})
    store.begin("abc")
    store.rows.write_text('{"result": {}}\n')
    refused(store.finished, "line 1", "damaged")
    (store.folder / "settings.json").write_text("{")
    refused(lambda: RowStore(tmp_path, "model", {}), "settings.json", "damaged")


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=200), unique=True))
def test_every_name_has_a_file_name_of_its_own(names):
    found = [slug(name) for name in names]
    assert len(set(found)) == len(names)
    assert all(0 < len(one) <= 100 and one.isascii() and "/" not in one and one[0] != "." for one in found)


# Pictures -------------------------------------------------------------------------------------------------------------


def test_the_worst_and_a_few_fixed_frames_are_kept(data, tmp_path):
    found = compare([Rounder("coarse", 64), Rounder("fine", 4)], data, Options(folder=tmp_path, jobs=1))
    examples = read_examples(tmp_path)
    for model in found.models:
        own = [example for example in examples if example.model == model.name]
        images = sorted((row for row in model.files if row.kind == "image"), key=lambda row: row.psnr)
        worst = {row.file for row in images[:3]}
        fixed = {"10.png", "30.png"}
        assert {example.file for example in own} == worst | fixed | {"y.mkv", "z.mkv"}
        assert ("y.mkv", 2) in {(example.file, example.frame) for example in own}  # the middle
        step = {"coarse": 64, "fine": 4}[model.name]
        for example in own:
            assert np.array_equal(example.reconstruction, example.original // step * step)
            if example.file.endswith("png"):
                assert np.array_equal(example.original, np.array(Image.open(data / example.file)))
        frames = {example.frame: example.psnr for example in own if example.file == "z.mkv"}
        assert min(frames, key=frames.__getitem__) != 2 or len(frames) == 1
    kept = {path.name for path in (tmp_path / "examples").glob("*/*.png")}
    assert {path.name for path in (tmp_path / "examples/originals").glob("*.png")} == kept
    (next((tmp_path / "examples/originals").glob("*.png"))).unlink()
    refused(lambda: read_examples(tmp_path), "incomplete")


def test_nothing_is_written_without_a_folder(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    compare([Rounder()], data, Options(jobs=1))
    assert not list(tmp_path.iterdir())


def test_settings_are_there_to_be_read(data, tmp_path):
    compare(ours(), data, Options(folder=tmp_path, frames=2, jobs=1))
    settings = json.loads((tmp_path / MODEL / "settings.json").read_text())
    assert settings["frames"] == "0:2" and settings["protocol"] == "tokenbench"
    assert settings["model"].split()[0] == Tokenizer.from_pretrained(MODEL).fingerprint
