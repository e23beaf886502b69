"""The notebooks of examples/: every one runs, none keeps outputs, and both languages have the same code."""

from __future__ import annotations

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

FOLDER = Path(__file__).parents[1] / "examples" / "notebooks"
NAMES = ("image", "video", "training", "dataset")
NEEDS = {"training": ("accelerate", "omegaconf"), "dataset": ("pyarrow", "fsspec")}


def read(name: str):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code(book) -> list[str]:
    return [cell.source for cell in book.cells if cell.cell_type == "code"]


def test_all_are_known():
    assert {path.name for path in FOLDER.glob("*.ipynb")} == {
        f"{name}{language}.ipynb" for name in NAMES for language in ("", ".pt")
    }


@pytest.mark.parametrize("name", NAMES)
def test_they_are_kept_without_outputs(name):
    for book in (read(name), read(f"{name}.pt")):
        nbformat.validate(book)
        for cell in book.cells:
            clear = cell.cell_type == "markdown" or (not cell.outputs and cell.execution_count is None)
            assert clear, "run: jupyter nbconvert --clear-output --inplace examples/notebooks/*.ipynb"


@pytest.mark.parametrize("name", NAMES)
def test_both_languages_have_the_same_code(name):
    ours, theirs = read(name), read(f"{name}.pt")
    assert code(ours) == code(theirs)
    assert [cell.cell_type for cell in ours.cells] == [cell.cell_type for cell in theirs.cells]
    pairs = zip(ours.cells, theirs.cells, strict=True)
    assert all(a.source != b.source for a, b in pairs if a.cell_type == "markdown")


@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name, tmp_path, monkeypatch):
    for package in ("gradio", "skimage", *NEEDS.get(name, ())):
        pytest.importorskip(package)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    book = read(name)
    client = nbclient.NotebookClient(
        book, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    shown = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in shown) or name == "training"
    assert sum(output.output_type in ("stream", "execute_result") for output in shown) >= len(code(book)) // 2
