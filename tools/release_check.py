"""Builds wheel and sdist, and tries each as a stranger would: `make release-check`.

Each is installed into an empty environment of its own, first without extras, where the main job has to work: a clip to
tokens and back. Then with what the tests need, where they run from the unpacked sdist, away from the source.

    python tools/release_check.py [--torch REQUIREMENT] [pytest's arguments]

`--torch` is installed first, such as a build that is small. Everything happens in build/release.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "build" / "release"
DIST = PLACE / "dist"

CLIP = """
import av, numpy as np
with av.open("clip.mp4", "w") as container:
    stream = container.add_stream("libx264", rate=25)
    stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
    y, x = np.mgrid[:96, :160]
    for t in range(33):
        shades = [128 + 90 * np.sin((x * (c + 2) + y + 4 * t) / 30) for c in range(3)]
        frame = av.VideoFrame.from_ndarray(np.stack(shades, -1).astype(np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
"""


def run(*words: object, folder: Path = PLACE, keep: bool = False) -> str:
    """Runs a command, shown first; ends everything where it fails. Returns what it printed, if kept."""
    print("$", *words, flush=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in words], cwd=folder, env=environment, stdout=subprocess.PIPE if keep else None, text=True
    )
    if done.returncode:
        sys.exit(f"release-check: failed: {' '.join(map(str, words))}")
    return done.stdout or ""


def environment(name: str) -> Path:
    """An empty environment; its folder of commands."""
    folder = PLACE / name
    venv.create(folder, with_pip=True, clear=True)
    return folder / ("Scripts" if os.name == "nt" else "bin")


def build() -> list[Path]:
    """Builds both, checks their metadata and the README as an index shows it."""
    tools = environment("tools")
    run(tools / "python", "-m", "pip", "install", "--quiet", "build", "twine")
    run(tools / "python", "-m", "build", "--outdir", DIST, ROOT)
    built = [*DIST.glob("*.whl"), *DIST.glob("*.tar.gz")]
    run(tools / "python", "-m", "twine", "check", "--strict", *built)
    return built


def unpacked(sdist: Path) -> Path:
    """The sdist's files without its source, for tests that import what is installed."""
    folder = PLACE / "tests"
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(sdist) as archive:
        for member in archive.getmembers():
            inside = Path(*Path(member.name).parts[1:])
            if member.isfile() and inside.parts[0] != "cosmotok":
                (folder / inside).parent.mkdir(parents=True, exist_ok=True)
                (folder / inside).write_bytes(archive.extractfile(member).read())  # type: ignore[union-attr]
    return folder


def try_out(package: Path, torch: str, tests: Path, arguments: list[str]) -> None:
    """Installs `package` and does the main job, then runs the tests."""
    kind = "wheel" if package.suffix == ".whl" else "sdist"
    commands, job = environment(kind), PLACE / f"{kind}-job"
    shutil.rmtree(job, ignore_errors=True)
    job.mkdir()
    install = (commands / "python", "-m", "pip", "install", "--quiet")
    run(*install, torch)
    run(*install, package)
    run(commands / "python", "-c", CLIP, folder=job)
    run(commands / "cosmotok", "reconstruct", "clip.mp4", folder=job)
    run(commands / "cosmotok", "encode", "clip.mp4", "--model", "dv4x8x8-tiny", folder=job)
    run(commands / "cosmotok", "decode", "clip.dv4x8x8-tiny.safetensors", folder=job)
    told = json.loads(
        run(commands / "cosmotok", "info", "clip.dv4x8x8-tiny.decoded.mp4", "--json", folder=job, keep=True)
    )
    if (told["frames"], told["width"], told["height"]) != (33, 160, 96):
        sys.exit(f"release-check: {kind}: the clip came back as {told}")
    run(*install, f"{package}[test]")
    run(commands / "pytest", *arguments, folder=tests)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", default="torch", metavar="REQUIREMENT", help="what to install as PyTorch")
    options, arguments = parser.parse_known_args()
    shutil.rmtree(DIST, ignore_errors=True)
    PLACE.mkdir(parents=True, exist_ok=True)
    wheel, sdist = build()
    tests = unpacked(sdist)
    for package in (wheel, sdist):
        try_out(package, options.torch, tests, arguments or ["-m", "not slow"])
    print(f"release-check: {wheel.name} and {sdist.name} are fine")


if __name__ == "__main__":
    main()
