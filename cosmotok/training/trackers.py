"""What a run hands to Accelerate's trackers: flat tags of numbers, and grids of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["track_grid", "tracker_values"]

PICTURE_OPTIONS: dict[str, dict[str, str]] = {"tensorboard": {"dataformats": "NHWC"}, "wandb": {}, "swanlab": {}}
"""Trackers that take a batch of pictures, and what they must be told of it."""


def tracker_values(entry: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a line of `log.jsonl` under flat tags.

    A line of training gives `loss/total`, `loss/l1` and so on, and `train/psnr`, `train/lr`; any other line gives its
    numbers under its kind, such as `validation/psnr`, and `validation/psnr_from_18` of the place in videos that begins
    with that frame. Text, lists and missing values are left out.
    """
    training = entry["kind"] == "train"
    values: dict[str, float] = {}
    for name, value in entry.items():
        if name != "step" and isinstance(value, (int, float)) and not isinstance(value, bool):
            tag = "loss/total" if training and name == "loss" else f"{entry['kind']}/{name}"
            values[tag] = float(value)
    for place, psnr in entry.get("psnr_by_place", {}).items():
        values[f"validation/psnr_from_{place.rstrip('+').split('-')[0]}"] = float(psnr)
    return values | {
        f"loss/{name}": float(value) for name, value in entry.get("terms", {}).items() if value is not None
    }


def track_grid(accelerator: Accelerator, path: Path, step: int) -> None:
    """Adds the picture at `path` as `validation/grid` to every tracker that is known to show one."""
    from PIL import Image

    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    for tracker in accelerator.trackers:
        if tracker.name in PICTURE_OPTIONS:
            tracker.log_images({"validation/grid": pixels[None]}, step=step, **PICTURE_OPTIONS[tracker.name])
