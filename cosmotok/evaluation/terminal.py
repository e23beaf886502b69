"""A comparison as tables on the terminal."""

from __future__ import annotations

import sys

from cosmotok.evaluation.results import Comparison
from cosmotok.evaluation.tables import code_words, missing, summaries, with_half
from cosmotok.language import number
from cosmotok.language import translate as _
from cosmotok.printing import clean
from cosmotok.sentences import translated

__all__ = ["columns_that_fit", "print_comparison"]

MOST_LINES = 20
"""Of what is missing; all of it is in results.json."""


def print_comparison(comparison: Comparison) -> None:
    """Writes the summary to standard output: means with half their 95 % intervals, images and videos apart."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # a pipe or file takes lines of any length
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    for title, columns, rows in summaries(comparison):
        headings = [*(", ".join(filter(None, (_(c.title), c.unit))) for c in columns), _("files")]
        lines = [
            [
                *(Text(number(with_half(cell)), style="bold green" if cell.is_best else "") for cell in row.cells),
                Text(str(row.totals.files)),
            ]
            for row in rows
        ]
        title, names = _(title), [clean(row.model.name) for row in rows]
        widths = [max(len(heading), *(len(line[i]) for line in lines)) for i, heading in enumerate(headings)]
        for some in columns_that_fit(max(map(len, [title, *names])), widths, console.width):
            table = Table(box=box.SIMPLE, pad_edge=False)
            table.add_column(title, overflow="fold")
            for i in some:
                table.add_column(headings[i], justify="right", no_wrap=True)
            for name, line in zip(names, lines, strict=True):
                table.add_row(Text(name), *(line[i] for i in some))
            console.print(table)
    said = [f"{model.name}: {used}" for model in comparison.models if (used := code_words(model))]
    lost = missing(comparison)
    more = [f"and {len(lost) - MOST_LINES} more"] if len(lost) > MOST_LINES else []
    for words in (*said, *lost[:MOST_LINES], *more, f"Protocol {comparison.protocol}. {comparison.protocol_text}"):
        console.print(Text(clean(translated(words))), soft_wrap=True)  # addresses stay whole


def columns_that_fit(first: int, widths: list[int], width: int) -> list[range]:
    """Which columns stand side by side, after a first one of names, so that none of them breaks: several tables."""
    gap, parts, begin, taken = 3, [], 0, first
    for i, column in enumerate(widths):
        if taken + gap + column > width and i > begin:
            parts.append(range(begin, i))
            begin, taken = i, first
        taken += gap + column
    return [*parts, range(begin, len(widths))]
