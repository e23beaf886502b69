"""What pyproject.toml promises: extras with what their code imports, a README that stands alone, one version."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

import cosmotok
from cosmotok.errors import MissingExtraError, missing_extra

ROOT = Path(__file__).parents[1]
PACKAGE = Path(cosmotok.__file__).parent
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
NAMES = {"PIL": "pillow", "huggingface_hub": "huggingface-hub"}
"""Distributions that are called otherwise than what they bring to import."""
MAY_IMPORT = {
    "training": {"train"},
    "evaluation": {"eval"},
    "perceptual": {"train", "eval"},
    "plotting.py": {"train", "eval"},
    "private.py": {"train"},
    "export": {"export"},
    "dataset": {"data"},
    "demo": {"demo"},
    "families/diffusers": {"diffusers"},
}
"""By part of the package: extras each of which has all that the part imports; others import core packages alone."""


def requirements(table: str) -> set[str]:
    """Names of the distributions in a list of pyproject.toml, as `train = [...]`."""
    found = re.search(rf"^{re.escape(table)} = \[(.*?)\]$", PYPROJECT, re.M | re.S)
    assert found, table
    return {re.match(r"[\w-]+", text)[0].lower() for text in re.findall(r'"([^"]+)"', found[1])}


def part_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return "/".join(parts[:2]) if parts[0] == "families" else parts[0]


def imported() -> dict[str, set[str]]:
    """Third-party distributions that each part imports, also inside functions."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names.append(node.module or "")
            for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"cosmotok"}:
                found.setdefault(part_of(path), set()).add(NAMES.get(name, name).lower())
    return found


def test_tests_read_the_package_where_it_is_installed():
    """`make release-check` runs them away from the source."""
    for path in (ROOT / "tests").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r'ROOT / "cosmotok["/]', text), path


def test_every_import_is_promised():
    assert imported()
    core = requirements("dependencies")
    for part, names in imported().items():
        for extra in MAY_IMPORT.get(part, {""}):
            promised = core | (requirements(extra) if extra else set())
            assert names <= promised, f"{part} imports {names - promised}, which {extra or 'the core'} does not install"


def test_all_is_all():
    section = PYPROJECT.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = set(re.findall(r"^([a-z]+) = \[", section, re.M))
    whole = re.search(r'^all = \["cosmotok\[([\w,]+)\]"\]$', section, re.M)
    assert set(whole[1].split(",")) == extras - {"all", "dev", "docs", "test"}


def test_one_version():
    assert re.search(r'^version = "(.+)"$', PYPROJECT, re.M)[1] == cosmotok.__version__
    assert f"version: {cosmotok.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_readme_of_an_index_has_no_links_to_files():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rules = re.findall(r"^pattern = '(.+)'\nreplacement = ['\"](.*)['\"]$", PYPROJECT, re.M)
    assert len(rules) == 3
    for pattern, replacement in rules:
        text = re.sub(pattern, replacement, text, flags=re.M)
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert links and all(link.startswith("https://") for link in links)
    assert "Português" not in text and "streaming" in text


def test_hints_say_both_ways():
    with pytest.raises(MissingExtraError, match=r'needs x: pip install "cosmotok\[train\]", or in .* "\.\[train\]"'):
        raise missing_extra("training needs x", "train")
