"""Sound inputs of every sort, made once, of which each case gets copies to damage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import media_samples as samples
import numpy as np
from PIL import Image
from small import fresh, video
from token_sets import write_set

from cosmotok import Tokenizer
from cosmotok.checkpoint.diffusers_files import write_diffusers
from cosmotok.checkpoint.reference_files import write_reference
from cosmotok.media import open_media
from cosmotok.pipeline import encode_file

MEDIA = (
    "clip.mp4",
    "clip.mkv",
    "clip.webm",
    "moving.gif",
    "photo.png",
    "photo.jpg",
    "photo.tif",
    "packed.tif",
    "photo.webp",
    "photo.bmp",
)
MODELS = ("video", "codes", "image", "video-diffusers", "image-reference")
TOKENS = ("video.safetensors", "codes.safetensors", "image.safetensors")


def make_world(folder: Path) -> Path:
    """Media of 5 frames of 40 x 24, models of width 8, tokens by them, and a data set of tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = [frame[:24, :40] for frame in samples.numbered(5)]
    for name in MEDIA[:3]:
        options = {"codec": "libvpx-vp9"} if name.endswith("webm") else {"sound": ("aac", 0.3)}
        samples.encode(folder / name, frames, **options)
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(folder / "moving.gif", save_all=True, append_images=pictures[1:], duration=100)
    for name in MEDIA[4:]:
        options = {"compression": "tiff_lzw"} if name == "packed.tif" else {}
        pictures[0].save(folder / name, **options)
    for kind, name in (("cv4x8x8", "video"), ("dv4x8x8", "codes"), ("ci8x8", "image")):
        tokenizer = fresh(kind)
        tokenizer.save_pretrained(folder / name)
        source = folder / ("photo.png" if name == "image" else "clip.mp4")
        encode_file(tokenizer, str(folder / name), source, folder / f"{name}.safetensors")
    plain = Tokenizer(video(8, 4, (1, 2), z_channels=16, latent_channels=16))
    write_diffusers(plain.to_checkpoint(), folder / "video-diffusers")
    write_reference(fresh("ci8x8").to_checkpoint(), folder / "image-reference")
    (folder / "pictures").mkdir()
    for number, picture in enumerate(pictures[:3]):
        picture.save(folder / "pictures" / f"{number}.png")
    codes = Tokenizer.from_pretrained(folder / "codes")
    facts = {"model": str(folder / "codes"), "fingerprint": codes.fingerprint, "signals": True}
    write_set(folder / "tokens", [2, 1], spec=codes.spec, sizes=((5, 24, 40), (1, 24, 40)), **facts)
    return folder


def frames_of(path: Path) -> list[np.ndarray]:
    with open_media(path) as reader:
        return [frame.pixels for frame in reader]


def copy(world: Path, name: str, folder: Path) -> Path:
    """A copy of one of the inputs, to be damaged."""
    source, target = world / name, folder / name
    (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
    return target


def read_safetensors(path: Path) -> tuple[dict, bytes]:
    """Header and data."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write_safetensors(path: Path, header: str, data: bytes) -> None:
    text = header.encode("utf-8", errors="surrogatepass")
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
