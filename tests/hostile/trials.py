"""Everything that is tried, each under a label by which it can be tried again.

`models:12` is a case of a class with its seed; `fault-encode:7:EIO` the 7th call that writes failing;
`SIGKILL-encode:3` a signal at a random moment; `writers-encode:1` two writers of one output; `reader-encode:1` readers
while it is written.
"""

from __future__ import annotations

import errno
import shutil
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from arena import Arena, changes, judge, snapshot
from cases import CLASSES
from verbs import VERBS, Verb, clear
from zygote import DEFECT, Outcome

ERRORS = ("ENOSPC", "EIO", "EACCES")
SIGNALS = ("SIGKILL", "SIGTERM")
STOPPED = 130


@dataclass
class Trial:
    """How something that was tried went."""

    label: str
    outcomes: list[Outcome]
    wrong: list[str]


@dataclass
class Stock:
    """A sound run of a verb."""

    folder: Path
    """With its output, for trials to begin with."""
    calls: int
    """By which it was written."""
    seconds: float


class Trials:
    """Runs what a label says, in `place`, over the inputs in `world`."""

    def __init__(self, arena: Arena, world: Path, place: Path) -> None:
        self.arena, self.world, self.place = arena, world, place

    def run(self, label: str) -> Trial:
        what, number, *rest = label.split(":")
        if what in CLASSES:
            return self.case(label, what, int(number))
        way, _, verb = what.partition("-")
        before = self.prepare(verb)
        ways = {"fault": self.fail, "writers": self.write_twice, "reader": self.read_meanwhile}
        outcomes, wrong = ways.get(way, self.kill)(label, verb, before, int(number), *rest)
        return Trial(label, outcomes, wrong)

    def case(self, label: str, name: str, seed: int) -> Trial:
        folder = clear(self.place / "case")
        case = CLASSES[name](Random(f"{name}:{seed}"), self.world, folder)
        before = snapshot(folder)
        [outcome] = self.arena.run(case.job)
        wrong = judge(outcome, before, snapshot(folder), case.outputs)
        if case.refused and outcome.code == 0:
            wrong.append("not refused")
        return Trial(label, [outcome], wrong)

    def fail(self, label: str, name: str, before: dict[str, str], number: int, error: str) -> tuple[list, list[str]]:
        """The call of this number fails; every other time the disk stays full after it."""
        job = VERBS[name].job(self.world, self.folder(name))
        job.fault = (number, getattr(errno, error), number % 2 == 0)
        [outcome] = self.arena.run(job)
        wrong = self.stopped(name, before, outcome)
        return [outcome], wrong + self.second_run(name)

    def kill(self, label: str, name: str, before: dict[str, str], number: int) -> tuple[list, list[str]]:
        """A signal at a random moment of a verb."""
        how = signal.Signals[label.partition("-")[0]]
        job = VERBS[name].job(self.world, self.folder(name))
        job.signal, job.delay = int(how), Random(label).uniform(0, stock(self.arena, self.world, name).seconds)
        [outcome] = self.arena.run(job)
        wrong = self.stopped(name, before, outcome, killed=how == signal.SIGKILL)
        if how != signal.SIGKILL and outcome.code not in (0, STOPPED, -how):
            wrong.append(f"exit code {outcome.code}: {outcome.err.strip()}")
        if how != signal.SIGKILL and outcome.code == STOPPED and "stopped;" not in outcome.err:
            wrong.append(f"says {outcome.err!r}")
        return [outcome], wrong + self.second_run(name)

    def write_twice(self, label: str, name: str, before: dict[str, str], number: int) -> tuple[list, list[str]]:
        """Two write the same output."""
        first, second = (VERBS[name].job(self.world, self.folder(name)) for _ in range(2))
        second.wait = Random(label).uniform(0, 0.2)
        outcomes = self.arena.run(first, second)
        return outcomes, failed(outcomes) + self.stopped(name, before, outcomes[0])

    def read_meanwhile(self, label: str, name: str, before: dict[str, str], number: int) -> tuple[list, list[str]]:
        """Something reads an output while it is written anew: it sees the old one or the new one."""
        verb, readers = VERBS[name], []
        for delay in range(3):
            reader = verb.job(self.world, self.folder(name))
            reader.arguments = ["info", str(self.folder(name) / verb.output)]
            reader.wait = 0.1 * delay + Random(label).uniform(0, 0.2)
            readers.append(reader)
        outcomes = self.arena.run(verb.job(self.world, self.folder(name)), *readers)
        return outcomes, failed(outcomes) + self.stopped(name, before, outcomes[0])

    def folder(self, name: str) -> Path:
        return self.place / name

    def prepare(self, name: str) -> dict[str, str]:
        """Puts an earlier output in place, which must survive; returns what is there."""
        folder, verb = clear(self.folder(name)), VERBS[name]
        if not verb.grows:
            shutil.copytree(stock(self.arena, self.world, name).folder, folder, dirs_exist_ok=True)
            (folder / "beside.txt").write_text("somebody else's")
            if (folder / verb.output).is_dir():
                (folder / verb.output / "notes.txt").write_text("mine")
        return snapshot(folder)

    def stopped(self, name: str, before: dict[str, str], outcome: Outcome, killed: bool = False) -> list[str]:
        """What is wrong after a run that failed or was stopped."""
        verb, folder, wrong = VERBS[name], self.folder(name), []
        if outcome.code == DEFECT or "Traceback" in outcome.err or "internal error" in outcome.err:
            wrong.append("traceback: " + outcome.err.strip().splitlines()[-1])
        if outcome.ended:
            wrong.append(f"hang: ended by {outcome.ended}")
        after = snapshot(folder)
        if killed:  # what it left goes with the next run
            after = {name: what for name, what in after.items() if ".part" not in name}
        wrong += whole(verb, folder)
        if killed and not verb.grows:  # each file is the old one or a whole new one
            return wrong + [f"lost {name!r}" for name in before if name not in after]
        if verb.grows or outcome.code in (0, STOPPED):
            outputs = {verb.output, *(name for name in after if ".side-by-side." in name)}
            left = [f"left {name!r}" for name in after if ".part" in name]
            return wrong + left + changes(True, before, {n: w for n, w in after.items() if ".part" not in n}, outputs)
        return wrong + changes(False, before, after, ())

    def second_run(self, name: str) -> list[str]:
        """What is wrong with running it again, as a user would."""
        verb, folder = VERBS[name], self.folder(name)
        output = folder / verb.output
        begun = verb.grows and ((output / "recipe.yaml").exists() or any(output.glob("*/settings.json")))
        [outcome] = self.arena.run(verb.job(self.world, folder, again=begun))
        wrong = [f"left {name!r}" for name in snapshot(folder) if ".part" in name] + whole(verb, folder)
        if outcome.code and not (begun and "nothing to resume" in outcome.err):
            wrong.append(f"a second run failed: {outcome.err.strip()}")
        return wrong


STOCKS: dict[str, Stock] = {}


def stock(arena: Arena, world: Path, name: str) -> Stock:
    """A sound run of a verb, made once."""
    if name not in STOCKS:
        verb, folder = VERBS[name], clear(world.parent / "stock" / name)
        job = verb.job(world, folder)
        job.fault = (0, 0, False)  # none fails, and all are counted
        [outcome] = arena.run(job)
        if outcome.code or whole(verb, folder) or not (folder / verb.output).exists():
            raise AssertionError(f"a sound run of {name} failed: {outcome.err}")
        STOCKS[name] = Stock(folder, outcome.calls, outcome.seconds)
    return STOCKS[name]


def whole(verb: Verb, folder: Path) -> list[str]:
    """What is wrong with the output; it may be missing."""
    path = folder / verb.output
    if not path.exists():
        return []
    try:
        verb.check(path)
    except Exception as error:
        return [f"damaged output: {type(error).__name__}: {error}"]
    return []


def failed(outcomes: Iterable[Outcome]) -> list[str]:
    return [f"exit code {outcome.code}: {outcome.err.strip()}" for outcome in outcomes if outcome.code]


def fault_labels(name: str, calls: int) -> list[str]:
    """Every call of a verb failing: each in every way, or where the verb takes long in one of them."""
    if VERBS[name].grows or VERBS[name].slow:
        return [f"fault-{name}:{number}:{ERRORS[number % len(ERRORS)]}" for number in range(1, calls + 1)]
    return [f"fault-{name}:{number}:{error}" for number in range(1, calls + 1) for error in ERRORS]
