"""The paper's pictures, drawn from what was measured: quality against compression, rate and speed; capabilities."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from cosmotok import plotting
from cosmotok.evaluation.contestants import Traits
from cosmotok.evaluation.labels import Label, place
from cosmotok.evaluation.published import PUBLISHED, SHOWN, SOURCE
from cosmotok.evaluation.results import Comparison, Interval, ModelResult, Totals
from cosmotok.evaluation.tables import (
    CAPABILITIES,
    KINDS,
    Kind,
    capabilities,
    clean,
    factors,
    number,
    single_rate_name,
    single_rates,
    tokens,
    totals_of,
)
from cosmotok.plotting import COLOURS, INK, MARKERS, QUIET, RULE

__all__ = ["Bars", "Chart", "Group", "Mark", "Plane", "Table", "charts_of", "to_svg", "write_chart"]

WIDTH = 8.0
"""Inches; at 800 pixels, text of 9 points is 12.5 pixels high."""
TEXT = 9
NAMES = {"image": "images", "video": "videos"}
BLUE, ORANGE, GREEN = COLOURS[:3]
KIND_STYLE: dict[Kind, tuple[str, str]] = {"video": (BLUE, "o"), "image": (ORANGE, "s")}
"""Colour and marker of what was measured on images, and on videos."""
MOST_LETTERS = 30
"""Of a name in a chart."""


class Chart(Protocol):
    """A picture that can be drawn, and told."""

    @property
    def name(self) -> str:
        """Of its file, without suffix."""

    @property
    def title(self) -> str: ...

    @property
    def caption(self) -> str:
        """What a reader has to know."""

    @property
    def words(self) -> str:
        """What is to be seen, for whoever cannot see it."""

    def draw(self, figure: Any) -> None:
        """Draws on an empty figure of matplotlib, with an Agg canvas."""


def charts_of(comparison: Comparison) -> list[Chart]:
    """All that can be drawn of a comparison. What would compare nothing is not there."""
    models = [model for model in comparison.models if model.error is None]
    charts: list[Chart | None] = [compression(comparison, kind) for kind in ("continuous", "discrete")]
    charts += [against(models, kind, RATE) for kind in KINDS]
    charts += [against(models, kind, SPEED) for kind in KINDS]
    charts += [bars(models, kind) for kind in KINDS]
    if models:
        charts.append(Table(single_rates(models)))
    return [chart for chart in charts if chart is not None]


def to_svg(chart: Chart) -> bytes:
    """The chart as a picture of its own, without its caption.

    Raises:
        MissingExtraError: without matplotlib.
    """
    return drawn(chart, "", plotting.to_svg)


def write_chart(chart: Chart, *paths: Path) -> None:
    """Draws to .png, .svg or .pdf files, the caption below.

    Raises:
        MediaError: where it cannot be written.
        MissingExtraError: without matplotlib.
    """

    def save_all(figure: Any) -> None:
        for path in paths:
            plotting.save(figure, path)

    drawn(chart, chart.caption, save_all)


def drawn(chart: Chart, caption: str, then: Callable[[Any], Any]) -> Any:
    matplotlib = plotting.import_matplotlib("eval")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with matplotlib.rc_context(plotting.style(TEXT)):
        figure = matplotlib.figure.Figure(layout="constrained")
        FigureCanvasAgg(figure)
        if caption:
            lines = textwrap.fill(clean(caption), 128)
            figure.supxlabel(lines, color=QUIET, fontsize="small", x=0.012, ha="left", multialignment="left")
        chart.draw(figure)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # labels were placed in this one
        return then(figure)


# Points in a plane ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mark:
    """A point; its label is empty where another one speaks for it."""

    x: float
    y: float
    label: str
    name: str
    """In words."""


@dataclass(frozen=True)
class Group:
    """Points that look alike."""

    legend: str
    """Empty: not in the legend."""
    marks: list[Mark]
    colour: str
    marker: str
    filled: bool = True
    line: Literal["", "solid", "dashed"] = ""
    """Between the points, in their order."""


@dataclass(frozen=True)
class Plane:
    """PSNR over something else, on a logarithmic axis."""

    name: str
    title: str
    over: str
    """What the horizontal axis shows."""
    groups: list[Group]
    caption: str
    ticks: dict[int, str] = field(default_factory=dict)
    """Values of the horizontal axis and what they say; then it counts in powers of two."""

    @property
    def words(self) -> str:
        said = []
        for group in self.groups:
            points = ", ".join(f"{mark.name} {mark.y:.2f} dB at {mark.x:,.4g}" for mark in group.marks)
            said.append(f"{group.legend}: {points}" if group.legend else points)
        return f"{self.title}. PSNR over {self.over}. " + "; ".join(said) + "."

    def draw(self, figure: Any) -> None:
        figure.set_size_inches(WIDTH, 4.9)
        axes = figure.add_subplot()
        for group in self.groups:
            axes.plot(
                [mark.x for mark in group.marks],
                [mark.y for mark in group.marks],
                linestyle=group.line or "none",
                color=group.colour,
                marker=group.marker,
                markersize=6 if not group.line else 4.5,
                markerfacecolor=group.colour if group.filled else "white",
                markeredgewidth=1.3,
                label=group.legend or "_",
                zorder=3 if group.filled else 2,
            )
        entries = sum(bool(group.legend) for group in self.groups)
        columns = entries if entries < 4 else 2
        lines = -(-entries // columns) if columns else 0
        axes.set_title(self.title, pad=8 + 14 * lines)
        axes.set_ylabel("PSNR, dB")
        axes.set_xlabel(self.over)
        self.set_limits(axes)
        if entries:
            place_of = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.3, "borderpad": 0}
            axes.legend(ncols=columns, handlelength=1, columnspacing=1.8, labelspacing=0.35, **place_of)
        figure.draw_without_rendering()
        self.write_labels(axes)

    def set_limits(self, axes: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        marks = [mark for group in self.groups for mark in group.marks]
        low, high = min(mark.x for mark in marks), max(mark.x for mark in marks)
        axes.set_xscale("log", base=2 if self.ticks else 10)
        # labels stand on the right of most points
        room = (high / low) ** 0.08
        axes.set_xlim(low / max(1.5, room**1.5), high * max(2.0, room**2.5))
        if self.ticks:
            axes.set_xticks(list(self.ticks), list(self.ticks.values()))
            axes.xaxis.minorticks_off()
        else:
            plotting.plain_numbers(axes.xaxis)
        bottom, top = min(mark.y for mark in marks), max(mark.y for mark in marks)
        margin = max(0.5, 0.08 * (top - bottom))
        axes.set_ylim(bottom - margin, top + margin)
        axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))

    def write_labels(self, axes: Any) -> None:
        groups = sorted(self.groups, key=lambda group: not group.filled)  # what was measured chooses first
        labels = [
            Label(mark.x, mark.y, shortened(mark.label), INK if group.filled and not group.line else group.colour)
            if group.filled
            else Label(mark.x, mark.y, shortened(mark.label), QUIET)
            for group in groups
            for mark in sorted(group.marks, key=lambda mark: (mark.x, -mark.y))
            if mark.label
        ]
        points = np.array([(mark.x, mark.y) for group in groups for mark in group.marks])
        lines = [np.array([(mark.x, mark.y) for mark in group.marks]) for group in groups if group.line]
        place(axes, labels, points, lines)


def compression(comparison: Comparison, sort: Literal["continuous", "discrete"]) -> Plane | None:
    """PSNR over pixels per token, measured and published: the paper's figure 1."""
    measured: list[Group] = []
    published: list[Group] = []
    for kind in KINDS:
        colour, marker = KIND_STYLE[kind]
        marks = [
            Mark(pixels_per_token(model.traits, kind), psnr, model.name, model.name)
            for model in comparison.models
            if capabilities(model.traits)[sort] and model.traits.compression is not None
            if (psnr := psnr_of(totals_of(model, kind))) is not None
        ]
        measured.append(Group(f"{NAMES[kind]}, measured here", marks, colour, marker))
        marks = [
            Mark(entry.compression, entry.psnr, entry.model, f"{entry.model} of {entry.source}")
            for entry in PUBLISHED
            if (entry.kind, entry.tokens, entry.data) == (kind, sort, SHOWN[kind])
        ]
        published.append(Group(f"{NAMES[kind]}, published: {SHOWN[kind]}", marks, colour, marker, filled=False))
    if not any(group.marks for group in measured):
        return None
    groups = [group for group in (*measured, *published) if group.marks]
    return Plane(
        f"compression-{sort}",
        f"Quality against compression, {sort} tokens",
        "compression: pixels per token",
        groups,
        f"Filled: measured here. Hollow: published results ({SOURCE}, corrected) on other data, {SHOWN['video']} and "
        f"{SHOWN['image']}: their heights do not compare with those of filled points. An image has no neighbours in "
        "time, so that of images only the compression in height and width counts.",
        ticks=ticks(groups),
    )


def pixels_per_token(traits: Traits, kind: Kind) -> int:
    space, time = traits.space or 1, traits.time or 1
    return space**2 * (time if kind == "video" else 1)


FACTORS = {16: "4×4", 64: "8×8", 256: "16×16, 4×8×8", 512: "8×8×8", 1024: "32×32, 4×16×16", 2048: "8×16×16"}
"""How they usually come about."""


def ticks(groups: Sequence[Group]) -> dict[int, str]:
    values = sorted({round(mark.x) for group in groups for mark in group.marks})
    return {value: f"{value:,}" + (f"\n{FACTORS[value]}" if value in FACTORS else "") for value in values}


@dataclass(frozen=True)
class Axis:
    """What PSNR is drawn over."""

    name: str
    title: str
    over: str
    caption: str
    value: Callable[[Totals], float | None]


RATE = Axis(
    "rate",
    "Quality against bits per pixel",
    "bits per pixel",
    "Latents count 16 bits per channel, an index counts log2 of the vocabulary, a codec its whole file.",
    lambda totals: totals.bits_per_pixel,
)
SPEED = Axis(
    "speed",
    "Quality against speed",
    "megapixels per second, encoding and decoding",
    "Reading files and measuring are left out of the time.",
    lambda totals: totals.megapixels_per_second,
)


def against(models: Sequence[ModelResult], kind: Kind, axis: Axis) -> Plane | None:
    """PSNR over bits per pixel or speed; codecs and linear transforms as lines over their rates."""
    lines: dict[str, list[tuple[float, Mark]]] = {}
    points: dict[str, list[Mark]] = {"continuous": [], "discrete": []}
    families: dict[str, str] = {}
    for model in models:
        totals = totals_of(model, kind)
        x, psnr = None if totals is None else axis.value(totals), psnr_of(totals)
        if totals is None or psnr is None or x is None or not 0 < x < math.inf:
            continue
        if model.traits.family == "tokenizer":
            sort = "continuous" if model.traits.vocab_size is None else "discrete"
            points[sort].append(Mark(x, psnr, model.name, model.name))
        else:
            name = single_rate_name(model)
            families[name] = model.traits.family
            lines.setdefault(name, []).append((totals.bits_per_pixel or x, Mark(x, psnr, "", model.name)))
    groups = [line_group(name, families[name], marks, i) for i, (name, marks) in enumerate(lines.items())]
    groups += [
        Group(f"{sort} tokenizers", marks, *style)
        for (sort, marks), style in zip(points.items(), ((BLUE, "o"), (ORANGE, "s")), strict=True)
        if marks
    ]
    if sum(len(group.marks) for group in groups) < 2:
        return None
    return Plane(f"{axis.name}-{kind}s", f"{axis.title}, {NAMES[kind]}", axis.over, groups, axis.caption)


def line_group(name: str, family: str, marks: list[tuple[float, Mark]], index: int) -> Group:
    """Points in the order of their rates; the last one has the name of all, a single one its own."""
    ordered = [mark for _, mark in sorted(marks, key=lambda entry: entry[0])]
    last = ordered[-1]
    ordered[-1] = replace(last, label=name if len(ordered) > 1 else last.name)
    if family == "linear":
        return Group("", ordered, GREEN, "D", line="dashed")
    colours, markers = COLOURS[3:], MARKERS[3:]
    return Group("", ordered, colours[index % len(colours)], markers[index % len(markers)], line="solid")


def psnr_of(totals: Totals | None) -> float | None:
    """None where it was not measured or is infinite."""
    interval = None if totals is None else totals.figures.get("psnr")
    return interval.mean if interval is not None and math.isfinite(interval.mean) else None


# Bars -----------------------------------------------------------------------------------------------------------------

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


# The capability table -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """What every contestant can do: the paper's table 1."""

    rows: list[tuple[str, Traits]]
    name = "capabilities"
    title = "Capabilities"
    caption = (
        "Causal: no frame depends on a later one. Joint: images and videos share one latent space. "
        "Streaming: output comes while input goes on, in constant memory."
    )

    @property
    def words(self) -> str:
        said = []
        for name, traits in self.rows:
            able = [word for word, can in capabilities(traits).items() if can]
            said.append(f"{name}: {', '.join(able) or 'none'}")
        return f"{self.title}. " + "; ".join(said) + "."

    def draw(self, figure: Any) -> None:
        count = len(self.rows)
        figure.set_size_inches(WIDTH, 0.75 + 0.27 * (count + 1))
        axes = figure.add_subplot()
        axes.set_title(self.title, pad=8, x=0.006)
        axes.set_axis_off()
        axes.set_xlim(-0.006, 1)
        axes.set_ylim(count + 0.5, -0.5)
        places = [0.475 + 0.0785 * i for i in range(len(CAPABILITIES))]
        axes.axhline(0.5, color=INK, linewidth=0.9)
        for x, title in zip(places, CAPABILITIES, strict=True):
            axes.text(x, 0, title, ha="center", va="center", color=QUIET, fontsize="small")
        for row, (name, traits) in enumerate(self.rows, 1):
            axes.text(0, row, shortened(name), va="center")
            described = ", ".join(word for word in (factors(traits), tokens(traits)) if word != "–")
            axes.text(0.25, row, described, va="center", color=QUIET, fontsize="small")
            for x, can in zip(places, capabilities(traits).values(), strict=True):
                mark = {"s": "✓", "color": BLUE, "weight": "bold"} if can else {"s": "–", "color": "#b8c0c8"}
                axes.text(x, row, ha="center", va="center", **mark)
            axes.axhline(row + 0.5, color=RULE, linewidth=0.8)


def shortened(name: str) -> str:
    """With the middle of a long name left out."""
    name = clean(name)
    half = MOST_LETTERS // 2
    return name if len(name) <= MOST_LETTERS else f"{name[: half - 1]}…{name[-half:]}"
