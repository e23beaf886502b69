"""Progress of long work: a bar on a terminal, a line now and then elsewhere; always on standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from cosmotok.language import number
from cosmotok.language import translate as _
from cosmotok.printing import clean

__all__ = ["Progress"]

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts `total` things (None where nobody knows how many); used in a `with` block.

    Args:
        label: what is being done, e.g. "reconstructing clip.mp4".
        unit: of what is counted, e.g. "frames".
    """

    def __init__(self, label: str, total: int | None, unit: str = "frames") -> None:
        self.label, self.total, self.unit = clean(label), total, unit
        self.done = 0
        self._bar: Any = None
        self._task: Any = None
        self._begin = self._last = time.monotonic()
        self._said = 0  # by the last line

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            rate = TextColumn("{task.fields[rate]}")
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                rate,
                TimeRemainingColumn(),
            )
            self._bar = RichProgress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total, rate="")
        return self

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._begin

    def advance(self, count: int, note: str = "") -> None:
        """Counts `count` more things; `note` stands behind their rate."""
        self.done += count
        now = time.monotonic()
        rate = f"{self._rate()}{', ' if note else ''}{note}"
        if self._bar is not None:
            # a container may claim fewer frames than it has
            total = max(self.total, self.done) if self.total is not None else None
            self._bar.update(self._task, completed=self.done, total=total, rate=rate)
        elif now - self._last > SECONDS_BETWEEN_LINES:
            self._last = now
            self._say(rate)

    def _rate(self) -> str:
        return f"{number(f'{self.done / max(self.seconds, 1e-6):.1f}')} {self.unit}/s"

    def turn(self, name: str, done: int, total: int) -> None:
        """The turn of `name`, with `done` of `total` behind it: of few, slow things, each worth a line."""
        self.done, self.total = done, total
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, rate=clean(name))
        else:
            self._say(clean(name))

    def _say(self, rate: str) -> None:
        line = _("{label}: {done} {unit}, {rate}")
        if self.total is not None:
            line = _("{label}: {done} of {total} {unit}, {rate}")
        total = max(self.total or 0, self.done)
        words = line.format(label=self.label, done=self.done, total=total, unit=self.unit, rate=rate)
        print(words, file=sys.stderr, flush=True)
        self._said = self.done

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif 0 < self._said < self.done:  # the last line is not to say less than was done
            self._say(self._rate())
