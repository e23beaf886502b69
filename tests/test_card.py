"""Model cards: valid metadata, facts of the model itself, and nothing that nobody stated."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import media_samples as samples
import pytest
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st
from small import CONFIGS, KINDS, clip, small

from cosmotok.checkpoint.card import FACTS, is_generated, model_card
from cosmotok.config import find_model, list_models
from cosmotok.errors import InputError

SECTIONS = ["Shape", "Use", "Figures", "Data", "Training", "Limits", "License"]
HUB_KEYS = {"library_name", "tags", "license", "license_name", "license_link", "base_model", "datasets"}
text = st.text(min_size=1).map(str.strip).filter(bool)
line = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1).map(str.strip).filter(bool)


def card(kind: str = "cv4x8x8", **facts: Any) -> str:
    return model_card(CONFIGS[kind], parameters=1_234_567, fingerprint="0123456789abcdef", facts=facts)


def sections(content: str) -> dict[str, str]:
    """Text below each heading."""
    parts = re.split(r"^## (.+)\n", ModelCard(content).text, flags=re.MULTILINE)
    return {heading: body.strip() for heading, body in zip(parts[1::2], parts[2::2], strict=True)}


def rows(table: str) -> list[list[str]]:
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip().replace("\\|", "|") for cell in row] for row in cells]


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_model_tells(kind: str) -> None:
    config = CONFIGS[kind]
    content = card(kind)
    assert list(sections(content)) == SECTIONS
    shape = dict(rows(sections(content)["Shape"])[2:])
    assert shape["kind"] == f"{'discrete' if config.is_discrete else 'continuous'}, {config.kind}"
    assert shape["parameters"] == "1,234,567"
    assert shape["fingerprint"] == "`0123456789abcdef`"
    frames, height, width = (config.temporal_factor if config.kind == "video" else 1), 720, 1280
    tokens = shape["indices" if config.is_discrete else "latents"]
    steps, high, wide = map(int, re.match(r"(\d+) x (\d+) x (\d+) = ", tokens).groups())  # type: ignore[union-attr]
    assert (high, wide) == (height // config.spatial_factor, width // config.spatial_factor)
    assert steps == (1 if config.kind == "image" else 1 + 32 // frames)
    assert f" = {steps * high * wide:,} of " in tokens
    assert ("15.97 bits" in content) == config.is_discrete


@pytest.mark.parametrize("name", list_models())
def test_metadata_of_every_model(name: str) -> None:
    config = find_model(name).config
    content = model_card(config, parameters=1, fingerprint="", facts={}, repo=f"me/{name}", size=2_000_000)
    found = ModelCard(content)
    assert content.startswith("---\n")
    assert set(found.data.to_dict()) == {"library_name", "tags"}
    assert found.data.library_name == "cosmotok"
    assert f"{config.kind}-tokenizer" in found.data.tags
    assert ("fsq" in found.data.tags) == config.is_discrete
    assert f"# {name}\n" in found.text
    assert f'from_pretrained("me/{name}")' in found.text
    assert "1, 2.0 MB" in found.text
    assert is_generated(content)


def test_nothing_is_invented() -> None:
    found = sections(card())
    for section in ("Figures", "Data", "Training", "Limits", "License"):
        assert found[section] == "Not stated.", section


def test_everything_stated() -> None:
    facts = {
        "summary": "For driving scenes.",
        "figures": [{"set": "DAVIS", "PSNR": 28.8613, "clips": 1200}, {"set": "a|b", "SSIM": 0.87}],
        "protocol": "Whole frames.",
        "data": "Our own footage.",
        "recipe": {"steps": 10_000, "learning rate": 0.005},
        "limits": "Night.",
        "license": "other",
        "license_name": "ours",
        "license_link": "LICENSE",
        "base_model": "nvidia/Cosmos-0.1-Tokenizer-CV4x8x8",
        "datasets": ["me/footage"],
    }
    assert set(facts) == set(FACTS)
    content = card(**facts)
    found = sections(content)
    assert "For driving scenes." in content
    assert rows(found["Figures"])[0] == ["set", "PSNR", "clips", "SSIM"]
    assert rows(found["Figures"])[2:] == [["DAVIS", "28.86", "1,200", "-"], ["a|b", "-", "-", "0.87"]]
    assert "Protocol: Whole frames." in found["Figures"]
    assert found["Data"] == "Our own footage."
    assert rows(found["Training"])[2:] == [["steps", "10,000"], ["learning rate", "0.005"]]
    assert found["Limits"] == "Night."
    assert found["License"].startswith("ours (LICENSE). Trained from `nvidia/Cosmos-0.1-Tokenizer-CV4x8x8`")
    data = ModelCard(content).data.to_dict()
    assert set(data) == HUB_KEYS
    assert {key: data[key] for key in HUB_KEYS & set(facts)} == {key: facts[key] for key in HUB_KEYS & set(facts)}


@given(facts=st.fixed_dictionaries({}, optional=dict.fromkeys(FACTS, text) | {"figures": st.nothing()}))
def test_metadata_survive_any_text(facts: dict[str, str]) -> None:
    facts.pop("datasets", None)
    content = card(**facts)
    data = ModelCard(content).data.to_dict()
    for key in HUB_KEYS & set(facts):
        assert data[key] == facts[key]
    for key in ("summary", "data", "recipe", "limits"):
        assert facts.get(key, "") in content


@given(st.lists(st.dictionaries(line, line | st.integers() | st.floats(allow_nan=False), min_size=1), min_size=1))
def test_figures_keep_their_columns(figures: list[dict[str, Any]]) -> None:
    content = card(figures=figures)
    table = content[content.index("## Figures") : content.index("\n\nProtocol:")]
    lines = [part for part in table.split("\n") if part.startswith("|")]
    assert len(lines) == 2 + len(figures)
    columns = {column for row in figures for column in row}
    assert {len(re.findall(r"(?<!\\)\|", part)) for part in lines} == {1 + len(columns)}


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"licence": "mit"}, "unknown fact 'licence'; did you mean license"),
        ({"figures": {"PSNR": 1}}, "figures: expected a list of mappings"),
        ({"figures": "good"}, "figures: expected a list of mappings"),
        ({"figures": [1]}, "figures: expected a list of mappings"),
        ({"data": 3}, "data: expected text, got int"),
        ({"datasets": "me/footage"}, "datasets: expected a list"),
        ({"license": "other"}, "needs license_name"),
    ],
)
def test_wrong_facts(facts: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        card(**facts)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["cv4x8x8", "dv4x8x8", "ci8x8", "di8x8"])
def test_its_python_runs(kind: str, tmp_path: Path) -> None:
    small(kind).save_pretrained(tmp_path)
    content = model_card(small(kind).config, parameters=1, fingerprint="", facts={}, repo=str(tmp_path))
    program = re.search(r"```python\n(.*?)```", content, re.DOTALL)[1]  # type: ignore[index]
    image = small(kind).config.kind == "image"
    name, frames = ("images", clip(1)[:, :, 0]) if image else ("video", clip(5))
    variables = {name: frames}
    exec(program, variables)
    assert variables[name].shape == frames.shape


def test_its_command_runs(tmp_path: Path) -> None:
    small("cv4x8x8").save_pretrained(tmp_path / "model")
    samples.encode(tmp_path / "a.mp4", samples.numbered(5))
    content = model_card(CONFIGS["cv4x8x8"], parameters=1, fingerprint="", facts={}, repo="model")
    command = re.search(r"^cosmotok (.*)$", content, re.MULTILINE)[1].split()  # type: ignore[index]
    done = subprocess.run(
        [sys.executable, "-m", "cosmotok", *command], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("*.mp4"))) == 2
