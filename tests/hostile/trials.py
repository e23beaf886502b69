"""Verbs whose writing fails at every call, that are killed at any moment, or that meet others at their output."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random

from arena import Arena, changes, snapshot
from faults import ERRORS
from verbs import VERBS, Verb, clear
from zygote import DEFECT, Outcome

Trial = tuple[str, list[Outcome], list[str]]
"""Its label, how its jobs ended, and what is wrong with that."""
STOPPED = 130


def prepare(verb: Verb, world: Path, folder: Path, arena: Arena) -> dict[str, str]:
    """Puts an earlier output in place, which must survive; returns what is there."""
    clear(folder)
    if not verb.grows:
        sound(verb, world, folder, arena)
        (folder / "beside.txt").write_text("somebody else's")
        if (folder / verb.output).is_dir():
            (folder / verb.output / "notes.txt").write_text("mine")
    return snapshot(folder)


def sound(verb: Verb, world: Path, folder: Path, arena: Arena) -> None:
    [outcome] = arena.run(verb.job(world, folder))
    if outcome.code or whole(verb, folder) or not (folder / verb.output).exists():
        raise AssertionError(f"a sound run of {verb.arguments[0]} failed: {outcome.err}")


def whole(verb: Verb, folder: Path) -> list[str]:
    """What is wrong with the output; it may be missing."""
    path = folder / verb.output
    if not path.exists():
        return []
    try:
        verb.check(path)
    except Exception as error:
        return [f"half an output: {type(error).__name__}: {error}"]
    return []


def stopped(verb: Verb, folder: Path, before: dict[str, str], outcome: Outcome, killed: bool = False) -> list[str]:
    """What is wrong after a run that failed or was stopped."""
    wrong = []
    if outcome.code == DEFECT or "Traceback" in outcome.err or "internal error" in outcome.err:
        wrong.append("traceback: " + outcome.err.strip().splitlines()[-1])
    if outcome.ended:
        wrong.append(f"ended by {outcome.ended}")
    after = snapshot(folder)
    if killed:
        after = {name: what for name, what in after.items() if ".part" not in name}
    wrong += whole(verb, folder)
    outputs = {verb.output, *(name for name in after if ".side-by-side." in name)}
    if verb.grows or outcome.code == 0 or killed or outcome.code == STOPPED:
        if killed and not verb.grows:  # each file is the old one or a whole new one
            lost = [name for name in before if name not in after]
            return wrong + [f"lost {name!r}" for name in lost]
        left = [f"left {name!r}" for name in after if ".part" in name]
        return wrong + left + changes(True, before, {n: w for n, w in after.items() if ".part" not in n}, outputs)
    return wrong + changes(False, before, after, ())


def second_run(verb: Verb, world: Path, folder: Path, arena: Arena) -> list[str]:
    """What is wrong with running it again, as a user would."""
    output = folder / verb.output
    begun = (output / "recipe.yaml").exists() or any(output.glob("*/settings.json"))
    [outcome] = arena.run(verb.job(world, folder, again=begun))
    wrong = whole(verb, folder) + [f"left {name!r}" for name in snapshot(folder) if ".part" in name]
    if outcome.code and not (begun and "nothing to resume" in outcome.err):
        wrong.append(f"a second run failed: {outcome.err.strip()}")
    return wrong


def fail_everywhere(
    arena: Arena, world: Path, folder: Path, name: str, *, every: int = 1, errors: tuple[int, ...] = ERRORS
) -> Iterator[Trial]:
    """The n-th call fails, for every n until the run does not come so far; each n with one of `errors` after another,
    or for the quick verbs with all of them. Where the disk is full, it stays so every other time."""
    verb = VERBS[name]
    sound(verb, world, clear(folder), arena)
    before = prepare(verb, world, folder, arena)
    number = 1
    while True:
        rotated = [errors[number % len(errors)]] if verb.grows or verb.slow else list(errors)
        for error in rotated:
            if verb.grows or number == 1:
                before = prepare(verb, world, folder, arena)
            job = verb.job(world, folder)
            job.fault = (number, error, number % 2 == 0)
            [outcome] = arena.run(job)
            if outcome.calls < number:
                return
            wrong = stopped(verb, folder, before, outcome)
            again = verb.grows or wrong or outcome.code == 0 or number % 5 == 1
            if again:
                wrong += second_run(verb, world, folder, arena)
                before = prepare(verb, world, folder, arena) if wrong else snapshot(folder)
            yield f"fault-{name}:{number}:{os.strerror(error)}", [outcome], wrong
        number += every


def kill(arena: Arena, world: Path, folder: Path, name: str, number: int, how: signal.Signals) -> Trial:
    """A signal at a random moment of a verb."""
    verb = VERBS[name]
    before = prepare(verb, world, folder, arena)
    random = Random(f"{name}:{number}:{how}")
    usual = {"train": 3.0, "evaluate": 1.0, "export": 8.0}.get(name, 0.6)
    job = verb.job(world, folder)
    job.signal, job.delay = int(how), random.uniform(0, usual)
    [outcome] = arena.run(job)
    wrong = stopped(verb, folder, before, outcome, killed=how == signal.SIGKILL)
    if how != signal.SIGKILL and outcome.code not in (0, STOPPED, -how):
        wrong.append(f"exit code {outcome.code}: {outcome.err.strip()}")
    if how != signal.SIGKILL and outcome.code == STOPPED and "stopped;" not in outcome.err:
        wrong.append(f"says {outcome.err!r}")
    wrong += second_run(verb, world, folder, arena)
    return f"kill-{name}:{number}:{how.name}", [outcome], wrong


def two_writers(arena: Arena, world: Path, folder: Path, name: str, number: int) -> Trial:
    """Two of one verb write the same output."""
    verb = VERBS[name]
    before = prepare(verb, world, folder, arena)
    outcomes = arena.run(verb.job(world, folder), verb.job(world, folder))
    wrong = [f"exit code {o.code}: {o.err.strip()}" for o in outcomes if o.code]
    outcomes[0].code = outcomes[0].code or 0
    return f"writers-{name}:{number}", outcomes, wrong + stopped(verb, folder, before, outcomes[0])


def reader_meets_writer(arena: Arena, world: Path, folder: Path, name: str, number: int) -> Trial:
    """Something reads an output while it is written anew: it sees the old one or the new one."""
    verb = VERBS[name]
    before = prepare(verb, world, folder, arena)
    readers = []
    for delay in range(3):
        reader = verb.job(world, folder)
        reader.arguments = ["info", str(folder / verb.output)]
        reader.wait = 0.1 * delay + Random(number).uniform(0, 0.2)
        readers.append(reader)
    outcomes = arena.run(verb.job(world, folder), *readers)
    wrong = [f"exit code {o.code}: {o.err.strip()}" for o in outcomes if o.code]
    return f"reader-{name}:{number}", outcomes, wrong + stopped(verb, folder, before, outcomes[0])
