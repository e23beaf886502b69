"""Quality of the contestants side by side, with how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cosmotok.contestants import Traits
from cosmotok.evaluation.charts.drawing import BLUE, GREEN, NAMES, ORANGE, TEXT, WIDTH, shortened
from cosmotok.evaluation.results import ModelResult, Totals
from cosmotok.evaluation.tables import Kind, number, totals_of
from cosmotok.metrics.intervals import Interval
from cosmotok.plotting import INK, QUIET

BAR_STYLE = {
    "continuous tokenizer": BLUE,
    "discrete tokenizer": ORANGE,
    "linear transform": GREEN,
    "codec": "#9aa5b1",
}
PANELS = (("psnr", "PSNR, dB", 2), ("ssim", "SSIM", 3), ("lpips", "LPIPS (less is better)", 3))


@dataclass(frozen=True)
class Bars:
    """Means over files with their intervals, a bar for each contestant, best PSNR first."""

    kind: Kind
    rows: list[tuple[ModelResult, Totals]]

    @property
    def name(self) -> str:
        return f"bars-{self.kind}s"

    @property
    def title(self) -> str:
        return f"Quality of {NAMES[self.kind]}"

    caption = "Means over files; the thin lines hold 95 of 100 such means (bootstrap)."

    @property
    def panels(self) -> list[tuple[str, str, int]]:
        return [panel for panel in PANELS if any(panel[0] in totals.figures for _, totals in self.rows)]

    @property
    def words(self) -> str:
        said = []
        for model, totals in self.rows:
            figures = (
                f"{title.partition(',')[0].partition(' ')[0]} {interval_words(totals.figures[key], digits)}"
                for key, title, digits in self.panels
                if key in totals.figures
            )
            said.append(f"{model.name}: {', '.join(figures)}")
        return f"{self.title}. " + "; ".join(said) + "."

    def draw(self, figure: Any) -> None:
        from matplotlib.patches import Patch

        count = len(self.rows)
        figure.set_size_inches(WIDTH, 1.35 + 0.27 * count)
        widths = [1.5, *[1.0] * (len(self.panels) - 1)]
        grid = figure.subplots(1, len(self.panels), sharey=True, squeeze=False, width_ratios=widths)[0]
        colours = [BAR_STYLE[sort_of(model.traits)] for model, _ in self.rows]
        for axes, (key, title, digits) in zip(grid, self.panels, strict=True):
            draw_bars(axes, [totals.figures.get(key) for _, totals in self.rows], colours, digits)
            axes.set_title(title, fontsize=TEXT, fontweight="normal", color=QUIET)
        grid[0].set_ylim(count - 0.4, -0.6)
        grid[0].set_yticks(range(count), [shortened(model.name) for model, _ in self.rows], color=INK)
        figure.suptitle(self.title, x=0.012, ha="left", fontsize=TEXT * 1.15, fontweight="bold")
        used = list(dict.fromkeys(sort_of(model.traits) for model, _ in self.rows))
        if len(used) > 1:
            handles = [Patch(color=BAR_STYLE[sort], label=sort) for sort in BAR_STYLE if sort in used]
            figure.legend(handles=handles, loc="outside upper right", ncols=4, handlelength=0.9, borderaxespad=0.2)


def bars(models: Sequence[ModelResult], kind: Kind) -> Bars | None:
    rows = [(model, totals) for model in models if (totals := totals_of(model, kind)) is not None]
    rows = [row for row in rows if "psnr" in row[1].figures]
    if len(rows) < 2:
        return None
    return Bars(kind, sorted(rows, key=lambda row: -row[1].figures["psnr"].mean))


def draw_bars(axes: Any, intervals: Sequence[Interval | None], colours: Sequence[str], digits: int) -> None:
    longest = max((interval.mean for interval in intervals if interval and math.isfinite(interval.mean)), default=1)
    reach = longest
    for row, (interval, colour) in enumerate(zip(intervals, colours, strict=True)):
        if interval is None:
            continue
        mean, end = interval.mean, 0.0
        if math.isfinite(mean):
            axes.barh(row, mean, 0.66, color=colour)
            end = mean
            if interval.count > 1 and math.isfinite(interval.low) and math.isfinite(interval.high):
                axes.plot((interval.low, interval.high), (row, row), color=INK, linewidth=1.1, solid_capstyle="butt")
                end = max(mean, interval.high)
        reach = max(reach, end)
        axes.annotate(
            number(mean, digits), (end, row), (4, 0), textcoords="offset points", va="center", fontsize="small"
        )
    axes.set_xlim(0, 1.3 * reach if reach > 0 else 1)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def sort_of(traits: Traits) -> str:
    if traits.family == "tokenizer":
        return "continuous tokenizer" if traits.vocab_size is None else "discrete tokenizer"
    return "linear transform" if traits.family == "linear" else "codec"


def interval_words(interval: Interval, digits: int) -> str:
    mean, low, high = (number(value, digits) for value in (interval.mean, interval.low, interval.high))
    return mean if interval.count < 2 or low == high else f"{mean} ({low} to {high})"
