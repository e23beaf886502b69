"""Files and contestants over several processes, or over this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, Protocol

from cosmotok.errors import CosmotokError
from cosmotok.evaluation.contestants import Contestant
from cosmotok.evaluation.worker import Outcome, Plan, Task, Worker
from cosmotok.processes import Remote, reason

__all__ = ["Here", "Pool", "Processes", "Turn", "open_pool"]


class Turn:
    """One contestant, and the files that it has yet to take."""

    def __init__(self, contestant: Contestant | None) -> None:
        self.contestant = contestant
        """None: tasks bring their reconstructions."""
        self.waiting: deque[Task] = deque()
        self.error: str | None = None
        """Why it cannot be loaded; files are left waiting then."""

    def next(self) -> Task:
        """The next file."""
        return self.waiting.popleft()

    def take(self, outcome: Outcome) -> None:
        """What became of a file."""
        raise NotImplementedError


class Pool(Protocol):
    """Whoever does the work; used in a `with` block."""

    def not_measured(self) -> dict[str, str]:
        """Figures that are left out, and why."""

    def run(self, turns: Sequence[Turn]) -> None:
        """Gives every turn what became of its files, in whatever order."""

    def __enter__(self) -> Pool: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_pool(plan: Plan, jobs: int, threads: int) -> Pool:
    """So many files at a time, each in a process with so many of PyTorch's threads; one is measured in this process."""
    return Here(plan) if jobs == 1 else Processes(plan, jobs, threads)


class Here:
    """One file after the other, in this process."""

    def __init__(self, plan: Plan) -> None:
        self.worker = Worker(plan)

    def not_measured(self) -> dict[str, str]:
        return self.worker.not_measured()

    def run(self, turns: Sequence[Turn]) -> None:
        for turn in turns:
            if not turn.waiting:
                continue
            try:
                self.worker.use(turn.contestant)
            except Exception as error:
                turn.error = reason(error)
                continue
            while turn.waiting:
                turn.take(self.worker.measure(turn.next()))

    def __enter__(self) -> Here:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Processes:
    """Several files at a time, each in a process of its own. One that dies takes one file with it."""

    def __init__(self, plan: Plan, jobs: int, threads: int) -> None:
        make = partial(Worker, plan)
        self.places = [Place(make, threads) for _ in range(jobs)]

    def not_measured(self) -> dict[str, str]:
        found: dict[str, str] = self.places[0].process().call("not_measured")
        return found

    def run(self, turns: Sequence[Turn]) -> None:
        while True:
            for turn in turns:
                if turn.waiting and turn.error is None and all(turn in place.refused for place in self.places):
                    turn.error = self.places[-1].refused[turn]
            for place in self.places:
                if not place.busy:
                    place.take(turns)
            busy: dict[Any, Place] = {place.process().connection: place for place in self.places if place.busy}
            if not busy:
                return
            for connection in wait(list(busy)):
                self.collect(busy[connection])

    def collect(self, place: Place) -> None:
        """What a process has to say, and what follows from it."""
        turn, task = place.turn, place.task
        place.busy, place.task = False, None
        if turn is None:
            return
        try:
            value = place.process().finish()
        except CosmotokError as error:
            place.give_up()
            if task is not None:
                turn.take(Outcome(task.file, failed=reason(error)))
            else:
                place.refused[turn] = reason(error)
            return
        if task is not None:
            turn.take(value)

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for place in self.places:
            place.give_up()


class Place:
    """Where a process is, or will be once it is needed."""

    def __init__(self, make: Callable[[], Worker], threads: int) -> None:
        self.make, self.threads = make, threads
        self.remote: Remote | None = None
        self.busy = False
        self.turn: Turn | None = None
        """Whose contestant is loaded, or is being loaded while there is no task."""
        self.task: Task | None = None
        self.refused: dict[Turn, str] = {}
        """Those that cannot be loaded here, and why; elsewhere they may be: a second copy can be too much for the
        memory."""

    def process(self) -> Remote:
        if self.remote is None:
            self.remote = Remote(self.make, self.threads)
        return self.remote

    def take(self, turns: Sequence[Turn]) -> None:
        """Begins with the next file, or with loading the contestant that it is for."""
        left = [turn for turn in turns if turn.waiting and turn.error is None and turn not in self.refused]
        if not left:
            return
        self.busy = True
        if self.turn is left[0]:
            self.task = left[0].next()
            self.process().begin("measure", self.task)
        else:
            self.turn = left[0]
            self.process().begin("use", self.turn.contestant)

    def give_up(self) -> None:
        """Ends the process, whatever it is doing; the next one begins when there is something to do."""
        if self.remote is not None:
            self.remote.close()
        self.remote = self.turn = None
