"""Every verb that writes, small enough to be run hundreds of times: for failing calls and for kills."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from worlds import frames_of
from zygote import Job

from cosmotok import Tokenizer
from cosmotok.tokenfile import TokenFile


@dataclass(frozen=True)
class Verb:
    """A command, and how its output is told to be whole."""

    arguments: tuple[str, ...]
    """{world} is the folder of sound inputs, {out} the output."""
    output: str
    check: Callable[[Path], None]
    """Raises for an output that is not whole."""
    second: tuple[str, ...] | None = None
    """What goes on after a run that was stopped, where it is not the same command."""
    grows: bool = False
    """Whether the output is a folder in which whole files appear one by one, and which a second run goes on with."""
    slow: bool = False
    told: bool = True
    """Whether `cosmotok info` tells of the output, for readers while it is written."""

    def job(self, world: Path, folder: Path, again: bool = False) -> Job:
        chosen = self.second if again and self.second is not None else self.arguments
        texts = [text.format(world=world, out=folder / self.output) for text in chosen]
        return Job(texts, str(folder), seconds=300)


def check_tokens(path: Path) -> None:
    if not list(TokenFile(path)):
        raise ValueError("no tokens")


def check_video(path: Path) -> None:
    if len(frames_of(path)) != 5:
        raise ValueError("frames are missing")


def check_both(path: Path) -> None:
    check_video(path)
    check_video(path.with_name(f"{path.stem}.side-by-side{path.suffix}"))


def check_model(path: Path) -> None:
    Tokenizer.from_pretrained(path)


def check_picture(path: Path) -> None:
    if len(frames_of(path)) != 1:
        raise ValueError("no picture")


def check_export(path: Path) -> None:
    from cosmotok.export.runner import read_manifest

    missing = [g["file"] for g in read_manifest(path)["graphs"].values() if not (path / g["file"]).stat().st_size]
    if missing:
        raise ValueError(f"missing: {missing}")


def check_flat(path: Path) -> None:
    offset, *shape = np.load(path / "index.npy")[-1].tolist()
    if (path / "tokens.bin").stat().st_size != 2 * (offset + np.prod(shape)):
        raise ValueError("the index does not end where the tokens do")


def check_rows(path: Path) -> None:
    lines = (path / "rows.jsonl").read_text().splitlines()
    files = sorted(path.glob("*.safetensors"))
    if len(files) != len(lines):
        raise ValueError(f"{len(files)} of {len(lines)} rows")
    for file in files:
        check_tokens(file)


def check_run(path: Path) -> None:
    from cosmotok.training.checkpoints import Checkpoints

    checkpoints = Checkpoints(path / "checkpoints", 3)
    for step in checkpoints.steps():
        checkpoints.load(step)
    if (path / "model.safetensors").exists():
        Tokenizer.from_pretrained(path)


def check_evaluation(path: Path) -> None:
    import json

    for rows in path.glob("*/rows.jsonl"):  # the last line may be half, which is cut off by the next run
        for line in rows.read_bytes().split(b"\n")[:-1]:
            json.loads(line)
    for index in path.glob("examples/*/index.json"):
        json.loads(index.read_bytes())


def check_data_set(path: Path) -> None:
    import hashlib

    from cosmotok.dataset.manifest import Manifest

    if (path / "manifest.json").exists():
        for shard in Manifest.parse((path / "manifest.json").read_text(), str(path)).shards:
            if hashlib.sha256((path / shard.name).read_bytes()).hexdigest() != shard.sha256:
                raise ValueError(f"{shard.name} is another")


TRAIN = (
    *("train", "--recipe", "cv4x8x8-tiny", "data.train={world}/clip.mp4", "-o", "{out}", "--device", "cpu"),
    'stages=[{{"steps": 2, "frames": 5, "crop": 16, "clips": 1, "images": 1}}]',
    'model_changes={{"channels": 8, "blocks": 1, "encoder_multipliers": [1, 1], "decoder_multipliers": [1, 1]}}',
    *("start=null", "init_batches=0", "data.workers=0", "log_every=1", "save_every=1", "keep=1", "minutes=null"),
    "schedule.warmup_steps=1",
)
EVALUATE = (
    *("evaluate", "-m", "jpeg@q50", "--data", "{world}/pictures", "-o", "{out}"),
    *("--metrics", "psnr", "--jobs", "1"),
)
TOKENIZE = (
    *("tokenize", "{world}/pictures", "{world}/clip.mp4", "-m", "{world}/video", "-o", "{out}"),
    *("--shard-inputs", "1"),
)
VERBS = {
    "encode": Verb(
        ("encode", "{world}/clip.mp4", "-m", "{world}/video", "-o", "{out}"), "out.safetensors", check_tokens
    ),
    "decode": Verb(
        ("decode", "{world}/video.safetensors", "-m", "{world}/video", "-o", "{out}"), "out.mp4", check_video
    ),
    "reconstruct": Verb(
        ("reconstruct", "{world}/clip.mp4", "-m", "{world}/video", "-o", "{out}", "--side-by-side"),
        "out.mp4",
        check_both,
    ),
    "picture": Verb(
        ("reconstruct", "{world}/photo.png", "-m", "{world}/image", "-o", "{out}"), "out.png", check_picture
    ),
    "convert": Verb(("convert", "{world}/video", "{out}"), "out", check_model),
    "calibrate": Verb(("calibrate", "{world}/video", "{world}/clip.mp4", "-o", "{out}"), "out", check_model),
    "train": Verb(TRAIN, "out", check_run, second=(*TRAIN, "--resume"), grows=True),
    "evaluate": Verb(EVALUATE, "out", check_evaluation, second=(*EVALUATE, "--resume"), grows=True),
    "flat": Verb(("unpack", "{world}/tokens", "--to", "bin", "-o", "{out}"), "out", check_flat, told=False),
    "unpack": Verb(("unpack", "{world}/tokens", "--to", "safetensors", "-o", "{out}"), "out", check_rows, told=False),
    "tokenize": Verb(TOKENIZE, "out", check_data_set, grows=True),
    "export": Verb(
        ("export", "{world}/image", "-o", "{out}", "--to", "torch-export", "--part", "encoder"),
        "out",
        check_export,
        slow=True,
    ),
}


def clear(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
