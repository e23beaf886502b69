"""The command line end to end, on real files and with the bundled models."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import media_samples as samples
import numpy as np
import pytest
from PIL import Image

from cosmotok import Tokenizer, list_models
from cosmotok.cli import main
from cosmotok.errors import UnknownModelError
from cosmotok.families import is_known
from cosmotok.media import open_media

COMMAND = [sys.executable, "-m", "cosmotok.cli"]
RATE = Fraction(30000, 1001)


def moving(count: int, width: int, height: int) -> list[np.ndarray]:
    """Smooth waves that move: easy to compress, and every frame differs."""
    y, x = np.mgrid[:height, :width]
    return [
        np.stack([127 + 90 * np.sin((x * (c + 1) + y) / 25 + t / 6) for c in range(3)], axis=-1).astype(np.uint8)
        for t in range(count)
    ]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """11 frames, 80 x 48, with sound."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return samples.encode(path, moving(11, 80, 48), rate=RATE, sound=("aac", 0.4))


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command in this process: (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["cosmotok", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            main()
            raise SystemExit(0)
        out, err = capsys.readouterr()
        return exit.value.code or 0, out, err

    return run


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def frames_of(path: Path) -> np.ndarray:
    with open_media(path) as media:
        return np.stack([frame.pixels for frame in media])


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 20 * np.log10(255 / np.sqrt(np.mean((a.astype(float) - b) ** 2)))


# Reconstruction -----------------------------------------------------------------------------------------------------


def test_reconstruct_in_a_process_of_its_own(clip, tmp_path):
    copy = tmp_path / "my clip.mp4"
    copy.write_bytes(clip.read_bytes())
    done = subprocess.run(
        [*COMMAND, "reconstruct", copy.name], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == {"my clip.mp4", "my clip.cv4x8x8-tiny.mp4"}
    assert copy.read_bytes() == clip.read_bytes()
    for word in ("PSNR", "SSIM", "bits per pixel", "frames/s", "80 x 48", "240 = 4 x 6 x 10"):
        assert word in done.stdout
    result = tmp_path / "my clip.cv4x8x8-tiny.mp4"
    with av.open(str(result)) as container:
        video = container.streams.video[0]
        assert (video.width, video.height, video.codec_context.pix_fmt) == (80, 48, "yuv420p")
        assert video.average_rate == RATE
        assert len(container.streams.audio) == 1
    content = result.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # plays before it is fetched whole
    assert psnr(frames_of(copy), frames_of(result)) > 25


def test_json_is_one_object_and_nothing_else(clip, tmp_path, run):
    output = tmp_path / "out.mp4"
    code, out, _ = run("reconstruct", clip, "-o", output, "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["frames"], report["width"], report["height"]) == (11, 80, 48)
    assert report["token_grid"] == [4, 6, 10]
    assert report["tokens"] == 240
    assert report["bits_per_pixel"] == pytest.approx(240 * 16 * 16 / (11 * 80 * 48))
    assert report["compression"] == pytest.approx(24 / report["bits_per_pixel"])
    assert report["audio"] is True
    assert report["psnr"] == pytest.approx(psnr(frames_of(clip), frames_of(output)), abs=1.5)  # the file is H.264
    assert 0.5 < report["ssim"] <= 1


def test_photo(tmp_path, run):
    photo = tmp_path / "photo.jpg"
    Image.fromarray(moving(1, 61, 45)[0]).save(photo, quality=95)
    code, _, err = run("reconstruct", photo)
    assert code == 0, err
    result = np.asarray(Image.open(tmp_path / "photo.cv4x8x8-tiny.png"))
    assert result.shape == (45, 61, 3)
    assert psnr(result, np.asarray(Image.open(photo))) > 25


def test_side_by_side(clip, tmp_path, run):
    code, _, err = run("reconstruct", clip, "-o", tmp_path / "out.mp4", "--side-by-side", "--frames", "2:7")
    assert code == 0, err
    row = frames_of(tmp_path / "out.side-by-side.mp4")
    assert row.shape == (5, 48, 3 * 80, 3)
    source = frames_of(clip)[2:7]
    assert psnr(row[:, :, :80], source) > 30
    assert psnr(row[:, :, 80:160], source) > 25
    assert abs(row[:, :, 160:].mean() - 128) < 12


def test_frames_and_size(clip, tmp_path, run):
    code, out, err = run("reconstruct", clip, "-o", tmp_path / "o.mp4", "--frames", "3:9", "--size", "40x24", "--json")
    assert code == 0, err
    assert json.loads(out)["frames"] == 6
    assert frames_of(tmp_path / "o.mp4").shape == (6, 24, 40, 3)


def test_variable_frame_rate_survives(tmp_path, run):
    times = [Fraction(t, 100) for t in (0, 4, 10, 30, 34, 70)]
    source = tmp_path / "vfr.mkv"
    samples.encode(source, moving(6, 48, 32), times=times)
    for arguments in (
        ["reconstruct", source, "-o", tmp_path / "vfr.out.mp4"],
        ["encode", source, "-o", tmp_path / "vfr.safetensors"],
        ["decode", tmp_path / "vfr.safetensors", "-o", tmp_path / "vfr.decoded.mp4"],
    ):
        code, _, err = run(*arguments)
        assert code == 0, err
    for name in ("vfr.out.mp4", "vfr.decoded.mp4"):
        with open_media(tmp_path / name) as media:
            assert [float(frame.time) for frame in media] == pytest.approx([float(t) for t in times], abs=2e-3)


def test_folder_of_frames(tmp_path, run):
    folder = tmp_path / "frames"
    folder.mkdir()
    for i, frame in enumerate(moving(3, 32, 24)):
        Image.fromarray(frame).save(folder / f"{i}.png")
    code, _, err = run("reconstruct", folder)
    assert code == 0, err
    assert frames_of(tmp_path / "frames.cv4x8x8-tiny.mp4").shape == (3, 24, 32, 3)


def test_exact_attention_is_possible(clip, tmp_path, run):
    code, _, err = run("reconstruct", clip, "-o", tmp_path / "o.mp4", "--attention-context", "all")
    assert code == 0, err


# Token files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["cv4x8x8-tiny", "dv4x8x8-tiny"])
def test_encode_then_decode_without_the_source(model, tmp_path, run):
    source = tmp_path / "clip.mp4"
    samples.encode(source, moving(10, 70, 46), rate=RATE)
    original = frames_of(source)
    code, _, err = run("encode", source, "--model", model)
    assert code == 0, err
    source.unlink()
    tokens = tmp_path / f"clip.{model}.safetensors"
    code, _, err = run("decode", tokens)
    assert code == 0, err
    result = tmp_path / f"clip.{model}.decoded.mp4"
    with open_media(result) as media:
        assert media.info.frame_rate == RATE
        assert not media.info.has_audio
    assert frames_of(result).shape == original.shape
    assert psnr(frames_of(result), original) > 22
    assert files(tmp_path) == {tokens.name, result.name}


def test_photo_to_tokens_and_back(tmp_path, run):
    photo = tmp_path / "photo.png"
    Image.fromarray(moving(1, 33, 21)[0]).save(photo)
    assert run("encode", photo, "--model", "dv4x8x8-tiny")[0] == 0
    assert run("decode", tmp_path / "photo.dv4x8x8-tiny.safetensors")[0] == 0
    result = np.asarray(Image.open(tmp_path / "photo.dv4x8x8-tiny.decoded.png"))
    assert result.shape == (21, 33, 3)
    assert psnr(result, np.asarray(Image.open(photo))) > 22


def test_tokens_of_another_model(clip, tmp_path, run):
    tokens = tmp_path / "t.safetensors"
    assert run("encode", clip, "-o", tokens)[0] == 0
    code, _, err = run("decode", tokens, "--model", "dv4x8x8-tiny", "-o", tmp_path / "o.mp4")
    assert code == 1
    assert "t.safetensors" in err
    assert "cv4x8x8-tiny" in err
    assert err.count("\n") == 1
    assert files(tmp_path) == {"t.safetensors"}


def test_info(clip, tmp_path, run):
    tokens = tmp_path / "t.safetensors"
    assert run("encode", clip, "-o", tokens)[0] == 0
    facts = json.loads(run("info", tokens, "--json")[1])
    assert facts["size"] == [11, 48, 80]
    assert facts["frame_rate"] == "30000/1001"
    facts = json.loads(run("info", clip, "--json")[1])
    assert (facts["what"], facts["width"], facts["audio"], facts["codec"]) == ("video", 80, True, "h264")
    facts = json.loads(run("info", "dv4x8x8-tiny", "--json")[1])
    assert (facts["levels"], facts["temporal_factor"]) == ([8, 8, 8, 5, 5, 5], 4)
    assert facts["parameters"] > 100_000
    facts = json.loads(run("info", "CV8x8x8-720p", "--json")[1])
    assert facts["hub"] == "nvidia/Cosmos-Tokenize1-CV8x8x8-720p"


def test_debug_shows_the_traceback_wherever_it_stands(monkeypatch):
    for arguments in (["--debug", "info", "nothing"], ["info", "--debug", "nothing"], ["info", "nothing", "--debug"]):
        monkeypatch.setattr(sys, "argv", ["cosmotok", *arguments])
        with pytest.raises(UnknownModelError):
            main()


def test_debug_behind_two_dashes_is_a_name(run):
    code, _, error = run("info", "--", "--debug")
    assert code == 1 and "--debug" in error


def test_models(run):
    listed = json.loads(run("models", "--json")[1])["models"]
    assert [entry["name"] for entry in listed] == list_models()
    code, out, _ = run("models")
    assert code == 0
    assert "CV8x16x16" in out


# Bad input ----------------------------------------------------------------------------------------------------------


def bad_sources(folder: Path) -> dict[str, Path]:
    paths = {name: folder / f"{name}.mp4" for name in ("missing", "empty", "text", "truncated", "sound")}
    paths["empty"].touch()
    paths["text"].write_text("no video at all\n" * 50)
    whole = folder / "whole.mp4"
    samples.encode(whole, moving(8, 48, 32))
    paths["truncated"].write_bytes(whole.read_bytes()[:700])
    whole.unlink()
    samples.audio_only(paths["sound"])
    paths["folder"] = folder / "folder"
    paths["folder"].mkdir()
    return paths


@pytest.mark.parametrize("verb", ["reconstruct", "encode"])
@pytest.mark.parametrize("kind", ["missing", "empty", "text", "truncated", "sound", "folder"])
def test_bad_source(verb, kind, tmp_path, run):
    paths = bad_sources(tmp_path)
    before = files(tmp_path)
    code, out, err = run(verb, paths[kind], "--json")
    assert code == 1
    assert out == ""
    assert paths[kind].name in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "cv4x8x8-tny"], ["cv4x8x8-tny", "did you mean cv4x8x8-tiny"]),
        (["--frames", "5"], ["5", "START:STOP"]),
        (["--frames", "50:60"], ["50:60", "11 frames"]),
        (["--size", "big"], ["big", "WIDTHxHEIGHT"]),
        (["--max-pixels", "100"], ["80x48", "--max-pixels"]),
        (["--device", "cuda:9"], ["--device cuda:9: not on this machine", "--device cpu"]),
        (["--dtype", "int4"], ["int4", "bfloat16"]),
        (["--attention-context", "0"], ["attention-context", "all"]),
        (["--output", "no/such/folder/o.mp4"], ["no/such/folder", "does not exist"]),
        (["--output", "o.xyz"], ["o.xyz", ".mp4"]),
    ],
)
def test_bad_option(arguments, words, clip, tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("reconstruct", clip, *arguments)
    assert code == 1
    for word in words:
        assert word in err
    assert err.count("\n") == 1
    assert files(tmp_path) == set()


@pytest.mark.parametrize("verb", ["reconstruct", "encode"])
@pytest.mark.parametrize("name", ["clip.mp4", "photo.png"])
def test_source_is_never_overwritten(verb, name, clip, tmp_path, run):
    source = tmp_path / name
    if name == "clip.mp4":
        source.write_bytes(clip.read_bytes())
    else:
        Image.fromarray(moving(1, 33, 21)[0]).save(source)
    before = source.read_bytes()
    code, _, err = run(verb, source, "-o", source)
    assert code == 1
    assert f"{name}: is the source itself" in err
    assert source.read_bytes() == before
    assert files(tmp_path) == {name}


def test_tokens_are_never_overwritten(clip, tmp_path, run):
    tokens = tmp_path / "t.safetensors"
    assert run("encode", clip, "-o", tokens)[0] == 0
    before = tokens.read_bytes()
    code, _, err = run("decode", tokens, "-o", tokens)
    assert code == 1
    assert "is the source itself" in err
    assert tokens.read_bytes() == before


def test_pattern_of_frames(tmp_path, run):
    for i, frame in enumerate(moving(3, 32, 24)):
        Image.fromarray(frame).save(tmp_path / f"walk_{i:04d}.png")
    code, _, err = run("reconstruct", tmp_path / "walk_%04d.png")
    assert code == 0, err
    assert frames_of(tmp_path / "walk.cv4x8x8-tiny.mp4").shape == (3, 24, 32, 3)


def test_a_token_file_does_not_choose_what_is_opened(clip, tmp_path, run, monkeypatch):
    Tokenizer.from_pretrained("dv4x8x8-tiny").save_pretrained(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert run("encode", clip, "-o", "t.safetensors", "--model", "mine")[0] == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, _, err = run("decode", tmp_path / "t.safetensors")
    assert code == 1
    assert err.count("\n") == 1
    for word in ("t.safetensors", str(tmp_path / "mine"), "neither bundled nor published", "--model"):
        assert word in err
    assert files(tmp_path / "elsewhere") == set()
    code, _, err = run("decode", tmp_path / "t.safetensors", "--model", tmp_path / "mine")
    assert code == 0, err


def test_models_that_are_known():
    for name in (
        "cv4x8x8-tiny",
        "CV4X8X8-TINY",
        "cv4x8x8-tiny@int8",
        "nvidia/Cosmos-Tokenize1-CV8x8x8-720p",
        "klt:8x8:16",
    ):
        assert is_known(name)
    for name in ("someone/else", "/etc", "../x", "diffusers:/tmp", "published:x", "x" * 5000, "", "a\0b"):
        assert not is_known(name)


QUICK = [
    *("init_batches=0", "start=cv4x8x8-tiny", "data.workers=0", "data.image_every=1", "save_every=1", "log_every=1"),
    "stages=[{steps: 2, frames: 1, crop: 32, clips: 1, images: 2}]",
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i in range(2):
        Image.fromarray(moving(1 + i, 100, 100)[i]).save(folder / f"{i}.png")
    return folder


def test_training_and_resuming(photos, tmp_path, run):
    own = tmp_path / "own"
    code, _, err = run("train", "--recipe", "cv4x8x8-tiny", photos, "-o", own, *QUICK)
    assert code == 0, err
    tokenizer = Tokenizer.from_pretrained(own)
    assert tokenizer.config.variant == "own"
    assert tokenizer.fingerprint != Tokenizer.from_pretrained("cv4x8x8-tiny").fingerprint
    code, _, err = run("train", "--recipe", "cv4x8x8-tiny", photos, "-o", own, *QUICK)
    assert code == 1
    assert "--resume" in err
    assert run("train", "-o", own, "--resume")[0] == 0


def test_a_dry_run_trains_nothing(photos, tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("train", "--recipe", "dv8x16x16-720p", "--dry-run")
    assert code == 0, err
    for words in ("learning_rate: 0.0001", "parameters: 110,898,294", "memory, estimated", "steps per epoch"):
        assert words in out
    facts = json.loads(run("train", "--recipe", "cv4x8x8-tiny", photos, *QUICK, "--dry-run", "--json")[1])
    assert facts["recipe"]["model"] == "cv4x8x8-tiny"
    assert facts["parameters"] == 1_409_392
    assert facts["steps_per_epoch"] == [1]
    assert files(tmp_path) == set()


def test_data_are_checked_before_training(photos, tmp_path, run):
    assert run("train", photos, "--check-data")[0] == 0
    broken = tmp_path / "broken"
    shutil.copytree(photos, broken)
    (broken / "bad.jpg").write_bytes(b"no picture")
    code, out, err = run("train", broken, "--check-data")
    assert code == 1
    assert "bad.jpg" in out
    assert "error: not all files can be read" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--recipe"),
        (["--recipe", "cv4x8x8-tny"], "did you mean cv4x8x8-tiny"),
        (["--recipe", "cv4x8x8-tiny", "sead=3"], "did you mean seed"),
        (["--recipe", "cv4x8x8-tiny"], "data.train"),
        (["--recipe", "cv4x8x8-tiny", "no/such/folder"], "no/such/folder"),
        (["--resume", "-o", "no/such/run"], "recipe"),
    ],
)
def test_training_that_cannot_start(arguments, words, tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("train", *arguments)
    assert code == 1
    assert words in err
    assert err.count("\n") == 1
    assert files(tmp_path) == set()


def test_several_sources_are_all_trained_on(photos, tmp_path, run):
    other = tmp_path / "other"
    other.mkdir()
    Image.fromarray(moving(1, 64, 64)[0]).save(other / "third.png")
    facts = json.loads(run("train", photos, other, "--recipe", "cv4x8x8-tiny", *QUICK, "--dry-run", "--json")[1])
    assert facts["recipe"]["data"]["train"] == [str(photos), str(other)]
    assert facts["steps_per_epoch"] == [2]


def test_train_takes_paths_with_an_equals_sign_for_data(photos, tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, "take=2")
    facts = json.loads(run("train", "take=2", "seed=3", "--recipe", "ci8x8-tiny", *QUICK, "--dry-run", "--json")[1])
    assert (facts["recipe"]["data"]["train"], facts["recipe"]["seed"]) == (["take=2"], 3)


def test_export(tmp_path, run):
    from small import small

    small("ci8x8").save_pretrained(tmp_path / "m")
    code, out, err = run("export", tmp_path / "m", "-o", tmp_path / "out", "--to", "torch-export", "--json")
    assert code == 0, err
    assert set(json.loads(out)["files"]) <= files(tmp_path / "out")
    assert "manifest.json" in files(tmp_path / "out")
    code, _, err = run("export", tmp_path / "m", "-o", tmp_path / "x", "--to", "tensorrt")
    assert code == 1
    assert "onnx" in err and not (tmp_path / "x").exists()


def test_statistics_of_latents(photos, tmp_path, run):
    code, out, err = run("stats", photos, "-o", tmp_path / "m", "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert len(facts["mean"]) == len(facts["std"]) == 16
    assert Tokenizer.from_pretrained(tmp_path / "m").config.latents_std == tuple(facts["std"])
    code, _, err = run("stats", photos, "-m", "dv4x8x8-tiny")
    assert code == 1
    assert "discrete" in err


def test_damaged_token_files(clip, tmp_path, run):
    tokens = tmp_path / "t.safetensors"
    assert run("encode", clip, "--model", "dv4x8x8-tiny", "-o", tokens)[0] == 0
    good = tokens.read_bytes()
    length = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + length])

    def with_header(change):
        changed = json.loads(json.dumps(header))
        change(changed)
        text = json.dumps(changed).encode()
        return len(text).to_bytes(8, "little") + text + good[8 + length :]

    too_large = np.full(240, 65000, dtype="<u2").tobytes()
    damaged = {
        "truncated": good[:-7],
        "no header": good[:20],
        "empty": b"",
        "text": b"not tokens",
        "other version": with_header(lambda h: h["__metadata__"].update(format_version="99")),
        "no token file": with_header(lambda h: h.pop("__metadata__")),
        "lying size": with_header(lambda h: h["__metadata__"].update(size="[5, 48, 80]")),
        "negative size": with_header(lambda h: h["__metadata__"].update(size="[-1, 48, 80]")),
        "bad rate": with_header(lambda h: h["__metadata__"].update(frame_rate="fast")),
        "zero rate": with_header(lambda h: h["__metadata__"].update(frame_rate="0")),
        "indices out of range": good[: 8 + length] + too_large,
    }
    for name, content in damaged.items():
        tokens.write_bytes(content)
        code, _, err = run("decode", tokens, "-o", tmp_path / "o.mp4")
        assert code == 1, name
        assert "t.safetensors" in err, (name, err)
        assert err.count("\n") == 1, name
        assert files(tmp_path) == {"t.safetensors"}, name


def limit_file_size() -> None:
    """Stands in for a full disk: writing fails after 2 KiB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))


@pytest.mark.parametrize("verb", ["reconstruct", "encode"])
def test_full_disk(verb, clip, tmp_path):
    output = tmp_path / ("o.mp4" if verb == "reconstruct" else "o.safetensors")
    done = subprocess.run(
        [*COMMAND, verb, str(clip), "-o", str(output)],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=limit_file_size,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert output.name in done.stderr
    assert files(tmp_path) == set()


def test_interrupt_leaves_nothing(tmp_path):
    source = tmp_path / "long.mp4"
    samples.encode(source, moving(400, 96, 96))
    process = subprocess.Popen(
        [*COMMAND, "reconstruct", source.name], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while files(tmp_path) == {"long.mp4"} and time.monotonic() < deadline:
        time.sleep(0.02)
    assert files(tmp_path) != {"long.mp4"}  # it has begun to write
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped" in err
    assert files(tmp_path) == {"long.mp4"}


def test_help_teaches(run):
    code, out, _ = run("--help")
    assert code == 0
    assert "cosmotok reconstruct clip.mp4" in out
    assert run("--version")[1].startswith("cosmotok ")


@pytest.mark.parametrize(
    "arguments",
    ["info {}", "stats {}", "calibrate cv4x8x8-tiny {} -o out", "convert ci8x8-tiny {}", "export {} -o out"],
)
def test_names_that_no_file_can_have(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cosmotok", *arguments.format("x" * 300).split()])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "no file can have the name" in line or "file name too long; check the name" in line
    assert not list(tmp_path.iterdir())
