"""Verb that measures speed and memory: benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cosmotok.cli.app import app
from cosmotok.cli.options import Device, Dtype, Fit, Json, device_of, dtype_of, files_of, listed, progress
from cosmotok.errors import CosmotokError, InputError
from cosmotok.foreign import one_line
from cosmotok.language import translate as _
from cosmotok.printing import print_json
from cosmotok.sentences import translated

DEFAULT_MODELS = "CV8x8x8,diffusers:Cosmos"


@app.command()
def benchmark(
    models: Annotated[
        str,
        typer.Option(
            "--models",
            "-m",
            help="Names separated by commas: ours, also with @int8 or @compiled behind; published:NAME, one of ours "
            "as the published code lays it out; klt:4x8x8:16; diffusers:NAME of Cosmos, CogVideoX, Wan, LTX, "
            "Hunyuan, Mochi, Allegro, VidTok, DC-AE, SD, FLUX, TAESD; or diffusers:PATH.",
        ),
    ] = DEFAULT_MODELS,
    size: Annotated[str, typer.Option(help="WxH, or several, separated by commas.")] = "256x256",
    frames: Annotated[str, typer.Option(help="Length of the clip, or several, separated by commas.")] = "17",
    rounds: Annotated[int, typer.Option(help="How often each model is timed, taking turns.")] = 3,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Model whose speed is 1; by default diffusers:Cosmos, else the first not ours, or the first."
        ),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    precision: Annotated[
        str, typer.Option(help="Of our models whose names give none: float32 (as --dtype says), int8 or compiled.")
    ] = "float32",
    fit: Fit = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; PyTorch's default if left out.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw to this .png, .svg or .pdf.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write all numbers to this .json, too.")] = None,
    json: Json = False,
) -> None:
    """Measure speed and memory of tokenizers, ours and others, side by side."""
    from cosmotok.benchmark import benchmark as measure
    from cosmotok.benchmark.table import print_report
    from cosmotok.media import parse_size
    from cosmotok.plotting import check_plot
    from cosmotok.writing import require_folder, spare

    names = listed(models)
    sizes, lengths = [parse_size(text) for text in listed(size)], [whole(text) for text in listed(frames)]
    if plot is not None:
        check_plot(plot)
    if output is not None:
        require_folder(output, output.parent)
    for written in filter(None, (plot, output)):
        spare(written, *(files_of(name.partition("@")[0].removeprefix("diffusers:")) for name in names), fit)
    place = device_of(device)
    steps = len(names) * len(sizes) * len(lengths) * (1 + max(0, rounds))
    with progress(_("measuring"), steps, _("steps")) as bar:
        report = measure(
            names,
            sizes=sizes,
            frames=lengths,
            rounds=rounds,
            device=place,
            dtype=dtype_of(dtype, place),
            precision=precision,
            threads=threads,
            baseline=baseline,
            fit=fit,
            advance=bar.advance,
        )
    if output is not None:
        write(output, report.to_dict())
    if json:
        print_json(report.to_dict())
    else:
        print_report(report)
    if plot is not None:
        from cosmotok.benchmark.plot import write_plot

        write_plot(report, plot)
    if report.failed:
        first, total = report.failed[0], len(report.results)
        told = _(
            "{failed} of {total} measurements failed, first {name}: {reason}; if memory is short, try a smaller --size "
            "or fewer --frames"
        )
        message = told.format(
            failed=len(report.failed), total=total, name=first.name, reason=translated(first.error or "")
        )
        raise CosmotokError(message)


def whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InputError(
            f"--frames {one_line(text)}: expected whole numbers from 1 with commas between, such as 1,17,49"
        )
    return int(text)


def write(path: Path, report: dict[str, Any]) -> None:
    import json

    from cosmotok.writing import write_file

    write_file(path, json.dumps(report, indent=1) + "\n")
