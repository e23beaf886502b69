"""What it costs to store latents in 16 or 8 bits: decibels of what comes back, and bytes of a data set's Parquet files.

    python benchmarks/latents.py ../shared/data/val/videos            # prints a table
    python benchmarks/latents.py ../shared/data/val/videos --pages    # and writes it into docs/datasets.md

Clips of 17 frames that fill 256 x 256, at most some of each video. PSNR over all 8-bit values of a clip, mean over
clips; what is lost is against the float32 latents of the same clip. Bytes are those of the file that a worker would
write, compressed as it does.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from pages import DOCS, replace_between
from torch import Tensor

from cosmotok import Tokenizer
from cosmotok.dataset.rows import RowFile, Timing, row_of
from cosmotok.dataset.schema import LATENT_DTYPES, row_schema, unpack
from cosmotok.dataset.segments import cut
from cosmotok.dataset.shaping import Segment, ShapedFrame, Shaping
from cosmotok.dataset.sources import Opened
from cosmotok.frames import to_pixels, to_video
from cosmotok.media import find_media
from cosmotok.metrics.quality import RunningQuality
from cosmotok.printing import print_table

MODELS = ("cv4x8x8-tiny", "cv8x8x8-tiny")
SHAPING = Shaping(size=(256, 256), segment=17, min_frames=17)
HEADER = ("model", "stored as", "PSNR, dB", "lost, dB", "lost at most, dB", "bytes per position", "of float16")


def clips(folder: Path, most: int) -> Iterator[tuple[Segment, list[ShapedFrame]]]:
    """Segments of all videos of a folder, at most so many of each."""
    for path in find_media(folder):
        with cut(Opened(path), SHAPING) as segments:
            for segment in segments:
                if segment.number == most:
                    break
                yield segment, list(segment.frames)


def psnr(tokenizer: Tokenizer, latents: Tensor, frames: list[ShapedFrame]) -> float:
    quality = RunningQuality()
    decoded = to_pixels(tokenizer.decode(latents[None], size=(len(frames), 256, 256)))
    for frame, pixels in zip(frames, decoded, strict=True):
        quality.update(frame.pixels, pixels)
    return quality.psnr


def measure(name: str, folder: Path, most: int) -> list[tuple[str, ...]]:
    """A row for each dtype."""
    tokenizer = Tokenizer.from_pretrained(name)
    spec, found, exact, positions = tokenizer.spec, defaultdict(list), [], 0
    with tempfile.TemporaryDirectory() as place:
        files = {dtype: (Path(place) / dtype).open("w+b", buffering=0) for dtype in LATENT_DTYPES}
        writers = {dtype: RowFile(file, row_schema(spec, dtype, {})) for dtype, file in files.items()}
        for segment, frames in clips(folder, most):
            latents = tokenizer.encode(to_video(frames))
            positions += int(np.prod(latents.shape[2:]))
            exact.append(psnr(tokenizer, latents[0], frames))
            timing = Timing([frame.time for frame in frames], [frame.number for frame in frames])
            for dtype, writer in writers.items():
                row = row_of("clip", "1", {}, segment, timing, latents, spec, dtype, {})
                writer.write(row)
                found[dtype].append(psnr(tokenizer, unpack(row, spec, dtype), frames))
        sizes = {}
        for dtype, writer in writers.items():
            writer.close()
            sizes[dtype] = files[dtype].tell()
            files[dtype].close()
    lost = {dtype: np.array(exact) - np.array(values) for dtype, values in found.items()}
    return [
        (
            f"`{name}`",
            f"`{dtype}`",
            f"{np.mean(found[dtype]):.2f}",
            f"{lost[dtype].mean():.3f}",
            f"{lost[dtype].max():.3f}",
            f"{sizes[dtype] / positions:.1f}",
            f"{sizes[dtype] / sizes['float16']:.0%}",
        )
        for dtype in LATENT_DTYPES
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of videos that no model was trained on")
    parser.add_argument("--most", type=int, default=3, help="clips of each video")
    parser.add_argument("--pages", action="store_true", help="write the table into the pages")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for name in MODELS for row in measure(name, given.data, given.most)]
    print_table(HEADER, rows)
    if given.pages:
        below = "|---|---|" + "---:|" * (len(HEADER) - 2)
        first, *others = ("| " + " | ".join(line) + " |" for line in (HEADER, *rows))
        table = "\n".join((first, below, *others))
        for page in ("datasets.md", "datasets.pt.md"):
            replace_between(DOCS / page, "latents", table)


if __name__ == "__main__":
    main()
