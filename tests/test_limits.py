"""What a machine has to give: memory, and time to say help."""

import subprocess
import sys
from pathlib import Path

import pytest

import cosmotok
from cosmotok import list_models
from cosmotok.config import find_model

ROOT = Path(__file__).parents[1]


def test_memory_does_not_grow_with_length():
    done = subprocess.run([sys.executable, "benchmarks/memory.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ratio" in done.stdout


@pytest.mark.slow
def test_an_hour_takes_no_more_memory_than_half_a_minute():
    command = [sys.executable, "benchmarks/memory.py", "600", "86400"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_help_imports_nothing_heavy():
    heavy = "{'torch', 'numpy', 'av', 'PIL', 'safetensors', 'huggingface_hub'}"
    code = f"import sys, cosmotok.cli; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_bundled_models_are_small_and_have_a_card():
    total = 0
    for entry in map(find_model, list_models()):
        if entry.bundled:
            folder = Path(cosmotok.__file__).parent / "weights" / entry.name
            total += sum(file.stat().st_size for file in folder.iterdir())
            card = (folder / "README.md").read_text(encoding="utf-8")
            assert "KLT" in card
            assert "PSNR" in card
    assert 0 < total < 40_000_000
