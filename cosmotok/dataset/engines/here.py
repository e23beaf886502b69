"""One worker, in this process."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from cosmotok.dataset.engines.base import Engine
from cosmotok.dataset.job import Advance, Job
from cosmotok.dataset.plan import Task
from cosmotok.dataset.records import Record
from cosmotok.dataset.worker import Worker
from cosmotok.interface import BaseTokenizer

__all__ = ["InProcess"]


class InProcess(Engine):
    """Shard after shard."""

    def run(
        self, job: Job, tasks: Sequence[Task], tokenizer: BaseTokenizer, advance: Advance
    ) -> Generator[Record, None, None]:
        worker = Worker(job, tokenizer, advance)
        for task in tasks:
            yield worker.make(task)
