"""The main job on a real clip: video in, tokens, video out; and a photo. Run by `make demo`, needs no network."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

OUTPUT = Path("demo_output")


def media_of(package: str, path: str) -> Path:
    """A media file that ships inside an installed package."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        sys.exit(f"this shows media that ship with {package}: pip install 'cosmotok[dev]'")
    return Path(spec.origin).parent / path


def cosmotok(*arguments: object) -> None:
    command = [str(argument) for argument in arguments]
    print("\n$ cosmotok " + " ".join(command), flush=True)
    done = subprocess.run([sys.executable, "-m", "cosmotok.cli", *command])
    if done.returncode:
        sys.exit(done.returncode)


def main() -> None:
    OUTPUT.mkdir(exist_ok=True)
    clip = media_of("gradio", "media_assets/videos/world.mp4")
    photo = media_of("skimage", "data/astronaut.png")
    video = OUTPUT / "clip.cv4x8x8-tiny.mp4"
    tokens = OUTPUT / "clip.dv4x8x8-tiny.safetensors"

    cosmotok("reconstruct", clip, "--frames", "0:120", "--side-by-side", "-o", video)
    cosmotok("encode", clip, "--frames", "0:120", "--model", "dv4x8x8-tiny", "-o", tokens)
    cosmotok("decode", tokens, "-o", OUTPUT / "clip.dv4x8x8-tiny.decoded.mp4")
    cosmotok("reconstruct", photo, "-o", OUTPUT / "photo.cv4x8x8-tiny.png")
    print(f"\nLook at {OUTPUT.resolve()}: the side-by-side video shows original, reconstruction and 4x difference.")


if __name__ == "__main__":
    main()
