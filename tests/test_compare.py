"""Contestants side by side: numbers, files that fail, several processes, folders that are there already, names."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import contenders
import numpy as np
import pytest
import torch
from contenders import (
    ODD_WIDTH,
    Absent,
    FirstTime,
    Killed,
    Next,
    Patient,
    Picky,
    Rounder,
    SecondTime,
    Short,
    Swallowing,
)
from hypothesis import given
from hypothesis import strategies as st
from media_samples import encode
from PIL import Image
from refusals import refused

from cosmotok import Tokenizer
from cosmotok.cli import main
from cosmotok.errors import CheckpointError, MediaError, UnknownModelError
from cosmotok.evaluation import existing
from cosmotok.evaluation.existing import compare_folders, pair
from cosmotok.evaluation.find import find_contestants, nominal_rate
from cosmotok.evaluation.measure import JudgeOptions
from cosmotok.evaluation.options import Options
from cosmotok.evaluation.protocols import PROTOCOLS
from cosmotok.evaluation.results import Comparison
from cosmotok.evaluation.run import compare
from cosmotok.evaluation.worker import Outcome, Task, Worker
from cosmotok.media import open_media

OURS = ("cv4x8x8-tiny", "dv4x8x8-tiny")


def noise(count: int, width: int, height: int, seed: int = 0) -> list[np.ndarray]:
    """Smooth frames that move a little."""
    rng = np.random.default_rng(seed)
    waves = rng.uniform(0, 0.4, (3, 3))
    y, x = np.mgrid[:height, :width]
    phases = [[a * x + b * y + c * t + i for a, b, c in waves] for i in range(3) for t in range(count)]
    frames = np.sin(np.array(phases)).sum(1).reshape(3, count, height, width)
    return list((frames.transpose(1, 2, 3, 0) * 40 + 128).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Two images, two clips, one image that contestants fail on, and two files that cannot be read."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "deep").mkdir()
    Image.fromarray(noise(1, 40, 24)[0]).save(folder / "a.png")
    Image.fromarray(noise(1, 33, 31, 1)[0]).save(folder / "deep/b.webp", lossless=True)
    Image.fromarray(noise(1, ODD_WIDTH, 24, 2)[0]).save(folder / "odd.png")
    encode(folder / "c.mkv", noise(7, 48, 32, 3), "ffv1", pix_fmt="bgr0")
    encode(folder / "deep/d.mkv", noise(3, 40, 40, 4), "ffv1", pix_fmt="bgr0")
    (folder / "broken.png").write_bytes(b"no picture")
    whole = encode(folder / "cut.mp4", noise(9, 48, 32, 5)).read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    return folder


READABLE = ["a.png", "c.mkv", "deep/b.webp", "deep/d.mkv", "odd.png"]
UNREADABLE = {"broken.png", "cut.mp4"}


def frames_of(path: Path, count: int | None = None) -> np.ndarray:
    with open_media(path, frames=slice(count)) as reader:
        return np.stack([frame.pixels for frame in reader])


def db(original: np.ndarray, result: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((original.astype(np.float64) - result) ** 2) / 255**2))


def pixels_of(video: torch.Tensor) -> np.ndarray:
    return video[0].clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 3, 0).numpy()


@pytest.fixture(scope="module")
def alone(data) -> Comparison:
    """Everything in this process."""
    return compare([*find_contestants(OURS), Picky("picky")], data, Options(jobs=1))


# Numbers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_our_figures_are_those_of_reconstruct(alone, data, name):
    tokenizer = Tokenizer.from_pretrained(name)
    model = next(model for model in alone.models if model.name == name)
    assert [row.file for row in model.files] == READABLE
    seen = []
    for row in model.files:
        original = frames_of(data / row.file)
        video = torch.from_numpy(original).permute(3, 0, 1, 2).unsqueeze(0)
        assert row.psnr == pytest.approx(db(original, pixels_of(tokenizer.reconstruct(video))), abs=1e-3)
        tokens = tokenizer.encode(video)
        seen.append(tokens.flatten())
        bits = math.log2(64_000) if tokenizer.config.is_discrete else 16
        assert row.bits_per_pixel == pytest.approx(tokens.numel() * bits / original[..., 0].size)
        assert row.codes == (tokens.numel() if tokenizer.config.is_discrete else None)
        assert (row.frames, row.height, row.width) == original.shape[:3]
        assert row.kind == ("video" if row.file.endswith("mkv") else "image")
        assert row.seconds is not None and row.seconds > 0
        assert list(row.places) == (["1", "2-17"] if row.kind == "video" else [])
    assert model.images is not None and model.videos is not None
    assert (model.images.files, model.videos.files, model.videos.frames) == (3, 2, 10)
    images = [row.psnr for row in model.files if row.kind == "image"]
    assert model.images.figures["psnr"].mean == pytest.approx(np.mean(images))
    clips = [row for row in model.files if row.kind == "video"]
    sizes = [row.frames * row.width * row.height for row in clips]
    bits = sum(row.bits_per_pixel * size for row, size in zip(clips, sizes, strict=True))
    assert model.videos.bits_per_pixel == pytest.approx(bits / sum(sizes))
    assert model.videos.megapixels_per_second == pytest.approx(sum(sizes) / sum(row.seconds for row in clips) / 1e6)
    if tokenizer.config.is_discrete:
        counts = np.bincount(torch.cat(seen).numpy(), minlength=64_000)
        share = counts[counts > 0] / counts.sum()
        assert model.code_usage == pytest.approx((counts > 0).mean())
        assert model.perplexity == pytest.approx(2 ** -(share * np.log2(share)).sum())
    else:
        assert model.code_usage is None


def test_traits_of_ours():
    continuous, discrete = (contestant.traits for contestant in find_contestants(OURS))
    assert (continuous.channels, continuous.vocab_size, discrete.channels, discrete.vocab_size) == (
        16,
        None,
        None,
        64_000,
    )
    assert continuous.parameters == Tokenizer.from_pretrained(OURS[0]).parameters
    assert continuous.causal and continuous.streaming and continuous.joint and continuous.compression == 256


def test_fixed_lengths_slices_and_sizes(data):
    whole = frames_of(data / "c.mkv")
    for frames, expected in ((3, whole[:3]), (slice(2, 6), whole[2:6])):
        (model,) = compare([Rounder()], data, Options(frames=frames, jobs=1)).models
        row = next(row for row in model.files if row.file == "c.mkv")
        assert row.frames == len(expected)
        assert row.psnr == pytest.approx(db(expected, expected // 16 * 16), abs=1e-9)
    (model,) = compare([Rounder()], data, Options(size=(20, 10), jobs=1)).models
    assert {(row.width, row.height) for row in model.files} == {(20, 10)}


def test_pooled_total_is_that_of_all_values(data):
    (model,) = compare([Rounder()], data, Options(protocol=PROTOCOLS["pooled"], jobs=1)).models
    clips = [frames_of(data / row.file) for row in model.files if row.kind == "video"]
    flat = np.concatenate([clip.ravel() for clip in clips])
    assert model.videos is not None
    total = model.videos.figures["psnr"]
    assert total.mean == pytest.approx(db(flat, flat // 16 * 16), abs=1e-9)
    assert total.low <= total.mean <= total.high


def test_without_first_counts_what_it_measured(data):
    (model,) = compare([Rounder()], data, Options(protocol=PROTOCOLS["without-first"], frames=1, jobs=1)).models
    assert {row.kind for row in model.files} == {"image"}  # nothing is left of clips of one frame
    (model,) = compare([Rounder()], data, Options(protocol=PROTOCOLS["without-first"], frames=4, jobs=1)).models
    row = next(row for row in model.files if row.file == "c.mkv")
    original = frames_of(data / "c.mkv", 4)[1:]
    assert (row.frames, row.bits_per_pixel) == (3, 2)
    assert row.psnr == pytest.approx(db(original, original // 16 * 16), abs=1e-9)


# What fails -----------------------------------------------------------------------------------------------------------


def test_files_and_contestants_that_fail_are_named_and_the_rest_goes_on(alone, data):
    assert set(alone.unread) == UNREADABLE
    assert all("\n" not in reason for reason in alone.unread.values())
    assert "cut" in alone.unread["cut.mp4"]
    picky = alone.models[-1]
    assert picky.failed == {"odd.png": "RuntimeError: cannot do that width"}
    assert [row.file for row in picky.files] == [file for file in READABLE if file != "odd.png"]
    assert not alone.is_complete


def test_a_contestant_that_cannot_be_loaded_loses_frames_or_hides_errors(data):
    counted = []
    contestants = [Absent("absent"), Short("short"), Swallowing("swallowing")]
    found = compare(contestants, data, Options(jobs=1), advance=counted.append)
    absent, short, swallowing = found.models
    assert absent.error == "no weights there; fetch them" and not absent.files
    assert set(short.failed) == set(READABLE) and "gave 6 frames for 7" in short.failed["c.mkv"]
    assert set(found.unread) == UNREADABLE  # whatever a contestant makes of a file that cannot be read
    assert [row.file for row in swallowing.files] == READABLE
    assert sum(counted) == 3 * 7


def test_kinds_that_a_contestant_does_not_take_are_left_out(data, tmp_path):
    stills = Rounder("stills", traits=replace(contenders.CODEC, video=False))
    (model,) = compare([stills], data, Options(jobs=1)).models
    assert model.videos is None and model.images is not None and not model.failed and model.error is None
    encode(tmp_path / "clip.mkv", noise(3, 16, 16), "ffv1", pix_fmt="bgr0")
    (model,) = compare([stills], tmp_path, Options(jobs=1)).models
    assert model.error is not None and "image files alone" in model.error


def test_folders_without_media(tmp_path):
    refused(lambda: compare([Rounder()], tmp_path), "no images or videos")
    refused(lambda: compare([Rounder()], tmp_path / "nowhere"), "no such folder", error=MediaError)
    Image.fromarray(noise(1, 16, 16)[0]).save(tmp_path / "a.png")
    refused(lambda: compare([Rounder()], tmp_path, Options(frames=0)), "frames=0")
    refused(lambda: compare([Rounder()], tmp_path, Options(jobs=0)), "jobs=0")
    refused(lambda: compare([Rounder()], tmp_path, Options(device="gpu")), "device=gpu")


def test_threads_that_read_ahead_and_measure_behind_change_nothing(data):
    class Overlapping(Options):
        overlapping = True

    def outcomes(options: Options) -> list[Outcome]:
        worker = Worker(options)
        found = []
        for contestant in (Rounder(), Picky("picky"), Short("short")):
            worker.use(contestant)
            found += [worker.measure(Task(file, data / file)) for file in (*READABLE, *sorted(UNREADABLE))]
        return found

    for one, other in zip(outcomes(Options()), outcomes(Overlapping()), strict=True):
        assert (one.file, one.unread, one.failed) == (other.file, other.unread, other.failed)
        if one.row is not None and other.row is not None:
            assert replace(one.row.result, seconds=None) == replace(other.row.result, seconds=None)
            assert one.row.squared_error == other.row.squared_error


# Several processes ----------------------------------------------------------------------------------------------------


def test_two_processes_find_the_same_and_one_that_dies_takes_one_file_along(alone, data):
    contestants = [*find_contestants(OURS[:1]), Picky("picky"), Killed("killed"), Absent("absent")]
    found = compare(contestants, data, Options(jobs=2))
    for ours, theirs in ((alone.models[0], found.models[0]), (alone.models[2], found.models[1])):
        assert [row.file for row in ours.files] == [row.file for row in theirs.files]
        for one, other in zip(ours.files, theirs.files, strict=True):
            assert one.psnr == pytest.approx(other.psnr, abs=1e-6)
            assert replace(one, psnr=None, seconds=None, ssim=None, temporal=None) == replace(
                other, psnr=None, seconds=None, ssim=None, temporal=None
            )
        assert ours.failed == theirs.failed
    killed, absent = found.models[2:]
    assert list(killed.failed) == ["odd.png"] and "ended with exit code -9" in killed.failed["odd.png"]
    assert [row.file for row in killed.files] == [file for file in READABLE if file != "odd.png"]
    assert absent.error == "no weights there; fetch them"
    assert found.unread == alone.unread
    assert "2 files at a time" in found.machine


def test_a_contestant_that_one_process_cannot_load_is_measured_by_another(tmp_path):
    data, meeting = tmp_path / "data", tmp_path / "meeting"
    data.mkdir()
    meeting.mkdir()
    Image.fromarray(noise(1, 16, 16)[0]).save(data / "a.png")
    kinds = (Patient, SecondTime, FirstTime, Next)
    found = compare([kind(kind.__name__, folder=meeting) for kind in kinds], data, Options(jobs=2))
    assert [(model.name, model.error, len(model.files)) for model in found.models] == [
        (kind.__name__, None, 1) for kind in kinds
    ]


def test_an_error_is_the_same_in_this_process_and_in_others(data):
    judges = JudgeOptions(lpips_weights="nowhere.pth")
    one, two = (
        refused(
            lambda j=jobs: compare([Rounder()], data, Options(judges=judges, jobs=j)),
            "nowhere.pth",
            error=CheckpointError,
        )
        for jobs in (1, 2)
    )
    assert one == two


# Folders that are there already ---------------------------------------------------------------------------------------


def test_two_folders_of_files(data, tmp_path):
    results = tmp_path / "results"
    (results / "deep").mkdir(parents=True)
    original = frames_of(data / "a.png")[0]
    Image.fromarray(original // 32 * 32).save(results / "a.bmp")  # another suffix
    clip = frames_of(data / "c.mkv")
    encode(results / "c.mkv", list(clip // 32 * 32), "ffv1", pix_fmt="bgr0")
    encode(results / "deep/d.mkv", list(frames_of(data / "deep/d.mkv")[:2]), "ffv1", pix_fmt="bgr0")  # too short
    Image.fromarray(noise(1, 16, 16)[0]).save(results / "deep/b.webp")  # too small
    (results / "odd.png").write_bytes(b"nothing")
    Image.fromarray(original).save(results / "more.png")
    found = compare_folders(data, results, Options(jobs=1))
    (model,) = found.models
    assert [row.file for row in model.files] == ["a.png", "c.mkv"]
    assert model.files[0].psnr == pytest.approx(db(original, original // 32 * 32), abs=1e-9)
    assert model.files[1].psnr == pytest.approx(db(clip, clip // 32 * 32), abs=1e-9)
    assert (model.files[0].bits_per_pixel, model.files[0].seconds) == (None, None)
    assert set(model.failed) == {"deep/b.webp", "deep/d.mkv", "odd.png"}
    assert "16x16, and the original 33x31" in model.failed["deep/b.webp"]
    assert "2 frames, and the original 3" in model.failed["deep/d.mkv"]
    assert set(found.unread) == {"broken.png", "cut.mp4", "more.png"}  # the first two have no partner either
    (model,) = compare_folders(data, results, Options(frames=2, jobs=1)).models
    assert "deep/d.mkv" in [row.file for row in model.files]  # of which two frames are asked for


NAMES = st.sets(
    st.tuples(st.sampled_from(["", "x/"]), st.sampled_from("ab"), st.sampled_from([".png", ".jpg", ".mp4"])).map(
        "".join
    )
)


@given(NAMES, NAMES)
def test_every_file_is_in_one_pair_or_named(tmp_path_factory, first, second):
    root, other = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    for folder, files in ((root, first), (other, second)):
        for name in files:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).touch()
    pairs, alone = pair(root, other)
    assert set(pairs) | (set(alone) & first) == first and not set(pairs) & set(alone)
    assert len(set(pairs.values())) == len(pairs) and set(pairs.values()) <= second
    assert all(pairs[name] == name for name in first & second)
    for name, partner in pairs.items():
        assert name.rpartition(".")[0] == partner.rpartition(".")[0]
    assert set(alone) <= first | second
    if first and second and not {n.rpartition(".")[0] for n in first} & {n.rpartition(".")[0] for n in second}:
        refused(lambda: compare_folders(root, other), "no file of one has the name")


def test_pairing_takes_no_longer_per_file_where_there_are_many(tmp_path, monkeypatch):
    keys = []
    monkeypatch.setattr(existing, "key", lambda name, key=existing.key: keys.append(name) or key(name))
    for folder, suffix in (("one", "png"), ("other", "jpg")):
        (tmp_path / folder).mkdir()
        for i in range(100):
            (tmp_path / folder / f"{i}.{suffix}").touch()
    pairs, alone = pair(tmp_path / "one", tmp_path / "other")
    assert len(pairs) == 100 and not alone and len(keys) <= 400


# Autoencoders of diffusers --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def autoencoders(tmp_path_factory) -> Path:
    diffusers = pytest.importorskip("diffusers")
    folder = tmp_path_factory.mktemp("autoencoders")
    torch.manual_seed(0)
    shape = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    diffusers.AutoencoderKL(**shape, block_out_channels=[32] * 4, latent_channels=5).save_pretrained(folder / "image")
    diffusers.AutoencoderKLWan(base_dim=8, num_res_blocks=1, z_dim=6).save_pretrained(folder / "video/vae")
    return folder


def test_an_image_autoencoder_gets_padded_images(autoencoders, data):
    import diffusers

    (contestant,) = find_contestants([f"diffusers:{autoencoders / 'image'}"])
    network = diffusers.AutoencoderKL.from_pretrained(autoencoders / "image").eval()
    assert (contestant.traits.image, contestant.traits.video, contestant.traits.channels) == (True, False, 5)
    assert contestant.traits.parameters == sum(p.numel() for p in network.parameters())
    (model,) = compare([contestant], data, Options(jobs=1)).models
    assert [row.file for row in model.files] == ["a.png", "deep/b.webp", "odd.png"]
    for row in model.files:
        original = frames_of(data / row.file)
        padded = np.pad(original[0], ((0, -row.height % 8), (0, -row.width % 8), (0, 0)), mode="edge")
        x = torch.from_numpy(padded).permute(2, 0, 1).unsqueeze(0) / 127.5 - 1
        with torch.no_grad():
            y = network.decode(network.encode(x).latent_dist.mode()).sample
        expected = pixels_of(y.unsqueeze(2))[:, : row.height, : row.width]
        assert row.psnr == pytest.approx(db(original, expected), abs=1e-3)
        assert row.bits_per_pixel == pytest.approx(16 * 5 * padded[..., 0].size / 64 / original[..., 0].size)


def test_a_video_autoencoder_gets_windows_of_long_clips(autoencoders, data):
    import diffusers

    (contestant,) = find_contestants([f"diffusers:{autoencoders / 'video'}"])
    assert contestant.traits.joint and contestant.traits.causal
    assert "49 frames" in contestant.traits.note
    network = diffusers.AutoencoderKLWan.from_pretrained(autoencoders / "video/vae").eval()
    original = frames_of(data / "c.mkv")

    def through(clip: np.ndarray) -> np.ndarray:
        padded = np.concatenate([clip, *[clip[-1:]] * (-(len(clip) - 1) % 4)])
        x = torch.from_numpy(padded).permute(3, 0, 1, 2).unsqueeze(0) / 127.5 - 1
        with torch.no_grad():
            return pixels_of(network.decode(network.encode(x).latent_dist.mode()).sample)[: len(clip)]

    for window, expected in (
        (49, through(original)),
        (5, np.concatenate([through(original[:5]), through(original[5:])])),
    ):
        (model,) = compare([replace(contestant, window=window)], data, Options(jobs=1)).models
        row = next(row for row in model.files if row.file == "c.mkv")
        assert row.psnr == pytest.approx(db(original, expected), abs=1e-3)


def test_an_autoencoder_whose_weights_are_gone_is_named(autoencoders, data, tmp_path):
    shutil.copytree(autoencoders / "image", tmp_path / "image")
    (contestant,) = find_contestants([f"diffusers:{tmp_path / 'image'}"])
    (tmp_path / "image/diffusion_pytorch_model.safetensors").unlink()
    (model,) = compare([contestant], data, Options(jobs=1)).models
    assert model.error is not None and "cannot be loaded" in model.error and "check the folder" in model.error


def test_damaged_files_of_one_model_leave_the_others_to_be_measured(data, tmp_path):
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderKLWan", "z_dim')
    contestants = find_contestants([OURS[0], f"diffusers:{tmp_path}", "jpeg"])
    whole, damaged, *codecs = compare(contestants, data, Options(jobs=1, frames=1)).models
    assert damaged.error is not None and damaged.error.startswith(f"diffusers:{tmp_path}: no config.json of an auto")
    assert codecs and all(model.error is None and model.files for model in (whole, *codecs))


def test_folders_of_many_files_are_paired_in_one_pass(tmp_path, monkeypatch):
    for folder, suffix in (("one", ".png"), ("other", ".jpg")):
        (tmp_path / folder).mkdir()
        for number in range(100):
            (tmp_path / folder / f"{number:03}{suffix}").touch()
    looked_at = []
    plain = existing.key
    monkeypatch.setattr(existing, "key", lambda name: looked_at.append(name) or plain(name))
    pairs, alone = pair(tmp_path / "one", tmp_path / "other")
    assert len(pairs) == 100 and not alone
    assert len(looked_at) == 200, "each name once"


# Names ----------------------------------------------------------------------------------------------------------------


def test_codecs_without_a_rate_take_those_of_the_tokenizers_beside_them():
    names = [contestant.name for contestant in find_contestants([*OURS, "jpeg", "h264"])]
    assert names == [*OURS, "jpeg@0.249bpp", "jpeg@4bpp", "h264@0.0624bpp", "h264@1bpp"]
    names = [contestant.name for contestant in find_contestants(["h264", OURS[1], "h264@crf30"], frames=9)]
    assert names == ["h264@0.0832bpp", OURS[1], "h264@crf30"]
    refused(lambda: find_contestants(["h264"]), "h264@0.25bpp")
    assert nominal_rate(contenders.CODEC, "video") is None


def test_a_tokenizer_that_cannot_be_had_stops_no_codec_without_a_rate(data, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    contestants = find_contestants([OURS[0], "diffusers:Wan", "h264"], frames=1)
    assert [contestant.name for contestant in contestants[:2]] == [OURS[0], "diffusers:Wan"]
    assert "h264@4bpp" in [contestant.name for contestant in contestants]
    found = compare(contestants, data, Options(frames=1, jobs=1)).models
    assert "cannot be loaded" in found[1].error
    assert all(model.error is None and model.files for model in (found[0], *found[2:]))


def test_names_that_nothing_has():
    refused(lambda: find_contestants(["h264x@crf3"]), "h264x", error=UnknownModelError)
    refused(lambda: find_contestants(["cv4x8x8-tinny"]), "cv4x8x8-tiny", error=UnknownModelError)
    refused(lambda: find_contestants(["webpp"]), "webp", error=UnknownModelError)
    refused(lambda: find_contestants([]), "at least one")
    refused(lambda: find_contestants([OURS[0], OURS[0]]), "named twice")
    refused(lambda: find_contestants(["klt:4x8x8:16"]), "--fit")


def test_published_names_mean_their_weights_and_nothing_is_downloaded_for_them():
    ours, theirs = find_contestants(["CV8x8x8-720p", "diffusers:Wan"])
    assert ours.traits.parameters > 1e8 and theirs.model.peer.name == "Wan"
    assert theirs.model.source == "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"


# The command ----------------------------------------------------------------------------------------------------------


def run(monkeypatch, capsys, *arguments: object) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["cosmotok", *map(str, arguments)])
    try:
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    out = capsys.readouterr()
    return code, out.out, out.err


def test_the_command_compares(monkeypatch, capsys, data, tmp_path):
    arguments = ("compare", "--models", f"{OURS[1]},webp@q50", "--data", data, "--frames", "3", "--jobs", 1)
    code, out, err = run(monkeypatch, capsys, *arguments, "--json")
    assert code == 1 and "error: not everything was measured" in err  # for the broken files
    found = Comparison.from_dict(json.loads(out))
    assert [model.name for model in found.models] == [OURS[1], "webp@q50"]
    assert set(found.unread) == UNREADABLE
    results, good = tmp_path / "results", tmp_path / "good"
    for folder in (results, good):
        folder.mkdir()
        Image.fromarray(noise(1, 40, 24)[0]).save(folder / "a.png")
    code, out, _ = run(monkeypatch, capsys, "evaluate", "--reference", good, "--reconstruction", results, "--jobs", 1)
    assert code == 0 and "∞" in out


def test_the_command_says_what_it_expects(monkeypatch, capsys, data, tmp_path):
    for arguments, words in (
        (("evaluate", "--model", OURS[0]), "--model and --data"),
        (("evaluate", "--reference", data), "both of them"),
        (("evaluate", "--reference", data, "--reconstruction", data, "--model", OURS[0]), "without --model"),
        (("evaluate", "--model", OURS[0], "--data", data, "--resume"), "-o FOLDER"),
        (("evaluate", "--model", OURS[0], "--data", data, "--protocol", "tokenbnch"), "tokenbench"),
        (("evaluate", "--model", OURS[0], "--data", data, "--metrics", "pnsr", "--jobs", 1), "psnr"),
        (("evaluate", "--model", OURS[0], "--data", data, "--frames", "many"), "START:STOP"),
        (("evaluate", "--model", OURS[0], "--data", data, "--dtype", "int4"), "bfloat16"),
        (("compare", "--models", "cv4x8x8-tinny", "--data", data), "cv4x8x8-tiny"),
        (("compare", "--models", OURS[0], "--data", tmp_path), "no images or videos"),
    ):
        code, out, err = run(monkeypatch, capsys, *arguments)
        assert code == 1 and not out, arguments
        assert words in err and err.startswith("error: ") and err.count("\n") == 1, err
