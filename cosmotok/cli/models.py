"""Verbs for models: info, models, convert, stats, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cosmotok.cli.app import app
from cosmotok.cli.options import (
    DEFAULT_MODEL,
    Device,
    Fit,
    Json,
    Model,
    Variant,
    files_of,
    is_data_set,
    load,
    load_cosmos,
    progress,
    size_of,
)
from cosmotok.language import number
from cosmotok.language import translate as _
from cosmotok.paths import as_path
from cosmotok.printing import print_json, print_table, say, show, worded
from cosmotok.writing import spare

AnyModel = Annotated[str, typer.Argument(help="A model: bundled name, file, folder or Hub id, of any known kind.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit, of a model on the Hub.")]


@app.command()
def info(
    what: Annotated[
        str,
        typer.Argument(help="A media file, a token file, a data set of tokens, or a model: a name, path or Hub id."),
    ],
    variant: Variant = None,
    fit: Fit = None,
    json: Json = False,
) -> None:
    """Tell what a file, data set or model is."""
    show(describe_data_set(what, json) if is_data_set(what) else describe(what, variant, fit), json)


@app.command()
def models(json: Json = False) -> None:
    """List the models known by name."""
    from cosmotok.config import find_model, list_models

    entries = [find_model(name) for name in list_models()]
    if json:
        listed = [{"name": e.name, "bundled": e.bundled, "hub": e.hub, **e.config.to_dict()} for e in entries]
        print_json({"models": listed})
        return
    rows = [
        (
            entry.name,
            _(str(entry.config.kind)),
            entry.config.spec.shape,
            _("{count} codes").format(count=worded(entry.config.vocab_size))
            if entry.config.is_discrete
            else _("{count} channels").format(count=entry.config.latent_channels),
            _("bundled") if entry.bundled else f"Hub: {entry.hub}",
        )
        for entry in entries
    ]
    print_table((_("name"), _("for"), _("compression"), _("tokens"), _("weights")), rows)


@app.command()
def convert(
    source: AnyModel,
    target: Annotated[Path, typer.Argument(help="Folder to write.")],
    to: Annotated[
        str, typer.Option(help="native (ours), diffusers (AutoencoderKLCosmos) or reference (NVIDIA's model.pt).")
    ] = "native",
    variant: Variant = None,
    weights: Annotated[
        str, typer.Option(help="Weights of a training checkpoint: plain, averaged, or auto for the average if any.")
    ] = "auto",
    revision: Revision = None,
    json: Json = False,
) -> None:
    """Convert a model from any known format to another, bit for bit."""
    from cosmotok.checkpoint.convert import convert_model
    from cosmotok.errors import InputError
    from cosmotok.families import FAMILIES, family_of

    if weights not in ("auto", "plain", "averaged"):
        raise InputError(f"--weights {weights}: expected auto, plain or averaged")
    family = family_of(source)
    if family is not FAMILIES["cosmos"]:
        raise InputError(f"{source}: convert takes a Cosmos tokenizer, and this is {family.title}")
    chosen: Any = weights
    show(convert_model(source, target, to, variant=variant, weights=chosen, revision=revision), json)


@app.command()
def stats(
    data: Annotated[Path, typer.Argument(help="Folder of images and videos, or one of them.")],
    model: Model = DEFAULT_MODEL,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the model with these statistics in its config."),
    ] = None,
    frames: Annotated[int, typer.Option(help="Most frames to take of each video.")] = 121,
    variant: Variant = None,
    fit: Fit = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Mean and deviation of every latent channel, for training diffusion models on latents."""
    from cosmotok.defaults import ATTENTION_CONTEXT
    from cosmotok.evaluation.latents import latent_statistics, with_statistics
    from cosmotok.media import find_media
    from cosmotok.tokenizer import Tokenizer

    if output is not None:
        spare(output, files_of(model), data)
    tokenizer = (
        load_cosmos(model, "stats --output", variant, device)
        if output
        else load(model, device, "float32", variant, fit=fit)
    )
    files = find_media(data) if as_path(data, "data").is_dir() else [data]
    with progress(_("encoding {name}").format(name=data.name), len(files), _("files")) as bar:
        found = latent_statistics(
            tokenizer, files, frames=frames, attention_context=ATTENTION_CONTEXT, advance=bar.advance
        )
    for line in found.skipped:
        say(_("left out: {what}").format(what=line))
    if isinstance(tokenizer, Tokenizer) and output is not None:
        tokenizer.config = with_statistics(tokenizer.config, found)
        tokenizer.save_pretrained(output)
    written = {"output": str(output)} if output is not None else {}
    if not json:
        channels = enumerate(zip(found.mean, found.std, strict=True))
        print_table(
            (_("channel"), _("mean"), _("deviation")),
            [(str(c), number(f"{m:.4f}"), number(f"{s:.4f}")) for c, (m, s) in channels],
        )
        show({"positions": found.count, **written}, json)
        return
    show({"mean": list(found.mean), "std": list(found.std), "positions": found.count, **written}, json)


@app.command()
def export(
    model: AnyModel,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    to: Annotated[str, typer.Option(help="onnx or torch-export.")] = "onnx",
    part: Annotated[
        list[str] | None,
        typer.Option(help="encoder, decoder, encoder_steps or decoder_steps; repeat for several. All by default."),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Of the weights in ONNX files: float32, float16 or int8. Arithmetic is float32.")
    ] = "float32",
    batch: Annotated[int | None, typer.Option(help="The only batch size to take; any by default.")] = None,
    size: Annotated[str | None, typer.Option(help="The only WxH to take, e.g. 256x256; any by default.")] = None,
    variant: Variant = None,
    json: Json = False,
) -> None:
    """Export encoder, decoder and their streaming steps for use without cosmotok."""
    from cosmotok.export import export as export_model

    spare(output, files_of(model))
    tokenizer = load_cosmos(model, "export", variant)
    pixels = size_of(size)
    with progress(_("exporting {name}").format(name=tokenizer.config.variant), None, _("graphs")) as bar:

        def tell(name: str, done: int, total: int) -> None:
            bar.turn(_("comparing with the network") if name == "verify" else name, done, total)

        files = export_model(
            tokenizer,
            output,
            to=to,
            parts=part,
            precision=precision,
            batch=batch,
            size=pixels and pixels[::-1],
            progress=tell,
        )
    show({"output": str(output), "files": [path.name for path in files]}, json)


def describe(what: str, variant: str | None, fit: Path | None) -> dict[str, Any]:
    """Facts about a media file, token file or model."""
    from cosmotok.checkpoint.load import is_model
    from cosmotok.config import find_model
    from cosmotok.errors import MediaError, UnknownModelError
    from cosmotok.families import FAMILIES, family_of
    from cosmotok.media.names import is_image_path, is_video_path

    path = Path(what)
    if family_of(what) is not FAMILIES["cosmos"]:
        return describe_model(what, variant, fit)
    if path.exists():
        if is_model(path):
            return describe_model(what, variant, fit)
        return describe_tokens(path) if path.suffix == ".safetensors" else describe_media(path)
    try:
        entry = find_model(what)
    except UnknownModelError:
        looks_like_media = is_image_path(path) or is_video_path(path) or path.suffix == ".safetensors"
        if looks_like_media or what.count("/") > 1:
            raise MediaError(f"{what}: no such file") from None
        return describe_model(what, variant, fit)
    if entry.bundled:
        return describe_model(what, variant, fit)
    return {"what": "model", "name": entry.name, "hub": entry.hub, **entry.config.to_dict()}


def describe_model(name: str, variant: str | None, fit: Path | None) -> dict[str, Any]:
    from cosmotok.families import find

    return {"what": "model", "name": name, **find(name, variant=variant, fit=fit).facts()}


def describe_tokens(path: Path) -> dict[str, Any]:
    from cosmotok.tokenfile import TokenFile

    tokens = TokenFile(path)
    facts = {k: str(v) if k == "frame_rate" and v else v for k, v in vars(tokens.info).items() if k != "times"}
    constant = tokens.info.times is None
    return {"what": "token file", **facts, "constant_rate": constant, tokens.name: list(tokens.shape)}


def describe_data_set(place: str, as_json: bool) -> dict[str, Any]:
    from cosmotok.dataset.reading.facts import changed_options, facts_of

    facts = facts_of(place)
    if as_json:
        return facts
    signals = [f"{name} ({' x '.join(map(str, shape))})" for name, shape in facts["signals"].items()]
    return {**facts, "signals": signals, "options": changed_options(facts["options"])}


def describe_media(path: Path) -> dict[str, Any]:
    from cosmotok.media import open_media

    with open_media(path) as reader:
        found = reader.info
    return {
        "what": found.kind,
        "path": str(found.path),
        "width": found.width,
        "height": found.height,
        "frames": found.frame_count,
        "frame_rate": str(found.frame_rate) if found.frame_rate else None,
        "seconds": float(found.duration) if found.duration else None,
        "audio": found.has_audio,
        "codec": found.codec,
        "pixel_format": found.pixel_format,
    }
