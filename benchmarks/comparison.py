"""Measures the bundled models, the KLT and classical codecs, and writes the figures of docs/benchmarks.md anew.

    python benchmarks/comparison.py ../shared/data/val --fit ../shared/data/train

It is `cosmotok compare` with these contestants, and its report with all files stays in `--output`. `--resume` goes on
after an interruption.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import reading
from pages import DOCS, replace_between

from cosmotok.config import bundled_models
from cosmotok.evaluation.find import find_contestants
from cosmotok.evaluation.options import Options
from cosmotok.evaluation.report import write_report
from cosmotok.evaluation.results import Comparison
from cosmotok.evaluation.run import compare
from cosmotok.evaluation.store import read_examples
from cosmotok.evaluation.tables import to_markdown
from cosmotok.families.klt import klt_name
from cosmotok.media import find_media
from cosmotok.progress import Progress

FRAMES = 33
CODECS = {
    ("jpeg", "webp", "avif"): (0.25, 1, 4),
    ("h264", "hevc", "vp9", "av1"): (0.0095, 0.068, 0.6, 1.1),
}
"""With the bits per pixel that the models' tokens have, about."""
FIGURES = ("rate-images", "rate-videos", "compression-continuous", "compression-discrete", "speed-videos")


def contestants() -> list[str]:
    """Bundled models, KLTs with as many components, of images and of clips, and codecs."""
    bundled = bundled_models()
    linear = [klt_name(entry.config.spec, kind) for entry in bundled for kind in ("image", entry.config.kind)]
    codecs = [f"{name}@{rate}bpp" for names, rates in CODECS.items() for name in names for rate in rates]
    return [*(entry.name for entry in bundled), *dict.fromkeys(linear), *codecs]


def write_page(comparison: Comparison, folder: Path) -> None:
    """Tables and charts of the report into the page, in both languages."""
    tables = to_markdown(comparison).strip().replace("### ", "#### ")
    for page in (DOCS / "benchmarks.md", DOCS / "benchmarks.pt.md"):
        replace_between(page, "tables", tables)
    reading.main()
    (DOCS / "benchmarks").mkdir(exist_ok=True)
    for name in FIGURES:
        shutil.copy(folder / "figures" / f"{name}.svg", DOCS / "benchmarks")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--fit", type=Path, required=True, help="what the KLT is fitted to")
    parser.add_argument("--output", type=Path, default=Path("build/comparison"))
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    found = find_contestants(contestants(), fit=arguments.fit, frames=arguments.frames)
    options = Options(folder=arguments.output, frames=arguments.frames, resume=arguments.resume)
    with Progress("measuring", len(find_media(arguments.data)) * len(found), "files") as bar:
        comparison = compare(found, arguments.data, options, advance=bar.advance)
    page = write_report(comparison, arguments.output, read_examples(arguments.output))[0]
    write_page(comparison, arguments.output)
    print(f"wrote {page} and docs/benchmarks.md, .pt.md and benchmarks/*.svg")


if __name__ == "__main__":
    main()
