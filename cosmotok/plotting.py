"""How every chart looks, and how it is written."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

from cosmotok.errors import InputError, missing_extra
from cosmotok.writing import require_folder, write_file

__all__ = [
    "COLOURS",
    "INK",
    "MARKERS",
    "QUIET",
    "RULE",
    "check_plot",
    "import_matplotlib",
    "plain_numbers",
    "save",
    "style",
    "to_svg",
]

INK, QUIET, RULE = "#1f2933", "#66717d", "#e3e7eb"
COLOURS = ("#2563a8", "#c8601a", "#23806f", "#7a55a3", "#b03a5b", "#6f7d1f", "#8a5a2b", "#4a5560")
"""Told apart by readers with any colour vision, together with the markers."""
MARKERS = "osD^vPX*"
SUFFIXES = (".png", ".svg", ".pdf")
DOTS_PER_INCH = 160


def import_matplotlib(extra: str = "train") -> Any:
    """matplotlib, to draw with no window.

    Args:
        extra: of the package, that brings it.

    Raises:
        MissingExtraError: without matplotlib.
    """
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError:
        raise missing_extra("the report needs matplotlib", extra) from None
    return matplotlib


def style(size: float) -> dict[str, Any]:
    """matplotlib's settings for text of `size` points. Names of terms are not taken for mathematics."""
    return {
        "font.family": "DejaVu Sans",
        "font.size": size,
        "text.color": INK,
        "text.parse_math": False,
        "axes.edgecolor": "#b8c0c8",
        "axes.labelcolor": QUIET,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.titlelocation": "left",
        "axes.titlesize": size * 1.15,
        "axes.titleweight": "bold",
        "axes.linewidth": 0.8,
        "axes.formatter.useoffset": False,
        "grid.color": RULE,
        "grid.linewidth": 0.8,
        "xtick.color": QUIET,
        "ytick.color": QUIET,
        "xtick.major.size": 3,
        "ytick.major.size": 3,
        "legend.frameon": False,
        "legend.fontsize": size * 0.95,
        "lines.linewidth": 1.6,
        "lines.solid_capstyle": "round",
        "svg.hashsalt": "cosmotok",
        "figure.facecolor": "white",
    }


def to_svg(figure: Any) -> bytes:
    """A figure as a picture of its own, whose text needs no font. The same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def check_plot(path: Path) -> None:
    """Raises InputError for a suffix that cannot be written, MediaError for a folder that is not there,
    MissingExtraError without matplotlib."""
    require_folder(path, path.parent)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: expected a name that ends in {', '.join(SUFFIXES)}")
    import_matplotlib()


def save(figure: Any, path: Path) -> None:
    """Writes a figure to a .png, .svg or .pdf file. The same figure gives the same file.

    Raises:
        MediaError: where it cannot be written.
    """
    dated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower())
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix.lower()[1:], dpi=DOTS_PER_INCH, metadata=dated)
    write_file(path, content.getbuffer())


def plain_numbers(axis: Any) -> None:
    """0.1, 1, 10 rather than powers of ten, on a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = sorted(axis.get_view_interval())
    decades = math.log10(high / low)
    steps = (1, 2, 5) if decades < 1.4 else (1, 3) if decades < 2.5 else (1,)
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())
