"""Verbs for a clip or photo: reconstruct, encode, decode."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    is_data_set,
    load,
    peek,
    progress,
    require_known,
    size_of,
)
from cosmotok.defaults import MAX_PIXELS
from cosmotok.language import translate as _
from cosmotok.paths import plain_name
from cosmotok.printing import show

if TYPE_CHECKING:
    from cosmotok.tokenfile import StoredTokens


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
    """Encode and decode a video or image, and measure the result."""
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
        str, typer.Option(help="Type of the latents in the file: float16, bfloat16 or float32.")
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
    tokens: Annotated[str, typer.Argument(help="A token file of `cosmotok encode`, or a data set of `tokenize`.")],
    row: Annotated[int | None, typer.Option(help="Which row of a data set, from 0.")] = None,
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
    """Decode a token file, or a row of a data set, to a video or image."""
    from cosmotok.pipeline import decode_file

    stored, name = stored_tokens(tokens, row)
    if model is None:
        require_known(stored.info.model, tokens)
    tokenizer = load(model or stored.info.model, device, dtype, variant, precision, fit)
    suffix = ".png" if stored.info.kind == "image" else ".mp4"
    target = output or beside_or_here(stored.path, name + suffix)
    with progress(_("decoding {name}").format(name=stored.path.name), stored.info.size[0]) as bar:
        report = decode_file(tokenizer, stored, target, model=files_of(model or stored.info.model), advance=bar.advance)
    show(report, json)


def stored_tokens(source: str, row: int | None) -> tuple[StoredTokens, str]:
    """The tokens in a token file or in a row of a data set, and what to call what they decode to, without suffix."""
    from cosmotok.errors import InputError
    from cosmotok.tokenfile import TokenFile

    if not is_data_set(source):
        if row is not None:
            raise InputError(f"--row: {source} is no data set")
        file = TokenFile(source)
        return file, f"{file.path.stem}.decoded"
    from cosmotok.dataset.reading.clips import RowTokens

    if row is None:
        raise InputError(f"{source}: is a data set; say which of its rows with --row, from 0")
    clip = RowTokens(source, row)
    return clip, f"{clip.path.resolve().name}.row-{row}"
