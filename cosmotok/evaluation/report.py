"""The report of a comparison: one HTML page that needs nothing else, its charts as files, and its numbers."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

from cosmotok.errors import missing_extra
from cosmotok.evaluation.charts import Chart, Table, charts_of, to_svg, write_chart
from cosmotok.evaluation.pictures import DIFFERENCE_GAIN, Example, cut, data_address, difference_map, to_webp
from cosmotok.evaluation.results import Comparison, FileResult, ModelResult
from cosmotok.evaluation.tables import (
    CAPABILITIES,
    KINDS,
    QUALITY,
    Column,
    capabilities,
    factors,
    heading,
    not_measured,
    number,
    rows_csv,
    single_rates,
    summaries,
    summary,
    summary_csv,
    to_json,
    to_markdown,
    tokens,
    worst_first,
)
from cosmotok.printing import clean
from cosmotok.writing import write_file

__all__ = ["to_html", "write_report"]

MOST_SIDE = 640
"""Pixels of an example's width and height; of a larger picture, the page shows the middle."""
MOST_PICTURE_BYTES = 24 * 1024**2
"""Of all examples in the page; further ones stay out."""
MOST_ROWS = 2000
"""Of single files in the page; all are in rows.csv."""
TITLES = {"image": "Images", "video": "Videos"}


def write_report(comparison: Comparison, folder: Path, examples: Sequence[Example] = ()) -> list[Path]:
    """Writes `results.json`, `rows.csv`, `summary.csv`, `tables.md`, `figures/*.png` and `*.svg`, and `report.html`.

    Args:
        folder: is made if it is not there.
        examples: shown in the page, the worst first.

    Returns:
        The paths of the files, the page first.

    Raises:
        MediaError: where a file cannot be written.
        MissingExtraError: without matplotlib; the files of numbers are then written already.
    """
    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    texts = {
        "results.json": to_json(comparison),
        "rows.csv": rows_csv(comparison),
        "summary.csv": summary_csv(comparison),
        "tables.md": to_markdown(comparison),
    }
    written = [write_text(folder / name, text) for name, text in texts.items()]
    charts = charts_of(comparison)
    for chart in charts:
        paths = [figures / f"{chart.name}{suffix}" for suffix in (".png", ".svg")]
        write_chart(chart, *paths)
        written += paths
    return [write_text(folder / "report.html", to_html(comparison, charts, examples)), *written]


def write_text(path: Path, text: str) -> Path:
    write_file(path, text.encode("utf-8", errors="backslashreplace"))  # names of files may be no UTF-8
    return path


# The page -------------------------------------------------------------------------------------------------------------


def to_html(comparison: Comparison, charts: Sequence[Chart], examples: Sequence[Example] = ()) -> str:
    """The page. All text from outside is escaped; the page may load nothing and run nothing but its own script."""
    style, script = resource("report.css"), resource("report.js")
    viewers, left_out = to_viewers(comparison, examples)
    rows = worst_first(comparison)
    return page_template().render(
        policy="; ".join(
            (
                "default-src 'none'",
                "img-src data:",
                f"style-src {allowed(style)}",
                f"script-src {allowed(script)}",
                "base-uri 'none'",
                "form-action 'none'",
            )
        ),
        style=style,
        script=script,
        title=title_of(comparison),
        comparison=comparison,
        tiles=tiles(comparison),
        gaps=gaps(comparison),
        remarks=remarks(comparison),
        summaries=summaries(comparison),
        charts=[
            (data_address("image/svg+xml", to_svg(chart)), chart) for chart in charts if not isinstance(chart, Table)
        ],
        capability_names=CAPABILITIES,
        capability_caption=Table.caption,
        contestants=contestants(comparison),
        has_codes=any(model.code_usage is not None for model in comparison.models),
        viewers=viewers,
        left_out=left_out,
        most_side=MOST_SIDE,
        gain=DIFFERENCE_GAIN,
        row_columns=row_columns(rows),
        rows=rows[:MOST_ROWS],
        row_count=len(rows),
    )


@cache
def page_template() -> Any:
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise missing_extra("the report needs jinja2", "eval") from None
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "clean": clean,
        "heading": heading,
        "number": number,
        "factors": factors,
        "tokens": tokens,
    }
    return environment.from_string(resource("report.html"))


def resource(name: str) -> str:
    return files("cosmotok.evaluation").joinpath(name).read_text(encoding="utf-8")


def allowed(content: str) -> str:
    """A source of a Content-Security-Policy: this text and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def title_of(comparison: Comparison) -> str:
    data = PurePosixPath(comparison.data.replace("\\", "/")).name or comparison.data
    if len(comparison.models) == 1:
        return f"{comparison.models[0].name} on {data}"
    return f"{len(comparison.models)} contestants on {data}"


def tiles(comparison: Comparison) -> list[tuple[str, str]]:
    """The few figures that matter most: of one contestant its quality, of several what was compared."""
    found = []
    if len(comparison.models) == 1:
        for kind in KINDS:
            columns, rows = summary(comparison, kind)
            for column, cell in zip(columns, rows[0].cells if rows else (), strict=False):
                if column.key in ("psnr", "ssim", "lpips") and cell.value is not None:
                    unit = f" {column.unit}" if column.unit else ""
                    found.append((f"{column.title}, {TITLES[kind].lower()}", cell.text + unit))
    else:
        found.append(("Contestants", f"{len(comparison.models)}"))
    for kind in KINDS:
        seen = {file.file: file.frames for model in comparison.models for file in model.files if file.kind == kind}
        if seen:
            frames = f", {sum(seen.values()):,} frames" if kind == "video" else ""
            found.append((TITLES[kind] + frames, f"{len(seen):,}"))
    return found


@dataclass(frozen=True)
class Gap:
    """Something that was not measured."""

    what: str
    reasons: list[tuple[str, str]]
    """Names, and why."""


def gaps(comparison: Comparison) -> list[Gap]:
    found = [
        Gap("Figures that were left out", not_measured(comparison)),
        Gap(
            "Contestants that were not measured",
            [(model.name, model.error) for model in comparison.models if model.error is not None],
        ),
        Gap("Files that could not be read", list(comparison.unread.items())),
    ]
    for model in comparison.models:
        found.append(Gap(f"Files that {model.name} failed on", list(model.failed.items())))
    return [gap for gap in found if gap.reasons]


def remarks(comparison: Comparison) -> list[tuple[list[str], str]]:
    """Names of contestants, and a remark on them."""
    found: dict[str, list[str]] = {}
    for name, traits in single_rates(comparison.models):
        if traits.note:
            found.setdefault(traits.note, []).append(name)
    return [(names, note) for note, names in found.items()]


def contestants(comparison: Comparison) -> list[dict[str, Any]]:
    """A row for each; a codec that is there at several rates once."""
    by_name = {model.name: model for model in comparison.models}
    return [
        {
            "name": name,
            "traits": traits,
            "capabilities": capabilities(traits),
            "code_usage": getattr(by_name.get(name), "code_usage", None),
            "perplexity": getattr(by_name.get(name), "perplexity", None),
        }
        for name, traits in single_rates(comparison.models)
    ]


def row_columns(rows: Sequence[tuple[ModelResult, FileResult]]) -> list[Column]:
    """Figures of single files that were measured."""
    columns = (*QUALITY, Column("bits_per_pixel", "Bits per pixel", "", None), Column("seconds", "Time", "s", None))
    return [column for column in columns if any(getattr(file, column.key) is not None for _, file in rows)]


# Examples -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """What one contestant made of a frame."""

    model: str
    psnr: str
    reconstruction: str
    difference: str
    """Both as addresses that hold the picture."""


@dataclass(frozen=True)
class Viewer:
    """A frame, and what the contestants made of it."""

    file: str
    frame: int
    width: int
    height: int
    full_size: str
    """Of a frame of which only the middle is shown, such as 1920×1080; else empty."""
    original: str
    views: list[View]


def to_viewers(comparison: Comparison, examples: Sequence[Example]) -> tuple[list[Viewer], int]:
    """Frames with the worst first, as many as the page holds; and how many pictures stay out."""
    order = {model.name: i for i, model in enumerate(comparison.models)}
    groups: dict[tuple[str, int], list[Example]] = {}
    for example in sorted((example for example in examples if example.model in order), key=lambda e: order[e.model]):
        groups.setdefault((example.file, example.frame), []).append(example)
    viewers, used, left_out = [], 0, 0
    for (file, frame), group in sorted(groups.items(), key=lambda item: min(example.psnr for example in item[1])):
        original = cut(group[0].original, MOST_SIDE)
        address = data_address("image/webp", to_webp(original, "exact"))
        used += len(address)
        views = []
        for example in group:
            if used > MOST_PICTURE_BYTES:
                left_out += 1
                continue
            reconstruction = cut(example.reconstruction, MOST_SIDE)
            view = View(
                example.model,
                f"{number(example.psnr, 2)} dB",
                data_address("image/webp", to_webp(reconstruction, "exact")),
                data_address("image/webp", to_webp(difference_map(original, reconstruction), "good")),
            )
            used += len(view.reconstruction) + len(view.difference)
            views.append(view)
        if views:
            height, width = original.shape[:2]
            whole = group[0].original.shape[:2]
            full_size = "" if whole == (height, width) else f"{whole[1]}×{whole[0]}"
            viewers.append(Viewer(file, frame, width, height, full_size, address, views))
    return viewers, left_out
