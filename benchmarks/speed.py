"""Frames per second of the bundled models at 256 x 256, and their share of the machine's matrix-product rate."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from cosmotok import Tokenizer

FRAMES = 33


def best_seconds(work: Callable[[], object], runs: int = 3) -> float:
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def main() -> None:
    a = torch.randn(2048, 2048)
    matmul = 2 * 2048**3 / best_seconds(lambda: a @ a)
    print(f"float32 matrix product: {matmul / 1e9:.0f} GFLOP/s on {torch.get_num_threads()} threads")
    video = torch.rand(1, 3, FRAMES, 256, 256) * 2 - 1
    for name in ("cv4x8x8-tiny", "dv4x8x8-tiny"):
        tokenizer = Tokenizer.from_pretrained(name)
        tokens = tokenizer.encode(video)
        jobs = {"encode": partial(tokenizer.encode, video), "decode": partial(tokenizer.decode, tokens)}
        for verb, work in jobs.items():
            with FlopCounterMode(display=False) as counter:
                work()
            seconds = best_seconds(work)
            share = counter.get_total_flops() / seconds / matmul
            print(f"{name} {verb}: {FRAMES / seconds:.1f} frames/s, {share:.0%} of the matrix-product rate")


if __name__ == "__main__":
    main()
