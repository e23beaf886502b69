"""The page of web/, built from exports that `make web` has left, and Python's own server for it."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cosmotok
from cosmotok import Tokenizer

ROOT = Path(__file__).parents[1]
EXPORTS = ROOT / "build" / "web-models"
PACKAGES = ROOT / "web" / "node_modules"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MODELS = ("ci8x8-tiny", "di8x8-tiny", "cv4x8x8-tiny", "cv8x8x8-tiny", "dv4x8x8-tiny", "dv8x16x16-tiny")


def missing() -> str | None:
    """What the page cannot be built for want of."""
    if not PACKAGES.is_dir():
        return "needs npm ci in web/"
    for name in MODELS:
        manifest = EXPORTS / name / "manifest.json"
        if not manifest.is_file():
            return "needs the exports of make web"
        found = json.loads(manifest.read_text())
        if (found["fingerprint"], found["cosmotok"]) != (
            Tokenizer.from_pretrained(name).fingerprint,
            cosmotok.__version__,
        ):
            return "needs the exports of make web, again"
    return None


def build(folder: Path) -> Path:
    """The page as it is now."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    sys.path.insert(0, str(ROOT / "tools"))
    import build_web

    build_web.main(["--output", str(folder), "--models", *MODELS])
    return folder


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Its address, as long as the server runs."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Smooth colours with edges and a little noise, (height, width, 3) in uint8."""
    noise = np.random.default_rng(seed)
    small = Image.fromarray(noise.integers(0, 256, (6, 8, 3), np.uint8))
    pixels = np.array(small.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    pixels[height // 3 : height // 2, width // 4 : width // 2] = noise.integers(0, 256, 3)
    return (pixels + noise.integers(-6, 7, pixels.shape)).clip(0, 255).astype(np.uint8)
