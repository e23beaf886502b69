"""Quality over something else: compression (the paper's figure 1), bits per pixel, speed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from cosmotok import plotting
from cosmotok.contestants import Traits
from cosmotok.evaluation.charts.drawing import BLUE, GREEN, NAMES, ORANGE, WIDTH, shortened
from cosmotok.evaluation.labels import Label, place
from cosmotok.evaluation.literature import DRAWN, LITERATURE, SOURCE
from cosmotok.evaluation.results import Comparison, ModelResult, Totals
from cosmotok.evaluation.tables import KINDS, Kind, capabilities, single_rate_name, totals_of
from cosmotok.plotting import COLOURS, INK, MARKERS, QUIET

KIND_STYLE: dict[Kind, tuple[str, str]] = {"video": (BLUE, "o"), "image": (ORANGE, "s")}
"""Colour and marker of what was measured on images, and on videos."""


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
            for entry in LITERATURE
            if (entry.kind, entry.tokens, entry.data) == (kind, sort, DRAWN[kind])
        ]
        published.append(Group(f"{NAMES[kind]}, published: {DRAWN[kind]}", marks, colour, marker, filled=False))
    if not any(group.marks for group in measured):
        return None
    groups = [group for group in (*measured, *published) if group.marks]
    return Plane(
        f"compression-{sort}",
        f"Quality against compression, {sort} tokens",
        "compression: pixels per token",
        groups,
        f"Filled: measured here. Hollow: published results ({SOURCE}, corrected) on other data, {DRAWN['video']} and "
        f"{DRAWN['image']}: their heights do not compare with those of filled points. An image has no neighbours in "
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
