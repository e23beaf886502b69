"""Several workers, each in a process of its own on this machine."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import wait

from cosmotok.dataset.engines.base import Engine
from cosmotok.dataset.engines.trials import Trial
from cosmotok.dataset.job import Advance, Job
from cosmotok.dataset.plan import Task
from cosmotok.dataset.records import Record
from cosmotok.dataset.worker import Worker
from cosmotok.foreign import one_line
from cosmotok.interface import BaseTokenizer
from cosmotok.processes import CallError, Remote, check_counts

__all__ = ["Processes"]


class Processes(Engine):
    """A worker that dies, for its memory perhaps, is replaced, and its shard tried again.

    Args:
        workers: how many, from 1.
        threads: of each one's arithmetic; None shares the processors among them.

    Raises:
        InputError: for less than one of either, or more than `processes.MOST`.
    """

    def __init__(self, workers: int, threads: int | None = None) -> None:
        check_counts(workers=workers, threads=threads)
        self.workers = workers
        self.threads = threads or max(1, (os.cpu_count() or 1) // workers)

    def run(
        self, job: Job, tasks: Sequence[Task], tokenizer: BaseTokenizer, advance: Advance
    ) -> Generator[Record, None, None]:
        make = partial(worker_of, job)
        waiting = deque((task, Trial()) for task in tasks)
        with ExitStack() as stack:
            busy: dict[Remote, tuple[Task, Trial]] = {}

            def begin(remote: Remote) -> None:
                if waiting:
                    task, trial = busy[remote] = waiting.popleft()
                    remote.begin("make", task, trial.begin())

            try:
                for _ in range(min(self.workers, len(tasks))):
                    begin(stack.enter_context(Remote(make, self.threads, tells=True)))
                while busy:
                    ready = set(wait([remote.connection for remote in busy]))
                    for remote in [each for each in busy if each.connection in ready]:
                        task, trial = busy[remote]
                        try:
                            done, value = remote.receive()
                        except CallError as error:
                            if remote.is_alive:
                                raise
                            del busy[remote]
                            trial.lose(one_line(error))
                            waiting.appendleft((task, trial))
                            begin(stack.enter_context(Remote(make, self.threads, tells=True)))
                            continue
                        if not done:
                            trial.tell(value)
                            advance(value)
                            continue
                        del busy[remote]
                        begin(remote)
                        yield value
            finally:
                for remote in busy:  # all at once, before each is waited for
                    remote.stop()


def worker_of(job: Job, advance: Advance) -> Worker:
    """Runs in the process."""
    return Worker(job, advance=advance)
