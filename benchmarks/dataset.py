"""Measures `cosmotok tokenize`, as ratios within one run, and planning of ten million inputs: figures of docs/scale.md.

python benchmarks/dataset.py            # a quarter of an hour; machines without other work
python benchmarks/dataset.py --inputs 1_000_000 --no-write
"""

from __future__ import annotations

import argparse
import itertools
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from pages import DOCS, figures_table, replace_between

from cosmotok import Tokenizer
from cosmotok.dataset.engines import Engine, Processes, RayEngine
from cosmotok.dataset.options import Options
from cosmotok.dataset.plan import Plan
from cosmotok.dataset.run import tokenize
from cosmotok.dataset.shaping import Shaping
from cosmotok.dataset.sources.find import find_sources
from cosmotok.dataset.storage import storage_at
from cosmotok.media import VideoWriter, open_media

SIDE, SEGMENT, CLIPS, FEW, FRAMES = 256, 17, 24, 4, 136
"""Of the clips that rates are measured on: from what all of them take, what a few take is subtracted."""
ROUNDS = 3


def write_clips(folder: Path) -> None:
    """Noise that moves: neither flat nor hard to decode."""
    folder.mkdir()
    for seed in range(CLIPS):
        rng = np.random.default_rng(seed)
        side = -(-(SIDE + FRAMES) // 8)
        small = rng.integers(0, 255, (side, side, 3), np.uint8)
        picture = np.kron(small, np.ones((8, 8, 1), np.uint8))
        with VideoWriter(folder / f"{seed:02}.mp4", width=SIDE, height=SIDE, frame_rate=Fraction(24)) as writer:
            for number in range(FRAMES):
                writer.write(picture[number : number + SIDE, number : number + SIDE])


def seconds(run: Callable[[int], None], count: int) -> float:
    begin = time.monotonic()
    run(count)
    return time.monotonic() - begin


def rates(folder: Path, model: str) -> dict[str, str]:
    """How fast clips become rows, against the model alone, or the decoder where that is the slower one."""
    clips = folder / "clips"
    write_clips(clips)
    videos = sorted(map(str, clips.iterdir()))
    tokenizer = Tokenizer.from_pretrained(model)
    with open_media(videos[0]) as reader:
        pixels = np.stack([frame.pixels for frame in reader][:SEGMENT])
    video = torch.from_numpy(pixels).permute(3, 0, 1, 2)[None].contiguous()
    outputs = itertools.count()

    def run_tokenize(count: int, engine: Engine | None) -> None:
        options = Options(shaping=Shaping(segment=SEGMENT), shard_inputs=2)
        tokenize(videos[:count], str(folder / f"out-{next(outputs)}"), model, options=options, engine=engine)

    def model_alone(count: int) -> None:
        for _ in range(count * FRAMES // SEGMENT):
            tokenizer.encode(video)

    def decode_alone(count: int) -> None:
        for path in videos[:count]:
            with open_media(path) as reader:
                for _ in reader:
                    pass

    cases: dict[str, Callable[[int], None]] = {
        "model alone": model_alone,
        "decoding alone": decode_alone,
        "this process": lambda count: run_tokenize(count, None),
        "1 worker, 1 thread": lambda count: run_tokenize(count, Processes(1, 1)),
        "2 workers, 1 thread each": lambda count: run_tokenize(count, Processes(2, 1)),
        "Ray, 2 workers": lambda count: run_tokenize(count, RayEngine(workers=2, cpus=1)),
    }
    model_alone(FEW)  # warm
    took: dict[tuple[str, int], list[float]] = {}
    for _ in range(ROUNDS):
        for name, case in cases.items():
            for count in (FEW, CLIPS):
                took.setdefault((name, count), []).append(seconds(case, count))
    best = {what: min(values) for what, values in took.items()}
    rate = {name: (CLIPS - FEW) * FRAMES / (best[name, CLIPS] - best[name, FEW]) for name in cases}
    start = {name: best[name, FEW] - FEW * FRAMES / rate[name] for name in cases}
    for name in cases:
        print(f"{name}: {rate[name]:.0f} frames/s once {start[name]:.1f} s have passed", flush=True)
    two = "2 workers, 1 thread each"
    limit = min(rate["model alone"], rate["decoding alone"])
    return {
        "one process, of the model's own rate": f"{rate['this process'] / limit:.0%}",
        "two local workers over one, a thread each": f"{rate[two] / rate['1 worker, 1 thread']:.2f}",
        "two workers of Ray over two local ones": f"{rate['Ray, 2 workers'] / rate[two]:.2f}",
        "start of two local workers": f"{start[two]:.1f} s",
        "start of two workers of Ray": f"{start['Ray, 2 workers']:.1f} s",
    }


def write_list(path: Path, inputs: int, size: int) -> None:
    """A list of so many clips, of about so many bytes each; none of them exists."""
    with path.open("w") as file:
        file.write("path,bytes,stamp,caption\n")
        for number in range(inputs):
            file.write(f"clips/{number // 1000:06}/{number:09}.mp4,{size + number % 977},v1,clip {number}\n")


def plan(folder: Path, inputs: int) -> dict[str, str]:
    """Plans a list of so many inputs, and goes on with it, each in a process of its own."""
    listed = folder / "list.csv"
    write_list(listed, inputs, 3_000_000)
    found = {}
    for what in ("planning", "going on"):
        command = [sys.executable, __file__, "--plan-once", str(listed), str(folder / "planned")]
        found[f"{what}, {inputs:,} inputs"] = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {what: text.strip() for what, text in found.items()}


def plan_once(listed: str, output: str) -> None:
    begin = time.monotonic()
    storage = storage_at(output)
    made = Plan(storage)
    made.extend([listed], find_sources([listed]), Options(), None)
    made.tasks()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{time.monotonic() - begin:.1f} s, {peak:.2f} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="cv4x8x8-tiny")
    parser.add_argument("--inputs", type=int, default=10_000_000)
    parser.add_argument("--no-write", action="store_true", help="only print")
    parser.add_argument("--plan-once", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.plan_once:
        plan_once(*given.plan_once)
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = plan(Path(folder), given.inputs) | rates(Path(folder), given.model)
    table = figures_table(figures)
    print(table)
    if not given.no_write:
        for page in ("scale.md", "scale.pt.md"):
            replace_between(DOCS / page, "rates", table)


if __name__ == "__main__":
    main()
