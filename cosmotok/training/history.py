"""What a run left in its folder, read back for its report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from cosmotok.checkpoint.native import read_folder
from cosmotok.config import TokenizerConfig
from cosmotok.errors import CheckpointError, InputError
from cosmotok.training.log import RunLog

__all__ = ["PICTURES_FOLDER", "History", "read_history"]

PICTURES_FOLDER = "samples"
"""In the folder of a run: grids and clips, as `Validation.write_pictures` names them."""


@dataclass(frozen=True)
class History:
    """A run, as far as it came."""

    folder: Path
    train: list[dict[str, Any]]
    """Lines of the log in order of their steps, each step once."""
    validation: list[dict[str, Any]]
    recipe: str | None
    """The YAML text."""
    config: TokenizerConfig | None
    """None where no model was saved yet."""
    parameters: int | None
    grid: Path | None
    """The last picture of reconstructions."""
    clips: list[Path]

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    def series(self, kind: str, figure: str) -> tuple[list[int], list[float]]:
        """Steps and values of a figure, such as "psnr" or "terms.l1", of "train" or "validation" lines."""
        lines = self.train if kind == "train" else self.validation
        pairs = [(line["step"], number(line, figure)) for line in lines]
        known = [(step, value) for step, value in pairs if value is not None]
        return [step for step, _ in known], [value for _, value in known]

    def last(self, kind: str, figure: str) -> float | None:
        """The figure's last value, None where it was never measured."""
        values = self.series(kind, figure)[1]
        return values[-1] if values else None

    @property
    def terms(self) -> list[str]:
        """Names of the loss terms, in order of appearance."""
        return list(dict.fromkeys(name for line in self.train for name in line.get("terms") or {}))

    @property
    def stage_begins(self) -> list[int]:
        """Steps after which another stage of the recipe began."""
        return [before["step"] for before, after in pairwise(self.train) if before.get("stage") != after.get("stage")]


def read_history(folder: Path) -> History:
    """Reads the folder of a run, finished or not.

    Raises:
        InputError: where there is no run, or it has logged nothing yet.
    """
    log = folder / "log.jsonl"
    if not folder.is_dir():
        found = "it is a file" if folder.exists() else "there is none of that name"
        raise InputError(f"{folder}: expected the folder of a training run; {found}")
    if not log.is_file():
        raise InputError(f"{folder}: no log.jsonl in this folder; expected one that `cosmotok train` wrote")
    lines = [line for line in RunLog(log).read() if isinstance(line.get("step"), int)]
    train, validation = (timeline(lines, kind) for kind in ("train", "validation"))
    if not train and not validation:
        raise InputError(f"{log}: no step was logged yet; train on, then ask for the report")
    recipe = folder / "recipe.yaml"
    config, parameters = model_of(folder)
    grids = sorted((folder / PICTURES_FOLDER).glob("step-*.png"))
    grid = grids[-1] if grids else None
    return History(
        folder=folder,
        train=train,
        validation=validation,
        recipe=recipe.read_text(encoding="utf-8", errors="replace") if recipe.is_file() else None,
        config=config,
        parameters=parameters,
        grid=grid,
        clips=[] if grid is None else sorted(grid.parent.glob(f"{grid.stem}-*.mp4")),
    )


def timeline(lines: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The lines of a kind, each step once. Where a run went back to an earlier step, what came after it is void."""
    kept: list[dict[str, Any]] = []
    for line in lines:
        # a resumed run may have gone back before any line of this kind: lines of all kinds say so
        while kept and (
            kept[-1]["step"] > line["step"] or (kept[-1]["step"] == line["step"] and line.get("kind") == kind)
        ):
            kept.pop()
        if line.get("kind") == kind:
            kept.append(line)
    return kept


def number(line: dict[str, Any], figure: str) -> float | None:
    """A figure of a line, by a dotted path; None where it is missing or not finite."""
    value: Any = line
    for part in figure.split(".", 1):
        value = value.get(part) if isinstance(value, dict) else None
    fine = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if fine else None


def model_of(folder: Path) -> tuple[TokenizerConfig | None, int | None]:
    """The saved model's config and its number of parameters; None for both where there is none yet."""
    try:
        checkpoint = read_folder(folder, values=False)
    except CheckpointError:
        return None, None
    return checkpoint.config, sum(tensor.numel() for tensor in checkpoint.tensors.values())
