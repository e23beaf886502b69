"""What an engine is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence

from cosmotok.dataset.job import Advance, Job
from cosmotok.dataset.plan import Task
from cosmotok.dataset.records import Record
from cosmotok.interface import BaseTokenizer

__all__ = ["Engine"]


class Engine(ABC):
    """Runs workers over shards."""

    @abstractmethod
    def run(
        self, job: Job, tasks: Sequence[Task], tokenizer: BaseTokenizer, advance: Advance
    ) -> Generator[Record, None, None]:
        """The records of the shards, each as soon as it is done; closing the generator ends the workers.

        Args:
            tokenizer: the job's model, as it is loaded here.
            advance: told of what is done meanwhile, as far as the engine knows.

        Raises:
            CosmotokError: where the run cannot go on; what is done stays done.
        """
