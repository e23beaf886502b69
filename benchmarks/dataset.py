"""Measures `cosmotok tokenize`, as ratios within one run, and planning of ten million inputs: figures of docs/scale.md.

python benchmarks/dataset.py            # a few minutes; machines without other work
python benchmarks/dataset.py --inputs 1_000_000 --no-write
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from pages import DOCS, figures_table, replace_between

from cosmotok import Tokenizer
from cosmotok.dataset.engines import Processes, RayEngine
from cosmotok.dataset.options import Options
from cosmotok.dataset.plan import Plan
from cosmotok.dataset.run import tokenize
from cosmotok.dataset.shaping import Shaping
from cosmotok.dataset.sources.find import find_sources
from cosmotok.dataset.storage import storage_at
from cosmotok.media import VideoWriter, open_media

SIDE, SEGMENT, CLIPS, FRAMES = 256, 17, 24, 68
"""Of the clips that rates are measured on."""
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


def seconds(run: object) -> float:
    begin = time.monotonic()
    run()  # type: ignore[operator]
    return time.monotonic() - begin


def rates(folder: Path, model: str) -> dict[str, str]:
    """How fast clips become rows, against the model alone, or the decoder where that is the slower one."""
    clips = folder / "clips"
    write_clips(clips)
    frames = CLIPS * FRAMES
    tokenizer = Tokenizer.from_pretrained(model)
    with open_media(clips / "00.mp4") as reader:
        pixels = np.stack([frame.pixels for frame in reader][:SEGMENT])
    video = torch.from_numpy(pixels).permute(3, 0, 1, 2)[None].contiguous()
    count = 0

    def run_tokenize(engine: object) -> None:
        nonlocal count
        count += 1
        options = Options(shaping=Shaping(segment=SEGMENT), shard_inputs=2)
        tokenize([str(clips)], str(folder / f"out-{count}"), model, options=options, engine=engine)  # type: ignore[arg-type]

    def model_alone() -> None:
        for _ in range(frames // SEGMENT):
            tokenizer.encode(video)

    def decode_alone() -> None:
        for path in sorted(clips.iterdir()):
            with open_media(path) as reader:
                for _ in reader:
                    pass

    found: dict[str, list[float]] = {}
    cases = {
        "model alone": model_alone,
        "decoding alone": decode_alone,
        "this process": lambda: run_tokenize(None),
        "1 worker, 1 thread": lambda: run_tokenize(Processes(1, 1)),
        "2 workers, 1 thread each": lambda: run_tokenize(Processes(2, 1)),
        "Ray, 2 workers": lambda: run_tokenize(RayEngine(workers=2, cpus=1)),
    }
    model_alone()  # warm
    for _ in range(ROUNDS):
        for name, case in cases.items():
            found.setdefault(name, []).append(frames / seconds(case))
    best = {name: max(values) for name, values in found.items()}
    for name, rate in best.items():
        print(f"{name}: {rate:.0f} frames/s", flush=True)
    limit = min(best["model alone"], best["decoding alone"])
    two = best["2 workers, 1 thread each"]
    return {
        "one process, of the model's own rate": f"{best['this process'] / limit:.0%}",
        "two local workers over one, a thread each": f"{two / best['1 worker, 1 thread']:.2f}",
        "two workers of Ray over two local ones": f"{best['Ray, 2 workers'] / two:.2f}",
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
