"""Contestants side by side on a folder of images and clips, several files at a time; can be cut off and go on."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from cosmotok.errors import InputError
from cosmotok.evaluation.contestants import Contestant, Traits
from cosmotok.evaluation.measure import JudgeOptions
from cosmotok.evaluation.pool import Turn, open_pool
from cosmotok.evaluation.protocols import DEFAULT, Protocol
from cosmotok.evaluation.results import Comparison, ModelResult
from cosmotok.evaluation.store import ExampleStore, Finished, RowStore, has_results, sweep
from cosmotok.evaluation.summary import model_result
from cosmotok.evaluation.worker import Outcome, Plan, Task
from cosmotok.media import find_media, is_video_path
from cosmotok.processes import device_name, reason

__all__ = ["Entry", "Options", "compare", "default_jobs", "evaluate"]

SHOWN = 2
"""Images, and as many videos, of which one frame is kept to be shown, of every contestant."""
WORST = 3
"""Images, and as many videos, of which the worst frame is kept, of each contestant."""
MOST_JOBS = 8
UNKNOWN = Traits("tokenizer", image=False, video=False, causal=False, streaming=False)

Advance = Callable[[int], None]


def compare(
    contestants: Sequence[Contestant],
    data: str | Path,
    *,
    protocol: Protocol = DEFAULT,
    judges: JudgeOptions | None = None,
    folder: str | Path | None = None,
    frames: slice | int | None = None,
    size: tuple[int, int] | None = None,
    device: str = "cpu",
    jobs: int | None = None,
    resume: bool = False,
    advance: Advance = lambda count: None,
) -> Comparison:
    """Measures what comes back of every image and clip in a folder with every contestant.

    What a contestant does not take (clips, for an image tokenizer or JPEG) it is not given. Files that cannot be read
    and contestants that fail are named in the result, and the rest goes on. A script that calls this with several jobs
    needs `if __name__ == "__main__":`, since the processes import it.

    Args:
        contestants: of `find_contestants`, or any of your own that can be pickled.
        data: a folder, searched through.
        protocol: how figures are taken; see `protocols.PROTOCOLS`.
        judges: which metrics, and where their networks are; by default those that need no download.
        folder: where rows and example pictures go, file by file; nothing is written without one.
        frames: of each clip: a slice, or so many from its start; None: all.
        size: (width, height) that originals are scaled to; None: as they are.
        device: of networks: "cpu", "cuda" and so on.
        jobs: files at a time, each in a process of its own; 1: in this process. By default one on a GPU, else one for
            every core, 8 at most. Figures do not depend on it.
        resume: goes on with what `folder` holds: finished files are not measured again.
        advance: called with 1 for each file of each contestant.

    Raises:
        InputError: for arguments out of range, or a folder that holds results of other settings, or any without
            `resume`.
        MediaError: where the data's folder is missing.
        CheckpointError: where a weights file of a metric is missing or of another network.
    """
    root = Path(data)
    tasks = [Task(path.relative_to(root).as_posix(), path) for path in find_media(root)]
    if not tasks:
        raise InputError(f"{root}: no images or videos in this folder")
    options = Options(
        protocol, judges or JudgeOptions(), None if folder is None else Path(folder), frames, size, device, jobs, resume
    )
    entries = [Entry(contestant.name, contestant, options, advance) for contestant in contestants]
    return evaluate(entries, tasks, str(data), options)


def default_jobs(device: str) -> int:
    """One on a GPU, else one for every core."""
    return 1 if torch.device(device).type != "cpu" else min(cores(), MOST_JOBS)


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Options:
    """How files are measured and where results go; as the arguments of `compare`."""

    protocol: Protocol
    judges: JudgeOptions
    folder: Path | None = None
    frames: slice | int | None = None
    size: tuple[int, int] | None = None
    device: str = "cpu"
    jobs: int | None = None
    resume: bool = False

    @property
    def span(self) -> slice:
        """Of frames."""
        return self.frames if isinstance(self.frames, slice) else slice(self.frames)

    def check(self) -> None:
        """Raises InputError for numbers out of range."""
        if isinstance(self.frames, int) and self.frames < 1:
            raise InputError(f"frames={self.frames}: expected at least 1, or None for all")
        if self.jobs is not None and self.jobs < 1:
            raise InputError(f"jobs={self.jobs}: expected at least 1")

    def settings(self, model: str, left_out: Iterable[str]) -> dict[str, Any]:
        """What must be the same for results to go together."""
        files = (self.judges.lpips_weights, self.judges.inception_weights, self.judges.i3d_weights)
        return {
            "protocol": self.protocol.name,
            "frames": f"{self.span.start or 0}:{'' if self.span.stop is None else self.span.stop}",
            "size": "x".join(map(str, self.size)) if self.size else "as they are",
            "metrics": ",".join(sorted(self.judges.wanted)) or "all at hand",
            "metrics left out": ",".join(sorted(left_out)) or "none",
            "weights of metrics": ",".join(Path(file).name for file in files if file) or "usual",
            "model": model,
        }


class Entry(Turn):
    """A contestant with its files, and all that was found so far."""

    def __init__(self, name: str, contestant: Contestant | None, options: Options, advance: Advance) -> None:
        super().__init__(contestant)
        self.name, self.options, self.advance = name, options, advance
        self.traits = UNKNOWN
        self.finished: dict[str, Finished] = {}
        self.failed: dict[str, str] = {}
        self.unread: dict[str, str] = {}
        self.rows: RowStore | None = None
        self.examples: ExampleStore | None = None

    def begin(self, tasks: Sequence[Task], left_out: Iterable[str]) -> None:
        """Finds out what the contestant is and which files are left.

        Raises:
            InputError: where the folder has its results of other settings.
        """
        try:
            model = self.identify()
        except Exception as error:
            self.error = reason(error)
            self.advance(len(tasks))
            return
        if self.options.folder is not None:
            self.rows = RowStore(self.options.folder, self.name, self.options.settings(model, left_out))
            self.examples = ExampleStore(self.options.folder, self.name, WORST)
            known = {task.file for task in tasks}
            self.finished = {file: one for file, one in self.rows.finished().items() if file in known}
        self.waiting.extend(task for task in tasks if task.file not in self.finished)
        self.advance(len(self.finished))

    def identify(self) -> str:
        """What tells this contestant from another one of the same name."""
        if self.contestant is None:
            return self.traits.note
        self.traits = self.contestant.traits
        fingerprint = getattr(self.contestant, "fingerprint", None)
        return fingerprint or hashlib.sha256(pickle.dumps(self.contestant)).hexdigest()[:16]

    def next(self) -> Task:
        task = super().next()
        return task if self.examples is None else replace(task, below=self.examples.thresholds())

    def take(self, outcome: Outcome) -> None:
        if outcome.row is not None:
            self.finished[outcome.file] = Finished(outcome.row, outcome.features, outcome.codes)
            if self.examples is not None and self.rows is not None:
                self.examples.add(outcome)
                self.rows.add(self.finished[outcome.file])
        elif outcome.unread is not None:
            self.unread[outcome.file] = outcome.unread
        elif outcome.failed is not None:
            self.failed[outcome.file] = outcome.failed
        self.advance(1)

    def result(self, tasks: Sequence[Task], protocol: Protocol) -> ModelResult:
        """All of it, files in the order of `tasks`."""
        self.advance(len(self.waiting))
        if self.error is None and not (self.finished or self.failed or self.unread):
            takes = " and ".join(kind for kind in ("image", "video") if getattr(self.traits, kind))
            self.error = f"takes {takes} files alone, and there are none"
        finished = [self.finished[task.file] for task in tasks if task.file in self.finished]
        failed = {task.file: self.failed[task.file] for task in tasks if task.file in self.failed}
        return model_result(self.name, self.traits, finished, protocol, failed, self.error)


def evaluate(
    entries: Sequence[Entry],
    tasks: Sequence[Task],
    data: str,
    options: Options,
    unread: Mapping[str, str] | None = None,
) -> Comparison:
    """Measures every file with every contestant.

    Args:
        data: what to call the files.
        unread: files that are known to be of no use, and why.
    """
    options.check()
    folder = options.folder
    if folder is not None:
        if has_results(folder) and not options.resume:
            raise InputError(
                f"{folder}: holds an evaluation already; --resume (resume=True) goes on with it, or write elsewhere"
            )
        make_folder(folder)
    jobs = options.jobs or default_jobs(options.device)
    threads = torch.get_num_threads() if jobs == 1 else max(1, cores() // jobs)
    plan = Plan(
        options.protocol,
        options.judges,
        options.device,
        options.span,
        options.size,
        pictures=folder is not None,
        overlapping=torch.device(options.device).type != "cpu",
    )
    with open_pool(plan, jobs, threads) as pool:
        missing = pool.not_measured()
        for entry in entries:
            entry.begin(with_shown(tasks), missing)
        pool.run(entries)
    if folder is not None:
        sweep(folder)
    results = [entry.result(tasks, options.protocol) for entry in entries]
    found = {**(unread or {}), **{file: why for entry in entries for file, why in entry.unread.items()}}
    return Comparison(
        protocol=options.protocol.name,
        protocol_text=options.protocol.text,
        data=data,
        models=results,
        unread=found,
        not_measured=missing,
        machine=machine(options.device, jobs, threads),
    )


def with_shown(tasks: Sequence[Task]) -> list[Task]:
    """The same, a few of which are to be shown whatever comes of them: spread over the images and over the videos."""
    chosen: set[str] = set()
    for is_video in (False, True):
        files = [task.file for task in tasks if is_video_path(task.path) == is_video]
        chosen.update(files[(2 * i + 1) * len(files) // (2 * SHOWN)] for i in range(SHOWN) if files)
    return [replace(task, shown=task.file in chosen) for task in tasks]


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from None


def machine(device: str, jobs: int, threads: int) -> str:
    """Where speeds were measured, in words."""
    several = f"{jobs} files at a time, " if jobs > 1 else ""
    each = " each" if jobs > 1 else ""
    count = f"{several}{threads} thread{'s' if threads > 1 else ''}{each}"
    where = f"{device_name(device)}, {count}" if torch.device(device).type == "cpu" else device_name(device)
    return f"{where}, PyTorch {torch.__version__}"
