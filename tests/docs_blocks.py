"""The code of the README and of docs/: what it is, and a folder in which it can run."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import tokenize
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import typer
from PIL import Image

import cosmotok
from cosmotok.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md") if ".pt." not in path.name)]
BLOCK = re.compile(r"(?:^<!-- not run: (?P<reason>.+?) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.S | re.M)

WHY_NOT = {
    r"^(make|pip|python3 -m venv|\. )": "installing and testing is what `make release-check` does",
    r"nvidia/|-720p|weights/|iter_0": "needs published weights",
    r"--device cuda": "needs a GPU",
    r"^cosmotok benchmark|diffusers:": "full-size networks take minutes and gigabytes",
    r"^python benchmarks/": "measures for hours",
    r"^cosmotok export": "takes minutes; the code of docs/export.md exports, too",
    r"^cosmotok convert mine": "is about a model without a linear shortcut; tests/test_diffusers.py converts such",
    r"int8": "needs a processor with AVX-512 VNNI; tests/test_int8.py runs where there is one",
    r"mine\.yaml": "is a recipe of the reader's",
    r"^accelerate launch": "needs several processes",
}
"""Commands that no test runs, and why; they are still read for verbs and options that exist."""
VERBS = {verb.name or "" for verb in typer.main.get_command(app).commands.values()}  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `reason` says why no test runs it, where none does."""

    language: str
    code: str
    reason: str | None

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block, without remarks and continuations."""
        lines = self.code.replace("\\\n", " ").splitlines()
        return [command for line in lines if (command := re.sub(r"\s+# .*", "", line).strip())]


def blocks_of(page: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [Block(found["language"], found["code"], found["reason"]) for found in BLOCK.finditer(text)]


def why_not(command: str) -> str | None:
    """Why no test runs a command; None where one does."""
    return next((reason for pattern, reason in WHY_NOT.items() if re.search(pattern, command)), None)


def words_of(command: str) -> list[str]:
    """The arguments of a command as a shell would pass them, without files that match patterns."""
    return shlex.split(command)


def without_remarks(block: Block) -> list[str]:
    """The code alone: remarks and words in quotes are in the page's language."""
    if block.language == "python":
        tokens = tokenize.generate_tokens(io.StringIO(block.code).readline)
        left_out = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.STRING)
        return [token.string for token in tokens if token.type not in left_out]
    if block.language == "sh":  # names of files may be translated
        return [word for line in block.commands for word in words_of(line) if word.startswith("-") or word in VERBS]
    return []


def furnish(folder: Path) -> None:
    """Puts the files and folders into `folder` that the pages' code speaks of: tiny clips and pictures."""
    write_clip(folder / "clip.mp4", 125)
    for number in range(5):
        write_clip(folder / f"footage/clip{number}.mp4", 50, seed=number)
    for number in range(9):
        write_photo(folder / f"footage/photo{number}.png", seed=number)
        write_photo(folder / f"photos/photo{number}.png", seed=number)
    for name in ("clips", "other-clips", "training-clips", "other-footage", "my-clips", "portraits", "more"):
        shutil.copytree(folder / "footage", folder / name)
    for name in ("originals", "results"):
        shutil.copytree(folder / "photos", folder / name)
    shutil.copytree(Path(cosmotok.__file__).parent / "weights/cv4x8x8-tiny", folder / "mine")
    shutil.copy(folder / "clip.mp4", folder / "held-out.mp4")
    shutil.copy(folder / "photos/photo0.png", folder / "photo.png")


def picture(t: int, seed: int, width: int = 96, height: int = 64) -> np.ndarray:
    """Waves that move with t."""
    y, x = np.mgrid[:height, :width]
    shades = [128 + 90 * np.sin((x * (3 + c) + y * (seed + 1) + 4 * t * (c + 1)) / 30) for c in range(3)]
    return np.stack(shades, -1).astype(np.uint8)


def write_photo(path: Path, seed: int) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(picture(0, seed)).save(path)


def write_clip(path: Path, frames: int, seed: int = 0) -> None:
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for t in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(t, seed), format="rgb24")))
        container.mux(stream.encode())
