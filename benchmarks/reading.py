"""Writes what docs/benchmarks.md says about its tables, with the figures of the tables: prose cannot go stale.

Templates are in benchmarks/reading/. `{photos A - B}` is how much better A's PSNR is than B's, with a sign;
`{|photos A - B|}` the same without; `{photos A}` A's PSNR; `clips` likewise. All have one digit.

    python benchmarks/reading.py
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pages import DOCS, replace_between

TEMPLATES = Path(__file__).parent / "reading"
PLACE = re.compile(r"\{(\|?)(photos|clips) (\S+?)(?: - (\S+?))?\|?\}")
TABLES = {"photos": "Images", "clips": "Videos"}

Figures = Mapping[str, Mapping[str, float]]


def figures_of(page: str) -> dict[str, dict[str, float]]:
    """PSNR by table and model, as the page's tables have it."""
    found: dict[str, dict[str, float]] = {}
    for name, title in TABLES.items():
        table = page.partition(f"#### {title}\n")[2].partition("\n#### ")[0]
        rows = re.findall(r"^\| ([\w.:@-]+) \| \**([\d.]+) ± ", table, re.M)
        found[name] = {model: float(psnr) for model, psnr in rows}
    return found


def filled(template: str, figures: Figures, comma: bool) -> str:
    """The template with its figures; an unknown model is an error."""

    def value(place: re.Match[str]) -> str:
        bare, table, model, other = place.groups()
        psnr = figures[table][model]
        if other is None:
            text = f"{psnr:.1f}"
        else:
            gain = psnr - figures[table][other]
            text = f"{abs(gain):.1f}" if bare else f"{gain:+.1f}"
        return text.replace(".", ",") if comma else text

    return PLACE.sub(value, template).strip()


def reading(language: str) -> tuple[Path, str]:
    """The page of a language ("" or ".pt"), and what it says of its tables."""
    template = (TEMPLATES / f"benchmarks{language}.md").read_text(encoding="utf-8")
    figures = figures_of((DOCS / "benchmarks.md").read_text(encoding="utf-8"))
    return DOCS / f"benchmarks{language}.md", filled(template, figures, bool(language))


def main() -> None:
    """Both languages."""
    for language in ("", ".pt"):
        page, text = reading(language)
        replace_between(page, "reading", text)


if __name__ == "__main__":
    main()
