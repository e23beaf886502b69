"""A process that has imported everything once, and forks for every case, so that thousands of them are cheap.

It reads pickled lists of `Job`s from its standard input, runs those of a list at the same time, each in a process of
its own, and writes pickled lists of `Outcome`s.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import resource
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import PIL.Image
import torch

import cosmotok.progress

DEFECT = 99
"""Exit code of a job that raised what nobody caught."""
MEGABYTE = 2**20


@dataclass
class Job:
    """A command, or a call, to be run in a process of its own."""

    arguments: list[str] = field(default_factory=list)
    """Of the command `cosmotok`."""
    folder: str = "."
    call: tuple[str, int] | None = None
    """In place of a command: the name of a function in `calls.py`, and the number it gets."""
    seconds: float = 60.0
    """After so many it is killed."""
    memory: int = 3000
    """MB after which it is killed."""
    signal: int | None = None
    delay: float = 0.0
    """Seconds after which it is sent `signal`."""
    wait: float = 0.0
    """Seconds before it begins."""
    fault: tuple[int, int, bool] | None = None
    """Which of the calls that write fails, with which error, and whether all later ones fail, too."""
    strict: bool = False
    """Whether standard output takes ASCII alone, and nothing else is replaced."""


@dataclass
class Outcome:
    """How a job ended."""

    code: int
    """Exit code; negative: the signal that ended it."""
    out: str
    err: str
    seconds: float
    """By the clock."""
    work: float
    """Seconds of the processor."""
    peak: int
    """MB of main memory, of which about 400 are PyTorch's."""
    ended: str = ""
    """By what it was stopped: "time" or "memory"."""
    calls: int = 0
    """That write, made by the job, where one was to fail."""


IMPORTS = (
    *("calls", "cosmotok.cli", "cosmotok.command", "cosmotok.evaluation.run", "cosmotok.export", "cosmotok.pipeline"),
    *("cosmotok.tokenizer", "cosmotok.training.run", "cosmotok.training.report", "matplotlib.pyplot", "torch._dynamo"),
)
"""What takes long, once and for all cases."""


def main() -> None:
    for module in IMPORTS:
        import_module(module)
    cosmotok.progress.SECONDS_BETWEEN_LINES = math.inf  # whether such a line comes says how busy the machine is
    PIL.Image.init()
    torch.set_num_threads(1)
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory(prefix="hostile-") as scratch:
        while True:
            try:
                jobs = pickle.load(source)
            except EOFError:
                return
            pickle.dump(run(jobs, Path(scratch)), sink)
            sink.flush()


def run(jobs: list[Job], scratch: Path) -> list[Outcome]:
    started = [(job, start(job, scratch / str(number)), scratch / str(number)) for number, job in enumerate(jobs)]
    begin = time.monotonic()
    found: dict[int, Outcome] = {}
    peaks, sent, ended = [0] * len(jobs), [False] * len(jobs), [""] * len(jobs)
    while len(found) < len(jobs):
        now = time.monotonic() - begin
        for number, (job, process, place) in enumerate(started):
            if number in found:
                continue
            gone, status, usage = os.wait4(process, os.WNOHANG)
            if gone:
                peak = max(peaks[number], usage.ru_maxrss // 1024)
                found[number] = outcome(status, place, now, usage.ru_utime + usage.ru_stime, peak, ended[number])
                stop_group(process)
                continue
            peaks[number] = max(peaks[number], resident(process))
            if job.signal is not None and not sent[number] and now >= job.delay:
                sent[number] = True
                os.kill(process, job.signal)
            if now > job.seconds or peaks[number] > job.memory:
                ended[number] = "time" if now > job.seconds else "memory"
                stop_group(process)
        time.sleep(0.002)
    return [found[number] for number in range(len(jobs))]


def stop_group(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)


def resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize() // MEGABYTE
    except (OSError, IndexError):
        return 0


def outcome(status: int, place: Path, seconds: float, work: float, peak: int, ended: str) -> Outcome:
    out, err = (place.with_suffix(suffix).read_text(errors="backslashreplace") for suffix in (".out", ".err"))
    calls = place.with_suffix(".calls")
    count = int(calls.read_text()) if calls.exists() else 0
    calls.unlink(missing_ok=True)
    return Outcome(os.waitstatus_to_exitcode(status), out, err, seconds, work, peak, ended, count)


def start(job: Job, place: Path) -> int:
    process = os.fork()
    if process:
        return process
    code = DEFECT
    try:
        os.setpgid(0, 0)
        for descriptor, name in ((0, os.devnull), (1, place.with_suffix(".out")), (2, place.with_suffix(".err"))):
            flags = os.O_RDONLY if descriptor == 0 else os.O_RDWR | os.O_CREAT | os.O_TRUNC
            os.dup2(os.open(name, flags, 0o600), descriptor)
        errors = "strict" if job.strict else "backslashreplace"
        sys.stdout = os.fdopen(1, "w", encoding="ascii" if job.strict else "utf-8", errors=errors, closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        os.chdir(job.folder)
        time.sleep(job.wait)
        code = perform(job, place)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def perform(job: Job, place: Path) -> int:
    import faults

    counter = None if job.fault is None else faults.install(*job.fault)
    try:
        if job.call is not None:
            import calls

            getattr(calls, job.call[0])(job.call[1])
            return 0
        import cosmotok.command

        sys.argv = ["cosmotok", *job.arguments]
        cosmotok.command.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        if counter is not None:
            place.with_suffix(".calls").write_text(str(counter.count))
    return 0


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
    sys.modules["zygote"] = sys.modules["__main__"]  # as which its classes are pickled
    Job.__module__ = Outcome.__module__ = "zygote"
    main()
