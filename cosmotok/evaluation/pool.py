"""Files and contestants over several processes, or over this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import wait
from typing import Any, Protocol

from cosmotok.contestants import Contestant
from cosmotok.errors import CosmotokError
from cosmotok.evaluation.options import Options
from cosmotok.evaluation.worker import Outcome, Task, Worker
from cosmotok.processes import Remote, reason

__all__ = ["Queue", "open_pool"]


class Queue(Protocol):
    """One contestant, and the files that it has yet to take."""

    contestant: Contestant
    waiting: deque[Task]
    error: str | None
    """Why it cannot be loaded; files are left waiting then."""

    def loaded(self, fingerprint: str | None) -> None:
        """The contestant is ready, in one process or in another one; some files may turn out to be done."""

    def next(self) -> Task:
        """Takes the next file out of those that wait."""

    def take(self, outcome: Outcome) -> None:
        """What became of a file."""


class Pool(Protocol):
    """Whoever does the work."""

    def not_measured(self) -> dict[str, str]:
        """Figures that are left out, and why."""

    def run(self, queues: Sequence[Queue]) -> None:
        """Gives every queue what became of its files, in whatever order."""


@contextmanager
def open_pool(options: Options) -> Iterator[Pool]:
    """So many files at a time, each in a process with its share of threads; a single one in this process."""
    if options.processes == 1:
        yield Here(options)
        return
    pool = Processes(options)
    try:
        yield pool
    finally:
        for place in pool.places:
            place.give_up()


class Here:
    """One file after the other, in this process."""

    def __init__(self, options: Options) -> None:
        self.worker = Worker(options)

    def not_measured(self) -> dict[str, str]:
        return self.worker.not_measured()

    def run(self, queues: Sequence[Queue]) -> None:
        for queue in queues:
            if not queue.waiting or queue.error is not None:
                continue
            try:
                fingerprint = self.worker.use(queue.contestant)
            except Exception as error:
                queue.error = reason(error)
                continue
            queue.loaded(fingerprint)
            while queue.waiting:
                queue.take(self.worker.measure(queue.next()))


class Processes:
    """Several files at a time, each in a process of its own. One that dies takes one file with it."""

    def __init__(self, options: Options) -> None:
        make = partial(Worker, options)
        self.places = [Place(make, options.threads) for _ in range(options.processes)]

    def not_measured(self) -> dict[str, str]:
        found: dict[str, str] = self.places[0].process().call("not_measured")
        return found

    def run(self, queues: Sequence[Queue]) -> None:
        while True:
            for queue in queues:
                if queue.waiting and queue.error is None and all(queue in place.refused for place in self.places):
                    queue.error = self.places[-1].refused[queue]
            for place in self.places:
                if not place.busy:
                    place.take(queues)
            busy: dict[Any, Place] = {place.process().connection: place for place in self.places if place.busy}
            if not busy:
                return
            for connection in wait(list(busy)):
                self.collect(busy[connection])

    def collect(self, place: Place) -> None:
        """What a process has to say, and what follows from it."""
        queue, task = place.queue, place.task
        place.busy, place.task = False, None
        if queue is None:
            return
        try:
            value = place.process().finish()
        except CosmotokError as error:
            place.give_up()
            if task is not None:
                queue.take(Outcome(task.file, failed=reason(error)))
            else:
                place.refused[queue] = reason(error)
            return
        if task is not None:
            queue.take(value)
        else:
            queue.loaded(value)


class Place:
    """Where a process is, or will be once it is needed."""

    def __init__(self, make: Callable[[], Worker], threads: int) -> None:
        self.make, self.threads = make, threads
        self.remote: Remote | None = None
        self.busy = False
        self.queue: Queue | None = None
        """Whose contestant is loaded, or is being loaded while there is no task."""
        self.task: Task | None = None
        self.refused: dict[Queue, str] = {}
        """Those that cannot be loaded here, and why; elsewhere they may be: a second copy can be too much for the
        memory."""

    def process(self) -> Remote:
        if self.remote is None:
            self.remote = Remote(self.make, self.threads)
        return self.remote

    def take(self, queues: Sequence[Queue]) -> None:
        """Begins with the next file, or with loading the contestant that it is for."""
        left = [queue for queue in queues if queue.waiting and queue.error is None and queue not in self.refused]
        if not left:
            return
        self.busy = True
        if self.queue is left[0]:
            self.task = left[0].next()
            self.process().begin("measure", self.task)
        else:
            self.queue = left[0]
            self.process().begin("use", self.queue.contestant)

    def give_up(self) -> None:
        """Ends the process, whatever it is doing; the next one begins when there is something to do."""
        if self.remote is not None:
            self.remote.close()
        self.remote = self.queue = None
