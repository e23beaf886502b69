"""The `cosmotok` command: one thin function per verb.

Nothing heavy is imported until a verb runs, so that help comes at once.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cosmotok.errors import CosmotokError
from cosmotok.printing import print_json, print_table, say, show

if TYPE_CHECKING:
    from cosmotok.config import TokenizerConfig
    from cosmotok.tokenizer import Tokenizer

DEFAULT_MODEL = "cv4x8x8-tiny"

app = typer.Typer(
    name="cosmotok",
    help="Images and videos to compact tokens and back, with the Cosmos Tokenizer.",
    epilog="Start with: cosmotok reconstruct clip.mp4",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Source = Annotated[
    Path, typer.Argument(help="A video, an image, a folder of frames or a pattern such as 'f_%04d.png'.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Where to write; by default beside the source.")]
Model = Annotated[str, typer.Option("--model", "-m", help="Name (see `cosmotok models`), path or Hub id.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps, or auto.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16, float16, or auto: bfloat16 on CUDA, else float32.")]
Frames = Annotated[str, typer.Option(help="Frames A:B of the source, from 0, B left out; e.g. 0:49 or 100:.")]
Size = Annotated[str | None, typer.Option(help="Resize the source to WxH first, e.g. 640x360.")]
MaxPixels = Annotated[int, typer.Option(help="Refuse frames of more pixels than this.")]
Context = Annotated[
    str,
    typer.Option(help="Latent frames that temporal attention looks back on: a number, or 'all' (memory grows)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")]
MAX_PIXELS = 64_000_000
CONTEXT = "32"
INTERRUPTED = 130


@app.callback(invoke_without_command=True)
def cosmotok(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        from cosmotok import __version__

        print(f"cosmotok {__version__}")
        raise typer.Exit


@app.command()
def reconstruct(
    source: Source,
    output: Output = None,
    model: Model = DEFAULT_MODEL,
    side_by_side: Annotated[
        bool, typer.Option("--side-by-side", help="Also write original | reconstruction | 4x difference.")
    ] = False,
    frames: Frames = ":",
    size: Size = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    attention_context: Context = CONTEXT,
    max_pixels: MaxPixels = MAX_PIXELS,
    json: Json = False,
) -> None:
    """Encode and decode a video or image, and measure what came back."""
    from cosmotok.media import parse_frames
    from cosmotok.pipeline import reconstruct_file

    chosen = parse_frames(frames)
    name, count = peek(source, chosen, max_pixels)
    tokenizer = load(model, device, dtype)
    target = output or default_output(source, f"{name}.{tokenizer.config.variant}", count)
    beside = target.with_name(f"{target.stem}.side-by-side{target.suffix}") if side_by_side else None
    with progress(f"reconstructing {source.name}", count) as bar:
        report = reconstruct_file(
            tokenizer,
            source,
            target,
            side_by_side=beside,
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
    frames: Frames = ":",
    size: Size = None,
    latent_dtype: Annotated[
        str, typer.Option(help="Of latents in the file: float16, bfloat16 or float32.")
    ] = "float16",
    device: Device = "auto",
    dtype: Dtype = "auto",
    attention_context: Context = CONTEXT,
    max_pixels: MaxPixels = MAX_PIXELS,
    json: Json = False,
) -> None:
    """Encode a video or image to a token file."""
    from cosmotok.media import parse_frames
    from cosmotok.pipeline import encode_file

    chosen = parse_frames(frames)
    name, count = peek(source, chosen, max_pixels)
    tokenizer = load(model, device, dtype)
    target = output or beside_or_here(source, f"{name}.{tokenizer.config.variant}.safetensors")
    if Path(model).is_dir():
        model = str(Path(model).resolve())  # the token file may be decoded from another folder
    with progress(f"encoding {source.name}", count) as bar:
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
        str | None, typer.Option("--model", "-m", help="Where the model is, if not where the file says.")
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    json: Json = False,
) -> None:
    """Decode a token file to a video or image."""
    from cosmotok.pipeline import decode_file
    from cosmotok.tokenfile import TokenFile

    file = TokenFile(tokens)
    tokenizer = load(model or file.info.model, device, dtype)
    suffix = ".png" if file.info.kind == "image" else ".mp4"
    target = output or beside_or_here(tokens, f"{tokens.stem}.decoded{suffix}")
    with progress(f"decoding {tokens.name}", file.info.size[0]) as bar:
        report = decode_file(tokenizer, file, target, advance=bar.advance)
    show(report, json)


@app.command()
def info(
    what: Annotated[str, typer.Argument(help="A media file, a token file, or a model: a name, folder or Hub id.")],
    json: Json = False,
) -> None:
    """Tell what a file or model is."""
    show(describe(what), json)


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
            str(entry.config.kind),
            shape_of(entry.config),
            f"{entry.config.vocab_size} codes"
            if entry.config.is_discrete
            else f"{entry.config.latent_channels} channels",
            "bundled" if entry.bundled else f"Hub: {entry.hub}",
        )
        for entry in entries
    ]
    print_table(("name", "for", "compression", "tokens", "weights"), rows)


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


# What the verbs share ------------------------------------------------------------------------------------------------


def load(model: str, device: str, dtype: str) -> Tokenizer:
    """The tokenizer, where and as what the options say."""
    import torch

    from cosmotok.errors import InputError
    from cosmotok.tokenizer import Tokenizer

    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in {*dtypes, "auto"}:
        raise InputError(f"--dtype {dtype}: expected {', '.join(dtypes)} or auto")
    place = device_of(device)
    automatic = torch.bfloat16 if place.startswith("cuda") else torch.float32
    return Tokenizer.from_pretrained(model, device=place, dtype=dtypes.get(dtype, automatic))


def device_of(name: str) -> str:
    import torch

    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def size_of(text: str | None) -> tuple[int, int] | None:
    from cosmotok.media import parse_size

    return None if text is None else parse_size(text)


def context_of(text: str) -> int | None:
    from cosmotok.errors import InputError

    if text == "all":
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise InputError(f"--attention-context {text}: expected a number of latent frames from 1, or 'all'")
    return int(text)


def peek(source: Path, frames: slice, max_pixels: int) -> tuple[str, int | None]:
    """The source's name without suffix, and how many frames are to come; 0 for a still image."""
    from cosmotok.media import open_media

    with open_media(source, frames=frames, max_pixels=max_pixels) as reader:
        count = 0 if reader.info.kind == "image" else reader.info.frame_count
    name = source.resolve().name if source.is_dir() else source.stem
    if source.exists():
        return name, count
    return re.sub(r"%\d*d|[*?]", "", name).strip("._- ") or "frames", count  # a pattern


def default_output(source: Path, name: str, count: int | None) -> Path:
    return beside_or_here(source, name + (".png" if count == 0 else ".mp4"))


def beside_or_here(source: Path, name: str) -> Path:
    """`name` in the source's folder, or in this one where that cannot be written."""
    import os

    folder = source.resolve().parent
    return (source.parent if os.access(folder, os.W_OK) else Path()) / name


def progress(label: str, count: int | None) -> Any:
    """A progress bar, of an unknown number of frames if need be."""
    from cosmotok.progress import Progress

    return Progress(label, count or None)


def describe(what: str) -> dict[str, Any]:
    """Facts about a media file, token file or model."""
    from cosmotok.config import find_model
    from cosmotok.errors import MediaError, UnknownModelError
    from cosmotok.media import open_media

    path = Path(what)
    if path.suffix == ".safetensors" and path.is_file():
        from cosmotok.tokenfile import TokenFile

        tokens = TokenFile(path)
        facts = {k: str(v) if k == "frame_rate" and v else v for k, v in vars(tokens.info).items() if k != "times"}
        constant = tokens.info.times is None
        return {"what": "token file", **facts, "constant_rate": constant, tokens.name: list(tokens.shape)}
    if (path.is_dir() and (path / "config.json").exists()) or not path.exists():
        try:
            entry = find_model(what)
        except UnknownModelError:
            if path.suffix:
                raise MediaError(f"{what}: no such file") from None
            if not path.is_dir() and what.count("/") != 1:
                raise
        else:
            if not entry.bundled:
                return {"what": "model", "name": entry.name, "hub": entry.hub, **entry.config.to_dict()}
        tokenizer = load(what, "cpu", "float32")
        count = sum(p.numel() for p in tokenizer.network.parameters())
        facts = {"parameters": count, "fingerprint": tokenizer.fingerprint}
        return {"what": "model", "name": what, **facts, **tokenizer.config.to_dict()}
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


def shape_of(config: TokenizerConfig) -> str:
    factors = (
        [config.spatial_factor] * 2
        if config.kind == "image"
        else [config.temporal_factor, *[config.spatial_factor] * 2]
    )
    return "x".join(map(str, factors))


def main() -> None:
    """Runs the command; errors are one line on standard error, and an exit code that is not 0."""
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]  # it may stand behind the verb, too
    try:
        app()
    except CosmotokError as error:
        if debug:
            raise
        say("error: " + " ".join(str(error).split()))
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as end:
        # typer turns Ctrl-C into an exit of its own
        if isinstance(end, KeyboardInterrupt) or end.code == INTERRUPTED:
            say("stopped; nothing half-written is left")
            sys.exit(INTERRUPTED)
        raise
    except MemoryError:
        say("error: out of memory; try a smaller --size")
        sys.exit(1)


if __name__ == "__main__":
    main()
