"""The code of the README and of docs/ runs, or says why not; the Portuguese pages have the same code."""

from __future__ import annotations

import re
import shutil

import pytest
import torch
from docs_blocks import PAGES, ROOT, Block, blocks_of, furnish, why_not, without_remarks, words_of

from cosmotok.cli.app import command

SLOW = ("docs/evaluation.md", "docs/export.md", "docs/training.md")
"""Pages whose Python takes too long for every test run."""
BEFORE = {
    "README.md": "cosmotok tokenize footage -o tokens --model dv4x8x8-tiny --size 128x128 --segment 17",
    "docs/datasets.md": "cosmotok tokenize clips -o tokens -m dv4x8x8-tiny --size 64x48 --segment 9\n"
    "cosmotok tokenize clips -o latents --size 64x48 --segment 9\ncosmotok unpack tokens --to bin -o flat",
    "docs/diffusers.md": "cosmotok stats footage --model cv4x8x8-tiny --frames 17 -o with-statistics",
    "docs/token-files.md": "cosmotok encode clip.mp4 --frames 0:60 --model dv4x8x8-tiny",
}
"""Commands that a page's Python needs to have run."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reader")
    furnish(folder)
    return folder


def values_of(page: str) -> dict:
    """What a page's Python takes for granted."""
    video = torch.rand(1, 3, 9, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return {
        "__name__": "__main__",
        "video": video,
        "videos": [video],
        "clips": video if page == "docs/diffusers.md" else [video, video],
        "source": video.split(4, dim=2),
        "consume": lambda tokens: None,
    }


def run(line: str) -> None:
    """A command, in this process; training is cut short."""
    words = words_of(line)[1:]
    writes = words[0] in ("train", "evaluate", "compare", "tokenize")
    if writes and "--resume" not in words:  # earlier pages may have written there
        shutil.rmtree(words[words.index("-o") + 1] if "-o" in words else "runs", ignore_errors=True)
    if words[0] == "train" and not {"--check-data", "--dry-run", "--resume"} & set(words):
        words = [word for word in words if not word.startswith("minutes=")] + ["minutes=0.02", "data.workers=0"]
    try:
        command(lambda given: None)(words, prog_name="cosmotok", standalone_mode=False)
    except SystemExit as end:
        assert not end.code, line


def run_python(page: str) -> None:
    for line in BEFORE.get(page, "").splitlines():
        run(line)
    values = values_of(page)
    for block in blocks_of(page):
        if block.language == "python" and block.reason is None:
            exec(compile(block.code, page, "exec"), values)


def pages_with(language: str, slow: bool | None = None) -> list[str]:
    pages = [page for page in PAGES if any(block.language == language for block in blocks_of(page))]
    return [page for page in pages if slow is None or (page in SLOW) == slow]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", pages_with("python", slow=False))
def test_python_runs(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    run_python(page)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", pages_with("python", slow=True))
def test_long_python_runs(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    run_python(page)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", pages_with("sh"))
def test_commands_run(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    for block in blocks_of(page):
        if block.language == "sh" and block.reason is None:
            for line in block.commands:
                if why_not(line) is None:
                    run(line)


@pytest.mark.parametrize("page", pages_with("sh"))
def test_commands_exist(page):
    """Verbs, options, targets, scripts and extras, also of what no test runs."""
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.M)
    makefile = (ROOT / "Makefile").read_text()
    root = command(lambda given: None)
    for block in blocks_of(page):
        for line in block.commands if block.language == "sh" else ():
            words = words_of(line)
            if "cosmotok" in words[:6] and words[0] in ("cosmotok", "accelerate"):
                verb, *arguments = words[words.index("cosmotok") + 1 :]
                root.commands[verb].make_context(verb, arguments)  # refuses what it does not know
            elif words[0] == "make":
                assert re.search(rf"^{words[1]}:", makefile, re.M), line
            elif words[:2] == ["pip", "install"]:
                asked = re.findall(r"\[([\w,]+)\]", line)
                assert all(extra in extras for names in asked for extra in names.split(",")), line
            elif words[0] == "python":
                assert (ROOT / words[1]).is_file(), line
            else:
                assert why_not(line) is not None, f"{page}: nobody checks {line}"


@pytest.mark.parametrize("page", PAGES)
def test_portuguese_pages_have_the_same_code(page):
    other = page.removesuffix(".md") + ".pt.md"
    assert [without_remarks(block) for block in blocks_of(page)] == [without_remarks(b) for b in blocks_of(other)]


def test_blocks_are_told_apart(tmp_path):
    (tmp_path / "page.md").write_text(
        "<!-- not run: for want of a reason -->\n```python\n1 / 0  # never\n```\n\n"
        "```sh\ncosmotok info \\\n  --json b  # why\n```\n"
    )
    found = blocks_of(str(tmp_path / "page.md"))
    assert found == [
        Block("python", "1 / 0  # never\n", "for want of a reason"),
        Block("sh", "cosmotok info \\\n  --json b  # why\n", None),
    ]
    assert [without_remarks(block) for block in found][1] == ["info", "--json"]
    assert why_not("cosmotok info nvidia/x") and not why_not("cosmotok info x")
