"""`tokenize`: sources to a data set, from the plan to the manifest; and `status`, how far it is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence, Set
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cosmotok.addresses import public
from cosmotok.dataset.engines import Engine, InProcess
from cosmotok.dataset.engines.here import HERE
from cosmotok.dataset.heartbeat import heartbeat
from cosmotok.dataset.job import Job, Step, load
from cosmotok.dataset.manifest import MANIFEST, Counts, Manifest
from cosmotok.dataset.options import Options, differences
from cosmotok.dataset.plan import Changes, Plan, Task
from cosmotok.dataset.reading.shards import read_manifest
from cosmotok.dataset.records import DATA, Record, finished, forget, statistics_of
from cosmotok.dataset.sources import Source
from cosmotok.dataset.sources.find import find_sources
from cosmotok.dataset.sources.names import key_of
from cosmotok.dataset.storage import PLAN, Storage, storage_at
from cosmotok.errors import InputError
from cosmotok.interface import BaseTokenizer

__all__ = ["Planned", "Status", "TooManyBrokenError", "status", "tokenize"]

QUARANTINE, RUNNING = "quarantine.jsonl", f"{PLAN}/running.json"
EVERY = 2.0
"""Seconds between notes of a run on itself."""
NOTED = {"time", "seconds", "before", "inputs", "frames", "tokens"}
SHOWN_DEAD = 30.0
"""Seconds without a note, after which a run counts as ended."""
ENOUGH = 10
"""Inputs that are through before their share of broken ones says anything."""


class TooManyBrokenError(InputError):
    """More of the inputs than allowed cannot be read."""


@dataclass(frozen=True)
class Planned:
    """What a run found when it began."""

    inputs: int
    done: int
    """Of them, by earlier runs."""
    changes: Changes


@dataclass(frozen=True)
class Status:
    """How far a data set is."""

    running: bool
    planned: int
    done: int
    quarantined: int
    rows: int
    frames: int
    tokens: int
    bytes: int
    shards: int
    shards_done: int
    frames_per_second: float | None = None
    """The last three only of one that is running."""
    tokens_per_second: float | None = None
    seconds_left: float | None = None


def tokenize(
    sources: Sequence[str],
    output: str,
    model: str,
    *,
    options: Options | None = None,
    device: str = "cpu",
    variant: str | None = None,
    fit: Path | None = None,
    engine: Engine | None = None,
    renew: bool | None = None,
    most_quarantined: float = 0.1,
    planned: Callable[[Planned], None] = lambda plan: None,
    advance: Callable[[Step], None] = lambda step: None,
) -> Manifest:
    """Makes a data set of tokens, or goes on with one: what is done is not done again.

    Args:
        sources: folders, patterns, lists, archives, tables, robots' episodes; local or at URLs.
        output: folder or URL of the data set.
        model: any name that `cosmotok.families.find` takes.
        variant, fit: as `cosmotok.families.find` takes them.
        options: what rows depend on besides; those of the data set that is there, or the defaults.
        engine: who works; this process unless given.
        renew: whether shards of inputs that changed or vanished are made anew (True) or kept (False); None refuses.
        most_quarantined: share of broken inputs past which the run stops.
        planned, advance: told of what there is to do, and of what is done.

    Returns:
        The manifest as it stands in the data set now.

    Raises:
        TooManyBrokenError: past the share; what is done stays done.
        CosmotokError: for wrong options, another model than the data set's, changed inputs and so on.
    """
    if not 0 <= most_quarantined <= 1:
        raise InputError(f"most quarantined: expected a share from 0 to 1, got {most_quarantined}")
    storage = storage_at(output)
    there = manifest_of(storage)
    found = find_sources(sources)
    options = options or (Options() if there is None else Options.parse(there.options))
    tokenizer = load(model, options, device, variant, fit)
    fresh = Manifest(
        model=model,
        fingerprint=tokenizer.fingerprint,
        spec=tokenizer.spec,
        latent_dtype=options.latent_dtype,
        options=options.record(),
        sources=tuple(key_of(public(source)) for source in sources),
        signals=signals_of(found),
    )
    if there is not None:
        agree(storage.name, there, fresh)
    with storage.held() as check:
        if manifest_of(storage) != there:  # by a run that has ended since
            raise InputError(f"{storage.name}: another run has changed this data set just now; run the command again")
        plan = Plan(storage)

        def begin() -> None:
            """What is there is not all that is planned; it stays as it is until the rest is done."""
            if there is not None and there.complete:
                write(storage, replace(there, complete=False))

        changes = plan.extend(sources, found, options, renew, begin)
        if there is None:
            write(storage, fresh)
        listed = set() if there is None else {shard.name for shard in there.shards}
        forget(storage, {name for name in plan.retired if f"{DATA}/{name}.parquet" not in listed})
        tasks = plan.tasks()
        records = finished(storage, [task.name for task in tasks])
        before = sum((record.counts for record in records.values()), Counts())
        planned(Planned(plan.inputs(tasks), before.planned, changes))
        left = [task for task in tasks if task.name not in records]
        if left:
            begin()
        base = replace(there or fresh, sources=tuple(dict.fromkeys([*(there or fresh).sources, *fresh.sources])))
        job = Job(
            *(output, model, tokenizer.fingerprint, tokenizer.spec, options, device),
            sources={part.number: sources_of(part.sources, sources, found) for part in plan.parts},
            signals=fresh.signals,
            variant=variant,
            fit=fit,
            full=plan.full,
        )
        run = Run(storage, base, tasks, records, most_quarantined, check)
        run.make(left, job, engine or InProcess(), tokenizer, advance)
        return run.end(plan.retired)


class Run:
    """A run under way: the shards that are done, and what they add up to."""

    def __init__(
        self,
        storage: Storage,
        base: Manifest,
        tasks: Sequence[Task],
        records: dict[str, Record],
        most: float,
        check: Callable[[], None],
    ) -> None:
        self.storage, self.base, self.tasks, self.records, self.most = storage, base, tasks, records, most
        self._check = check
        self._counts = sum((record.counts for record in records.values()), Counts())
        self._before = self._counts.done + self._counts.quarantined
        self._begin = time.monotonic()
        self._step = Step()

    def make(
        self,
        left: Sequence[Task],
        job: Job,
        engine: Engine,
        tokenizer: BaseTokenizer,
        advance: Callable[[Step], None],
    ) -> None:
        """Has the shards made that are left."""

        def count(step: Step) -> None:
            mine = self._step
            self._step = Step(mine.inputs + step.inputs, mine.frames + step.frames, mine.tokens + step.tokens)
            advance(step)

        try:
            with heartbeat(self._tell, EVERY), closing(engine.run(job, left, tokenizer, count)) as done:
                for record in done:
                    self._check()
                    self.records[record.task] = record
                    self._counts += record.counts
                    self._judge()
        finally:
            for name in (RUNNING, HERE):
                self.storage.remove(name)

    def _judge(self) -> None:
        counts = self._counts
        through = counts.done + counts.quarantined
        if through >= ENOUGH and counts.quarantined > self.most * through:
            self._quarantine()
            raise TooManyBrokenError(
                f"{self.storage.name}: {counts.quarantined:,} of the first {through:,} inputs cannot be used, more "
                f"than {self.most:.0%}; {QUARANTINE} there says why, and --most-quarantined allows more"
            )

    def _tell(self) -> None:
        """Leaves a note for whoever asks how it goes."""
        seconds = time.monotonic() - self._begin
        note = {"time": time.time(), "seconds": seconds, "before": self._before, **self._step._asdict()}
        self.storage.write(RUNNING, json.dumps(note).encode())

    def _quarantine(self) -> None:
        bad = [each for task in self.tasks if task.name in self.records for each in self.records[task.name].quarantined]
        lines = "".join(json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in bad)
        self.storage.write(QUARANTINE, lines.encode())

    def end(self, retired: Set[str]) -> Manifest:
        """Writes what the data set is, now that all of it is there; shards that were replaced go, which readers had
        until here."""
        records = [self.records[task.name] for task in self.tasks]
        counts = self._counts
        through = counts.done + counts.quarantined
        self._check()
        self._quarantine()
        manifest = replace(
            self.base,
            counts=counts,
            statistics=statistics_of(records),
            shards=tuple(record.shard for record in records if record.shard is not None),
            complete=True,
        )
        write(self.storage, manifest)
        forget(self.storage, retired)
        if through and counts.quarantined > self.most * through:
            raise TooManyBrokenError(
                f"{self.storage.name}: {counts.quarantined:,} of {through:,} inputs cannot be used, more than "
                f"{self.most:.0%}; {QUARANTINE} there says why. The rest is done"
            )
        return manifest


def status(output: str) -> Status:
    """How far the data set at a folder or URL is, running or not.

    Raises:
        InputError: where there is none.
    """
    storage = storage_at(output)
    if manifest_of(storage) is None:
        raise storage.missing(MANIFEST)
    plan = Plan(storage)
    tasks = plan.tasks()
    records = finished(storage, [task.name for task in tasks])
    counts = sum((record.counts for record in records.values()), Counts())
    found = Status(
        running=False,
        planned=plan.inputs(tasks),
        done=counts.done,
        quarantined=counts.quarantined,
        rows=counts.rows,
        frames=counts.frames,
        tokens=counts.tokens,
        bytes=counts.bytes,
        shards=len(tasks),
        shards_done=len(records),
    )
    note = running(storage)
    if note is None:
        return found
    seconds = max(note["seconds"], 1e-6)
    left = max(0, found.planned - note["before"] - note["inputs"])
    return replace(
        found,
        running=True,
        frames_per_second=note["frames"] / seconds,
        tokens_per_second=note["tokens"] / seconds,
        seconds_left=left * seconds / note["inputs"] if note["inputs"] else None,
    )


def running(storage: Storage) -> dict[str, float] | None:
    """The note of a run that lives."""
    try:
        note = {name: float(value) for name, value in json.loads(storage.read(RUNNING)).items() if name in NOTED}
    except (ValueError, TypeError, AttributeError):  # none, or a damaged one: InputError is a ValueError too
        return None
    return note if note.keys() == NOTED and time.time() - note["time"] < SHOWN_DEAD else None


def manifest_of(storage: Storage) -> Manifest | None:
    """The manifest of the data set that is there; None where nothing is.

    Raises:
        InputError: where something else is.
    """
    names = set(storage.sizes(""))
    if MANIFEST in names:
        return read_manifest(storage)
    names |= {f"{DATA}/{name}" for name in storage.sizes(DATA)}
    names = {name for name in names if not name.startswith(".")}  # what a killed run left of its first manifest
    if names:
        raise InputError(
            f"{storage.name}: holds other files, such as {sorted(names)[0]}, and no data set; choose a new folder"
        )
    return None


def write(storage: Storage, manifest: Manifest) -> None:
    storage.write(MANIFEST, manifest.dump().encode())


def agree(name: str, there: Manifest, now: Manifest) -> None:
    """Raises InputError where a run would make other rows than those that are there."""
    found = []
    if there.fingerprint != now.fingerprint:
        found.append(f"model: {there.model} ({there.fingerprint}), not {now.model} ({now.fingerprint})")
    found += differences(there.options, now.options)
    if there.signals != now.signals:
        found.append(f"signals: {', '.join(there.signals) or 'none'}, not {', '.join(now.signals) or 'none'}")
    if found:
        raise InputError(
            f"{name}: was made otherwise ({'; '.join(found)}); go on as it was made, or choose a new output"
        )


def signals_of(sources: Sequence[Source]) -> dict[str, tuple[int, ...]]:
    """Of all sources; raises InputError where two have different ones of one name."""
    found: dict[str, tuple[int, ...]] = {}
    for source in sources:
        for name, shape in source.signals.items():
            if found.setdefault(name, tuple(shape)) != tuple(shape):
                raise InputError(
                    f"signal {name}: has the shape {tuple(shape)} in one source and {found[name]} in another"
                )
    return found


def sources_of(names: Sequence[str], now: Sequence[str], found: Sequence[Source]) -> tuple[Source, ...]:
    """The sources that an earlier run planned from; those that this one names, too, by its own passwords."""
    full = {public(name): name for name in now}
    names = [full.get(public(name), name) for name in names]
    return tuple(found) if names == [*now] else tuple(find_sources(names))
