"""The words that docs/glossary.md fixes, in both languages, and numbers as the language writes them."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
PORTUGUESE = [ROOT / "README.pt.md", *sorted((ROOT / "docs").glob("*.pt.md"))]
ENGLISH = [path.with_name(path.name.replace(".pt.md", ".md")) for path in PORTUGUESE]

NOT_PORTUGUESE = {
    r"\b(um|dois|o|os|deste|do) threads?\b": "thread is feminine: uma thread",
    r"corte difícil": "hard cut: corte seco",
    r"recortes? 2-D": "patches of a discriminator: *patches*",
    r"programa segue o relógio": "cronograma",
    r"est(á|ão)\s+em casa": "are at home: se saem bem",
    r"um piscar": "flicker: cintilação",
    r"na mesma finura": "granularidade",
    r"\b[Ee]tapas? (do|de) treinamento": "stage: fase",
    r"\b(o|um|do) KLT\b": "KLT is feminine",
    r"\b(deletar|dataset|ficheiro|ecrã|utilizador|performance boa|acurácia)\b": "not a word of these pages",
    r"\btokenizers?\b": "tokenizador",
    r"memória fixada|buffer fixado": "pinned: *pinned*",
    r"[Qq]uão bem": "com que qualidade",
}
NOT_ENGLISH = {
    r"\bB left out\b": "B exclusive",
    r"but by the clock": "a riddle",
    r"\band anyone's\b": "a riddle",
    r"stand for themselves": "self-describing",
    r"\bare at home there\b": "do well",
    r"\boftener\b": "more often",
    r"[Ww]hat computes how": "how each part computes",
    r"\bheld against\b": "compared with",
}


def prose(path: Path) -> str:
    """A page without code and addresses."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)
    text = re.sub(r"^    .*$", "", text, flags=re.M)  # code, too
    return re.sub(r"`[^`]*`|\]\([^)]*\)|https?://\S+|<!--.*?-->", "", text, flags=re.S)


def offences(path: Path, rules: dict[str, str]) -> list[str]:
    text = prose(path)
    return [f"{found[0]!r}: {why}" for rule, why in rules.items() for found in re.finditer(rule, text)]


@pytest.mark.parametrize("path", PORTUGUESE, ids=lambda path: path.name)
def test_portuguese_words(path):
    if path.name != "glossary.pt.md":
        assert not offences(path, NOT_PORTUGUESE)


@pytest.mark.parametrize("path", ENGLISH, ids=lambda path: path.name)
def test_english_words(path):
    assert not offences(path, NOT_ENGLISH)


@pytest.mark.parametrize("path", PORTUGUESE, ids=lambda path: path.name)
def test_decimal_commas(path):
    generated = re.sub(r"<!-- (\w+) -->.*?<!-- end of \1 -->", "", path.read_text(encoding="utf-8"), flags=re.S)
    cleaned = re.sub(r"^```.*?^```|^    .*$|`[^`]*`|\]\([^)]*\)", "", generated, flags=re.S | re.M)
    wrong = re.findall(r"(?<![\w.])\d+\.\d{1,2}(?!\d|\.\d|\w)(?= (?:dB|s\b|x\b|%|GB|MB|ms|vez|bits?\b))", cleaned)
    assert not wrong, f"{path.name}: {wrong}"


def test_every_page_has_its_other_language():
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    for name in pages:
        other = name.replace(".pt.md", ".md") if ".pt." in name else name.replace(".md", ".pt.md")
        assert other in pages, f"{name} has no {other}"


def test_every_page_is_on_the_site():
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if ".pt." not in page} <= listed


def test_the_rules_find_what_they_are_for(tmp_path):
    page = tmp_path / "page.pt.md"
    page.write_text("Em um thread.\n`um thread`\n\n```sh\num thread\n```\n", encoding="utf-8")
    assert offences(page, NOT_PORTUGUESE) == ["'um thread': thread is feminine: uma thread"]


def test_the_first_page_finds_its_other_language_in_any_folder():
    pytest.importorskip("mkdocs")
    hooks = runpy.run_path(str(ROOT / "website" / "hooks.py"))
    header = '<a href="/" hreflang="en">English</a> <a href="/pt/" hreflang="pt">Português</a>'

    def links(place: str, address: str) -> list[str]:
        page, config = SimpleNamespace(url=place), SimpleNamespace(site_url=address)
        return re.findall('href="([^"]*)"', hooks["on_post_page"](header, page=page, config=config))

    assert links("", "") == [".", "pt/"]
    assert links("pt/", "") == ["..", "./"]
    assert links("", "https://example.org/") == ["/", "/pt/"]
