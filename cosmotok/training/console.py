"""How a run shows itself while it trains: a bar with its figures on a terminal, lines elsewhere; on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from cosmotok.language import number
from cosmotok.language import translate as _
from cosmotok.printing import say
from cosmotok.progress import SECONDS_BETWEEN_LINES

__all__ = ["RunConsole", "figures_of", "validation_line"]

VALIDATION_FIGURES = {
    "psnr": ("PSNR {value} dB", ".2f"),
    "ssim": ("SSIM {value}", ".4f"),
    "lpips": ("LPIPS {value}", ".4f"),
    "code_usage": ("{value} of the codes in use", ".1%"),
    "perplexity": ("perplexity {value}", ",.0f"),
}
"""Words and format of each figure of a validation."""


class RunConsole:
    """Shows the lines of a run's log as they come; used in a `with` block.

    Args:
        label: what is trained.
        steps: of the whole run.
        minutes: after which it ends sooner, if it does.
    """

    def __init__(self, label: str, steps: int, minutes: float | None = None) -> None:
        self.label, self.steps, self.minutes = label, steps, minutes
        self._before: tuple[int, float] = (0, 0.0)
        self._live: Any = None
        self._bar: Any = None
        self._shown = float("-inf")
        self._unsaid = ""

    def __enter__(self) -> RunConsole:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn() if self.minutes is None else TextColumn("{task.fields[place]}"),
                TextColumn("{task.fields[left]}"),
            )
            self._bar = Progress(*columns)
            self._task = self._bar.add_task(
                self.label.replace("[", "\\["),
                total=self.steps if self.minutes is None else self.minutes * 60,
                left="",
                place="",
            )
            self._live = Live(self._bar, console=Console(stderr=True), transient=True, refresh_per_second=4)
            self._live.start()
        return self

    def __call__(self, entry: Mapping[str, Any]) -> None:
        """Shows a line of the log, of any kind."""
        if entry["kind"] == "train":
            left = self._time_left(entry)
            self._unsaid = f"{self._place(entry)}: {figures_of(entry)}" + (f", {left}" if left else "")
            if self._live is not None:
                self._update(entry, left)
            elif time.monotonic() - self._shown > SECONDS_BETWEEN_LINES:
                self._say()
            return
        broken = entry["kind"] == "broken"
        line = _("left out: {what}").format(what="; ".join(entry["files"])) if broken else validation_line(entry)
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False)
        else:
            self._say()  # what training came to by then goes first
            say(line)

    def _place(self, entry: Mapping[str, Any]) -> str:
        """Where the run is: among its steps, or in its time, where that ends it."""
        if self.minutes is None:
            return _("step {step} of {steps}").format(
                step=number(f"{entry['step']:,}"), steps=number(f"{self.steps:,}")
            )
        minutes = number(f"{entry['seconds'] / 60:.1f}")
        return _("step {step}, {minutes} of {limit} min").format(
            step=number(f"{entry['step']:,}"), minutes=minutes, limit=number(f"{self.minutes:g}")
        )

    def _update(self, entry: Mapping[str, Any], left: str) -> None:
        from rich.console import Group
        from rich.text import Text

        done = entry["step"] if self.minutes is None else entry["seconds"]
        self._bar.update(self._task, completed=done, left=left, place=self._place(entry))
        self._live.update(Group(self._bar, Text("  " + figures_of(entry), style="dim")))

    def _time_left(self, entry: Mapping[str, Any]) -> str:
        """By the speed since the line before; empty at the end."""
        step, seconds = entry["step"], entry["seconds"]
        (step_before, seconds_before), self._before = self._before, (step, seconds)
        left = (self.steps - step) * (seconds - seconds_before) / max(1, step - step_before)
        if self.minutes is not None:
            left = min(left, self.minutes * 60 - seconds)
        if left <= 0:
            return ""
        time_left = f"{number(f'{left / 3600:.1f}')} h" if left >= 5400 else f"{max(1, round(left / 60))} min"
        return _("{time} left").format(time=time_left)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        self._say()  # where it ended

    def _say(self) -> None:
        if self._unsaid:
            say(self._unsaid)
        self._unsaid, self._shown = "", time.monotonic()


def figures_of(entry: Mapping[str, Any]) -> str:
    """Losses, quality, speed and so on of a line of training."""
    found = []
    if entry["loss"] is not None:
        terms = entry["terms"] if len(entry["terms"]) > 1 else {}
        each = ", ".join(f"{name} {number(f'{value:.4f}')}" for name, value in terms.items())
        loss = _("loss {value}").format(value=number(f"{entry['loss']:.4f}"))
        found.append(loss + (f" ({each})" if each else ""))
        found.append(number(f"PSNR {entry['psnr']:.2f} dB"))
    found.append(_("{rate} samples/s").format(rate=number(f"{entry['samples_per_second']:.1f}")))
    found.append(_("{share} waiting for data").format(share=f"{entry['waiting']:.0%}"))
    if entry["skipped"]:
        found.append(_("{count} steps skipped").format(count=entry["skipped"]))
    return ", ".join(found)


def validation_line(entry: Mapping[str, Any]) -> str:
    """The figures of a validation, on one line."""
    found = []
    for name, (words, digits) in VALIDATION_FIGURES.items():
        if entry.get(name) is not None:
            found.append(_(words).format(value=number(format(entry[name], digits))))
    if places := entry.get("psnr_by_place"):
        each = " / ".join(f"{name}: {number(f'{psnr:.2f}')}" for name, psnr in places.items())
        found.append(_("by frames of videos {each}").format(each=each))
    skipped = len(entry.get("skipped_files") or [])
    found += [_("files that cannot be read: {count}").format(count=skipped)] if skipped else []
    step = number(f"{entry['step']:,}")
    return _("step {step}, validation: {figures}").format(step=step, figures=", ".join(found))
