"""What a data set far past one machine takes: a simulation through the real plan and restart code, and a bill.

    python benchmarks/scale.py                      # ten million clips on 10,000 workers; about ten minutes
    python benchmarks/scale.py --inputs 1_000_000 --workers 1000 --dry    # prints, and leaves docs/scale.md alone

Planning, records, manifest, quarantine and going on are those of `cosmotok tokenize`. Only the workers are made up: in
place of encoding, each takes the seconds that its shard would take, by a clock of the simulation, and leaves a sparse
file of the size that its shard would have. Workers are lost at random moments, and with them what they had in hand;
twice all of it is killed.
"""

from __future__ import annotations

import argparse
import heapq
import resource
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from dataset import write_list
from pages import DOCS, figures_table, replace_between

from cosmotok.dataset.engines import Engine
from cosmotok.dataset.job import Advance, Job
from cosmotok.dataset.manifest import Counts, Manifest, Shard
from cosmotok.dataset.options import Options
from cosmotok.dataset.plan import Task, read_entries
from cosmotok.dataset.records import DATA, Quarantined, Record, Sums
from cosmotok.dataset.run import Planned, tokenize
from cosmotok.dataset.storage import Storage, storage_at
from cosmotok.interface import BaseTokenizer

MODEL = "dv4x8x8-tiny"
SHARD_INPUTS = 250
"""Clips: four shards for each of 10,000 workers, so that a lost one costs little."""
CLIP_SECONDS, CLIP_FRAMES, TOKENS = 20.0, 240, 60 * 90 * 160
"""Of one clip: its worker's time, its frames, and its tokens (10 s of 720p by 4x8x8)."""
BROKEN = 0.001
"""Share of clips that cannot be read."""
LIFE = 20 * 3600.0
"""Seconds after which a worker is lost, in the mean: spot machines."""
REPLACED = 300.0
"""Seconds until another is in its place."""
KILLED_AT = (0.3, 0.5)
"""Share of a run's shards after which all of it is killed."""
CHECKED = 2000
"""One of so many shards also reads its entries from the plan, as each does on a worker."""


class KilledError(Exception):
    """The run is gone, with all that its workers had in hand."""


@dataclass
class Fleet(Engine):
    """Workers by a made-up clock."""

    workers: int
    place: Storage
    rng: np.random.Generator
    life: float = LIFE
    stop_at: float | None = None
    """Share of the shards after which the run is killed."""
    begun: int = 0
    lost: int = 0
    hours: float = 0.0
    """Of all workers, what was lost included."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Inputs of each shard."""

    def run(
        self, job: Job, tasks: Sequence[Task], tokenizer: BaseTokenizer, advance: Advance
    ) -> Generator[Record, None, None]:
        waiting, done = list(reversed(tasks)), 0
        busy: list[tuple[float, bool, int]] = []  # when it ends, whether its worker is lost then, its number
        held: dict[int, Task] = {}
        self.sizes = self.sizes_of(tasks)

        def start(now: float) -> None:
            task = waiting.pop()
            length = self.sizes[task.name] * CLIP_SECONDS * self.rng.uniform(0.7, 1.3)
            end = self.rng.exponential(self.life)
            self.begun += 1
            held[self.begun] = task
            heapq.heappush(busy, (now + min(length, end), end < length, self.begun))
            self.hours += min(length, end) / 3600

        for _ in range(min(self.workers, len(waiting))):
            start(0.0)
        while busy:
            now, is_lost, number = heapq.heappop(busy)
            task = held.pop(number)
            if is_lost:
                self.lost += 1
                waiting.append(task)
                start(now + REPLACED)
                continue
            if self.stop_at is not None and done >= self.stop_at * len(tasks):
                raise KilledError
            record = self.record(task)
            record.write(self.place)
            done += 1
            yield record
            if waiting:
                start(now)

    def sizes_of(self, tasks: Sequence[Task]) -> dict[str, int]:
        """Inputs of each shard."""
        found = {}
        for part in sorted({task.part for task in tasks}):
            with self.place.open(f".plan/part-{part:05}.parquet") as file:
                groups = pq.ParquetFile(file).metadata
                mine = [task for task in tasks if task.part == part]
                found |= {task.name: groups.row_group(task.index).num_rows for task in mine}
        return found

    def record(self, task: Task) -> Record:
        """What its worker leaves: the same, whoever makes it."""
        inputs = self.sizes[task.name]
        if task.index % CHECKED == 0:
            assert len(read_entries(self.place, task)) == inputs
        broken = int(np.random.default_rng([task.part, task.index]).binomial(inputs, BROKEN))
        rows, size = inputs - broken, (inputs - broken) * TOKENS * 2
        name = f"{DATA}/{task.name}.parquet"
        with self.place.create(name) as file:
            file.truncate(size)
        bad = tuple(Quarantined(f"{task.name}/{number}", "v1", "made-up damage") for number in range(broken))
        counts = Counts(inputs, rows, 0, broken, rows, rows * CLIP_FRAMES, rows * TOKENS, size)
        return Record(task.name, counts, Shard(name, rows, size, f"{task.index:064x}"), Sums(), bad)


@dataclass
class Result:
    """How a data set came to be."""

    manifest: Manifest
    fleets: list[Fleet]
    planning: list[float]
    """Seconds of the processor until the first worker began, run by run."""


def make(listed: Path, output: Path, workers: int, seed: int, *, undisturbed: bool = False) -> Result:
    """A data set, killed and gone on with until it is whole."""
    stops = (None,) if undisturbed else (*KILLED_AT, None)
    fleets, planning = [], []
    for number, stop in enumerate(stops):
        storage = storage_at(output)
        rng = np.random.default_rng([seed, number])
        fleets.append(Fleet(workers, storage, rng, float("inf") if undisturbed else LIFE, stop))
        begin = time.process_time()

        def began(found: Planned, begin: float = begin) -> None:
            planning.append(time.process_time() - begin)
            print(f"{found.inputs:,} inputs, {found.done:,} of them done; {planning[-1]:.1f} s", flush=True)

        with suppress(KilledError):
            manifest = tokenize(
                [str(listed)],
                str(output),
                MODEL,
                options=Options(shard_inputs=SHARD_INPUTS, shard_bytes=2_000_000_000),
                engine=fleets[-1],
                planned=began,
            )
    return Result(manifest, fleets, planning)


def simulate(inputs: int, workers: int, folder: Path) -> tuple[str, float]:
    """The table of the simulation, and bytes of the manifest for each shard.

    Raises AssertionError where the data set is not what it must be.
    """
    listed = folder / "list.csv"
    write_list(listed, inputs, int(CLIP_BYTES))
    disturbed = make(listed, folder / "disturbed", workers, seed=0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    plain = make(listed, folder / "undisturbed", workers, seed=1, undisturbed=True)
    manifest, counts = disturbed.manifest, disturbed.manifest.counts
    assert counts.planned == inputs == counts.done + counts.quarantined
    assert len({shard.name for shard in manifest.shards}) == len(manifest.shards)
    for name in ("manifest.json", "quarantine.jsonl"):
        assert (folder / "disturbed" / name).read_bytes() == (folder / "undisturbed" / name).read_bytes(), name
    begun = sum(fleet.begun for fleet in disturbed.fleets)
    lost = sum(fleet.lost for fleet in disturbed.fleets)
    hours = sum(fleet.hours for fleet in disturbed.fleets)
    useful = sum(fleet.hours for fleet in plain.fleets)
    figures = {
        "clips planned": f"{counts.planned:,}",
        "done": f"{counts.done:,}",
        "quarantined": f"{counts.quarantined:,}",
        "workers": f"{workers:,}",
        "shards": f"{len(manifest.shards):,}",
        "shards begun": f"{begun:,}",
        "workers lost": f"{lost:,}",
        "kills of all of it": f"{len(KILLED_AT)}",
        "worker-hours": f"{hours:,.0f}",
        "of which without any failure": f"{useful / hours:.0%}",
        "manifest": f"{(folder / 'disturbed' / 'manifest.json').stat().st_size / 1e6:.1f} MB",
        "planning, of one core": f"{disturbed.planning[0]:.0f} s",
        "going on after a kill, of one core": f"{max(disturbed.planning[1:]):.0f} s",
        "memory of the process that plans and collects": f"{peak:.1f} GB",
    }
    return figures_table(figures), (folder / "disturbed" / "manifest.json").stat().st_size / len(manifest.shards)


PETABYTE, BITRATE, RATE, HEIGHT, WIDTH = 1e15, 5e6, 24, 720, 1280
"""Of the footage: bytes, bits per second, frames per second, pixels."""
GPU_MILLISECONDS = {"CV4x8x8": 34.8, "DV4x8x8": 51.5}
"""Per frame of 720p to latents *and back*, one A100-80GB, bfloat16: arXiv 2501.03575, table of speeds. To latents
alone is part of that; how much is not published."""
BYTES = {
    ("CV4x8x8", "float16"): 16 * 2.0,
    ("CV4x8x8", "int8"): 16.0,
    ("DV4x8x8", "uint16"): 2.0,
}
"""Per position of the latent grid, before zstd."""
CLIP_BYTES = CLIP_FRAMES / RATE * BITRATE / 8
HOURS_BETWEEN = 16_384 * 54 * 24 / 419
"""GPU-hours from one failure to the next: 419 in 54 days of 16,384 H100s (Llama 3, arXiv 2407.21783, section 3.3.4)."""


def bill(shard_entry: float) -> str:
    """What a petabyte costs, with so many bytes of the manifest for each shard."""
    clips = PETABYTE / CLIP_BYTES
    frames, shards = clips * CLIP_FRAMES, clips / SHARD_INPUTS
    lines = [
        "| model | stored as | GPU-hours at most | GPUs for 30 days | tokens | TB | shards | GB of each | manifest, MB "
        "| failures |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (model, dtype), size in BYTES.items():
        hours = frames * GPU_MILLISECONDS[model] / 1000 / 3600
        positions = frames / 4 * (HEIGHT // 8) * (WIDTH // 8)
        cells = [
            *(model, dtype, f"{hours:,.0f}", f"{hours / 720:,.0f}", f"{positions / 1e12:,.0f} x 10^12"),
            *(f"{positions * size / 1e12:,.0f}", f"{shards:,.0f}", f"{positions * size / shards / 1e9:.1f}"),
            *(f"{shards * shard_entry / 1e6:,.0f}", f"{hours / HOURS_BETWEEN:,.0f}"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000_000)
    parser.add_argument("--workers", type=int, default=10_000)
    parser.add_argument("--dry", action="store_true", help="print the tables, and write them nowhere")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table, shard_entry = simulate(given.inputs, given.workers, Path(folder))
    tables = {"simulation": table, "cost": bill(shard_entry)}
    for mark, table in tables.items():
        print(table, "\n")
        if not given.dry:
            for page in ("scale.md", "scale.pt.md"):
                replace_between(DOCS / page, mark, table)


if __name__ == "__main__":
    main()
