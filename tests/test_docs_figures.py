"""What docs/benchmarks.md says of its tables has the tables' figures."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from reading import filled, reading  # noqa: E402

FIGURES = {"photos": {"a": 30.04, "b": 28.0}, "clips": {"c": 25.5}}


@pytest.mark.parametrize("language", ["", ".pt"])
def test_prose_agrees_with_the_tables(language):
    page, expected = reading(language)
    there = re.search(r"<!-- reading -->\n(.*?)<!-- end of reading -->", page.read_text(encoding="utf-8"), re.S)
    assert there[1].strip() == expected, "run: python benchmarks/reading.py"
    assert "{" not in expected


@pytest.mark.parametrize(
    ("template", "text"),
    [("{photos a - b} dB", "+2.0 dB"), ("{photos b - a}", "-2.0"), ("{|photos b - a|}", "2.0"), ("{clips c}", "25.5")],
)
def test_figures_are_filled_in(template, text):
    assert filled(template, FIGURES, comma=False) == text
    assert filled(template, FIGURES, comma=True) == text.replace(".", ",")


def test_a_model_that_the_table_lacks_is_an_error():
    with pytest.raises(KeyError):
        filled("{photos c}", FIGURES, comma=False)
