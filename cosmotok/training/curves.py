"""Curves of a training run: what is plotted, and how it looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cosmotok import plotting
from cosmotok.metrics.quality import PLACES
from cosmotok.plotting import COLOURS, QUIET, import_matplotlib, style
from cosmotok.training.history import History

__all__ = ["CurveChart", "Series", "charts_of", "draw", "import_matplotlib", "style", "to_svg"]

MOST_POINTS = 600
"""Longer series are drawn as means over equal stretches."""
ROUND = [1, 2, 2.5, 5, 10]
"""Steps between the ticks of an axis, times powers of ten."""
LOGARITHMIC_FROM = 8.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""


@dataclass(frozen=True)
class Series:
    """One curve."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]
    measured: bool = False
    """Measured now and then, so that the points matter, rather than a mean over all steps."""


@dataclass(frozen=True)
class CurveChart:
    """Curves that share an axis."""

    title: str
    unit: str
    series: list[Series]
    form: str = "{:.4g}"
    """How its values are written in words."""
    may_be_logarithmic: bool = False
    from_zero: bool = False
    stages: Sequence[int] = ()
    """Steps at which another stage began."""

    @property
    def logarithmic(self) -> bool:
        values = [value for series in self.series for value in series.values]
        return self.may_be_logarithmic and min(values) > 0 and max(values) / min(values) >= LOGARITHMIC_FROM

    @property
    def words(self) -> str:
        """What the curves show, for whoever cannot see them."""
        said = []
        for series in self.series:
            first, last = (self.form.format(series.values[i]) for i in (0, -1))
            begin = f"{first} at step {series.steps[0]:,}"
            said.append(
                f"{series.name} {begin}" + (f", {last} at step {series.steps[-1]:,}" if len(series.steps) > 1 else "")
            )
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.title}{unit} over training steps: " + "; ".join(said) + "."


def charts_of(history: History) -> list[CurveChart]:
    """All that can be plotted of a run; what was never measured is not there."""

    def series(name: str, kind: str, figure: str, factor: float = 1.0) -> Series:
        steps, values = history.series(kind, figure)
        return Series(name, steps, [factor * value for value in values], measured=kind == "validation")

    def chart(title: str, unit: str, curves: list[Series], **options: Any) -> CurveChart:
        return CurveChart(
            title, unit, [curve for curve in curves if curve.steps], stages=history.stage_begins, **options
        )

    terms = [series(name, "train", f"terms.{name}") for name in history.terms]
    charts = [
        chart("Loss", "", [series("loss", "train", "loss")], may_be_logarithmic=True),
        chart("Loss terms", "weighted", terms if len(terms) > 1 else [], may_be_logarithmic=True),
        chart(
            "PSNR",
            "dB",
            [series("training", "train", "psnr"), series("validation", "validation", "psnr")],
            form="{:.2f} dB",
        ),
        chart(
            "PSNR by frames of videos",
            "dB, validation",
            [series(name, "validation", f"psnr_by_place.{name}") for name in PLACES],
            form="{:.2f} dB",
        ),
        chart("SSIM", "validation", [series("SSIM", "validation", "ssim")]),
        chart("LPIPS", "validation", [series("LPIPS", "validation", "lpips")]),
        chart(
            "Codes in use",
            "% of the vocabulary",
            [series("codes in use", "validation", "code_usage", 100)],
            form="{:.1f}%",
            from_zero=True,
        ),
        chart(
            "Code perplexity", "", [series("perplexity", "validation", "perplexity")], form="{:,.0f}", from_zero=True
        ),
        chart("Learning rate", "", [series("learning rate", "train", "lr")], form="{:.2g}", from_zero=True),
        chart(
            "Gradient norm",
            "before clipping",
            [series("gradient norm", "train", "grad_norm")],
            may_be_logarithmic=True,
        ),
        chart("Speed", "samples per second", [series("speed", "train", "samples_per_second")], from_zero=True),
        chart(
            "Waiting for data",
            "% of the time",
            [series("waiting", "train", "waiting", 100)],
            form="{:.1f}%",
            from_zero=True,
        ),
    ]
    return [entry for entry in charts if entry.series]


def draw(axes: Any, chart: CurveChart) -> None:
    """Draws a chart on matplotlib's axes."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for series, colour in zip(chart.series, colours(len(chart.series)), strict=True):
        steps, values = thinned(series)
        marker = {"marker": "o", "markersize": 3.5} if series.measured or len(steps) == 1 else {}
        axes.plot(steps, values, color=colour, label=series.name, **marker)
    for step in chart.stages:
        axes.axvline(step, color="#9aa5b1", linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)
    axes.set_title(chart.title)
    if chart.unit:
        axes.text(1, 1.03, chart.unit, transform=axes.transAxes, ha="right", va="bottom", color=QUIET, fontsize="small")
    ticks = FuncFormatter(lambda value, _: short(value))
    if chart.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
        if chart.from_zero:
            top = max(max(series.values) for series in chart.series)
            axes.set_ylim(0, top * 1.08 if top > 0 else 1)
    axes.yaxis.set_major_formatter(ticks)
    axes.set_xlim(0, 1.02 * max(1, *(series.steps[-1] for series in chart.series)))
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND, integer=True))
    axes.xaxis.set_major_formatter(ticks)
    if len(chart.series) > 1:
        axes.legend(loc="best", ncols=1 + len(chart.series) // 5, handlelength=1.4, borderaxespad=0.2)


def to_svg(chart: CurveChart, label: str = "step") -> bytes:
    """The chart as a picture of its own, whose text needs no font."""
    matplotlib = import_matplotlib()
    with matplotlib.rc_context(style(9)):
        figure = matplotlib.figure.Figure(figsize=(5.4, 2.9), layout="constrained")
        axes = figure.add_subplot()
        draw(axes, chart)
        axes.set_xlabel(label)
        return plotting.to_svg(figure)


def colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def thinned(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """At most `MOST_POINTS` points, each the mean of a stretch."""
    steps, values = np.asarray(series.steps, float), np.asarray(series.values, float)
    if len(steps) <= MOST_POINTS:
        return steps, values
    stretches = np.array_split(np.arange(len(steps)), MOST_POINTS)
    return np.array([steps[s].mean() for s in stretches]), np.array([values[s].mean() for s in stretches])


def short(value: float) -> str:
    """12k for 12000, 1.5M for 1500000, 7.5e-4 for 0.00075."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    if 0 < abs(value) < 0.01:
        digits, _, power = f"{value:.2e}".partition("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:.6g}"
