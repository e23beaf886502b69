"""Figures that scripts write into the project's pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from portuguese import PROSE, portuguese

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


def figures_table(figures: Mapping[str, str]) -> str:
    """A row for every figure: what it is of, and itself."""
    return "\n".join(
        ["| what | figure |", "|---|---:|", *(f"| {what} | {figure} |" for what, figure in figures.items())]
    )


def replace_between(path: Path, mark: str, text: str) -> None:
    """Puts `text` between `<!-- mark -->` and `<!-- end of mark -->`; tables in the language of the page."""
    if ".pt." in path.name and mark not in PROSE:
        text = portuguese(text)
    pattern = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- end of {mark} -->)", re.DOTALL)
    page, count = pattern.subn(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", path.read_text(encoding="utf-8"))
    if count != 1:
        raise SystemExit(f"{path}: expected one pair of <!-- {mark} --> and <!-- end of {mark} -->")
    path.write_text(page, encoding="utf-8")
