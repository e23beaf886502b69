"""Verb that serves a page to try tokenizers on: demo."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from cosmotok.cli.app import app
from cosmotok.cli.options import DEFAULT_MODEL, Device, Dtype, Model, Precision, load
from cosmotok.demo.limits import Limits
from cosmotok.language import translate as _
from cosmotok.printing import say


@app.command()
def demo(
    model: Model = DEFAULT_MODEL,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other computers in, without a password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 7860,
    max_frames: Annotated[int, typer.Option(help="Take at most so many frames of a visitor's video.", min=1)] = (
        Limits.frames
    ),
    max_pixels: Annotated[int, typer.Option(help="Scale visitors' frames of more pixels than this down.", min=1)] = (
        Limits.pixels
    ),
    device: Device = "auto",
    dtype: Dtype = "auto",
    precision: Precision = "float32",
) -> None:
    """Serve a page on which people try tokenizers with their own pictures and clips."""
    from cosmotok.config import bundled_models
    from cosmotok.demo import serve

    names = dict.fromkeys([model, *(entry.name for entry in bundled_models())])
    serve(
        partial(load, device=device, dtype=dtype, precision=precision),
        list(names),
        host=host,
        port=port,
        limits=Limits(frames=max_frames, pixels=max_pixels),
        started=lambda address: say(_("The page is at {address}; Ctrl-C ends it.").format(address=address)),
    )
