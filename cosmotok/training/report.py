"""The report of a training run: one HTML page that needs nothing else, and one picture."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from cosmotok.metrics.quality import PLACES
from cosmotok.training.curves import QUIET, CurveChart, charts_of, draw, import_matplotlib, style, to_svg
from cosmotok.training.history import History, read_history
from cosmotok.writing import write_file

__all__ = ["write_report"]

MOST_CLIP_BYTES = 4 * 1024**2
"""Larger clips stay out of the page."""
POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"

Rows = Sequence[tuple[str, str]]


def write_report(run_folder: Path) -> Path:
    """Writes `report.html` and `report.png` into the folder of a run, finished or not.

    Returns:
        The path of the page.

    Raises:
        InputError: where the folder holds no run, or nothing was logged yet.
        MediaError: where the files cannot be written.
        MissingExtraError: without matplotlib.
    """
    history = read_history(run_folder)
    charts = charts_of(history)
    page, picture = run_folder / "report.html", run_folder / "report.png"
    write_file(picture, draw_sheet(history, charts))
    write_file(page, to_html(history, charts))
    return page


# Figures ----------------------------------------------------------------------------------------------------------


def subtitle(history: History) -> str:
    """What was trained, in one line."""
    parts = []
    if (config := history.config) is not None:
        factors = f"{config.spatial_factor}×{config.spatial_factor}"
        if config.kind == "video":
            factors = f"{config.temporal_factor}×{factors}"
        tokens = f"{config.vocab_size:,} codes" if config.is_discrete else f"{config.latent_channels} latent channels"
        parts = [f"{config.kind} tokenizer {config.variant}", factors, tokens]
    if history.parameters is not None:
        parts.append(f"{in_millions(history.parameters)} parameters")
    return ", ".join(parts) or "no model was saved yet"


def headline(history: History) -> Rows:
    """The few figures that matter most."""
    rows = [(name, value) for name, value in quality(history) if name in ("PSNR", "SSIM", "LPIPS", "Codes in use")]
    if not rows and (psnr := history.last("train", "psnr")) is not None:
        rows.append(("PSNR in training", f"{psnr:.2f} dB"))
    return [*rows, ("Steps", f"{last_step(history):,}"), ("Time", duration(last_seconds(history)))]


def quality(history: History) -> Rows:
    """The last validation."""
    rows = []
    for name, figure, form in (
        ("PSNR", "psnr", "{:.2f} dB"),
        ("PSNR of videos", "videos_psnr", "{:.2f} dB"),
        ("PSNR of images", "images_psnr", "{:.2f} dB"),
        *((f"Frames {name}", f"psnr_by_place.{name}", "{:.2f} dB") for name in PLACES),
        ("SSIM", "ssim", "{:.4f}"),
        ("SSIM of videos", "videos_ssim", "{:.4f}"),
        ("SSIM of images", "images_ssim", "{:.4f}"),
        ("LPIPS", "lpips", "{:.4f}"),
        ("Codes in use", "code_usage", "{:.1%}"),
        ("Code perplexity", "perplexity", "{:,.0f}"),
        ("Indices counted", "code_count", "{:,.0f}"),
    ):
        if (value := history.last("validation", figure)) is not None:
            rows.append((name, form.format(value)))
    steps, values = history.series("validation", "psnr")
    if len(steps) > 1:
        best = max(range(len(values)), key=values.__getitem__)
        rows.append(("Best PSNR", f"{values[best]:.2f} dB at step {steps[best]:,}"))
    return rows


def course(history: History) -> Rows:
    """How the training went."""
    rows = [("Steps", f"{last_step(history):,}")]
    for name, figure, form in (
        ("Epochs", "epoch", "{:.2f}"),
        ("Loss", "loss", "{:.4g}"),
        ("PSNR in training", "psnr", "{:.2f} dB"),
    ):
        if (value := history.last("train", figure)) is not None:
            rows.append((name, form.format(value)))
    rows.append(("Time", duration(last_seconds(history))))
    if speeds := history.series("train", "samples_per_second")[1]:
        rows.append(("Speed, median", f"{median(speeds):,.1f} samples/s"))
    if shares := history.series("train", "waiting")[1]:
        rows.append(("Waiting for data", f"{sum(shares) / len(shares):.1%} of the time"))
    if (skipped := history.last("train", "skipped")) is not None:
        rows.append(("Skipped steps", f"{skipped:,.0f}"))
    if history.parameters is not None:
        rows.append(("Parameters", f"{history.parameters:,}"))
    return rows


def last_step(history: History) -> int:
    return max(line["step"] for line in (*history.train[-1:], *history.validation[-1:]))


def last_seconds(history: History) -> float:
    return max(history.last("train", "seconds") or 0.0, history.last("validation", "seconds") or 0.0)


def duration(seconds: float) -> str:
    """Such as 45 s, 3 min 20 s, 5 h 12 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60} min"


def in_millions(count: int) -> str:
    return f"{count:,}" if count < 100_000 else f"{count / 1e6:.3g} million"


# The page ---------------------------------------------------------------------------------------------------------


def to_html(history: History, charts: Sequence[CurveChart]) -> str:
    """The page. All text from outside is escaped, and the page may load nothing and run nothing."""
    style_sheet = files("cosmotok.training").joinpath("report.css").read_text(encoding="utf-8")
    title = f"Training run {history.name}"
    written = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime((history.folder / "log.jsonl").stat().st_mtime))
    parts = [
        f"<header><h1>{escape(title)}</h1><p>{escape(subtitle(history))}</p></header>",
        tiles(headline(history)),
        section(
            "Curves", '<div class="charts">' + "".join(map(chart_figure, charts)) + "</div>" + stages_note(history)
        ),
        section("Reconstructions", pictures(history)),
        section("Final validation", table(quality(history)) + protocol(history) + files_table(history)),
        section("Training", table(course(history))),
        section("Recipe", recipe(history)),
        f"<footer>cosmotok. Last line of the log: {written}.</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style_sheet}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(title: str, content: str) -> str:
    """Nothing where there is no content."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>" if content else ""


def tiles(rows: Rows) -> str:
    pairs = (f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows)
    return '<dl class="tiles">' + "".join(pairs) + "</dl>"


def table(rows: Rows) -> str:
    if not rows:
        return ""
    lines = (f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in rows)
    return '<div class="wide"><table><tbody>' + "".join(lines) + "</tbody></table></div>"


def chart_figure(chart: CurveChart) -> str:
    return f'<figure><img src="{data_address("image/svg+xml", to_svg(chart))}" alt="{escape(chart.words)}"></figure>'


def stages_note(history: History) -> str:
    if not history.stage_begins:
        return ""
    return '<p class="quiet">Dotted lines: another stage of the recipe begins.</p>'


def pictures(history: History) -> str:
    """The last grid and clips."""
    if history.grid is None:
        return ""
    step = int("".join(filter(str.isdecimal, history.grid.stem)) or 0)
    caption = f"Step {step:,}: original, reconstruction, and their difference (amplified, grey where equal)."
    found = (
        '<figure class="grid"><div class="wide" tabindex="0" role="region" aria-label="Reconstructions">'
        f'<img src="{data_address("image/jpeg", as_jpeg(history.grid))}" alt="{escape(caption)}"></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
    clips = [clip for clip in history.clips if clip.stat().st_size <= MOST_CLIP_BYTES]
    videos = (
        f'<figure><video controls loop muted playsinline preload="metadata" src="'
        f'{data_address("video/mp4", clip.read_bytes())}" aria-label="Clip {number}, original and reconstruction">'
        f"</video><figcaption>Clip {number}: original on the left, reconstruction on the right.</figcaption></figure>"
        for number, clip in enumerate(clips, 1)
    )
    return found + ('<div class="clips">' + "".join(videos) + "</div>" if clips else "")


def protocol(history: History) -> str:
    """How it was measured, and what could not be."""
    last: dict[str, Any] = history.validation[-1] if history.validation else {}
    found = f'<p class="quiet">Measured on {escape(str(last["protocol"]))}.</p>' if last.get("protocol") else ""
    if skipped := last.get("skipped_files"):
        lines = "".join(f'<li class="names">{escape(str(line))}</li>' for line in skipped)
        found += f"<p>Not measured, since they cannot be read ({len(skipped)}):</p><ul>{lines}</ul>"
    return found


def files_table(history: History) -> str:
    """The last validation, file by file."""
    entries = history.validation[-1].get("files") if history.validation else None
    if not entries:
        return ""
    columns = [("PSNR, dB", "psnr", "{:.2f}"), ("SSIM", "ssim", "{:.4f}"), ("LPIPS", "lpips", "{:.4f}")]
    columns = [column for column in columns if any(entry.get(column[1]) is not None for entry in entries)]
    head = '<th scope="col">File</th><th scope="col" class="number">Frames</th>'
    head += "".join(f'<th scope="col" class="number">{name}</th>' for name, _, _ in columns)
    body = []
    for entry in entries:
        values = [(entry.get(figure), form) for _, figure, form in columns]
        cells = [f"{entry.get('frames', '')}", *("–" if v is None else form.format(v) for v, form in values)]
        numbers = "".join(f'<td class="number">{escape(cell)}</td>' for cell in cells)
        body.append(f'<tr><th scope="row" class="names">{escape(str(entry.get("name", "")))}</th>{numbers}</tr>')
    return (
        f"<details><summary>File by file ({len(entries)})</summary>"
        f'<div class="wide" tabindex="0" role="region" aria-label="Figures of each file"><table><thead><tr>{head}</tr>'
        f"</thead><tbody>{''.join(body)}</tbody></table></div></details>"
    )


def recipe(history: History) -> str:
    if history.recipe is None:
        return ""
    return f"<details><summary>recipe.yaml, as resolved</summary><pre>{escape(history.recipe)}</pre></details>"


def data_address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def as_jpeg(path: Path) -> bytes:
    """A picture, smaller than as PNG."""
    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(buffer, "JPEG", quality=88, subsampling=0, optimize=True)
    return buffer.getvalue()


# The picture ------------------------------------------------------------------------------------------------------


def draw_sheet(history: History, charts: Sequence[CurveChart]) -> bytes:
    """One landscape page of A4, as PNG: figures, curves, and the last reconstructions."""
    matplotlib = import_matplotlib()
    has_grid = history.grid is not None
    columns = 2 if has_grid and len(charts) <= 4 else 3
    rows = max(1, -(-len(charts) // columns))
    with matplotlib.rc_context(style(7)):
        figure = matplotlib.figure.Figure(figsize=(11.69, 8.27))
        title = f"Training run {history.name}"
        figure.text(
            0.035, 0.955, title if len(title) <= 60 else title[:59] + "…", fontsize=17, weight="bold", va="center"
        )
        figure.text(0.035, 0.918, subtitle(history), fontsize=9.5, color=QUIET, va="center")
        for number, (name, value) in enumerate(headline(history)):
            left = 0.035 + 0.115 * number
            figure.text(left, 0.872, name, fontsize=8, color=QUIET, va="center")
            figure.text(left, 0.842, value, fontsize=12.5, weight="bold", va="center")
        right, spacing = 0.665 if has_grid else 0.965, {"wspace": 0.26, "hspace": 0.42 + 0.03 * rows}
        area = figure.add_gridspec(rows, columns, left=0.062, right=right, top=0.775, bottom=0.05, **spacing)
        for index, chart in enumerate(charts):
            draw(figure.add_subplot(area[index // columns, index % columns]), chart)
        # what the last row has free takes the figures, and what is free below the pictures
        free = [area[index // columns, index % columns] for index in range(len(charts), rows * columns)]
        places = [figure.add_subplot(cell) for cell in reversed(free)]
        if history.grid is not None:
            bottom = draw_grid(figure, history.grid)
            if bottom > 0.3:
                places.append(figure.add_axes((0.69, bottom - 0.21, 0.27, 0.16)))
        for axes in places:
            axes.axis("off")
        for axes, (title, figures) in zip(places, sheet_tables(history), strict=False):
            write_rows(axes, title, figures)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=170)
        return content.getvalue()


def draw_grid(figure: Any, path: Path) -> float:
    """Puts a picture into the right third of the page; returns where its lower edge is, 0 to 1."""
    left, width, top, most = 0.69, 0.29, 0.97, 0.94
    page = figure.get_figwidth() / figure.get_figheight()
    with Image.open(path) as image:
        height = min(most, width * page * image.height / image.width)
        axes = figure.add_axes((left, top - height, width, height), anchor="N")
        axes.imshow(image.convert("RGB"), interpolation="antialiased")
        axes.axis("off")
    return float(top - height)


def sheet_tables(history: History) -> list[tuple[str, Rows]]:
    """Titles and rows, without what stands in large figures already."""
    shown = dict(headline(history))
    tables = [("Training", course(history)), ("Final validation", quality(history))]
    return [(title, [row for row in rows if row[0] not in shown]) for title, rows in tables]


def write_rows(axes: Any, title: str, rows: Rows) -> None:
    """Names and values, one below the other, in the place of a chart."""
    axes.set_title(title if rows else "")
    for number, (name, value) in enumerate(rows):
        height = 0.93 - 0.13 * number
        axes.text(0, height, name, color=QUIET, va="center")
        axes.text(1, height, value, ha="right", va="center")
