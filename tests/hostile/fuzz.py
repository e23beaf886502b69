"""`make fuzz`: hostile cases for so many minutes, failing calls, kills; prints counts and writes them as JSON.

python tests/hostile/fuzz.py --minutes 30 --output fuzz.json
python tests/hostile/fuzz.py --repeat models:123
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

from arena import Arena, judge, snapshot
from cases import CLASSES
from worlds import make_world
from zygote import Outcome

AT_ONCE = 2
"""Cases that run at the same time."""


def run_cases(
    arena: Arena, world: Path, place: Path, labels: list[tuple[str, int]]
) -> list[tuple[str, str, Outcome, list[str]]]:
    """Runs cases (class, seed) at the same time, each in a folder of its own; returns class and label of each, how it
    ended, and what is wrong with that."""
    shutil.rmtree(place, ignore_errors=True)
    made = []
    for number, (name, seed) in enumerate(labels):
        folder = place / str(number)
        folder.mkdir(parents=True)
        made.append((folder, CLASSES[name](Random(f"{name}:{seed}"), world, folder), snapshot(folder)))
    found = []
    outcomes = arena.run(*(case.job for _, case, _ in made))
    for (name, seed), (folder, case, before), outcome in zip(labels, made, outcomes, strict=True):
        wrong = judge(outcome, before, snapshot(folder), case.outputs)
        if case.refused and outcome.code == 0:
            wrong.append("was not refused")
        found.append((name, f"{name}:{seed}", outcome, wrong))
    return found


class Figures:
    """Counts by class."""

    def __init__(self) -> None:
        self.classes: dict[str, dict[str, Any]] = {}
        self.failures: list[str] = []

    def add(self, name: str, label: str, outcomes: list[Outcome], wrong: list[str]) -> None:
        entry = self.classes.setdefault(name, {"cases": 0, "refused": 0, "failed": 0, "slowest": 0.0, "peak_mb": 0})
        entry["cases"] += 1
        entry["failed"] += bool(wrong)
        entry["refused"] += any(outcome.code for outcome in outcomes)
        for outcome in outcomes:
            entry["slowest"] = round(max(entry["slowest"], outcome.seconds), 1)
            if outcome.code:
                entry["peak_mb"] = max(entry["peak_mb"], outcome.peak)
        if wrong:
            self.failures.append(f"{label}: {'; '.join(wrong)}")
            print(f"FAILED {label}: {'; '.join(wrong)}"[:400], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the first case of each class")
    parser.add_argument("--classes", default="", help="of these alone, with commas between")
    parser.add_argument("--repeat", help="a failure's label, CLASS:SEED")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    arena = Arena()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        world, folder = make_world(Path(place) / "world"), Path(place) / "case"
        if options.repeat:
            name, _, seed = options.repeat.rpartition(":")
            [(_, _, outcome, wrong)] = run_cases(arena, world, folder, [(name, int(seed))])
            print(outcome, *wrong, sep="\n")
            sys.exit(bool(wrong))
        figures = Figures()
        chosen = options.classes.split(",") if options.classes else list(CLASSES)
        begin, seed = time.monotonic(), options.seed
        while time.monotonic() - begin < 60 * options.minutes:
            for first in range(0, len(chosen), AT_ONCE):
                labels = [(name, seed) for name in chosen[first : first + AT_ONCE]]
                for name, label, outcome, wrong in run_cases(arena, world, folder, labels):
                    figures.add(name, label, [outcome], wrong)
            seed += 1
    arena.close()
    for name, entry in figures.classes.items():
        print(name, *(f"{key} {value}" for key, value in entry.items()), sep="  ")
    if options.output is not None:
        content = {"seconds": round(time.monotonic() - begin), "classes": figures.classes, "failures": figures.failures}
        options.output.write_text(json.dumps(content, indent=1) + "\n")
    sys.exit(bool(figures.failures))


if __name__ == "__main__":
    main()
