"""The verb train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cosmotok.cli.app import app
from cosmotok.cli.options import Device, Json
from cosmotok.errors import CosmotokError
from cosmotok.language import translate as _


@app.command()
def train(
    assignments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DATA | KEY=VALUE]...",
            help="What to train on, and changes to the recipe, e.g. data.train=clips stages.0.steps=500.",
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", "-r", help="Name of a recipe (one for each model), or a YAML file.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML with changes to the recipe.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the run; by default runs/NAME.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the output folder.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the whole recipe and what it needs; train nothing.")
    ] = False,
    check_data: Annotated[bool, typer.Option("--check-data", help="Read all data once and report; train nothing.")] = (
        False
    ),
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Train or fine-tune a tokenizer on images and videos.

    For example: cosmotok train --recipe cv4x8x8-tiny data.train=clips minutes=30
    """
    from cosmotok.training import command

    sources = [text for text in assignments or [] if is_source(text)]
    changes = [f"data.train={sources!r}"] if sources else []
    changes += [text for text in assignments or [] if not is_source(text)]
    if check_data:
        if not command.check_data(recipe, file=config, assignments=changes, as_json=json):
            raise CosmotokError(_("not all files can be read; mend or remove those listed above"))
    elif dry_run:
        command.dry_run(recipe, file=config, assignments=changes, device=device, as_json=json)
    else:
        command.train(recipe, output=output, file=config, assignments=changes, resume=resume, device=device)


def is_source(text: str) -> bool:
    """Whether an argument names data rather than a change to the recipe: files and addresses may have a = in them."""
    return "=" not in text or text.startswith(("http://", "https://")) or Path(text).exists()
