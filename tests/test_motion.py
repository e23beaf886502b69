"""Moving clips made of photos: what the options ask for is in them, and the same numbers give the same clip."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import SMALL, lines, make_data

from cosmotok import Tokenizer
from cosmotok.cli import main
from cosmotok.errors import ConfigError, InputError
from cosmotok.training.data import DataOptions, TrainingData
from cosmotok.training.data.motion import moving_clip, photos_needed
from cosmotok.training.data.options import MotionOptions

PLAIN = MotionOptions(layers=0, blur=0, cuts=0, brightness=0)


def photo(seed: int = 0, side: int = 160, grain: int = 8) -> np.ndarray:
    """Blotches of `grain` pixels."""
    noise = np.random.default_rng(seed).uniform(0, 255, (side // grain, side // grain, 3))
    smooth = torch.nn.functional.interpolate(
        torch.from_numpy(noise).permute(2, 0, 1)[None], size=side, mode="bicubic", align_corners=False
    )
    picture: np.ndarray = smooth[0].permute(1, 2, 0).clamp(0, 255).to(torch.uint8).numpy()
    return picture


def clips(options: MotionOptions, count: int = 12) -> np.ndarray:
    """(count, 9, 64, 64, 3) as floats."""
    made = [moving_clip([photo()], 9, (64, 64), options, np.random.default_rng(seed)) for seed in range(count)]
    return np.stack(made).astype(np.float64)


def change(made: np.ndarray) -> np.ndarray:
    """Mean difference from frame to frame, (count, frames - 1)."""
    difference: np.ndarray = np.abs(np.diff(made, axis=1)).mean(axis=(2, 3, 4))
    return difference


def detail(made: np.ndarray) -> np.ndarray:
    """Mean difference between neighbouring pixels, (count, frames)."""
    found: np.ndarray = np.abs(np.diff(made.astype(np.float64), axis=3)).mean(axis=(2, 3, 4))
    return found


def test_the_same_numbers_give_the_same_clip() -> None:
    options = MotionOptions(blur=1, cuts=1, brightness=1)

    def make(seed: int) -> np.ndarray:
        return moving_clip([photo(0), photo(1)], 7, (48, 64), options, np.random.default_rng(seed), past=5)

    first = make(3)
    assert (first.shape, first.dtype) == ((7, 48, 64, 3), np.uint8)
    assert np.array_equal(first, make(3))
    assert not np.array_equal(first, make(4))


@pytest.mark.parametrize("size", [(160, 160), (64, 300), (40, 40), (1, 1)])
def test_any_photo_will_do(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 77, np.uint8)
    made = moving_clip([picture, picture], 5, (64, 64), replace(PLAIN, layers=1, blur=1), np.random.default_rng(0))
    assert np.array_equal(made, np.full((5, 64, 64, 3), 77, np.uint8))  # mirrored beyond its edges, never empty


def test_pictures_move_as_fast_as_is_asked_for() -> None:
    still, slow, fast = (change(clips(replace(PLAIN, speed=speed))).mean() for speed in (0, 1, 10))
    assert 0 < still < 0.7 * slow  # zooming and turning are left
    assert slow < 0.5 * fast
    # both slow and fast ones among them
    each = change(clips(replace(PLAIN, speed=10), count=24)).mean(axis=1)
    assert each.min() < 0.3 * each.max()


def test_a_shift_is_one_of_whole_pictures() -> None:
    """The best match of a frame's middle in the next frame is at most `speed` pixels away."""
    for made in clips(replace(PLAIN, speed=4), count=6):
        middle = made[0, 20:44, 20:44]
        errors = {
            (dy, dx): np.abs(made[1, 20 + dy : 44 + dy, 20 + dx : 44 + dx] - middle).mean()
            for dy in range(-12, 13)
            for dx in range(-12, 13)
        }
        dy, dx = min(errors, key=lambda shift: errors[shift])
        assert np.hypot(dy, dx) <= 4 + 1.5
        assert errors[dy, dx] < 6


def test_blur_takes_detail_from_what_moves_but_not_from_what_is_only_remembered() -> None:
    ratios = []
    for seed in range(8):
        sharp, blurred = (
            moving_clip([photo(grain=2)], 25, (64, 64), replace(PLAIN, blur=blur), np.random.default_rng(seed), past=17)
            for blur in (0, 1)
        )
        assert np.array_equal(sharp[:9], blurred[:9])  # all but the last frames of the past
        ratios.append(detail(blurred[None])[0, 9:].mean() / detail(sharp[None])[0, 9:].mean())
    assert np.mean(ratios) < 0.95
    assert min(ratios) < 0.8


def test_pieces_of_other_photos_move_in_front() -> None:
    assert {photos_needed(MotionOptions(layers=2), np.random.default_rng(seed)) for seed in range(30)} == {1, 2, 3}
    assert photos_needed(PLAIN, np.random.default_rng(0)) == 1
    dark, bright = np.zeros((160, 160, 3), np.uint8), np.full((160, 160, 3), 255, np.uint8)
    covered = []
    for seed in range(12):
        made = moving_clip([dark, bright], 9, (64, 64), PLAIN, np.random.default_rng(seed)) / 255.0
        covered += list(made[..., 0].mean(axis=(1, 2)))
        assert np.ptp(made.mean(axis=(1, 2, 3))) < 0.5
    assert 0.02 < np.mean(covered) < 0.5  # some of the picture, never most of it


def test_cuts_and_brightness() -> None:
    dark, bright = np.full((160, 160, 3), 40, np.uint8), np.full((160, 160, 3), 200, np.uint8)
    cut = moving_clip([dark, bright], 9, (64, 64), replace(PLAIN, cuts=1), np.random.default_rng(0)).astype(float)
    assert change(cut[None]).max() > 3 * np.median(change(cut[None])) + 20
    one = moving_clip([bright], 9, (64, 64), replace(PLAIN, brightness=1), np.random.default_rng(0)).astype(float)
    assert np.ptp(one.mean(axis=(1, 2, 3))) > 5
    assert np.ptp(one, axis=(1, 2, 3)).max() == 0  # all pixels of a frame alike


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"share": 1.5}, r"data\.motion\.share=1\.5: expected a share"),
        ({"cuts": -1}, r"data\.motion\.cuts=-1: expected a share"),
        ({"speed": -1}, r"data\.motion\.speed=-1: expected pixels per frame"),
        ({"layers": 9}, r"data\.motion\.layers=9: expected a whole number"),
    ],
)
def test_options_that_make_no_sense(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MotionOptions(**changes)  # type: ignore[arg-type]


# As training data ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("photos"), videos=0, images=5)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("mixed"))


def source(folder: Path, share: float, workers: int = 0, **changes: object) -> TrainingData:
    options = DataOptions([str(folder)], workers=workers, cache=8, motion=MotionOptions(share=share))
    settings = {"frames": 5, "crop": 16, "clips": 2, "images": 2, "spatial_factor": 8, "seed": 0} | changes
    return TrainingData(options, **settings)  # type: ignore[arg-type]


def take(chosen: TrainingData, count: int, start: int = 0) -> list[tuple[list[str], int, torch.Tensor]]:
    stream = chosen.batches(start)
    found = [(batch.keys, batch.past, batch.pixels) for batch, _ in zip(stream, range(count), strict=False)]
    stream.close()  # type: ignore[attr-defined]
    return found


def equal(ours: list[tuple[list[str], int, torch.Tensor]], theirs: list[tuple[list[str], int, torch.Tensor]]) -> bool:
    pairs = list(zip(ours, theirs, strict=True))
    return all(a[:2] == b[:2] and torch.equal(a[2], b[2]) for a, b in pairs)


STREAMS = {"past": 9, "temporal_factor": 4}


def test_batches_do_not_depend_on_workers_or_on_where_they_started(mixed: Path) -> None:
    straight = take(source(mixed, 0.5, **STREAMS), 12)
    assert equal(take(source(mixed, 0.5, workers=2, **STREAMS), 12), straight)
    assert equal(take(source(mixed, 0.5, **STREAMS), 5, start=7), straight[7:])
    assert not equal(take(source(mixed, 0.5, seed=1, **STREAMS), 12), straight)


def test_so_many_clips_are_made_of_photos(mixed: Path) -> None:
    for share, low, high in ((0, 0, 0), (0.5, 0.3, 0.7), (1, 1, 1)):
        keys = [key for batch in take(source(mixed, share), 40) if batch[2].shape[2] > 1 for key in batch[0]]
        made_up = sum(key.endswith(".png") for key in keys) / len(keys)
        assert low <= made_up <= high


def test_the_past_is_of_whole_groups_and_often_none(mixed: Path) -> None:
    found = take(source(mixed, 0.5, past=33, temporal_factor=4, frames=9), 80)
    pasts = [past for _, past, pixels in found if pixels.shape[2] > 1]
    assert {pixels.shape[2] for _, past, pixels in found if past == 0} == {1, 9}
    for _, past, pixels in found:
        if past:
            assert past % 4 == 1
            assert pixels.shape[2] == past + 8  # the first frame is the past's
    assert 0.15 < pasts.count(0) / len(pasts) < 0.45
    assert min(past for past in pasts if past) == 1
    assert max(pasts) > 25


def test_short_clips_go_back_and_forth_where_their_stream_is_longer(mixed: Path) -> None:
    """Frames that stand still would teach nothing of streams."""
    for _, past, pixels in take(source(mixed, 0, past=33, temporal_factor=4, frames=9, clips=1), 12):
        if past:
            moved = (pixels[0, :, 1:].int() - pixels[0, :, :-1].int()).abs().amax(dim=(0, 2, 3))
            assert moved.min() > 0


def test_photos_that_do_not_move_are_no_clips(photos: Path) -> None:
    with pytest.raises(InputError, match=r"found 5 images alone; set data\.motion\.share=1"):
        source(photos, 0)
    for keys, _, pixels in take(source(photos, 0.1), 3):
        assert pixels.shape == (2, 3, 5, 16, 16)
        assert all(key.endswith(".png") for key in keys)
        assert (pixels[:, :, 1:] != pixels[:, :, :-1]).any()


def test_frames_of_clips_move_where_there_are_no_photos(tmp_path: Path) -> None:
    found = take(source(make_data(tmp_path / "videos", videos=3, images=0), 1), 3)
    assert all(pixels.shape[2] == 5 and key.endswith(".mp4") for keys, _, pixels in found for key in keys)


def test_a_video_model_is_trained_on_a_folder_of_photos(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ["stages=[{steps: 3, frames: 5, crop: 16, clips: 2, images: 2, past: 9}]", "data.workers=0"]
    own += [f"model_changes={json.dumps(SMALL)}", "init_batches=2", "log_every=1"]
    command = ["cosmotok", "train", "--recipe", "cv4x8x8-tiny", str(photos), *own, "-o", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", [*command, "--device", "cpu"])
    try:
        main()
    except SystemExit as end:
        assert not end.code
    assert [record["step"] for record in lines(tmp_path / "run")] == [1, 2, 3]
    assert Tokenizer.from_pretrained(tmp_path / "run").config.temporal_factor == 4
