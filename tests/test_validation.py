"""Validation against whole clips measured by hand, and the pictures that it writes."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_up_run import sample, wave
from PIL import Image
from small import small
from written import names, write

from cosmotok.errors import InputError
from cosmotok.frames import DIFFERENCE_GAIN, to_pixels
from cosmotok.media import open_media
from cosmotok.metrics.codes import CodeUsage
from cosmotok.metrics.quality import RunningQuality
from cosmotok.training import validation
from cosmotok.training.pictures import Sample, write_clip, write_grid
from cosmotok.training.validation import Validator, labels, reconstructed, spread


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two clips, one longer than the other, and two images, of odd sizes."""
    folder = tmp_path_factory.mktemp("set")
    write(folder / "long.mp4", [wave(24, 34, t / 2) for t in range(14)])
    write(folder / "short.mp4", [wave(18, 20, t / 3) for t in range(3)])
    Image.fromarray(wave(19, 23, 0)).save(folder / "a.png")
    Image.fromarray(wave(32, 16, 1)).save(folder / "b.png")
    return folder


def files(folder):
    return sorted(folder.iterdir())


def by_hand(tokenizer, path, frames, first_frame):
    """Quality of a whole clip at once, and its tokens."""
    with open_media(path) as media:
        pixels = np.stack([frame.pixels for frame in media])[:frames]
    video = torch.from_numpy(pixels).permute(3, 0, 1, 2).unsqueeze(0)
    quality = RunningQuality()
    pairs = list(zip(pixels, to_pixels(tokenizer.reconstruct(video)), strict=True))
    for source, result in pairs if first_frame or len(pixels) == 1 else pairs[1:]:
        quality.update(source, result)
    return quality, tokenizer.encode(video)


@pytest.mark.parametrize("first_frame", [True, False])
def test_quality_by_place_in_a_stream(tmp_path, first_frame):
    tokenizer, films = small("cv4x8x8"), {}
    for name, count in (("long.mp4", 36), ("short.mp4", 20)):
        write(tmp_path / name, [wave(16, 24, t * t / 90) for t in range(count)])
        with open_media(tmp_path / name) as media:
            films[name] = np.stack([frame.pixels for frame in media])
    outcome = Validator(files(tmp_path), frames=35, first_frame=first_frame).run(tokenizer)
    parts = {"1": slice(0, 1), "2-17": slice(1, 17), "18-33": slice(17, 33), "34-81": slice(33, 35)}
    reached = {"long.mp4": list(parts), "short.mp4": ["1", "2-17", "18-33"]}
    expected: dict[str, list[float]] = {}
    for file in outcome.files:
        original = films[file.name][:35]
        result = to_pixels(tokenizer.reconstruct(torch.from_numpy(original).permute(3, 0, 1, 2).unsqueeze(0)))
        errors = np.square(original - result.astype(float))
        own = {name: 10 * math.log10(255**2 / errors[parts[name]].mean()) for name in reached[file.name]}
        if not first_frame:
            del own["1"]
        assert file.places == pytest.approx(own)
        for name, value in own.items():
            expected.setdefault(name, []).append(value)
    assert outcome.psnr_by_place() == pytest.approx({name: np.mean(values) for name, values in expected.items()})
    assert outcome.to_log()["psnr_by_place"] == outcome.psnr_by_place()


@pytest.mark.parametrize("kind", ["cv4x8x8", "dv4x8x8", "di8x8"])
@pytest.mark.parametrize("first_frame", [True, False])
def test_figures_are_those_of_whole_clips(folder, kind, first_frame):
    tokenizer = small(kind)
    outcome = Validator(files(folder), frames=10, first_frame=first_frame).run(tokenizer)
    assert [file.name for file in outcome.files] == ["long.mp4", "short.mp4", "a.png", "b.png"]
    codes = CodeUsage(64_000)
    for file in outcome.files:
        quality, tokens = by_hand(tokenizer, folder / file.name, 10, first_frame)
        assert (file.psnr, file.ssim, file.frames) == (quality.psnr, quality.ssim, quality.frames)
        if tokenizer.config.is_discrete:
            codes.update(tokens)
    assert outcome.mean("psnr") == pytest.approx(np.mean([file.psnr for file in outcome.files]))
    assert outcome.mean("psnr", "video") == pytest.approx(np.mean([file.psnr for file in outcome.files[:2]]))
    assert ("first frame left out" in outcome.protocol) is not first_frame
    if tokenizer.config.is_discrete:
        assert (outcome.code_usage, outcome.perplexity) == (codes.usage, codes.perplexity)
    else:
        assert outcome.code_usage is outcome.perplexity is None


def test_the_same_again_and_with_nothing_kept_in_memory(folder, monkeypatch):
    tokenizer = small("dv4x8x8")
    kept = Validator(files(folder), frames=9)
    monkeypatch.setattr(validation, "CACHE_BYTES", 0)
    read_again = Validator(files(folder), frames=9)
    assert [source.pixels is None for source in read_again.sources] == [True] * 4
    outcomes = [kept.run(tokenizer), kept.run(tokenizer), read_again.run(tokenizer)]
    first = outcomes[0].to_log() | {"validation_seconds": 0}
    assert all(outcome.to_log() | {"validation_seconds": 0} == first for outcome in outcomes)


@given(st.integers(1, 14))
def test_a_stream_gives_every_frame_with_its_own_reconstruction(frames):
    pixels = np.stack([wave(17, 16, t) for t in range(frames)])
    tokenizer = small("cv8x8x8")
    pairs = list(reconstructed(tokenizer, iter(pixels)))
    whole = to_pixels(tokenizer.reconstruct(torch.from_numpy(pixels).permute(3, 0, 1, 2).unsqueeze(0)))
    assert np.array_equal(np.stack([original for original, _ in pairs]), pixels)
    assert np.array_equal(np.stack([result for _, result in pairs]), whole)


def test_memory_is_bounded():
    """No more frames are asked for than a step takes, before the first ones come back."""
    asked = 0

    def endless():
        nonlocal asked
        while True:
            asked += 1
            yield wave(16, 16, asked)

    tokenizer = small("cv4x8x8")
    pairs = reconstructed(tokenizer, endless())
    step = tokenizer.config.chunk * tokenizer.config.temporal_factor
    for received in range(1, 40):
        next(pairs)
        assert asked <= received + 2 * step


def test_the_log_line_is_plain_and_holds_no_made_up_number(folder):
    line = Validator(files(folder), frames=5).run(small("cv4x8x8")).to_log()
    assert json.loads(json.dumps(line, allow_nan=False)) == line
    assert {"psnr", "ssim", "videos_psnr", "images_psnr", "videos_ssim", "images_ssim"} < set(line)
    assert not {"lpips", "code_usage", "perplexity", "videos_lpips"} & set(line)
    images = Validator([folder / "a.png"]).run(small("cv4x8x8")).to_log()
    assert images["psnr_by_place"] == {} == images["files"][0]["places"]
    assert "videos_psnr" not in images and images["images_psnr"] == images["psnr"]


def test_what_cannot_be_read_is_listed(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "c.png").write_bytes(b"not a picture")
    validator = Validator([*files(tmp_path), tmp_path / "missing.jpg"], frames=5)
    outcome = validator.run(small("cv4x8x8"))
    assert len(outcome.files) == 4
    assert sorted(line.split(":")[0] for line in outcome.skipped) == sorted(
        str(tmp_path / name) for name in ("empty.mp4", "c.png", "missing.jpg")
    )
    assert outcome.to_log()["skipped_files"] == list(outcome.skipped)


def test_a_file_that_vanishes_is_left_out_with_its_codes(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "CACHE_BYTES", 0)
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    validator = Validator(files(tmp_path), frames=5)
    (tmp_path / "long.mp4").unlink()
    outcome = validator.run(small("dv4x8x8"))
    rest = Validator(files(tmp_path), frames=5).run(small("dv4x8x8"))
    assert [file.name for file in outcome.files] == ["short.mp4", "a.png", "b.png"]
    assert "long.mp4" in outcome.skipped[0]
    assert (outcome.mean("psnr"), outcome.perplexity) == (rest.mean("psnr"), rest.perplexity)
    for path in files(tmp_path):
        path.unlink()
    with pytest.raises(InputError, match="no file of the set can be read any more"):
        validator.run(small("dv4x8x8"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frames": 0}, "frames=0: expected a whole number of at least 1"),
        ({"frames": 1, "first_frame": False}, "at least 2"),
        ({"max_videos": -1}, "max_videos=-1"),
        ({"max_images": 1.5}, "max_images=1.5"),
        ({"max_videos": 0, "max_images": 0}, "got none"),
    ],
)
def test_bad_numbers_are_refused(folder, options, words):
    with pytest.raises(InputError, match=words):
        Validator(files(folder), **options)


def test_nothing_to_measure_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected images or videos, got none"):
        Validator([])
    with pytest.raises(InputError, match=r"none of 2 files can be read; the first: .*one\.mp4: no such file"):
        Validator([tmp_path / "one.mp4", tmp_path / "two.png"])


def test_limits_choose_evenly(folder):
    chosen = Validator(files(folder), frames=3, max_videos=1, max_images=1)
    assert [source.label for source in chosen.sources] == ["long.mp4", "a.png"]


@given(st.integers(0, 50), st.integers(0, 60))
def test_spread_is_in_order_even_and_of_the_right_length(count, most):
    chosen = spread(range(count), most)
    assert len(chosen) == min(count, most)
    assert chosen == sorted(set(chosen))
    if 0 < most <= count:
        assert chosen[0] == 0 and max(np.diff([*chosen, count])) <= math.ceil(count / most)


def test_labels_tell_files_of_one_name_apart(tmp_path):
    paths = [tmp_path / "x" / "1.png", tmp_path / "y" / "1.png", tmp_path / "y" / "2.png"]
    assert labels(paths) == ["x/1.png", "y/1.png", "2.png"]


def test_lpips_is_the_mean_over_frames(folder, tmp_path):
    from cosmotok.perceptual.vgg import LPIPS

    pytest.importorskip("lpips")
    weights = tmp_path / "vgg16.pth"
    random = LPIPS("random")
    layers = [(name, p) for name, p in random.vgg.named_parameters() if name.startswith("blocks.")]
    torch.save({f"features.{name.split('.')[2]}.{name.split('.')[3]}": p.detach() for name, p in layers}, weights)
    outcome = Validator([folder / "short.mp4"], lpips=weights).run(small("cv4x8x8"))
    with open_media(folder / "short.mp4") as media:
        source = torch.from_numpy(np.stack([frame.pixels for frame in media]))
    result = torch.from_numpy(to_pixels(small("cv4x8x8").reconstruct(source.permute(3, 0, 1, 2).unsqueeze(0))))
    expected = random(*(x.permute(0, 3, 1, 2).float() / 127.5 - 1 for x in (result, source)))
    assert outcome.files[0].lpips == pytest.approx(expected.item(), rel=1e-4)
    assert outcome.to_log()["lpips"] == outcome.files[0].lpips
    assert "LPIPS" in outcome.protocol


# Pictures -------------------------------------------------------------------------------------------------------


def test_a_validation_writes_its_pictures(folder, tmp_path):
    outcome = Validator(files(folder), frames=5).run(small("cv4x8x8"))
    grid = outcome.write_pictures(tmp_path / "samples", 1234)
    assert names(tmp_path / "samples") == ["step-00001234-1.mp4", "step-00001234-2.mp4", "step-00001234.png"]
    assert grid == tmp_path / "samples" / "step-00001234.png"
    assert [sample.label for sample in outcome.samples] == ["long.mp4, frame 3", "short.mp4, frame 2", "a.png", "b.png"]
    with open_media(tmp_path / "samples" / "step-00001234-1.mp4") as clip:
        frames = [frame.pixels for frame in clip]
    assert len(frames) == 5 and frames[0].shape == (24, 2 * 34 + 4, 3)


def test_a_grid_holds_original_reconstruction_and_difference(tmp_path):
    row = sample("name.png", 40, 50)
    write_grid(tmp_path / "grid.png", [row])
    page = np.asarray(Image.open(tmp_path / "grid.png"))
    difference = (row.reconstruction.astype(int) - row.original) * DIFFERENCE_GAIN + 128
    large = [np.kron(x, np.ones((7, 7, 1))) for x in (row.original, row.reconstruction, difference.clip(0, 255))]
    lefts = [place(page, picture.astype(np.uint8)) for picture in large]
    assert lefts == sorted(set(lefts))


def place(page, picture):
    """The left edge of `picture`, which must be somewhere on `page`."""
    height, width = picture.shape[:2]
    for top, left in zip(*np.nonzero((page == picture[0, 0]).all(-1)), strict=True):
        if np.array_equal(page[top : top + height, left : left + width], picture):
            return left
    raise AssertionError("not on the page")


def test_grids_of_any_shapes_fit(tmp_path):
    shapes = [(1, 1), (2, 900), (700, 3), (720, 1280), (16, 16)]
    write_grid(tmp_path / "grid.png", [sample("x" * 200 + f"{shape}\n\0", *shape) for shape in shapes])
    with Image.open(tmp_path / "grid.png") as page:
        assert page.width < 1300 and page.height < 1600


def test_pictures_that_do_not_match_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"name: expected two equal pictures, uint8 \(H, W, 3\)"):
        Sample("name", wave(4, 4, 0), wave(4, 5, 0))
    with pytest.raises(InputError, match="at least one sample"):
        write_grid(tmp_path / "grid.png", [])
    frames = [wave(16, 16, t) for t in range(3)]
    for left, right in (([], []), (frames, frames[:2]), (frames, [wave(16, 18, 0)] * 3)):
        with pytest.raises(InputError):
            write_clip(tmp_path / "clip.mp4", left, right)
    assert names(tmp_path) == []
