"""One worker, in this process."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress

import torch

from cosmotok.dataset.engines.base import Engine
from cosmotok.dataset.engines.local import Processes
from cosmotok.dataset.engines.trials import WorkerLostError
from cosmotok.dataset.job import Advance, Job
from cosmotok.dataset.plan import Task
from cosmotok.dataset.records import Record
from cosmotok.dataset.storage import PLAN, Storage
from cosmotok.dataset.worker import Worker
from cosmotok.errors import InputError
from cosmotok.interface import BaseTokenizer
from cosmotok.processes import MOST

__all__ = ["HERE", "InProcess"]

HERE = f"{PLAN}/here"
"""Names the shard that is made; a run that is killed leaves it, any other end removes it."""


class InProcess(Engine):
    """Shard after shard. One at which the run before was killed is made in a process of its own: an input that ends
    whoever reads it is found there, and left out."""

    def run(
        self, job: Job, tasks: Sequence[Task], tokenizer: BaseTokenizer, advance: Advance
    ) -> Generator[Record, None, None]:
        worker = Worker(job, tokenizer, advance)
        suspect = left_at(worker.storage)
        for task in tasks:
            if task.name == suspect:
                with suppress(WorkerLostError):  # where no other process can begin
                    yield from Processes(1, min(torch.get_num_threads(), MOST)).run(job, [task], tokenizer, advance)
                    continue
            worker.storage.write(HERE, task.name.encode())
            yield worker.make(task)


def left_at(storage: Storage) -> str:
    """The shard at which a run was killed; nothing if none was."""
    try:
        return storage.read(HERE).decode(errors="replace")
    except InputError:
        return ""
