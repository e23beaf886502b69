"""What all charts have in common: their interface, their style, and how they become files."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from cosmotok import plotting
from cosmotok.plotting import COLOURS, QUIET
from cosmotok.printing import clean

WIDTH = 8.0
"""Inches; at 800 pixels, text of 9 points is 12.5 pixels high."""
TEXT = 9
NAMES = {"image": "images", "video": "videos"}
BLUE, ORANGE, GREEN = COLOURS[:3]
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


def shortened(name: str) -> str:
    """With the middle of a long name left out."""
    name = clean(name)
    half = MOST_LETTERS // 2
    return name if len(name) <= MOST_LETTERS else f"{name[: half - 1]}…{name[-half:]}"
