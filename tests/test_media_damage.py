"""Bad input: one clear line each, and never an exception class of PyAV or Pillow."""

from __future__ import annotations

import os
import random
import re
import socket
import zlib
from pathlib import Path

import av
import media_samples as samples
import numpy as np
import pytest
from PIL import Image

from cosmotok.errors import InputError, MediaError
from cosmotok.media import open_media, write_image


def failure(path: Path, **options: object) -> str:
    """The message of the `MediaError` that reading all of `path` gives: one line that names the file."""
    with pytest.raises(MediaError) as caught, open_media(path, **options) as reader:  # type: ignore[arg-type]
        for _ in reader:
            pass
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


@pytest.mark.parametrize("name", ["no.mp4", "no.png", "no", "folder/no.mp4"])
def test_missing(tmp_path: Path, name: str) -> None:
    assert "no such file" in failure(tmp_path / name)


@pytest.mark.parametrize("name", ["a.mp4", "a.png", "a.gif", "a"])
def test_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert "empty" in failure(tmp_path / name)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.webm", "a.png", "a.jpg", "a.gif", "a.txt", "a.ts"])
def test_text_by_another_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("This is not a video.\n" * 50)
    assert "not a" in failure(tmp_path / name)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.png", "a.webp"])
def test_noise(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(random.Random(1).randbytes(5000))
    failure(tmp_path / name)


def test_sound_only(tmp_path: Path) -> None:
    assert "only sound" in failure(samples.audio_only(tmp_path / "a.m4a"))
    assert "only sound" in failure(samples.audio_only(tmp_path / "a.mp3", "libmp3lame"))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_no_video_frames(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as output:
        output.add_stream("mpeg4", rate=10, width=64, height=48, pix_fmt="yuv420p")
        output.start_encoding()
    assert re.search("no picture|no frame|not a video", failure(path))


@pytest.mark.parametrize("name", ["a.mp4", "a.m3u8"])
def test_a_playlist_fetches_nothing(tmp_path: Path, name: str) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        (tmp_path / name).write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n")
        failure(tmp_path / name)
        with pytest.raises(BlockingIOError):  # nobody called
            server.accept()


def test_a_codec_nobody_knows(tmp_path: Path) -> None:
    path = samples.encode(tmp_path / "a.mkv", samples.numbered(2), "mpeg4")
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/ASP", b"V_XXXXX/XXX/XXX"))
    assert "no decoder" in failure(path)


def test_folder_without_images(tmp_path: Path) -> None:
    assert "no images" in failure(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    assert "no images" in failure(tmp_path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no device files on this system")
def test_device_file() -> None:
    assert "not an ordinary file" in failure(Path("/dev/zero"))


def test_a_name_with_a_null_byte() -> None:
    with pytest.raises(InputError, match="no file can have the name"):
        open_media("a\0b.mp4")


def test_mp4_without_its_index(tmp_path: Path) -> None:
    path = samples.encode(tmp_path / "a.mp4", samples.numbered(10))
    path.write_bytes(path.read_bytes()[:-900])
    assert "cut short" in failure(path)


def noisy(count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(5)
    return [generator.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize("part", [0.4, 0.7, 0.95])
@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"), ("a.avi", "mpeg4"), ("b.mp4", "mpeg4")],
)
def test_cut_short(tmp_path: Path, name: str, codec: str, part: float) -> None:
    head_first = {"movflags": "+faststart"} if name.endswith("mp4") else {}
    path = samples.encode(tmp_path / name, noisy(20), codec, container_options=head_first, options={"g": "6"})
    data = path.read_bytes()
    whole = [f.pixels for f in open_media(path)]
    path.write_bytes(data[: int(len(data) * part)])
    delivered = []
    with pytest.raises(MediaError, match="cut short") as caught:
        for frame in open_media(path):
            delivered.append(frame.pixels)
    count = len(delivered)
    assert 1 <= count < 20
    assert f"frames :{count}" in str(caught.value)
    good = [f.pixels for f in open_media(path, frames=slice(0, count))]
    assert len(good) == count
    for ours, theirs in zip(good, whole, strict=False):
        assert np.array_equal(ours, theirs)


def test_damage_in_the_middle(tmp_path: Path) -> None:
    path = samples.encode(tmp_path / "a.mp4", noisy(30), options={"g": "10", "bf": "0"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1500] = random.Random(3).randbytes(1500)
    path.write_bytes(data)
    count = 0
    with pytest.raises(MediaError, match="damaged") as caught:
        for _ in open_media(path):
            count += 1
    assert 5 < count < 25
    assert f"frames :{count}" in str(caught.value)
    assert len(list(open_media(path, frames=slice(0, count)))) == count


def test_a_container_that_lies_about_its_length(tmp_path: Path) -> None:
    path = samples.encode(tmp_path / "a.avi", samples.numbered(4), "mpeg4", options={"b": "2000000"})
    data = bytearray(path.read_bytes())
    header = data.index(b"avih") + 8
    data[header + 16 : header + 20] = (4000).to_bytes(4, "little")
    length = data.index(b"strh") + 8 + 32
    data[length : length + 4] = (4000).to_bytes(4, "little")
    path.write_bytes(data)
    with open_media(path) as reader:
        assert reader.info.frame_count == 4000
        assert [samples.frame_number(f.pixels) for f in reader] == [0, 1, 2, 3]
    with pytest.raises(MediaError, match="4 frames"):
        list(open_media(path, frames=slice(100, 200)))


def test_too_many_pixels(tmp_path: Path) -> None:
    video = samples.encode(tmp_path / "a.mp4", samples.numbered(1))
    image = tmp_path / "a.png"
    Image.new("RGB", (64, 48)).save(image)
    for path in (video, image):
        message = failure(path, max_pixels=64 * 48 - 1)
        assert "64x48" in message
        assert "--max-pixels 3072" in message
        assert len(list(open_media(path, max_pixels=64 * 48))) == 1
    assert "--max-pixels" in failure(image, size=(100_000, 100_000))
    for none in (0, -1, 1.5, None):
        with pytest.raises(InputError, match="max_pixels"):
            open_media(image, max_pixels=none)  # type: ignore[arg-type]


def test_a_picture_that_claims_to_be_enormous(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (1, 1)).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = (40_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    assert "40000x40000" in failure(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".gif", ".tif", ".bmp"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_pictures_cut_short(tmp_path: Path, suffix: str, part: float) -> None:
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    failure(path)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animations_cut_short(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    frames = [Image.fromarray(frame) for frame in noisy(6)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    failure(path)


def test_a_damaged_picture_in_a_folder_is_named(tmp_path: Path) -> None:
    for index in range(3):
        write_image(tmp_path / f"{index}.png", samples.solid((index, 0, 0)))
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    with pytest.raises(MediaError, match=r"1\.png"):
        list(open_media(tmp_path))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = samples.encode(tmp_path / "a.mp4", samples.numbered(1))
    path.chmod(0)
    assert "permission" in failure(path)


def test_nothing_on_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = samples.encode(tmp_path / "a.mkv", noisy(10), "mpeg4")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    capfd.readouterr()
    failure(path)
    (tmp_path / "b.mp4").write_bytes(b"junk" * 100)
    failure(tmp_path / "b.mp4")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("seed", range(25))
def test_flipped_bytes_never_leak_a_foreign_exception(tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    name = source.choice(["a.mp4", "a.mkv", "a.gif", "a.png", "a.webp", "a.jpg", "a.tif"])
    path = tmp_path / name
    if name in ("a.mp4", "a.mkv"):
        samples.encode(path, noisy(4))
    else:
        frames = [Image.fromarray(frame) for frame in noisy(3)]
        many = {} if name in ("a.jpg", "a.tif") else {"save_all": True, "append_images": frames[1:]}
        frames[0].save(path, **many)
    data = bytearray(path.read_bytes())
    for _ in range(12):
        data[source.randrange(len(data) if seed % 2 else 400)] = source.randrange(256)
    path.write_bytes(data)
    try:
        for frame in open_media(path, max_pixels=100_000):
            assert frame.pixels.ndim == 3
    except MediaError as error:
        assert name in str(error)
