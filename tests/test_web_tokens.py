"""Tokens of the page's code, run by node, are those of Python."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
import torch
from web_page import MODELS, PACKAGES, ROOT, build, picture

from cosmotok import Tokenizer

pytestmark = [
    pytest.mark.web,
    pytest.mark.skipif(shutil.which("node") is None, reason="needs node"),
]
WIDTH, HEIGHT = 92, 60  # no multiples of 8
FRAMES = 11


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return build(tmp_path_factory.mktemp("web") / "page") / "models"


@pytest.mark.parametrize(
    "name", [name if name[1] == "i" else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]
)
def test_same_tokens_as_python(models, name):
    tokenizer = Tokenizer.from_pretrained(name)
    count = 3 if tokenizer.config.kind == "image" else FRAMES
    frames = np.stack([picture(WIDTH, HEIGHT, seed) for seed in range(count)])
    if tokenizer.config.kind == "video":
        frames = np.stack([np.roll(frames[0], 3 * t, axis=1) for t in range(count)])
    rgba = np.concatenate([frames, np.full((*frames.shape[:3], 1), 255, np.uint8)], axis=3)
    command = ["node", str(ROOT / "web/tools/tokens.mjs"), str(models), name, f"{WIDTH}x{HEIGHT}"]
    output = subprocess.run(command, input=rgba.tobytes(), stdout=subprocess.PIPE, check=True).stdout

    video = torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    tokens = tokenizer.encode(video)
    expected = tokens[0].numpy() if tokenizer.config.is_discrete else tokens[0].movedim(1, 0).numpy()
    size = expected.nbytes
    got = np.frombuffer(output[:size], expected.dtype).reshape(expected.shape)
    if tokenizer.config.is_discrete:
        assert np.array_equal(got, expected)
    else:
        assert np.abs(got - expected).max() <= 1e-3 * (expected.max() - expected.min())
    copies = np.frombuffer(output[size:], np.uint8).reshape(rgba.shape)[..., :3]
    decoded = tokenizer.decode(tokens, size=(count, HEIGHT, WIDTH))[0].permute(1, 2, 3, 0)
    wanted = ((decoded.clamp(-1, 1) + 1) * 127.5).round().numpy()
    assert np.abs(copies - wanted).max() <= 1


def test_types_and_style():
    if not PACKAGES.is_dir():
        pytest.skip("needs npm ci in web/")
    check = subprocess.run(["npm", "run", "check"], cwd=ROOT / "web", capture_output=True, text=True)
    assert check.returncode == 0, check.stdout + check.stderr
