"""The examples that drive a stream by hand, in Python and in JavaScript; docs/export.md shows them as they are."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from docs_blocks import blocks_of
from small import small
from web_page import PACKAGES, picture

from cosmotok.export import export

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT, FRAMES = 40, 24, 11


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    pytest.importorskip("onnxruntime")
    if torch.__version__.startswith("2.6."):
        pytest.skip("PyTorch 2.6 cannot export it")
    folder = tmp_path_factory.mktemp("export") / "out"
    export(
        small("cv4x8x8"), folder, parts=["encoder_steps", "decoder_steps"], batch=1, size=(HEIGHT, WIDTH), verify=False
    )
    return folder


def check(command: list[str], exported: Path) -> None:
    """A clip through the example, against the tokenizer."""
    first = picture(WIDTH, HEIGHT)
    frames = np.stack([np.roll(first, 3 * t, axis=1) for t in range(FRAMES)])
    words = [*command, str(exported), f"{WIDTH}x{HEIGHT}"]
    output = subprocess.run(words, input=frames.tobytes(), stdout=subprocess.PIPE, check=True).stdout
    copies = np.frombuffer(output, np.uint8).reshape(frames.shape)
    video = torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    expected = ((small("cv4x8x8").reconstruct(video)[0].clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 3, 0)
    assert np.abs(copies - expected.numpy()).max() <= 1
    assert copies.std() > 10


@pytest.mark.slow
def test_in_python(exported):
    check([sys.executable, str(ROOT / "examples/onnx_stream.py")], exported)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None or not PACKAGES.is_dir(), reason="needs node, and npm ci in web/")
def test_in_javascript(exported, tmp_path):
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    check(["node", shutil.copy(ROOT / "examples/onnx_stream.mjs", tmp_path)], exported)


@pytest.mark.parametrize(("file", "language"), [("onnx_stream.py", "python"), ("onnx_stream.mjs", "js")])
def test_the_page_shows_them(file, language):
    code = (ROOT / "examples" / file).read_text(encoding="utf-8")
    code = code[code.index("import") :]  # without the remark at its head
    assert code in [block.code for block in blocks_of("docs/export.md") if block.language == language]
