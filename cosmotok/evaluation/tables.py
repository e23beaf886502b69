"""A comparison as tables: for pages, and as CSV, JSON and Markdown."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cosmotok.contestants import Traits
from cosmotok.evaluation.results import FIGURES, Comparison, FileResult, ModelResult, Totals
from cosmotok.metrics.intervals import Interval
from cosmotok.metrics.quality import PLACES
from cosmotok.printing import clean

__all__ = [
    "CAPABILITIES",
    "KINDS",
    "Cell",
    "Column",
    "SummaryRow",
    "capabilities",
    "code_words",
    "factors",
    "heading",
    "missing",
    "not_measured",
    "number",
    "rows_csv",
    "single_rate_name",
    "single_rates",
    "summaries",
    "summary",
    "summary_csv",
    "to_json",
    "to_markdown",
    "tokens",
    "totals_of",
    "with_half",
    "worst_first",
]

Kind = Literal["image", "video"]
KINDS: tuple[Kind, ...] = ("image", "video")
NOTHING = "–"
CAPABILITIES = ("causal", "image", "video", "joint", "continuous", "discrete", "streaming")
"""In the order of the paper's table 1, and ours."""


@dataclass(frozen=True)
class Column:
    """A figure, how it is written, and which way it is better."""

    key: str
    title: str
    unit: str
    digits: int | None
    """After the point; None: three digits in all."""
    better: Literal["higher", "lower"] | None = None

    def write(self, value: float) -> str:
        return number(value, self.digits)


@dataclass(frozen=True)
class Cell:
    """One figure of one contestant."""

    value: float | None
    text: str
    interval: Interval | None = None
    is_best: bool = False
    """Of its column, as written."""

    @property
    def half(self) -> float | None:
        """Half the width of the interval; None where there is none."""
        if self.interval is None or self.interval.count < 2:
            return None
        half = (self.interval.high - self.interval.low) / 2
        return half if math.isfinite(half) else None


@dataclass(frozen=True)
class SummaryRow:
    """One contestant on all files of a kind."""

    model: ModelResult
    totals: Totals
    cells: list[Cell]


QUALITY = (
    Column("psnr", "PSNR", "dB", 2, "higher"),
    Column("ssim", "SSIM", "", 4, "higher"),
    Column("lpips", "LPIPS", "", 4, "lower"),
    Column("temporal", "Temporal PSNR", "dB", 2, "higher"),
    Column("sharpness", "Sharpness", "", 3),
)
"""Of every file, as `FIGURES`."""
IN_ALL = (
    Column("bits_per_pixel", "Bits per pixel", "", None),
    Column("megapixels_per_second", "Speed", "Mpixel/s", None, "higher"),
)
BY_PLACE = [Column(name, name, "", 2, "higher") for name in PLACES]
FRECHET = {
    "image": Column("frechet", "rFID", "", 2, "lower"),
    "video": Column("frechet", "rFVD", "", 2, "lower"),
}


NAMES = {"psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS", "temporal": "Temporal PSNR", "rfid": "rFID", "rfvd": "rFVD"}


def not_measured(comparison: Comparison) -> list[tuple[str, str]]:
    """Figures that were left out, by the names that readers know, and why."""
    return [(NAMES.get(name, name), reason) for name, reason in comparison.not_measured.items()]


def summaries(comparison: Comparison) -> list[tuple[str, list[Column], list[SummaryRow]]]:
    """Title, columns and rows of each table that has something to say: images, videos, and videos by place."""
    found = [(title, *summary(comparison, kind)) for title, kind in zip(("Images", "Videos"), KINDS, strict=True)]
    columns, rows = summary(comparison, "video", BY_PLACE)
    if len(columns) > 1:
        found.append(("Videos by frame, PSNR in dB", columns, rows))
    return [table for table in found if table[2]]


def summary(comparison: Comparison, kind: Kind, wanted: Sequence[Column] = ()) -> tuple[list[Column], list[SummaryRow]]:
    """The totals of every contestant that was measured on images, or on videos; columns of what was measured.

    Args:
        wanted: columns; by default of all frames.
    """
    measured = [(model, totals) for model in comparison.models if (totals := totals_of(model, kind)) is not None]
    columns = [
        column
        for column in wanted or (*QUALITY, FRECHET[kind], *IN_ALL)
        if any(figure_of(totals, column.key)[0] is not None for _, totals in measured)
    ]
    # by columns, since the best of a column is marked
    cells = [column_cells(column, [totals for _, totals in measured]) for column in columns]
    return columns, [SummaryRow(*measured[i], [column[i] for column in cells]) for i in range(len(measured))]


def column_cells(column: Column, totals: Sequence[Totals]) -> list[Cell]:
    found = [figure_of(entry, column.key) for entry in totals]
    values = [value for value, _ in found if value is not None and not math.isnan(value)]
    best = None
    if column.better is not None and len(values) > 1:
        best = column.write(max(values) if column.better == "higher" else min(values))
    cells = []
    for value, interval in found:
        text = NOTHING if value is None else column.write(value)
        cells.append(Cell(value, text, interval, is_best=value is not None and text == best))
    return cells


def figure_of(totals: Totals, key: str) -> tuple[float | None, Interval | None]:
    if key in FIGURES or key in PLACES:
        interval = totals.figures.get(key) or totals.places.get(key)
        return (None if interval is None else interval.mean), interval
    return getattr(totals, key), None


def totals_of(model: ModelResult, kind: Kind) -> Totals | None:
    return model.images if kind == "image" else model.videos


# Words ----------------------------------------------------------------------------------------------------------------


def number(value: float, digits: int | None = None) -> str:
    """With so many digits after the point, or three in all; ∞ for infinity."""
    if math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if digits is None:
        digits = 0 if value == 0 else min(6, max(0, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:,.{digits}f}"


def factors(traits: Traits) -> str:
    """Such as 4×8×8 (time, height, width), or 8×8 of images alone."""
    if traits.space is None:
        return NOTHING
    space = f"{traits.space}×{traits.space}"
    return space if traits.time in (None, 1) else f"{traits.time}×{space}"


def tokens(traits: Traits) -> str:
    """Such as 16 channels, or 64,000 codes."""
    if traits.vocab_size is not None:
        return f"{traits.vocab_size:,} codes"
    if traits.channels is not None:
        return f"{traits.channels} channels"
    return "files" if traits.family == "codec" else NOTHING


def capabilities(traits: Traits) -> dict[str, bool]:
    """By name, of `CAPABILITIES`."""
    return {
        "causal": traits.causal,
        "image": traits.image,
        "video": traits.video,
        "joint": traits.joint,
        "continuous": traits.channels is not None,
        "discrete": traits.vocab_size is not None,
        "streaming": traits.streaming,
    }


def single_rate_name(model: ModelResult) -> str:
    """The name of a codec without its rate, of a linear transform without its size; else the name."""
    separator = {"codec": "@", "linear": ":"}.get(model.traits.family)
    return model.name if separator is None else model.name.partition(separator)[0]


def single_rates(models: Sequence[ModelResult]) -> list[tuple[str, Traits]]:
    """Names and traits; a codec that is there at several rates once."""
    rows: dict[str, Traits] = {}
    for model in models:
        name = single_rate_name(model) if model.traits.family == "codec" else model.name
        rows.setdefault(name, model.traits)
    return list(rows.items())


def worst_first(comparison: Comparison) -> list[tuple[ModelResult, FileResult]]:
    """Every measured file of every contestant, by PSNR; those without one last."""
    entries = [(model, file) for model in comparison.models for file in model.files]
    return sorted(entries, key=lambda entry: math.inf if entry[1].psnr is None else entry[1].psnr)


# Files ----------------------------------------------------------------------------------------------------------------


def to_json(comparison: Comparison) -> str:
    """Everything; `Comparison.from_dict` reads it."""
    return json.dumps(comparison.to_dict(), indent=1) + "\n"


PLACE_FIELD = "psnr_frames_{}".format
"""Names of columns."""
FILE_FIELDS = ("psnr", "ssim", "lpips", "temporal", "sharpness", "bits_per_pixel", "codes", "seconds")


def rows_csv(comparison: Comparison) -> str:
    """A line for every file of every contestant, those that failed among them."""
    lines: list[Iterable[Any]] = []
    for model in comparison.models:
        for file in model.files:
            values = (*(getattr(file, name) for name in FILE_FIELDS), *map(file.places.get, PLACES))
            lines.append((model.name, file.file, file.kind, file.frames, file.width, file.height, *values, ""))
        for name, reason in model.failed.items():
            lines.append((model.name, name, *[None] * (4 + len(FILE_FIELDS) + len(PLACES)), reason))
    return to_csv(
        ("model", "file", "kind", "frames", "width", "height", *FILE_FIELDS, *map(PLACE_FIELD, PLACES), "error"), lines
    )


def summary_csv(comparison: Comparison) -> str:
    """A line for every contestant on images and one on videos; one with the reason if it was not measured."""
    shares = ("bits_per_pixel", "frames_per_second", "megapixels_per_second", "frechet")
    figures = [f"{name}{end}" for name in (*FIGURES, *map(PLACE_FIELD, PLACES)) for end in ("", "_low", "_high")]
    lines: list[Iterable[Any]] = []
    for model in comparison.models:
        traits = model.traits
        begin = (model.name, traits.family, traits.time, traits.space, traits.channels, traits.vocab_size)
        end = (traits.parameters, model.code_usage, model.perplexity, len(model.failed), model.error)
        for kind in KINDS:
            if (totals := totals_of(model, kind)) is not None:
                intervals = [*map(totals.figures.get, FIGURES), *map(totals.places.get, PLACES)]
                values = [x for i in intervals for x in ((None,) * 3 if i is None else (i.mean, i.low, i.high))]
                rest = (getattr(totals, name) for name in shares)
                lines.append((*begin, kind, totals.files, totals.frames, *values, *rest, *end))
        if model.images is None and model.videos is None:
            lines.append((*begin, *[None] * (3 + len(figures) + len(shares)), *end))
    first = ("model", "family", "time", "space", "channels", "vocab_size", "kind", "files", "frames")
    last = ("parameters", "code_usage", "perplexity", "failed", "error")
    return to_csv((*first, *figures, *shares, *last), lines)


def to_csv(header: Iterable[str], lines: Iterable[Iterable[Any]]) -> str:
    """Numbers in full; None is an empty field; text is text, which no spreadsheet computes."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([harmless(cell) if isinstance(cell, str) else cell for cell in line] for line in lines)
    return buffer.getvalue()


def harmless(text: str) -> str:
    """Text without control characters, after an apostrophe where a spreadsheet would take it for a formula. Bytes of
    names that are no UTF-8 are spelt out."""
    text = clean(text.encode("utf-8", errors="backslashreplace").decode())
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def to_markdown(comparison: Comparison) -> str:
    """The summary, best values bold, and what is missing."""
    parts = []
    for title, columns, rows in summaries(comparison):
        header = ["model", *map(heading, columns), "files"]
        lines = [[escaped(row.model.name), *map(in_markdown, row.cells), str(row.totals.files)] for row in rows]
        parts.append(f"### {title}\n\n" + markdown_table(header, lines))
    parts.append(escaped(comparison.protocol_text))
    if lost := missing(comparison):
        parts.append("\n".join(f"- {escaped(line)}" for line in lost))
    return "\n\n".join(parts) + "\n"


def heading(column: Column) -> str:
    return f"{column.title}, {column.unit}" if column.unit else column.title


def with_half(cell: Cell) -> str:
    """The mean and half the interval, such as 30.12 ± 0.80."""
    if cell.half is None:
        return cell.text
    digits = len(cell.text.partition(".")[2])
    return f"{cell.text} ± {number(cell.half, digits)}"


def in_markdown(cell: Cell) -> str:
    return f"**{with_half(cell)}**" if cell.is_best else with_half(cell)


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines))


def escaped(text: str) -> str:
    """Text that Markdown leaves as it is."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#~$&" else letter for letter in clean(text))


def missing(comparison: Comparison) -> list[str]:
    """A line for each thing that was not measured."""
    lines = [f"{name} was not measured: {reason}" for name, reason in not_measured(comparison)]
    lines += [f"{model.name} was not measured: {model.error}" for model in comparison.models if model.error is not None]
    lines += [f"{file} could not be read: {reason}" for file, reason in comparison.unread.items()]
    for model in comparison.models:
        lines += [f"{model.name} failed on {file}: {reason}" for file, reason in model.failed.items()]
    return lines


def code_words(model: ModelResult) -> str:
    """Such as: 71.3% of the codes in use, perplexity 8,123."""
    parts = []
    if model.code_usage is not None:
        parts.append(f"{model.code_usage:.1%} of the codes in use")
    if model.perplexity is not None:
        parts.append(f"perplexity {model.perplexity:,.0f}")
    return ", ".join(parts)
