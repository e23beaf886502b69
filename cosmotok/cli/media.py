"""Verbs for a clip or photo: reconstruct, encode, decode."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cosmotok.cli.app import app
from cosmotok.cli.options import (
    CONTEXT,
    DEFAULT_MODEL,
    Context,
    Device,
    Dtype,
    Fit,
    Frames,
    Json,
    MaxPixels,
    Model,
    Output,
    Precision,
    Size,
    Source,
    Variant,
    beside_or_here,
    context_of,
    default_output,
    files_of,
    load,
    peek,
    progress,
    size_of,
)
from cosmotok.defaults import MAX_PIXELS
from cosmotok.language import translate as _
from cosmotok.paths import plain_name
from cosmotok.printing import show


@app.command()
def reconstruct(
    source: Source,
    output: Output = None,
    model: Model = DEFAULT_MODEL,
    variant: Variant = None,
    side_by_side: Annotated[
        bool, typer.Option("--side-by-side", help="Also write original | reconstruction | 4x difference.")
    ] = False,
    frames: Frames = ":",
    size: Size = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    precision: Precision = "float32",
    fit: Fit = None,
    attention_context: Context = CONTEXT,
    max_pixels: MaxPixels = MAX_PIXELS,
    json: Json = False,
) -> None:
    """Encode and decode a video or image, and measure what came back."""
    from cosmotok.media import parse_frames
    from cosmotok.pipeline import reconstruct_file

    chosen = parse_frames(frames)
    name, count = peek(source, chosen, max_pixels)
    tokenizer = load(model, device, dtype, variant, precision, fit)
    target = output or default_output(source, f"{name}.{plain_name(tokenizer.spec.name)}", count)
    beside = target.with_name(f"{target.stem}.side-by-side{target.suffix}") if side_by_side else None
    with progress(_("reconstructing {name}").format(name=source.name), count) as bar:
        report = reconstruct_file(
            tokenizer,
            source,
            target,
            side_by_side=beside,
            model=files_of(model),
            frames=chosen,
            size=size_of(size),
            max_pixels=max_pixels,
            attention_context=context_of(attention_context),
            advance=bar.advance,
        )
    show(report, json)


@app.command()
def encode(
    source: Source,
    output: Output = None,
    model: Model = DEFAULT_MODEL,
    variant: Variant = None,
    frames: Frames = ":",
    size: Size = None,
    latent_dtype: Annotated[
        str, typer.Option(help="Of latents in the file: float16, bfloat16 or float32.")
    ] = "float16",
    device: Device = "auto",
    dtype: Dtype = "auto",
    precision: Precision = "float32",
    fit: Fit = None,
    attention_context: Context = CONTEXT,
    max_pixels: MaxPixels = MAX_PIXELS,
    json: Json = False,
) -> None:
    """Encode a video or image to a token file."""
    from cosmotok.media import parse_frames
    from cosmotok.pipeline import encode_file

    chosen = parse_frames(frames)
    name, count = peek(source, chosen, max_pixels)
    tokenizer = load(model, device, dtype, variant, precision, fit)
    target = output or beside_or_here(source, f"{name}.{plain_name(tokenizer.spec.name)}.safetensors")
    if Path(model).exists():
        model = str(Path(model).resolve())  # the token file may be decoded from another folder
    with progress(_("encoding {name}").format(name=source.name), count) as bar:
        report = encode_file(
            tokenizer,
            model,
            source,
            target,
            frames=chosen,
            size=size_of(size),
            max_pixels=max_pixels,
            attention_context=context_of(attention_context),
            latent_dtype=latent_dtype,
            advance=bar.advance,
        )
    show(report, json)


@app.command()
def decode(
    tokens: Annotated[Path, typer.Argument(help="A token file that `cosmotok encode` wrote.")],
    output: Output = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The model, unless the file names a bundled or published one.")
    ] = None,
    variant: Variant = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    precision: Precision = "float32",
    fit: Fit = None,
    json: Json = False,
) -> None:
    """Decode a token file to a video or image."""
    from cosmotok.errors import TokenFileError
    from cosmotok.families import is_known
    from cosmotok.foreign import one_line
    from cosmotok.pipeline import decode_file
    from cosmotok.tokenfile import TokenFile

    file = TokenFile(tokens)
    if model is None and not is_known(file.info.model):
        raise TokenFileError(
            f"{tokens}: made by {one_line(file.info.model)}, which is neither bundled nor published; "
            "if you trust it, name it with --model"
        )
    tokenizer = load(model or file.info.model, device, dtype, variant, precision, fit)
    suffix = ".png" if file.info.kind == "image" else ".mp4"
    target = output or beside_or_here(tokens, f"{tokens.stem}.decoded{suffix}")
    with progress(_("decoding {name}").format(name=tokens.name), file.info.size[0]) as bar:
        report = decode_file(tokenizer, file, target, model=files_of(model or file.info.model), advance=bar.advance)
    show(report, json)
