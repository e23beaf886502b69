"""Workers on a Ray cluster, by Ray Data: it places them, adds and removes them, and tries again what is lost."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Generator, Sequence
from dataclasses import asdict
from typing import Any

from cosmotok.dataset.engines.base import Engine
from cosmotok.dataset.engines.trials import Trial, WorkerLostError
from cosmotok.dataset.job import Advance, Care, Job, Step
from cosmotok.dataset.plan import Task
from cosmotok.dataset.records import Record
from cosmotok.dataset.worker import Worker
from cosmotok.errors import CosmotokError, InputError, MissingExtraError
from cosmotok.foreign import one_line
from cosmotok.interface import BaseTokenizer

__all__ = ["RayEngine"]


class RayEngine(Engine):
    """Every machine of the cluster has to have cosmotok, and to reach sources and data set by the same names.

    Args:
        address: of the cluster; "auto" for the one that this machine belongs to; None for one of this machine alone.
        workers: how many at most; the cluster may have fewer at work.
        cpus, gpus: that a worker is given; 0.25 GPUs put four on one.

    Raises:
        InputError: for numbers that make no sense.
        MissingExtraError: without Ray.
    """

    def __init__(self, address: str | None = None, workers: int = 1, cpus: float = 1, gpus: float = 0) -> None:
        if workers < 1 or cpus < 0 or gpus < 0:
            raise InputError(f"workers={workers}, cpus={cpus}, gpus={gpus}: expected at least 1 worker, and no less")
        try:
            import ray  # noqa: F401
        except ImportError:
            raise MissingExtraError('the Ray engine needs Ray: pip install "cosmotok[data]"') from None
        self.address, self.workers, self.cpus, self.gpus = address, workers, cpus, gpus

    def run(
        self, job: Job, tasks: Sequence[Task], tokenizer: BaseTokenizer, advance: Advance
    ) -> Generator[Record, None, None]:
        import ray
        from ray.data import ActorPoolStrategy, DataContext

        if not tasks:
            return
        mine = not ray.is_initialized()
        for name in ("ray", "ray.data"):  # the second has a level of its own
            logging.getLogger(name).setLevel(logging.ERROR)
        if mine:
            os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
            try:
                ray.init(
                    address=self.address, log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR
                )
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise InputError(f"--address {self.address}: no Ray cluster there ({one_line(error, 120)})") from None
        try:
            DataContext.get_current().enable_progress_bars = False
            # of no worker: it outlives them; lost itself, it begins anew, and so do the counts
            trials = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Trials).remote()
            items = [{"part": task.part, "index": task.index} for task in tasks]
            made = ray.data.from_items(items, override_num_blocks=len(items)).map(
                ShardMaker,  # type: ignore[arg-type]
                fn_constructor_args=(job, trials),
                compute=ActorPoolStrategy(min_size=1, max_size=min(self.workers, len(items))),
                num_cpus=self.cpus,
                num_gpus=self.gpus,
            )
            for row in made.iter_rows():
                if row["error"]:
                    raise InputError(row["error"])
                record = Record.parse(row["record"])
                counts = record.counts
                advance(Step(counts.planned, counts.frames, counts.tokens))
                yield record
        except ray.exceptions.RayError as error:
            raise CosmotokError(f"Ray: {one_line(error, 200)}; run the same command again to go on") from None
        finally:
            if mine:
                ray.shutdown()


class Trials:
    """An actor that workers tell how far they are: Ray says nothing of those that die, and tries their shards again."""

    def __init__(self) -> None:
        self._trials: dict[str, Trial] = {}
        self._open: set[str] = set()

    def begin(self, task: str) -> Care | str:
        """How a worker that takes a shard is to make it, or why it is not to; one that had it and did not end died."""
        trial = self._trials.setdefault(task, Trial())
        if task in self._open:
            try:
                trial.lose("Ray started another")
            except WorkerLostError as error:
                return str(error)
        self._open.add(task)
        return trial.begin()

    def tell(self, task: str, step: Step) -> None:
        self._trials.setdefault(task, Trial()).tell(step)

    def end(self, task: str) -> None:
        self._open.discard(task)
        self._trials.pop(task, None)


class ShardMaker:
    """A worker as Ray Data calls it: a row for each shard. Errors travel as text, since Ray would wrap them."""

    def __init__(self, job: Job, trials: Any) -> None:
        self.worker = Worker(job, advance=self._tell)
        self._trials = trials
        self._task, self._tells, self._careful = "", False, False

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        import ray

        task = Task(int(row["part"]), int(row["index"]))
        care = ray.get(self._trials.begin.remote(task.name))
        if isinstance(care, str):
            return {"record": "", "error": care}
        self._task, self._tells, self._careful = task.name, True, care.careful
        try:
            record = self.worker.make(task, care)
        except CosmotokError as error:
            return {"record": "", "error": str(error)}
        finally:  # whoever is killed does not get here
            ray.get(self._trials.end.remote(task.name))
        return {"record": json.dumps(asdict(record)), "error": ""}

    def _tell(self, step: Step) -> None:
        """Waits until it is known; while nobody died, of the first input alone: ten thousand workers ask one actor."""
        import ray

        if step.keys and (self._tells or self._careful):
            self._tells = False
            ray.get(self._trials.tell.remote(self._task, step))
