"""The verb train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cosmotok.cli.app import app
from cosmotok.cli.options import DEFAULT_MODEL, Device, device_of, load
from cosmotok.printing import say


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="Folder with images and videos; read into memory.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the model and the state of the run.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="Name from `cosmotok models`: its shape, fresh weights.")
    ] = (DEFAULT_MODEL),
    start: Annotated[
        str | None,
        typer.Option(help="Model to start from instead of fresh weights; a continuous one for a discrete one, too."),
    ] = None,
    minutes: Annotated[float, typer.Option(help="Length of the run; the learning rates fall to zero with it.")] = 60.0,
    steps: Annotated[int, typer.Option(help="End after so many steps, if that is sooner.")] = 1_000_000,
    learning_rate: Annotated[float, typer.Option(help="Peak rate, of Muon.")] = 5e-3,
    seed: Annotated[int, typer.Option(help="Of weights and crops.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the output folder.")] = False,
    device: Device = "auto",
) -> None:
    """Train a tokenizer on a folder of images and videos."""
    from dataclasses import replace

    import torch

    from cosmotok.config import find_model
    from cosmotok.tokenizer import Tokenizer
    from cosmotok.training.data import MediaSet
    from cosmotok.training.loop import Progress, Trainer
    from cosmotok.training.recipe import Recipe

    torch.manual_seed(seed)
    tokenizer = Tokenizer(find_model(model).config).to(device_of(device))
    beginning = load(start, device, "float32") if start else None
    if beginning is not None and beginning.config.is_discrete == tokenizer.config.is_discrete:
        tokenizer = beginning
    say(f"reading {data}")
    media = MediaSet.from_folder(data)
    for line in media.skipped:
        say(f"left out: {line}")
    say(f"{len(media.videos)} videos, {len(media.images)} images")
    every = Recipe.image_every if media.videos else 1
    recipe = Recipe(minutes=minutes, steps=steps, learning_rate=learning_rate, image_every=every, seed=seed)
    tokenizer.config = replace(tokenizer.config, variant=output.resolve().name)
    trainer = Trainer(tokenizer, media, recipe, output)
    if resume:
        trainer.resume()
    elif beginning is None and tokenizer.config.linear_shortcut:
        trainer.start_from_klt()
    elif beginning is not None and beginning is not tokenizer:
        trainer.start_from_continuous(beginning)

    def report(at: Progress) -> None:
        losses = f"loss {at.loss:.4f}, {at.psnr:.2f} dB on training crops"
        say(f"step {at.step}, {at.share:.0%}: {losses}, {at.seconds:.0f} s")

    trainer.run(report)
    say(f"wrote {output}; try: cosmotok reconstruct CLIP --model {output}")
