"""Verbs for whole collections: tokenize, verify, unpack."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cosmotok.addresses import public
from cosmotok.cli.app import app
from cosmotok.cli.options import (
    CONTEXT,
    DEFAULT_MODEL,
    Context,
    Device,
    Fit,
    Json,
    MaxPixels,
    Model,
    Variant,
    context_of,
    device_of,
    require_known,
)
from cosmotok.defaults import MAX_PIXELS
from cosmotok.language import number
from cosmotok.language import translate as _
from cosmotok.printing import clean, print_json, say, show

if TYPE_CHECKING:
    from cosmotok.dataset.engines import Engine
    from cosmotok.dataset.job import Step
    from cosmotok.dataset.run import Planned
    from cosmotok.interface import BaseTokenizer

Sources = Annotated[
    list[str] | None,
    typer.Argument(
        help="Folders, patterns, lists (.txt, .csv, .jsonl), WebDataset .tar, Parquet, LeRobot data sets; also at URLs."
    ),
]


@app.command()
def tokenize(
    sources: Sources = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Folder or URL of the data set; an existing one is continued.")
    ] = None,
    model: Model = DEFAULT_MODEL,
    variant: Variant = None,
    fit: Fit = None,
    frame_rate: Annotated[float | None, typer.Option(help="Frames per second; by default each input's own.")] = None,
    size: Annotated[
        str | None, typer.Option(help="Fill WxH and crop the rest; of several, as 256x256,320x192, the nearest shape.")
    ] = None,
    short_side: Annotated[int | None, typer.Option(help="Pixels of the shorter side.")] = None,
    segment: Annotated[int | None, typer.Option(help="Frames per row; by default whole videos.")] = None,
    overlap: Annotated[int, typer.Option(help="Frames that a segment shares with the one before.")] = 0,
    scenes: Annotated[bool, typer.Option("--scenes", help="Cut where the scene changes.")] = False,
    min_frames: Annotated[int, typer.Option(help="Leave out shorter segments.")] = 1,
    min_side: Annotated[int, typer.Option(help="Leave out inputs with a shorter side below this.")] = 1,
    latent_dtype: Annotated[
        str, typer.Option(help="Type of the stored latents: float16, bfloat16 or int8.")
    ] = "float16",
    batch: Annotated[int, typer.Option(help="Clips of one size that the model takes at once.")] = 1,
    device: Device = "auto",
    dtype: Annotated[
        str, typer.Option(help="Type that the model computes in: float32, bfloat16 or float16.")
    ] = "float32",
    precision: Annotated[str, typer.Option(help="float32, or int8: faster on CPUs with AVX-512 VNNI.")] = "float32",
    attention_context: Context = CONTEXT,
    max_pixels: MaxPixels = MAX_PIXELS,
    shard_inputs: Annotated[int, typer.Option(help="Most inputs in a shard, the work that a kill may cost.")] = 1000,
    engine: Annotated[str, typer.Option(help="local, or ray.")] = "local",
    workers: Annotated[
        int,
        typer.Option(help="Worker processes, each with the model; 0 works in this one. With Ray, the most workers."),
    ] = 0,
    threads: Annotated[int | None, typer.Option(help="CPU threads of each local worker; by default its share.")] = None,
    address: Annotated[str | None, typer.Option(help="Address of the Ray cluster; auto for this machine's.")] = None,
    cpus: Annotated[float, typer.Option(help="CPUs of each Ray worker.")] = 1,
    gpus: Annotated[float, typer.Option(help="GPUs of each Ray worker; 0.25 puts four workers on one.")] = 0,
    changed: Annotated[
        str | None, typer.Option(help="Inputs that changed or vanished: keep their tokens, or renew their shards.")
    ] = None,
    most_quarantined: Annotated[float, typer.Option(help="Stop past this share of broken inputs.")] = 0.1,
    status: Annotated[str | None, typer.Option(help="Only report how far the data set in this folder is.")] = None,
    json: Json = False,
) -> None:
    """Encode whole collections to a data set of tokens to train on; run again to continue."""
    from cosmotok.dataset.run import status as status_of
    from cosmotok.errors import InputError

    if status is not None:
        show(status_of(status), json)
        return
    if not sources or output is None:
        raise InputError("tokenize: expected sources and an output, as in: cosmotok tokenize clips/ -o tokens/")
    from cosmotok.dataset.options import Options
    from cosmotok.dataset.run import tokenize as make
    from cosmotok.dataset.shaping import Shaping

    options = Options(
        shaping=Shaping.parse(
            size,
            frame_rate=frame_rate,
            short_side=short_side,
            segment=segment,
            overlap=overlap,
            scenes=scenes,
            min_frames=min_frames,
            min_side=min_side,
        ),
        latent_dtype=latent_dtype,  # type: ignore[arg-type]
        attention_context=context_of(attention_context),
        dtype=dtype,
        precision=None if precision == "float32" else precision,
        batch=batch,
        max_pixels=max_pixels,
        shard_inputs=shard_inputs,
    )
    with Report() as report:
        manifest = make(
            sources,
            output,
            model,
            options=options,
            variant=variant,
            fit=fit,
            device="cpu" if options.precision == "int8" and device == "auto" else device_of(device),
            engine=engine_of(engine, workers, threads, address, cpus, gpus),
            renew=renew_of(changed),
            most_quarantined=most_quarantined,
            planned=report.begin,
            advance=report.advance,
        )
    show({"output": public(output), "model": manifest.model, **asdict(manifest.counts)}, json)


@app.command()
def verify(
    data: Annotated[str, typer.Argument(help="Folder or URL of a data set.")],
    sample: Annotated[int, typer.Option(min=0, help="Encode so many rows once more from their sources.")] = 0,
    seed: Annotated[int, typer.Option(help="Draws them.")] = 0,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The model, unless it is a bundled or published one.")
    ] = None,
    variant: Variant = None,
    fit: Fit = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Check a data set of tokens: its files, hashes and counts, and a sample of its rows."""
    from cosmotok.dataset.verify import verify as check
    from cosmotok.errors import InputError

    tokenizer = model_of(data, model, variant, fit, device) if sample else None
    with Bar() as bar:
        found = check(
            data,
            tokenizer,
            sample=sample,
            seed=seed,
            begin=lambda count: bar.start(_("verifying"), count, _("shards and rows")),
            advance=lambda count: bar.bar.advance(count),
        )
    if json:
        print_json(asdict(found))
    else:
        encoded = ("same", "close", "other", "not_reached") if sample else ()
        show({name: getattr(found, name) for name in ("shards", "rows", *encoded)}, json)
        print("".join(clean(line) + "\n" for line in found.faults), end="")
        if not found.faults:
            print(" " + _("all is well: files, hashes and counts are as the manifest says"))
        for line in found.remarks:
            say(_("not reached: {reason}").format(reason=line))
    if found.faults:
        raise InputError(f"{data}: faults found: {len(found.faults)}; each is a line of the output")


@app.command()
def unpack(
    data: Annotated[str, typer.Argument(help="Folder or URL of a data set.")],
    to: Annotated[
        str,
        typer.Option(
            help="bin: one file of indices and an index; webdataset: tar archives; safetensors: a token file for each "
            "row."
        ),
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="Folder to write; an earlier one is replaced.")],
    json: Json = False,
) -> None:
    """Unpack a data set of tokens to files of another format."""
    from cosmotok.dataset.unpacking import unpack as write

    with Bar() as bar:
        rows = write(
            data,
            output,
            to,
            begin=lambda count: bar.start(_("unpacking"), count, _("rows")),
            advance=lambda count: bar.bar.advance(count),
        )
    show({"output": output, "rows": rows}, json)


def model_of(data: str, model: str | None, variant: str | None, fit: Path | None, device: str) -> BaseTokenizer:
    """The model of a data set, as its options have it."""
    from cosmotok.dataset.job import load
    from cosmotok.dataset.options import Options
    from cosmotok.dataset.reading.shards import read_manifest
    from cosmotok.dataset.storage import storage_at

    manifest = read_manifest(storage_at(data))
    if model is None:
        require_known(manifest.model, data)
    options = Options.parse(manifest.options)
    place = "cpu" if options.precision == "int8" and device == "auto" else device_of(device)
    return load(model or manifest.model, options, place, variant, fit)


def engine_of(
    name: str, workers: int, threads: int | None, address: str | None, cpus: float, gpus: float
) -> Engine | None:
    """The engine that the options ask for; None for this process."""
    from cosmotok.dataset.engines import Processes, RayEngine
    from cosmotok.errors import InputError

    if name not in ("local", "ray"):
        raise InputError(f"--engine {name}: expected local or ray")
    if name == "ray":
        if threads is not None:
            raise InputError("--threads: is for local workers; of Ray's, --cpus says how much each one gets")
        return RayEngine(address, max(1, workers), cpus, gpus)
    if address is not None or cpus != 1 or gpus:
        raise InputError("--address, --cpus, --gpus: are for --engine ray")
    if not workers and threads is not None:
        raise InputError("--threads: is for workers of their own; give --workers as well")
    return Processes(workers, threads) if workers else None


def renew_of(text: str | None) -> bool | None:
    from cosmotok.errors import InputError

    if text not in (None, "keep", "renew"):
        raise InputError(f"--changed {text}: expected keep or renew")
    return None if text is None else text == "renew"


class Bar:
    """Progress of work that is measured only once it has begun."""

    def __init__(self) -> None:
        self.bar: Any = None

    def __enter__(self) -> Any:
        return self

    def start(self, label: str, count: int | None, unit: str) -> None:
        """There is so much to do."""
        from cosmotok.progress import Progress

        self.bar = Progress(label, count, unit).__enter__()

    def __exit__(self, *error: Any) -> None:
        if self.bar is not None:
            self.bar.__exit__(*error)


class Report(Bar):
    """A line on what was found, then the progress."""

    frames = tokens = 0

    def begin(self, found: Planned) -> None:
        """What there is to do."""
        changes = f"; {found.changes}" if str(found.changes) else ""
        inputs, done = number(f"{found.inputs:,}"), number(f"{found.done:,}")
        say(_("{inputs} inputs, {done} of them done before").format(inputs=inputs, done=done) + changes)
        self.start(_("tokenizing"), (found.inputs - found.done) or None, _("inputs"))

    def advance(self, step: Step) -> None:
        """Some of it was done."""
        if self.bar is not None and (step.inputs or step.frames or step.tokens):
            self.frames += step.frames
            self.tokens += step.tokens
            seconds = max(self.bar.seconds, 1e-6)
            frames, tokens = (number(f"{count / seconds:,.0f}") for count in (self.frames, self.tokens))
            note = _("{frames} frames/s, {tokens} tokens/s").format(frames=frames, tokens=tokens)
            self.bar.advance(step.inputs, note)
