"""`make fuzz`: hostile cases, failing calls and kills for so many minutes; counts go to a file, and into the docs.

python tests/hostile/fuzz.py --minutes 30 --output build/fuzz.json
python tests/hostile/fuzz.py --repeat models:123
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

from arena import Arena
from cases import CLASSES
from table import write_tables
from trials import SIGNALS, Trial, Trials, fault_labels, stock
from verbs import VERBS
from worlds import make_world

CASES = 376
"""Of each class."""
KILLS = 100
"""Of each verb by each signal."""
MEETINGS = 20
"""Of two writers, and of a reader and a writer, for each verb that takes one output."""
KINDS = {
    "traceback": "tracebacks",
    "died": "tracebacks",
    "hang": "hangs",
    "memory": "memory",
    "wrote": "outside",
    "left": "outside",
    "lost": "lost",
    "changed": "lost",
    "damaged": "lost",
    "a second": "lost",
}
"""What went wrong, by the words with which it begins."""


class Figures:
    """Counts of what was tried, and of what went wrong."""

    def __init__(self) -> None:
        self.tried: dict[str, dict[str, Any]] = {}
        self.wrong = dict.fromkeys((*KINDS.values(), "other"), 0)
        self.failures: list[str] = []

    def add(self, trial: Trial) -> None:
        entry = self.tried.setdefault(
            trial.label.partition(":")[0], {"tried": 0, "refused": 0, "failed": 0, "slowest": 0.0, "peak_mb": 0}
        )
        entry["tried"] += 1
        entry["failed"] += bool(trial.wrong)
        entry["refused"] += any(outcome.code for outcome in trial.outcomes)
        for outcome in trial.outcomes:
            entry["slowest"] = round(max(entry["slowest"], outcome.work), 1)
            if outcome.code > 0:
                entry["peak_mb"] = max(entry["peak_mb"], outcome.peak)
        for text in trial.wrong:
            self.wrong[next((kind for words, kind in KINDS.items() if text.startswith(words)), "other")] += 1
        if trial.wrong:
            self.failures.append(f"{trial.label}: {'; '.join(trial.wrong)}")
            print(f"FAILED {trial.label}: {'; '.join(trial.wrong)}"[:500], flush=True)


def all_labels(seed: int, calls: dict[str, int]) -> list[str]:
    """All there is to try, the quick and the thorough kinds mixed, so that a run that ends early has some of each."""
    weighted: list[tuple[float, str]] = []

    def add(weight: float, labels: list[str]) -> None:
        weighted.extend(
            (weight * (at + Random(label).random()) / len(labels), label) for at, label in enumerate(labels)
        )

    for name in CLASSES:
        add(1, [f"{name}:{number}" for number in range(seed, seed + CASES)])
    for name, verb in VERBS.items():
        takes_long = verb.slow or verb.grows
        labels = fault_labels(name, calls[name])
        Random(name).shuffle(labels)
        add(1, labels)
        for how in SIGNALS:
            add(8 if takes_long else 1.5, [f"{how}-{name}:{number}" for number in range(seed, seed + KILLS)])
        if not takes_long:
            for what in ("writers", "reader") if verb.told else ("writers",):
                add(1.5, [f"{what}-{name}:{number}" for number in range(seed, seed + MEETINGS)])
    return [label for _, label in sorted(weighted)]


def work(labels: Iterator[str], world: Path, place: Path, figures: Figures, lock: threading.Lock) -> None:
    """Tries what comes next, until nothing does."""
    arena = Arena()
    trials = Trials(arena, world, place)
    while True:
        with lock:
            label = next(labels, None)
        if label is None:
            break
        trial = trials.run(label)
        with lock:
            figures.add(trial)
    arena.close()


def until(end: float, labels: list[str]) -> Iterator[str]:
    for label in labels:
        if time.monotonic() > end:
            return
        yield label


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the first trial of each kind")
    parser.add_argument("--only", default="", help="labels that begin so, e.g. models or fault-encode")
    parser.add_argument("--repeat", help="a failure's label, e.g. models:12")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trials at the same time")
    parser.add_argument("--output", type=Path, help="where to write all counts, as JSON")
    parser.add_argument("--docs", type=Path, nargs="*", default=[], help="pages whose tables are to be written")
    options = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        place, arena = Path(name), Arena()
        world = make_world(place / "world")
        if options.repeat:
            trial = Trials(arena, world, place / "repeat").run(options.repeat)
            print(*trial.outcomes, *trial.wrong, sep="\n")
            sys.exit(bool(trial.wrong))
        print(
            f"seed {options.seed}; a failure is repeated by its label: tests/hostile/fuzz.py --repeat LABEL", flush=True
        )
        calls = {name: stock(arena, world, name).calls for name in VERBS}
        arena.close()
        figures, lock = Figures(), threading.Lock()
        planned = all_labels(options.seed, calls)
        chosen = [label for label in planned if label.startswith(options.only)]
        labels = until(begin + 60 * options.minutes, chosen)
        workers = [
            threading.Thread(target=work, args=(labels, world, place / str(number), figures, lock))
            for number in range(options.jobs)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    counts = {
        "seed": options.seed,
        "minutes": round((time.monotonic() - begin) / 60),
        "calls": calls,
        "tried": figures.tried,
        "wrong": figures.wrong,
        "failures": figures.failures,
    }
    for name, entry in sorted(figures.tried.items()):
        print(name, *(f"{key} {value}" for key, value in entry.items()), sep="  ")
    print(f"{sum(entry['tried'] for entry in figures.tried.values())} of {len(chosen)} tried: {figures.wrong}")
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(counts, indent=1) + "\n")
    write_tables(counts, options.docs)
    sys.exit(bool(figures.failures))


if __name__ == "__main__":
    main()
