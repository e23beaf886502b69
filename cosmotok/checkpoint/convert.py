"""From any known format of weights to another, bit for bit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cosmotok.checkpoint import diffusers_files, native, reference_files
from cosmotok.checkpoint.contents import Checkpoint
from cosmotok.checkpoint.fingerprint import fingerprint
from cosmotok.checkpoint.load import load_checkpoint
from cosmotok.checkpoint.reference_files import Weights
from cosmotok.config import suggest
from cosmotok.errors import InputError
from cosmotok.writing import spare

__all__ = ["FORMATS", "convert_model"]

FORMATS: dict[str, Callable[[Checkpoint, Path], None]] = {
    "native": native.write_folder,
    "diffusers": diffusers_files.write_diffusers,
    "reference": reference_files.write_reference,
}


def convert_model(
    source: str | os.PathLike[str],
    target: Path,
    to: str = "native",
    *,
    variant: str | None = None,
    weights: Weights = "auto",
    revision: str | None = None,
    token: str | bool | None = None,
) -> dict[str, Any]:
    """Writes the model called `source` to the folder `target` in another format; the values stay as they are.

    Args:
        source, variant, weights, revision, token: as `Tokenizer.from_pretrained` takes them.
        to: "native", "diffusers" (a folder that `AutoencoderKLCosmos.from_pretrained` loads) or "reference"
            (`model.pt` under the published code's keys).

    Returns:
        What was written, for people or as JSON.

    Raises:
        InputError: for another format, or a target that is the source.
        CheckpointError: where the source does not load, or the format cannot express the model.
    """
    if to not in FORMATS:
        raise InputError(f"--to {to}: expected {', '.join(FORMATS)}{suggest(to, FORMATS)}")
    if target.exists() and not target.is_dir():
        raise InputError(f"{target}: expected a folder to write, got a file")
    spare(target, source)
    checkpoint = load_checkpoint(source, variant=variant, weights=weights, revision=revision, token=token)
    FORMATS[to](checkpoint, target)
    return {
        "model": checkpoint.config.variant,
        "from": checkpoint.source,
        "to": to,
        "parameters": sum(tensor.numel() for tensor in checkpoint.tensors.values()),
        "fingerprint": fingerprint(checkpoint.tensors),
        "output": str(target),
    }
