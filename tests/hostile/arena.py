"""Runs hostile cases, and judges how they ended: the one oracle of all of them."""

from __future__ import annotations

import hashlib
import os
import pickle
import stat
import subprocess
import sys
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

from zygote import DEFECT, Job, Outcome

LONGEST = 10.0
"""Seconds of the processor that a case may take, which is refused or works on a few small frames; more is a hang, and
so is what has not ended after a minute by the clock."""
LARGEST = 1000
"""MB that a refused input may take, of which about 400 are PyTorch's."""


class Arena:
    """The process that forks for every case."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("zygote.py"))]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def run(self, *jobs: Job) -> list[Outcome]:
        """Runs jobs at the same time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump(list(jobs), self._process.stdin)
        self._process.stdin.flush()
        return pickle.load(self._process.stdout)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def snapshot(folder: Path) -> dict[str, str]:
    """What is in a folder: of every name, what it is and a hash of what it holds."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(root, name)
            mode = path.lstat().st_mode
            kind = f"{stat.S_IFMT(mode):o}"
            if stat.S_ISREG(mode):
                kind += " " + hashlib.blake2b(path.read_bytes(), digest_size=12).hexdigest()
            elif stat.S_ISLNK(mode):
                kind += f" {path.readlink()}"
            found[str(path.relative_to(folder))] = kind
    return found


def judge(outcome: Outcome, before: dict[str, str], after: dict[str, str], outputs: Iterable[str]) -> list[str]:
    """What is wrong with how a case ended; empty where nothing is.

    Args:
        before, after: all that lies about, inputs as well.
        outputs: names that a case that succeeds may have written, or folders it may have filled.
    """
    wrong = []
    if outcome.ended == "time" or outcome.work > LONGEST:
        wrong.append(f"hang: {outcome.seconds:.0f} s, {outcome.work:.0f} s of work")
    if outcome.ended == "memory" or (outcome.code and outcome.peak > LARGEST):
        wrong.append(f"memory: {outcome.peak} MB")
    if "Traceback" in outcome.err or "internal error" in outcome.err or outcome.code == DEFECT:
        wrong.append("traceback: " + (outcome.err.strip().splitlines() or [""])[-1])
    if outcome.code < 0 and not outcome.ended:
        wrong.append(f"died of signal {-outcome.code}")
    lines = outcome.err.strip().splitlines()
    if outcome.code > 0 and len(lines) != 1 and not any(text.startswith("traceback") for text in wrong):
        wrong.append(f"{len(lines)} lines of errors: {lines[:3]}")
    if any(c < " " for line in lines for c in line):
        wrong.append("control characters in an error")
    return wrong + changes(outcome.code == 0, before, after, outputs)


def changes(succeeded: bool, before: dict[str, str], after: dict[str, str], outputs: Iterable[str]) -> list[str]:
    """What was written or lost that must not have been."""
    outputs = tuple(outputs) if succeeded else ()

    def allowed(name: str) -> bool:
        return any(
            fnmatch(name, output) if "*" in output else name == output or name.startswith(output + "/")
            for output in outputs
        )

    wrong = [f"wrote {name!r}" for name in after if name not in before and not allowed(name)]
    wrong += [f"lost {name!r}" for name in before if name not in after and not allowed(name)]
    wrong += [
        f"changed {name!r}" for name in after if before.get(name, after[name]) != after[name] and not allowed(name)
    ]
    return wrong + [f"left {name!r}" for name in after if name.endswith(".part")]
