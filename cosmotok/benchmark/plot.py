"""A benchmark as a picture: bars for one size of clip, lines where cost grows with size or length."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cosmotok.benchmark.findings import GIGA, Half, Report, Result
from cosmotok.benchmark.table import clip_words, memory, speed
from cosmotok.errors import InputError
from cosmotok.interface import Clip
from cosmotok.plotting import COLOURS, INK, MARKERS, QUIET, check_plot, import_matplotlib, plain_numbers, save, style

__all__ = ["write_plot"]

ENCODE, DECODE, MEMORY = COLOURS[0], COLOURS[1], COLOURS[2]
BAR = 0.35
LOGARITHMIC_FROM = 8.0
"""Ratio of the longest bar to the shortest from which the axis is logarithmic."""


def write_plot(report: Report, path: Path) -> None:
    """Draws to a file, .png, .svg or .pdf.

    Raises:
        InputError: for another suffix, or where nothing was measured.
        MediaError: where it cannot be written.
        MissingExtraError: without matplotlib.
    """
    check_plot(path)
    if all(result.encode is None for result in report.results):
        raise InputError(f"{path}: nothing to draw, since every model failed")
    matplotlib = import_matplotlib()
    with matplotlib.rc_context({**style(9), "svg.fonttype": "none"}):
        figure = matplotlib.figure.Figure(layout="constrained")
        if len(report.clips) == 1:
            draw_bars(figure, report)
        else:
            draw_growth(figure, report)
        save(figure, path)


# Bars -----------------------------------------------------------------------------------------------------------------


def draw_bars(figure: Any, report: Report) -> None:
    """Frames per second of every model, and peak memory."""
    results = report.results
    figure.set_size_inches(8.4, 1.3 + 0.46 * len(results))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.75, 1))
    clip = report.clips[0]
    for half, colour, offset in (("encode", ENCODE, -BAR / 2), ("decode", DECODE, BAR / 2)):
        rates = [half_of(result, half, lambda h: h.frames_per_second) for result in results]
        bars(left, rates, colour, offset, BAR, half, [speed(rate) for rate in rates])
    peaks = [float(result.peak_memory or math.nan) for result in results]
    bars(right, [peak / GIGA for peak in peaks], MEMORY, 0, 2 * BAR, "", [memory_label(result) for result in results])
    for axes in (left, right):
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_color(INK)
        fit_axis(axes)
    left.set_ylim(len(results) - 0.5, -0.5)
    left.set_yticks(range(len(results)), [result.name for result in results], color=INK)
    for row, result in enumerate(results):
        if result.error is not None:
            left.text(
                0.01, row, "failed", transform=left.get_yaxis_transform(), va="center", color=QUIET, style="italic"
            )
    left.set_title("Frames per second")
    right.set_title("Peak memory, GB")
    left.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, handlelength=1, columnspacing=1.2, borderaxespad=0.4)
    figure.supxlabel(footing(report, clip_words(clip)), color=QUIET, fontsize="small", x=0.01, ha="left")


def bars(
    axes: Any, values: Sequence[float], colour: str, offset: float, width: float, label: str, texts: Sequence[str]
) -> None:
    rows = [row + offset for row in range(len(values))]
    axes.barh(rows, [0 if math.isnan(value) else value for value in values], width, color=colour, label=label)
    for row, value, text in zip(rows, values, texts, strict=True):
        if not math.isnan(value):
            axes.annotate(
                text, (value, row), (3, 0), textcoords="offset points", va="center", fontsize="small", color=INK
            )


def fit_axis(axes: Any) -> None:
    """Room for the numbers behind the bars; logarithmic where the short ones could not be seen."""
    lengths = [bar.get_width() for bar in axes.patches if bar.get_width() > 0]
    longest, shortest = max(lengths, default=1), min(lengths, default=1)
    if longest / shortest < LOGARITHMIC_FROM:
        axes.set_xlim(0, 1.22 * longest)
        return
    axes.set_xscale("log")
    low = 10 ** math.floor(math.log10(shortest / 1.5))
    axes.set_xlim(low, longest * (longest / low) ** 0.2)
    plain_numbers(axes.xaxis)


def memory_label(result: Result) -> str:
    return memory(result.peak_memory)


# Lines ----------------------------------------------------------------------------------------------------------------


def draw_growth(figure: Any, report: Report) -> None:
    """Seconds and peak memory over pixels, at the greatest length, and over frames, at the largest size."""
    clips = report.clips
    longest, largest = max(clip.frames for clip in clips), max(clips, key=lambda clip: clip.pixels)
    by_size = [clip for clip in clips if clip.frames == longest]
    by_length = [clip for clip in clips if (clip.height, clip.width) == (largest.height, largest.width)]
    lines: list[tuple[list[Clip], Callable[[Clip], float], Callable[[Clip], str], str]] = [
        (by_size, lambda clip: clip.pixels, size_words, f"frame size, at {longest} frame{'s' if longest > 1 else ''}"),
        (by_length, lambda clip: clip.frames, lambda clip: str(clip.frames), f"frames, at {size_words(largest)}"),
    ]
    lines = [line for line in lines if len(line[0]) > 1]
    figure.set_size_inches(9.6, 0.9 + 2.75 * len(lines))
    grid = figure.subplots(len(lines), 3, squeeze=False)
    for panels, (chosen, over, tick, label) in zip(grid, lines, strict=True):
        chosen = sorted(chosen, key=over)
        for axes, (title, value) in zip(panels, QUANTITIES, strict=True):
            draw_lines(axes, report, chosen, over, value)
            axes.set_xticks([over(clip) for clip in chosen], [tick(clip) for clip in chosen])
            axes.xaxis.minorticks_off()
            axes.set_title(title)
            axes.set_xlabel(label)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=min(5, len(labels)), handlelength=1.8)
    figure.supxlabel(footing(report, ""), color=QUIET, fontsize="small", x=0.01, ha="left")


def size_words(clip: Clip) -> str:
    return f"{clip.width}x{clip.height}"


def draw_lines(
    axes: Any,
    report: Report,
    clips: Sequence[Clip],
    over: Callable[[Clip], float],
    value: Callable[[Result], float],
) -> None:
    for index, name in enumerate(report.names):
        points = [(over(clip), value(result)) for clip in clips if (result := report.result(name, clip)) is not None]
        points = [point for point in points if not math.isnan(point[1]) and point[1] > 0]
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            markersize=4,
            label=name,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain_numbers(axes.yaxis)


QUANTITIES: tuple[tuple[str, Callable[[Result], float]], ...] = (
    ("Encoding, seconds", lambda result: half_of(result, "encode", lambda half: min(half.seconds))),
    ("Decoding, seconds", lambda result: half_of(result, "decode", lambda half: min(half.seconds))),
    ("Peak memory, GB", lambda result: math.nan if result.peak_memory is None else result.peak_memory / GIGA),
)


# Both -----------------------------------------------------------------------------------------------------------------


def half_of(result: Result, name: str, value: Callable[[Half], float]) -> float:
    half: Half | None = getattr(result, name)
    return math.nan if half is None else value(half)


def footing(report: Report, what: str) -> str:
    machine = report.machine
    threads = f", {machine.threads} thread{'s' if machine.threads > 1 else ''}" if machine.device_type == "cpu" else ""
    parts = [what, f"{machine.dtype} on {machine.device}{threads}", f"best of {report.rounds}"]
    return ", ".join(part for part in parts if part)
