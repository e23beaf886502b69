"""Keeps sentences that quote a figure of some table at that figure: prose cannot go stale.

    python benchmarks/quotes.py    # writes the figures of all sentences below anew

A sentence is found in its page by its words, whatever figures stand between them.
"""

from __future__ import annotations

import re
from pathlib import Path

from portuguese import ROOT

SENTENCES = {
    "README.md": (
        "{speed_low:.1f} to {speed_high:.1f} times as fast as diffusers' port and as the published layout",
        "and 256 x 256; {large:.1f} times at 1024 x 1024",
        "`--precision int8` is {int8_low:.1f} to {int8_high:.1f} times as fast again",
        "`dv8x16x16-tiny` gains {coarse:+.1f} dB over a linear transform on clips",
    ),
    "README.pt.md": (
        "De {speed_low:.1f} a {speed_high:.1f} vezes mais rápido que a versão do diffusers e que a forma publicada",
        "em 256 x 256, e {large:.1f} vezes em 1024 x 1024",
        "`--precision int8` é de {int8_low:.1f} a {int8_high:.1f} vez mais rápido ainda",
        "`dv8x16x16-tiny` ganha {coarse:+.1f} dB sobre uma transformada linear em vídeos",
    ),
    "CHANGELOG.md": ("Faster networks on the CPU, {speed_low:.1f} to {speed_high:.1f} times diffusers' port",),
    "docs/migrate-diffusers.md": ("take {memory:.1f} GB to encode instead of {memory_peer:.1f} GB",),
    "docs/migrate-diffusers.pt.md": ("ocupa {memory:.1f} GB em vez de {memory_peer:.1f} GB",),
    "docs/losses.md": ("So {detail:.0f} % more fine detail for {detail_cost:.2f} dB",),
    "docs/losses.pt.md": ("São {detail:.0f} % a mais de detalhe fino por {detail_cost:.2f} dB",),
    "docs/int8.md": ("Real pictures come back at {psnr_low:.0f} to {psnr_high:.0f} dB here",),
    "docs/int8.pt.md": ("Imagens reais ficam aqui entre {psnr_low:.0f} e {psnr_high:.0f} dB",),
    "docs/models.md": ("`dv8x16x16-tiny` cannot show more than {even:.0f} %",),
    "docs/models.pt.md": ("`dv8x16x16-tiny` não podem mostrar mais de {even:.0f} %",),
    "docs/benchmarks.md": (
        "keep {sharpness_low:.0f} to {sharpness_high:.0f} % of it on photos, and their KLTs {sharpness_klt_low:.0f} to "
        "{sharpness_klt_high:.0f} %",
    ),
    "docs/benchmarks.pt.md": (
        "guardam de {sharpness_low:.0f} a {sharpness_high:.0f} % dela em fotos, e suas KLTs, de "
        "{sharpness_klt_low:.0f} a {sharpness_klt_high:.0f} %",
    ),
}
"""By page: what it says, with the names of figures."""
PLACE = re.compile(r"\{[^}]*\}")


def table_rows(name: str, *first: str, below: str = "") -> list[list[float]]:
    """Figures of the rows that begin with these cells, below a line of a page; cells without a figure are left out."""
    found = []
    text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    for line in text[text.index(below) :].splitlines():
        cells = [cell.strip(" `*") for cell in line.split("|")[1:-1]]
        if tuple(cells[: len(first)]) == first:
            numbers = (re.search(r"[+-]?\d+(\.\d+)?", cell.replace(",", "")) for cell in cells[len(first) :])
            found.append([float(number[0]) for number in numbers if number])
    if not found:
        raise SystemExit(f"docs/{name}.md: no row begins with {' | '.join(first)}")
    return found


def figures() -> dict[str, float]:
    """All figures that sentences quote, from the tables that have them."""
    speeds = [row for run in ("first", "second", "third") for row in table_rows("performance", run)]
    ratios = [ratio for row in speeds for ratio in (*row[:2], *row[3:5])]  # the others are shares of the peak
    int8 = [row[-1] for row in table_rows("int8", "CV8x8x8, random weights")]
    psnr = [row[1] for name in ("cv4x8x8-tiny", "dv4x8x8-tiny") for row in table_rows("int8", name) if row[1] > 1]
    before, after = (table_rows("losses", name)[0] for name in ("without", "with"))
    models = ("ci8x8-tiny", "cv4x8x8-tiny", "cv8x8x8-tiny")
    linear = ("klt:8x8:16", "klt:4x8x8:16", "klt:8x8x8:16")
    sharpness, of_linear = (
        [100 * table_rows("benchmarks", name)[0][2] for name in names] for names in (models, linear)
    )
    return {
        "speed_low": min(ratios),
        "speed_high": max(ratios),
        "large": table_rows("performance", "1024 x 1024, one round, earlier")[0][0],
        "int8_low": min(int8),
        "int8_high": max(int8),
        "coarse": table_rows("models", "dv8x16x16-tiny", below="#### Clips")[0][1],
        "memory": table_rows("performance", "cosmotok")[0][0],
        "memory_peer": table_rows("performance", "diffusers")[0][0],
        "detail": 100 * (after[1] / before[1] - 1),
        "detail_cost": before[0] - after[0],
        "psnr_low": min(psnr),
        "psnr_high": max(psnr),
        "even": table_rows("models", "dv8x16x16-tiny", below="#### Codes")[0][2],
        "sharpness_low": min(sharpness),
        "sharpness_high": max(sharpness),
        "sharpness_klt_low": min(of_linear),
        "sharpness_klt_high": max(of_linear),
    }


def pattern_of(sentence: str) -> re.Pattern[str]:
    """Finds the sentence with any figures, however its lines break; its words are groups."""
    words = [r"\s+".join(map(re.escape, re.split(r"\s", part))) for part in PLACE.split(sentence)]
    return re.compile(r"[+-]?\d(?:[\d.,]*\d)?".join(f"({part})" for part in words))


def quoted(page: Path, found: dict[str, float]) -> str:
    """The page's text with the figures of its sentences as they are now.

    Raises:
        LookupError: for a sentence that the page does not have, or more than once.
    """
    name = page.relative_to(ROOT).as_posix()
    text = page.read_text(encoding="utf-8")
    for sentence in SENTENCES[name]:
        places = list(pattern_of(sentence).finditer(text))
        if len(places) != 1:
            raise LookupError(f"{name}: expected the sentence {sentence!r} once, found it {len(places)} times")
        values = [place.format(**found) for place in PLACE.findall(sentence)]
        if ".pt." in name:
            values = [value.replace(".", ",") for value in values]
        words = places[0].groups()
        new = "".join(part + value for part, value in zip(words, [*values, ""], strict=True))
        text = text[: places[0].start()] + new + text[places[0].end() :]
    return text


def main() -> None:
    found = figures()
    for name in SENTENCES:
        (ROOT / name).write_text(quoted(ROOT / name, found), encoding="utf-8")


if __name__ == "__main__":
    main()
