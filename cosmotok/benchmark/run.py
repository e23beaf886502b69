"""Measures models side by side: each in a process of its own, one at work at a time, in turns."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cosmotok.benchmark.findings import Agreement, Half, Machine, Report, Result
from cosmotok.benchmark.jobs import Facts, MatrixProduct, ModelJob
from cosmotok.benchmark.memory import free_memory
from cosmotok.config import suggest
from cosmotok.devices import find_device
from cosmotok.errors import CosmotokError, InputError
from cosmotok.families import FAMILIES, family_of, find_among
from cosmotok.interface import Clip, Model
from cosmotok.processes import Remote, check_counts, device_name, reason

__all__ = ["MODELS", "benchmark"]

COSMOS = "diffusers:Cosmos"
MODELS = ("CV8x8x8", COSMOS)


def benchmark(
    models: Sequence[str] = MODELS,
    *,
    sizes: Sequence[tuple[int, int]] = ((256, 256),),
    frames: Sequence[int] = (17,),
    rounds: int = 3,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    precision: str = "float32",
    threads: int | None = None,
    baseline: str | None = None,
    fit: Path | None = None,
    advance: Callable[[int], None] = lambda steps: None,
) -> Report:
    """Measures encoding and decoding of a clip of noise by several models, for every size and length.

    Every model runs in a process of its own, and one process works at a time. Each encodes and decodes once to warm
    up, where memory is measured; then rounds follow, all models in turn in each. A script that calls this needs
    `if __name__ == "__main__":`, since the processes import it.

    Args:
        models: as `cosmotok.families.find` takes them; names whose weights are on the Hub get random ones. See
            `docs/benchmark.md`.
        sizes: (width, height) in pixels.
        frames: lengths. A model that takes other numbers gets the next larger one.
        rounds: how often each is timed.
        device: "cpu", "cuda", "cuda:1" or "mps".
        dtype: of weights and clips.
        precision: of our models that say none: "float32", "int8" or "compiled".
        threads: of PyTorch; None leaves its default.
        baseline: the model whose speed the others are compared with; by default diffusers' port of ours, else the first
            that is not ours, else the first model.
        fit: folder of clips or images that a KLT is fitted to.
        advance: called with 1 after each model's warm-up, and after each of its rounds.

    Returns:
        All that was found. A model that fails has a `Result` that says why, and the others go on.

    Raises:
        UnknownModelError: for a name that nothing has; suggests the nearest.
        InputError: for values that make no sense, or a clip that alone is more than the free memory.
        MissingExtraError: for peers without diffusers.
    """
    found = find_models(models, precision, fit)
    check(sizes, frames, rounds, device, threads)
    names = [model.name for model in found]
    base = chosen_baseline(baseline, names)
    results: list[Result] = []
    agreements: list[Agreement] = []
    products: dict[Clip, dict[str, float]] = {}
    for clip in (Clip(length, height, width) for width, height in sizes for length in frames):
        with ExitStack() as stack:
            machine = stack.enter_context(Remote(partial(MatrixProduct, device, dtype), threads))
            turns = [
                Turn(model, clip, stack.enter_context(Remote(partial(ModelJob, model, clip, device, dtype), threads)))
                for model in found
            ]
            products[clip] = take_turns(turns, machine, rounds, advance)
            agreements += agree(turns)
        results += [turn.result for turn in turns]
    peers = any(family_of(name) is FAMILIES["diffusers"] for name in names)
    where = Machine(
        device_type=torch.device(device).type,
        device=device_name(device),
        dtype=str(dtype).removeprefix("torch."),
        threads=threads or torch.get_num_threads(),
        torch=torch.__version__,
        diffusers=metadata.version("diffusers") if peers else None,
        products=products,
    )
    return Report(where, rounds, names[base], results, agreements)


@dataclass
class Turn:
    """One model at one size of clip, as far as it came."""

    model: Model
    clip: Clip
    remote: Remote
    facts: Facts | None = None
    notes: list[str] = field(default_factory=list)
    peaks: tuple[int | None, int | None] = (None, None)
    seconds: list[tuple[float, float]] = field(default_factory=list)
    error: str | None = None

    def attempt(self, method: str, *arguments: Any) -> Any:
        """A call of the model's process; None if that fails, or something did before."""
        if self.error is not None:
            return None
        try:
            return self.remote.call(method, *arguments)
        except CosmotokError as failure:
            self.error = reason(failure)
            self.remote.close()
            return None

    @property
    def result(self) -> Result:
        facts = self.facts
        halves: list[Half | None] = [None, None]
        if facts is not None and self.error is None:
            seconds = zip(*self.seconds, strict=True)
            halves = [
                Half(facts.clip.frames, operations, times, peak)
                for operations, times, peak in zip(facts.operations or (None, None), seconds, self.peaks, strict=True)
            ]
        return Result(
            name=self.model.name,
            asked=self.clip,
            taken=facts.clip if facts else None,
            parameters=facts.parameters if facts else None,
            encode=halves[0],
            decode=halves[1],
            notes=self.notes,
            error=self.error,
        )


def take_turns(turns: Sequence[Turn], machine: Remote, rounds: int, advance: Callable[[int], None]) -> dict[str, float]:
    """Measures every model, and the machine's rates of operations, which are returned."""
    for turn in turns:
        turn.facts = turn.attempt("count")
        turn.notes = turn.attempt("build") or []
        turn.peaks = turn.attempt("warm_up") or turn.peaks
        advance(1)
    rates = [machine.call("rates")]
    for _ in range(rounds):
        for turn in turns:
            seconds = turn.attempt("round")
            if seconds is not None:
                turn.seconds.append(seconds)
            advance(1)
        rates.append(machine.call("rates"))
    return {library: max(rate[library] for rate in rates) for library in rates[0]}


def agree(turns: Sequence[Turn]) -> list[Agreement]:
    """Compares the outputs of models that have the same weights."""
    found = []
    for turn in turns:
        twin = next((other for other in turns if other.model == turn.model.twin), None)
        if twin is None:
            continue
        with tempfile.TemporaryDirectory(prefix="cosmotok-") as folder:
            folders = [Path(folder) / name for name in ("ours", "theirs")]
            for one, place in zip((twin, turn), folders, strict=True):
                place.mkdir()
                one.attempt("write_outputs", place)
            if twin.error is None and turn.error is None:
                latents, frames = (difference(*(f / f"{name}.npy" for f in folders)) for name in ("latents", "frames"))
                found.append(Agreement(twin.model.name, turn.model.name, turn.clip, latents, frames))
    return found


def difference(path: Path, other: Path) -> float:
    """Largest difference of two arrays in files, relative to the range of the second's values; frame by frame."""
    a, b = (np.moveaxis(np.load(file, mmap_mode="r"), 2, 0) for file in (path, other))
    largest = max(float(np.abs(mine - its).max()) for mine, its in zip(a, b, strict=True))
    return largest / max(float(b.max() - b.min()), 1e-12)


def find_models(names: Sequence[str], precision: str, fit: Path | None) -> list[Model]:
    """Models by name, each with the weights of another one where their outputs can be compared; none is loaded."""
    if not names:
        raise InputError("models: expected at least one name such as CV8x8x8 or diffusers:Wan")
    found: list[Model] = []
    for name in names:
        given = {"precision": None if "@" in name else precision, "fit": fit}  # of those that say none
        options = {key: value for key, value in given.items() if key in family_of(name).options}
        found.append(find_among(name, stand_in=True, **options))
    for name in (model.name for model in found):
        if [model.name for model in found].count(name) > 1:
            raise InputError(f"models: {name} is named twice")
    return [model.beside(found) for model in found]


def chosen_baseline(name: str | None, names: Sequence[str]) -> int:
    if name is None:
        others = [i for i, known in enumerate(names) if family_of(known) is not FAMILIES["cosmos"]]
        return names.index(COSMOS) if COSMOS in names else others[0] if others else 0
    lower = [known.lower() for known in names]
    if name.lower() not in lower:
        raise InputError(f"baseline {name!r}{suggest(name, names)}; expected one of the models, {', '.join(names)}")
    return lower.index(name.lower())


def check(
    sizes: Sequence[tuple[int, int]], frames: Sequence[int], rounds: int, device: str, threads: int | None
) -> None:
    if not sizes or any(len(size) != 2 or min(size) < 1 for size in sizes):
        raise InputError(f"sizes={list(sizes)}: expected (width, height) of at least one pixel each")
    if not frames or min(frames) < 1:
        raise InputError(f"frames={list(frames)}: expected lengths of at least 1")
    check_counts(rounds=rounds, threads=threads)
    find_device(device)
    check_memory(sizes, frames)


def check_memory(sizes: Sequence[tuple[int, int]], frames: Sequence[int]) -> None:
    """Refuses clips that main memory cannot hold by themselves, whatever the model: noise is drawn there as float32."""
    free = free_memory()
    (width, height), length = max(sizes, key=lambda size: size[0] * size[1]), max(frames)
    needed = 3 * 4 * width * height * length
    if free is not None and needed > free:
        raise InputError(
            f"size {width}x{height}: a clip of {length} frame{'s' if length > 1 else ''} takes {needed / 1e9:.1f} GB, "
            f"but {free / 1e9:.1f} GB of memory are free; try a smaller --size or fewer --frames"
        )
