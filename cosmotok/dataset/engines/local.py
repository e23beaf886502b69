"""Several workers, each in a process of its own on this machine."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import wait

from cosmotok.dataset.engines.base import Engine
from cosmotok.dataset.plan import Task
from cosmotok.dataset.records import Record
from cosmotok.dataset.worker import Advance, Job, Worker
from cosmotok.errors import InputError
from cosmotok.foreign import one_line
from cosmotok.interface import BaseTokenizer
from cosmotok.processes import MOST, CallError, Remote

__all__ = ["Processes"]

DEATHS = 2
"""Of a worker at one input that it was careful with, after which the input is left out."""


@dataclass
class Trial:
    """A shard, and what happened to workers that tried it."""

    task: Task
    deaths: int = 0
    at: Counter[str] = field(default_factory=Counter)
    """Inputs that careful workers died at."""
    last: str = ""
    """The input that its worker told of last."""

    @property
    def careful(self) -> bool:
        """One death may be anybody's; from the second on it counts where it happens."""
        return self.deaths > 1

    def doomed(self) -> dict[str, str]:
        reason = "its worker was killed twice at it, most likely for its memory; ask for smaller frames"
        return {key: reason for key, count in self.at.items() if count >= DEATHS}


class Processes(Engine):
    """A worker that dies, for its memory perhaps, is replaced, and its shard tried again.

    Args:
        workers: how many, from 1.
        threads: of each one's arithmetic; None shares the processors among them.

    Raises:
        InputError: for less than one of either, or more than `MOST`.
    """

    def __init__(self, workers: int, threads: int | None = None) -> None:
        for name, count in (("workers", workers), ("threads", 1 if threads is None else threads)):
            if not 1 <= count <= MOST:
                raise InputError(f"{name}={count}: expected a whole number from 1 to {MOST}")
        self.workers = workers
        self.threads = threads or max(1, (os.cpu_count() or 1) // workers)

    def run(
        self, job: Job, tasks: Sequence[Task], tokenizer: BaseTokenizer, advance: Advance
    ) -> Generator[Record, None, None]:
        make = partial(worker_of, job)
        waiting = deque(Trial(task) for task in tasks)
        with ExitStack() as stack:
            busy: dict[Remote, Trial] = {}

            def begin(remote: Remote) -> None:
                if waiting:
                    trial = busy[remote] = waiting.popleft()
                    trial.last = ""
                    remote.begin("make", trial.task, trial.doomed(), trial.careful)

            for _ in range(min(self.workers, len(tasks))):
                begin(stack.enter_context(Remote(make, self.threads, tells=True)))
            while busy:
                ready = set(wait([remote.connection for remote in busy]))
                for remote in [each for each in busy if each.connection in ready]:
                    trial = busy[remote]
                    try:
                        done, value = remote.receive()
                    except CallError as error:
                        if remote.is_alive:
                            raise
                        del busy[remote]
                        lost(trial, error)
                        waiting.appendleft(trial)
                        begin(stack.enter_context(Remote(make, self.threads, tells=True)))
                        continue
                    if not done:
                        trial.last = value.key or trial.last
                        advance(value)
                        continue
                    del busy[remote]
                    begin(remote)
                    yield value


def worker_of(job: Job, advance: Advance) -> Worker:
    """Runs in the process."""
    return Worker(job, advance=advance)


def lost(trial: Trial, error: CallError) -> None:
    """Takes note of a death.

    Raises:
        CallError: where a worker cannot even begin.
    """
    if not trial.last:
        raise CallError(f"a worker ended before it read anything: {one_line(error)}") from None
    if trial.careful:
        trial.at[trial.last] += 1
    trial.deaths += 1
