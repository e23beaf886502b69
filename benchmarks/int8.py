"""Decibels that `precision="int8"` costs and how much faster it is, against float32 in the same run.

    python benchmarks/int8.py ../shared/data/val

Quality: the bundled models on the first 17 frames of each clip and on each photo, their central 256 x 256 pixels; PSNR
over all 8-bit values of a file, mean over files; of a discrete model also how many tokens differ. Speed: 17 frames of
256 x 256 in seconds of one thread of the processor, float32 and int8 in turn, best of some runs; the published
width with random weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cosmotok import Tokenizer
from cosmotok.config import find_model
from cosmotok.frames import to_pixels
from cosmotok.metrics.quality import RunningQuality
from cosmotok.printing import print_table
from cosmotok.quantization import Precision, calibration_clips

BUNDLED = ("cv4x8x8-tiny", "dv4x8x8-tiny")
PRECISIONS: tuple[Precision, ...] = ("float32", "int8")


def psnr(tokenizer: Tokenizer, video: Tensor, tokens: Tensor) -> float:
    quality = RunningQuality()
    result = to_pixels(tokenizer.decode(tokens, size=tuple(video.shape[2:])))
    for source, frame in zip(video[0].permute(1, 2, 3, 0).numpy(), result, strict=True):
        quality.update(source, frame)
    return quality.psnr


def quality(tokenizer: Tokenizer, videos: list[Tensor]) -> list[str]:
    """PSNR of each precision, what int8 loses, and the share of tokens that differ."""
    found, tokens = {}, {}
    for precision in PRECISIONS:
        tokenizer.set_precision(precision)
        tokens[precision] = [tokenizer.encode(video) for video in videos]
        pairs = zip(videos, tokens[precision], strict=True)
        found[precision] = float(np.mean([psnr(tokenizer, video, t) for video, t in pairs]))
    differ = "-"
    if tokenizer.config.is_discrete:
        pairs = zip(tokens["float32"], tokens["int8"], strict=True)
        differ = f"{np.mean([float((a != b).float().mean()) for a, b in pairs]):.1%}"
    return [f"{found['float32']:.2f}", f"{found['int8']:.2f}", f"{found['float32'] - found['int8']:.3f}", differ]


def speed(tokenizer: Tokenizer, runs: int) -> dict[str, dict[Precision, float]]:
    """Best seconds of encoding and decoding in each precision."""
    video = torch.rand(1, 3, 17, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    if tokenizer.calibration is None:
        tokenizer.calibrate([video])
    tokens = tokenizer.set_precision("float32").encode(video)
    work: dict[str, Callable[[], Tensor]] = {
        "encode": lambda: tokenizer.encode(video),
        "decode": lambda: tokenizer.decode(tokens),
    }
    best: dict[str, dict[Precision, float]] = {verb: dict.fromkeys(PRECISIONS, float("inf")) for verb in work}
    for _ in range(runs):
        for precision in PRECISIONS:
            tokenizer.set_precision(precision)
            for verb, run in work.items():
                begin = time.thread_time()
                run()
                best[verb][precision] = min(best[verb][precision], time.thread_time() - begin)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of images and videos that no model was trained on")
    parser.add_argument("--published", default="CV8x8x8", help="name whose shape, with random weights, is timed")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    files = list(calibration_clips(arguments.data, count=1 << 20))
    kinds = {
        "clips": [video for video in files if video.shape[2] > 1],
        "photos": [video for video in files if video.shape[2] == 1],
    }
    rows = [
        (name, f"{len(videos)} {kind}", *quality(Tokenizer.from_pretrained(name, precision="int8"), videos))
        for name in BUNDLED
        for kind, videos in kinds.items()
    ]
    print_table(("model", "files", "float32 dB", "int8 dB", "lost dB", "tokens that differ"), rows)

    torch.manual_seed(0)
    tokenizers = [Tokenizer.from_pretrained(name) for name in BUNDLED]
    rows = []
    for tokenizer in (*tokenizers, Tokenizer(find_model(arguments.published).config)):
        for verb, seconds in speed(tokenizer, arguments.runs).items():
            one, other = (seconds[precision] for precision in PRECISIONS)
            rows.append((tokenizer.config.variant, verb, f"{one:.3f}", f"{other:.3f}", f"{one / other:.2f}x"))
    print_table(("model", "", "float32 s", "int8 s", "faster"), rows)


if __name__ == "__main__":
    main()
