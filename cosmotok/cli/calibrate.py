"""Verb for 8-bit integers on the CPU: calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cosmotok.cli.app import app
from cosmotok.cli.options import Json, Variant, files_of, load_cosmos, progress
from cosmotok.language import translate as _
from cosmotok.printing import show
from cosmotok.writing import spare


@app.command()
def calibrate(
    model: Annotated[str, typer.Argument(help="A model: bundled name, file, folder or Hub id, of any known kind.")],
    data: Annotated[Path, typer.Argument(help="Folder of images and videos, or one of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the model with its calibration.")],
    clips: Annotated[int, typer.Option(min=1, help="Most images and videos to take.")] = 64,
    frames: Annotated[int, typer.Option(min=1, help="Most frames to take of each.")] = 17,
    size: Annotated[int, typer.Option(min=8, help="Largest side, in pixels, of the central crop of each.")] = 256,
    variant: Variant = None,
    json: Json = False,
) -> None:
    """Find the ranges that --precision int8 needs, from typical images and videos."""
    from cosmotok.quantization import calibration_clips, layers

    spare(output, files_of(model), data)
    tokenizer = load_cosmos(model, "calibrate", variant)
    with progress(_("calibrating {name}").format(name=tokenizer.config.variant), None, _("files")) as bar:
        calibration = tokenizer.calibrate(calibration_clips(data, clips, frames, size, bar.advance))
    tokenizer.save_pretrained(output)
    integers, possible = len(calibration.ranges), len(list(layers(tokenizer.network)))
    numbers = {"clips": calibration.clips, "int8_layers": integers, "float32_layers": possible - integers}
    show({"output": str(output), **numbers}, json)
