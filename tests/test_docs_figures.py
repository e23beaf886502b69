"""What docs/benchmarks.md says of its tables has the tables' figures."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from cosmotok.cli import main

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import portuguese  # noqa: E402
import quotes  # noqa: E402
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


@pytest.mark.parametrize("english, page", portuguese.pages(), ids=lambda path: path.name)
def test_tables_are_the_same_in_portuguese(english, page):
    theirs = portuguese.tables(page)
    for mark, table in portuguese.tables(english).items():
        expected = portuguese.rows(portuguese.portuguese(table))
        assert portuguese.rows(theirs[mark]) == expected, "run: python benchmarks/portuguese.py"


def test_a_table_in_portuguese():
    table = "#### Photos\n\n| model | PSNR, dB |\n|---|---:|\n| klt:4x8x8:16 | 1,234.50 ± 0.1 |\n| `a@0.5` | 42% |"
    assert portuguese.portuguese(table) == (
        "#### Fotos\n\n| modelo | PSNR, dB |\n|---|---:|\n| klt:4x8x8:16 | 1.234,50 ± 0,1 |\n| `a@0.5` | 42 % |"
    )


@pytest.mark.parametrize("name", quotes.SENTENCES)
def test_sentences_quote_the_tables(name):
    page = ROOT / name
    assert quotes.quoted(page, quotes.figures()) == page.read_text(encoding="utf-8"), "run: python benchmarks/quotes.py"


def test_a_figure_that_went_stale_is_written_anew(tmp_path, monkeypatch):
    page = tmp_path / "page.pt.md"
    page.write_text("Em 256 x 256 fica\n1,0 vez mais rápido.", encoding="utf-8")
    monkeypatch.setattr(quotes, "ROOT", tmp_path)
    monkeypatch.setattr(quotes, "SENTENCES", {"page.pt.md": ("256 x 256 fica {speed:.1f} vez",)})
    assert quotes.quoted(page, {"speed": 2.54}) == "Em 256 x 256 fica\n2,5 vez mais rápido."
    monkeypatch.setattr(quotes, "SENTENCES", {"page.pt.md": ("é {speed:.1f} vez",)})
    with pytest.raises(LookupError):
        quotes.quoted(page, {"speed": 2.54})


@pytest.mark.slow
def test_the_example_of_the_readme(tmp_path, monkeypatch, capsys):
    gradio = pytest.importorskip("gradio")
    clip = Path(gradio.__file__).parent / "media_assets" / "videos" / "world.mp4"
    arguments = ["reconstruct", str(clip), "--frames", "0:120", "-o", str(tmp_path / "clip.mp4"), "--json"]
    monkeypatch.setattr(sys, "argv", ["cosmotok", *arguments])
    with pytest.raises(SystemExit):
        main()
    facts = json.loads(capsys.readouterr().out)
    for name in ("README.md", "README.pt.md", "docs/cli.md", "docs/cli.pt.md"):
        text = (ROOT / name).read_text(encoding="utf-8").replace(",", ".")
        assert float(re.search(r"^ PSNR +([\d.]+) dB$", text, re.M)[1]) == pytest.approx(facts["psnr"], abs=0.02)
        assert float(re.search(r"^ SSIM +([\d.]+)$", text, re.M)[1]) == pytest.approx(facts["ssim"], abs=0.0005)


def test_a_model_that_the_table_lacks_is_an_error():
    with pytest.raises(KeyError):
        filled("{photos c}", FIGURES, comma=False)
