"""Pictures of what the bundled models make of photos that come with scikit-image, still and moving.

    python benchmarks/pictures.py BEFORE     # docs/models/before.webp: models of today beside earlier weights

BEFORE is a folder with one folder for each model, such as `cosmotok/weights` of an earlier commit.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import skimage.data
import torch
from pages import DOCS
from PIL import Image, ImageDraw, ImageFont

from cosmotok import Tokenizer
from cosmotok.config import bundled_models
from cosmotok.frames import to_pixels
from cosmotok.metrics.quality import RunningError
from cosmotok.metrics.sharpness import RunningSharpness

# (photo of scikit-image, top, left): something fine in each
CROPS = (("astronaut", 10, 130), ("chelsea", 60, 110), ("coffee", 60, 200), ("rocket", 190, 220))
# (photo, pixels that it moves to the left from frame to frame)
PANS = (("chelsea", 2), ("coffee", 8))
SIDE = 192
FRAMES, SHOWN = 17, 13
"""Of a clip, and which is shown: inside a group of frames, whatever its length."""
# (photo, pixels from frame to frame, frame shown): fast at the beginning, and slow but late in the stream
STREAMS = (("coffee", 8, SHOWN), ("coffee", 2, 101))
CAPTION, GAP, HEAD = 36, 4, 18


@torch.no_grad()
def draw_photos(names: Sequence[str], path: Path) -> None:
    """Crops of photos beside what each model makes of the whole photo."""
    tokenizers = [Tokenizer.from_pretrained(name) for name in names]
    rows = []
    for name, top, left in CROPS:
        photo = getattr(skimage.data, name)()
        frames = [photo, *(reconstructed(tokenizer, photo[None])[0] for tokenizer in tokenizers)]
        rows.append([frame[top : top + SIDE, left : left + SIDE] for frame in frames])
    draw(["original", *names], rows, path)


@torch.no_grad()
def draw_clips(names: Sequence[str], path: Path) -> None:
    """A frame of clips in which a camera pans over a photo, beside what each model makes of it."""
    columns = [(name, Tokenizer.from_pretrained(name)) for name in names]
    draw(["original", *names], [pan(columns, name, speed, SHOWN) for name, speed in PANS], path)


@torch.no_grad()
def draw_before_and_now(names: Sequence[str], before: Path, path: Path) -> None:
    """A frame in fast motion, and one late in a stream, by the weights of the same models in the folder `before` and by
    those of today."""
    columns = []
    for name in names:
        columns.append((f"{name}, before", Tokenizer.from_pretrained(before / name)))
        columns.append((f"{name}, now", Tokenizer.from_pretrained(name)))
    draw(["original", *(title for title, _ in columns)], [pan(columns, *clip) for clip in STREAMS], path)


def pan(columns: Sequence[tuple[str, Tokenizer]], name: str, speed: int, shown: int) -> list[np.ndarray]:
    """The middle of frame `shown` of a pan over a photo: the original, then what each tokenizer makes of the clip."""
    photo = getattr(skimage.data, name)()
    frames = shown + FRAMES - SHOWN
    top, width = (photo.shape[0] - SIDE) // 2, photo.shape[1] - speed * frames
    clip = np.stack([photo[top : top + SIDE, t * speed : t * speed + width] for t in range(frames)])
    left = (width - SIDE) // 2
    pictures = [clip[shown], *(reconstructed(tokenizer, clip)[shown] for _, tokenizer in columns)]
    return [picture[:, left : left + SIDE] for picture in pictures]


def reconstructed(tokenizer: Tokenizer, frames: np.ndarray) -> np.ndarray:
    """(T, H, W, 3), uint8, there and back."""
    return to_pixels(tokenizer.reconstruct(torch.from_numpy(np.ascontiguousarray(frames.transpose(3, 0, 1, 2)))[None]))


def draw(columns: Sequence[str], rows: Sequence[Sequence[np.ndarray]], path: Path) -> None:
    """Squares of `SIDE` under the names of their columns, each with its figures against the row's first."""
    font = ImageFont.load_default(13)
    size = len(columns) * (SIDE + GAP) - GAP, HEAD + len(rows) * (SIDE + CAPTION) - GAP
    sheet = Image.new("RGB", size, (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    for column, name in enumerate(columns):
        pen.text((column * (SIDE + GAP) + 2, 1), name, fill=(0, 0, 0), font=font)
    for row, squares in enumerate(rows):
        for column, square in enumerate(squares):
            x, y = column * (SIDE + GAP), HEAD + row * (SIDE + CAPTION)
            sheet.paste(Image.fromarray(square), (x, y))
            if column:
                pen.text((x + 2, y + SIDE + 2), figures(square, squares[0]), fill=(0, 0, 0), font=font)
    path.parent.mkdir(exist_ok=True)
    sheet.save(path, quality=88, method=6)


def figures(square: np.ndarray, original: np.ndarray) -> str:
    error, detail = RunningError(), RunningSharpness()
    for measured in (error, detail):
        measured.update(original, square)
    return f"{error.psnr:.2f} dB, sharpness {detail.sharpness:.2f}"


def main() -> None:
    names = [entry.name for entry in bundled_models() if entry.config.kind == "video"]
    draw_before_and_now(names, Path(sys.argv[1]), DOCS / "models" / "before.webp")


if __name__ == "__main__":
    main()
