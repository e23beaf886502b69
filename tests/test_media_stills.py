"""Still pictures, animations, folders and patterns; `write_image`, `find_media`."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import media_samples as samples
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from cosmotok.errors import InputError, MediaError
from cosmotok.media import Frame, find_media, is_image_path, is_video_path, open_media, write_image


def only_frame(path: Path, **options: object) -> np.ndarray:
    with open_media(path, **options) as reader:  # type: ignore[arg-type]
        assert reader.info.kind == "image"
        assert reader.info.frame_rate is None
        assert reader.info.frame_count == 1
        frames = list(reader)
        assert [frame.time for frame in frames] == [0]
        pixels = frames[0].pixels
        assert pixels.shape == (reader.info.height, reader.info.width, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    return pixels


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm"])
def test_lossless_round_trip(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (17, 23, 3), dtype=np.uint8)
    write_image(tmp_path / f"a{suffix}", pixels)
    assert np.array_equal(only_frame(tmp_path / f"a{suffix}"), pixels)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG"])
def test_jpeg_round_trip(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path / f"a{suffix}", samples.quadrants())
    assert np.abs(samples.corners(only_frame(tmp_path / f"a{suffix}")) - samples.QUADRANTS).max() <= 3


def test_the_content_decides_and_not_the_suffix(tmp_path: Path) -> None:
    Image.fromarray(samples.quadrants()).save(tmp_path / "a.mp4", format="PNG")
    assert np.array_equal(only_frame(tmp_path / "a.mp4"), samples.quadrants())
    samples.encode(tmp_path / "b.mp4", samples.numbered(3))
    (tmp_path / "b.mp4").rename(tmp_path / "b.dat")
    assert len(list(open_media(tmp_path / "b.dat"))) == 3


def test_sixteen_bits_grey(tmp_path: Path) -> None:
    levels = np.array([[0, 256, 257, 30_000, 40_000, 65_278, 65_535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    Image.fromarray(levels).save(tmp_path / "a.tif")
    Image.fromarray(levels.astype(np.int32)).save(tmp_path / "b.tif")
    expected = np.rint(levels / 257).astype(int)
    for name in ("a.png", "a.tif", "b.tif"):
        pixels = only_frame(tmp_path / name).astype(int)
        assert np.array_equal(pixels, np.repeat(expected[..., None], 3, axis=2))


def test_floats_and_wide_integers(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 0.25, 1]], np.float32)).save(tmp_path / "a.tif")
    assert only_frame(tmp_path / "a.tif")[0, :, 0].tolist() == [0, 64, 255]
    Image.fromarray(np.array([[0, 7.5]], np.float32)).save(tmp_path / "b.tif")
    Image.fromarray(np.array([[0, 70_000]], np.int32)).save(tmp_path / "c.tif")
    for name in ("b.tif", "c.tif"):
        with pytest.raises(MediaError, match=rf"{name}.*outside"):
            only_frame(tmp_path / name)


def test_one_bit_grey_palette_and_cmyk(tmp_path: Path) -> None:
    checks = np.indices((8, 8)).sum(axis=0) % 2 == 0
    Image.fromarray(checks).save(tmp_path / "one.png")
    assert np.array_equal(only_frame(tmp_path / "one.png")[..., 1], np.where(checks, 255, 0))
    Image.fromarray(np.full((4, 4), 77, np.uint8)).save(tmp_path / "grey.jpg", quality=100)
    assert np.array_equal(only_frame(tmp_path / "grey.jpg"), np.full((4, 4, 3), 77))
    Image.fromarray(samples.quadrants()).quantize(16).save(tmp_path / "palette.png")
    assert np.abs(samples.corners(only_frame(tmp_path / "palette.png")) - samples.QUADRANTS).max() <= 4
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=100)
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "cmyk.tif")
    for name in ("cmyk.jpg", "cmyk.tif"):
        assert np.abs(only_frame(tmp_path / name)[4, 4].astype(int) - (255, 0, 0)).max() <= 4


def test_transparent_is_over_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (0, 0, 100, 51)).save(tmp_path / "a.png")
    assert np.abs(only_frame(tmp_path / "a.png")[0, 0].astype(int) - (204, 204, 224)).max() <= 1
    Image.new("LA", (4, 4), (0, 0)).save(tmp_path / "la.png")
    assert only_frame(tmp_path / "la.png")[0, 0].tolist() == [255, 255, 255]
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((0, 0), 0)
    palette.save(tmp_path / "p.png", transparency=0)
    pixels = only_frame(tmp_path / "p.png")
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[1, 1].tolist() == [40, 50, 60]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    # Where the quarters 0 1 / 2 3 of the stored picture end up, by the EXIF specification.
    places = {
        1: [0, 1, 2, 3],
        2: [1, 0, 3, 2],
        3: [3, 2, 1, 0],
        4: [2, 3, 0, 1],
        5: [0, 2, 1, 3],
        6: [2, 0, 3, 1],
        7: [3, 1, 2, 0],
        8: [1, 3, 0, 2],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.jpg", "a.png", "a.webp"):
        Image.fromarray(samples.quadrants(64, 48)).save(tmp_path / name, exif=exif, quality=95)
        pixels = only_frame(tmp_path / name)
        assert pixels.shape == ((64, 48, 3) if orientation >= 5 else (48, 64, 3))
        expected = np.array(samples.QUADRANTS)[places]
        assert np.abs(samples.corners(pixels) - expected).max() <= 8
        assert only_frame(tmp_path / name, size=(30, 20)).shape == (20, 30, 3)


def test_resize_and_slice_of_a_still(tmp_path: Path) -> None:
    stripes = np.zeros((48, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    write_image(tmp_path / "a.png", stripes)
    pixels = only_frame(tmp_path / "a.png", size=(16, 12))
    assert pixels.shape == (12, 16, 3)
    assert np.abs(pixels[:, 2:-2].astype(int) - 128).max() < 20
    assert len(list(open_media(tmp_path / "a.png", frames=slice(0, 5)))) == 1
    with pytest.raises(MediaError, match="1 frame,"):
        open_media(tmp_path / "a.png", frames=slice(1, None))


def animation(path: Path, durations: list[int]) -> Path:
    frames = [Image.fromarray(frame) for frame in samples.numbered(len(durations))]
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0, **lossless)
    return path


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_animations(tmp_path: Path, name: str) -> None:
    path = animation(tmp_path / name, [100, 300, 50, 200])
    with open_media(path) as reader:
        info = reader.info
        assert (info.kind, info.width, info.height, info.frame_count) == ("video", 64, 48, 4)
        assert info.duration == Fraction(650, 1000)
        assert info.frame_rate == Fraction(4000, 650)
        for _ in range(2):
            read = list(reader)
            assert [samples.frame_number(f.pixels) for f in read] == [0, 1, 2, 3]
            assert [f.time for f in read] == [Fraction(n, 1000) for n in (0, 100, 400, 450)]
    tail = list(open_media(path, frames=slice(1, 3), size=(10, 6)))
    assert [f.pixels.shape for f in tail] == [(6, 10, 3)] * 2
    assert [samples.frame_number(f.pixels) for f in tail] == [1, 2]
    assert [f.time for f in tail] == [0, Fraction(3, 10)]
    with pytest.raises(MediaError, match="4 frames"):
        open_media(path, frames=slice(4, None))


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_animations_of_one_frame_are_images(tmp_path: Path, name: str) -> None:
    Image.fromarray(samples.quadrants()).save(tmp_path / name, save_all=True, lossless=True)
    assert np.abs(samples.corners(only_frame(tmp_path / name)) - samples.QUADRANTS).max() <= 8


def test_a_gif_frame_that_covers_a_part_is_drawn_over_the_last_one(tmp_path: Path) -> None:
    first, second = samples.solid((0, 0, 0)), samples.solid((0, 0, 0))
    second[10:20, 10:20] = (255, 0, 0)
    frames = [Image.fromarray(frame) for frame in (first, second)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=0)
    read = list(open_media(tmp_path / "a.gif", frames=slice(1, 2)))
    assert read[0].pixels[0, 0].tolist() == [0, 0, 0]
    assert read[0].pixels[15, 15].tolist() == [255, 0, 0]


def test_the_default_picture_of_a_png_is_no_frame(tmp_path: Path) -> None:
    cover, *frames = [Image.fromarray(frame) for frame in samples.numbered(4)]
    cover.save(tmp_path / "a.png", save_all=True, append_images=frames, default_image=True, duration=100)
    assert [samples.frame_number(f.pixels) for f in open_media(tmp_path / "a.png")] == [1, 2, 3]


def make_folder(folder: Path, names: list[str]) -> None:
    for index, name in enumerate(names):
        write_image(folder / name, samples.numbered(index + 1)[index])


def numbers(frames: list[Frame]) -> list[int]:
    return [samples.frame_number(frame.pixels) for frame in frames]


def test_a_folder_is_a_video(tmp_path: Path) -> None:
    make_folder(tmp_path, ["f1.png", "f2.jpg", "f9.png", "f10.png", "F11.PNG"])
    (tmp_path / "notes.txt").write_text("no frame")
    (tmp_path / ".hidden.png").write_bytes(b"no frame")
    (tmp_path / "f3.png").mkdir()
    with open_media(tmp_path) as reader:
        info = reader.info
        assert (info.kind, info.width, info.height, info.frame_count) == ("video", 64, 48, 5)
        assert info.frame_rate == 24
        assert info.duration == Fraction(5, 24)
        read = list(reader)
    assert numbers(read) == [0, 1, 2, 3, 4]
    assert [f.time for f in read] == [Fraction(n, 24) for n in range(5)]
    assert numbers(list(open_media(tmp_path, frames=slice(3, None)))) == [3, 4]
    with pytest.raises(MediaError, match="5 frames"):
        open_media(tmp_path, frames=slice(5, None))


def test_patterns(tmp_path: Path) -> None:
    make_folder(tmp_path, ["f_0001.png", "f_0002.png", "f_0010.png", "f_10000.png", "g_1.png", "f_1.png"])
    for pattern, expected in (
        ("f_%04d.png", [0, 1, 2, 3]),
        ("f_%d.png", [0, 5, 1, 2, 3]),
        ("f_*.png", [0, 5, 1, 2, 3]),
        ("?_1.png", [5, 4]),
        ("*_0001.png", [0]),
    ):
        read = numbers(list(open_media(tmp_path / pattern)))
        assert sorted(read) == sorted(expected)
        if pattern == "f_%04d.png":
            assert read == expected
    for pattern in ("h_%04d.png", "h*.png", "no/h_%d.png", "no/*.png"):
        with pytest.raises(MediaError, match=r"h|no"):
            open_media(tmp_path / pattern)


def test_brackets_are_no_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "take [2]"
    folder.mkdir()
    make_folder(folder, ["a1.png", "a2.png"])
    assert numbers(list(open_media(folder / "a*.png"))) == [0, 1]


def test_a_folder_needs_one_size(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png", samples.solid((9, 9, 9), 20, 10))
    write_image(tmp_path / "2.png", samples.solid((9, 9, 9), 20, 12))
    with pytest.raises(MediaError, match=r"2\.png.*20x12.*20x10"):
        list(open_media(tmp_path))
    assert len(list(open_media(tmp_path, frames=slice(1)))) == 1


def test_find_media(tmp_path: Path) -> None:
    names = ["b10.mp4", "b9.MP4", "sub/c.png", "sub/notes.txt", ".hidden/d.png", "sub/.e.png", "a.webm", "x.mp4/y"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [str(path.relative_to(tmp_path)) for path in find_media(tmp_path)]
    assert found == ["a.webm", "b9.MP4", "b10.mp4", str(Path("sub/c.png"))]
    with pytest.raises(MediaError, match="no such folder"):
        find_media(tmp_path / "no")
    with pytest.raises(MediaError, match="not a folder"):
        find_media(tmp_path / "a.webm")
    assert is_image_path("A.PNG")
    assert not is_image_path("a.mp4")
    assert is_video_path("a.MKV")
    assert not is_video_path("a.png")


@given(numbers_=st.lists(st.integers(0, 10**6), min_size=2, max_size=20, unique=True))
def test_natural_order_is_numeric_order(numbers_: list[int]) -> None:
    from cosmotok.media.names import natural_key

    names = [Path(f"clip/frame{n}b{n % 7}.png") for n in numbers_]
    expected = [Path(f"clip/frame{n}b{n % 7}.png") for n in sorted(numbers_)]
    assert sorted(names, key=natural_key) == expected


def test_write_image_refuses(tmp_path: Path) -> None:
    good = samples.quadrants()
    for name in ("a.mp4", "a", "a.txt"):
        with pytest.raises(InputError, match=r"\.png"):
            write_image(tmp_path / name, good)
    for bad in (good.astype(float), good[..., 0], good[..., :2], good[:0], good.tolist(), None):
        with pytest.raises(InputError, match="pixels"):
            write_image(tmp_path / "a.png", bad)  # type: ignore[arg-type]
    with pytest.raises(MediaError, match="does not exist"):
        write_image(tmp_path / "no" / "a.png", good)
    too_wide = np.zeros((1, 20_000, 3), np.uint8)
    with pytest.raises(MediaError, match=r"a\.webp"):
        write_image(tmp_path / "a.webp", too_wide)
    assert list(tmp_path.iterdir()) == []


def test_write_image_takes_any_memory_layout(tmp_path: Path) -> None:
    turned = samples.quadrants().transpose(1, 0, 2)[::-1]
    write_image(tmp_path / "a.png", turned)
    assert np.array_equal(only_frame(tmp_path / "a.png"), turned)


def test_text_chunks_do_not_disturb(tmp_path: Path) -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("comment", "x" * 1000)
    Image.fromarray(samples.quadrants()).save(tmp_path / "a.png", pnginfo=notes)
    assert np.array_equal(only_frame(tmp_path / "a.png"), samples.quadrants())
