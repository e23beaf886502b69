"""Verbs that measure what comes back: evaluate and compare."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cosmotok.cli.app import app
from cosmotok.cli.options import Device, Json, Size, device_of, listed, progress, size_of
from cosmotok.defaults import DTYPES
from cosmotok.errors import CosmotokError, InputError
from cosmotok.language import translate as _
from cosmotok.printing import print_json, say

if TYPE_CHECKING:
    from cosmotok.evaluation.options import Options
    from cosmotok.evaluation.results import Comparison

NAMES = (
    "ours (see `cosmotok models`, a path or a Hub id; @int8 behind it), diffusers:NAME or diffusers:PATH, "
    "klt:4x8x8:16, or a codec: jpeg, webp, avif, jxl, h264, hevc, vp9, av1, with @0.25bpp, @q80 or @crf28 behind it"
)
Data = Annotated[Path | None, typer.Option(help="Folder of images and clips, with its subfolders.")]
ProtocolName = Annotated[
    str, typer.Option(help="How figures are averaged: tokenbench, per-frame, without-first, pooled or wrapped.")
]
Frames = Annotated[
    str | None, typer.Option(help="Frames to take from the start of each clip, or A:B, counted from 0, B exclusive.")
]
Metrics = Annotated[
    str | None,
    typer.Option(
        help="psnr, ssim, temporal, sharpness, lpips, rfid, rfvd, separated by commas; those named download what they "
        "need. By default all that need no download."
    ),
]
Lpips = Annotated[str | None, typer.Option(help="File with torchvision's VGG-16, for LPIPS.")]
Inception = Annotated[str | None, typer.Option(help="File with pytorch-fid's Inception-v3, for rFID.")]
I3d = Annotated[str | None, typer.Option(help="File with StyleGAN-V's I3D, for rFVD.")]
Fit = Annotated[Path | None, typer.Option(help="Folder of clips or images to fit a klt to; not those of --data.")]
Folder = Annotated[
    Path | None, typer.Option("--output", "-o", help="Folder for the report, all numbers and example pictures.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue with what the output folder holds.")]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Files at a time; by default one for each core, 8 at most, and 1 on a GPU.")
]
ModelDtype = Annotated[
    str, typer.Option("--dtype", help="Type that networks compute in: float32, bfloat16 or float16.")
]


@app.command()
def evaluate(
    model: Annotated[str | None, typer.Option("--model", "-m", help=f"What to measure: {NAMES}.")] = None,
    data: Data = None,
    reference: Annotated[Path | None, typer.Option(help="Folder of originals, in place of --model and --data.")] = None,
    reconstruction: Annotated[
        Path | None, typer.Option(help="Folder of their reconstructions, under the same names.")
    ] = None,
    protocol: ProtocolName = "tokenbench",
    frames: Frames = None,
    size: Size = None,
    metrics: Metrics = None,
    lpips_weights: Lpips = None,
    inception_weights: Inception = None,
    i3d_weights: I3d = None,
    fit: Fit = None,
    output: Folder = None,
    resume: Resume = False,
    jobs: Jobs = None,
    device: Device = "auto",
    dtype: ModelDtype = "float32",
    json: Json = False,
) -> None:
    """Measure how well a tokenizer or codec reconstructs images and clips, or measure reconstructions that are there.

    For example: cosmotok evaluate --model cv4x8x8-tiny --data clips --frames 49 -o evaluation

    Or: cosmotok evaluate --reference originals --reconstruction results
    """
    options = options_of(
        protocol, metrics, (lpips_weights, inception_weights, i3d_weights), output, frames, size, device, jobs, resume
    )
    if reference is None and reconstruction is None:
        if model is None or data is None:
            raise InputError("evaluate: expected --model and --data, or --reference and --reconstruction")
        measure([model], data, fit, dtype, options, json)
        return
    if reference is None or reconstruction is None or (model, data, size, fit) != (None,) * 4:
        raise InputError(
            "evaluate: expected --reference and --reconstruction, both of them and without --model, --data, --fit and "
            "--size: files are measured as they are"
        )
    from cosmotok.evaluation.existing import compare_folders, pair

    pairs = pair(reference, reconstruction)[0]
    finish(
        lambda advance: compare_folders(reference, reconstruction, options, advance=advance),
        _("measuring {name}").format(name=reconstruction.name),
        len(pairs),
        output,
        json,
    )


@app.command()
def compare(
    models: Annotated[str, typer.Option("--models", "-m", help=f"Names separated by commas: {NAMES}.")],
    data: Annotated[Path, typer.Option(help="Folder of images and clips, with its subfolders.")],
    fit: Fit = None,
    protocol: ProtocolName = "tokenbench",
    frames: Frames = None,
    size: Size = None,
    metrics: Metrics = None,
    lpips_weights: Lpips = None,
    inception_weights: Inception = None,
    i3d_weights: I3d = None,
    output: Folder = None,
    resume: Resume = False,
    jobs: Jobs = None,
    device: Device = "auto",
    dtype: ModelDtype = "float32",
    json: Json = False,
) -> None:
    """Measure several tokenizers and codecs on the same images and clips, and draw the report.

    A codec without a rate is measured at the bits per pixel of each tokenizer beside it.

    For example: cosmotok compare --models cv4x8x8-tiny,dv4x8x8-tiny,webp,av1 --data clips --frames 49 -o comparison
    """
    options = options_of(
        protocol, metrics, (lpips_weights, inception_weights, i3d_weights), output, frames, size, device, jobs, resume
    )
    measure(listed(models), data, fit, dtype, options, json)


def measure(names: list[str], data: Path, fit: Path | None, dtype: str, options: Options, as_json: bool) -> None:
    """Contestants on a folder of data."""
    from cosmotok.evaluation.find import find_contestants
    from cosmotok.evaluation.run import compare as compare_contestants
    from cosmotok.media import find_media

    if dtype not in DTYPES:
        raise InputError(f"--dtype {dtype}: expected float32, bfloat16 or float16")
    files = find_media(data)
    span = options.span
    length = None if span.stop is None else span.stop - (span.start or 0)
    contestants = find_contestants(names, fit=fit, frames=length, dtype=dtype)
    label = _("measuring {name}").format(name=contestants[0].name)
    if len(contestants) > 1:
        label = _("measuring {count} contestants").format(count=len(contestants))
    finish(
        lambda advance: compare_contestants(contestants, data, options, advance=advance),
        label,
        len(files) * len(contestants),
        options.folder,
        as_json,
    )


def options_of(
    protocol: str,
    metrics: str | None,
    weights: tuple[str | None, str | None, str | None],
    output: Path | None,
    frames: str | None,
    size: str | None,
    device: str,
    jobs: int | None,
    resume: bool,
) -> Options:
    """What both ways of measuring take."""
    from cosmotok.evaluation.measure import JudgeOptions
    from cosmotok.evaluation.options import Options
    from cosmotok.evaluation.protocols import find_protocol

    if resume and output is None:
        raise InputError("--resume: expected -o FOLDER, the one to go on with")
    judges = JudgeOptions(*weights, tuple(listed(metrics or "")))
    return Options(
        find_protocol(protocol), judges, output, span_of(frames), size_of(size), device_of(device), jobs, resume
    )


def finish(
    run: Callable[[Callable[[int], None]], Comparison],
    label: str,
    total: int,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Measures, prints and writes; ends with 1 where anything is missing."""
    from cosmotok.evaluation.terminal import print_comparison

    try:
        with progress(label, total, _("files")) as bar:
            comparison = run(bar.advance)
    except KeyboardInterrupt:
        if folder is not None:
            say(_("to go on: the same command with --resume"))
        raise
    if as_json:
        print_json(comparison.to_dict())
    else:
        print_comparison(comparison)
    if folder is not None:
        from cosmotok.evaluation.report import write_report
        from cosmotok.evaluation.store import read_examples

        for path in write_report(comparison, folder, read_examples(folder)):
            if path.suffix == ".html":
                say(_("wrote {path}, with its tables and figures beside it").format(path=path))
    if not comparison.is_complete:
        raise CosmotokError(_("not everything was measured; mend or leave out what is listed above"))


def span_of(text: str | None) -> slice:
    """Frames A:B, or so many from the start."""
    from cosmotok.media import parse_frames

    if text is None:
        return slice(None)
    return parse_frames(text if ":" in text else f":{text}")
