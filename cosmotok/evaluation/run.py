"""Contestants side by side on a folder of images and clips, several files at a time; can be cut off and go on."""

from __future__ import annotations

import hashlib
import pickle
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from cosmotok.contestants import Contestant, Traits
from cosmotok.errors import InputError
from cosmotok.evaluation.options import Options
from cosmotok.evaluation.pool import open_pool
from cosmotok.evaluation.results import Comparison, ModelResult
from cosmotok.evaluation.store import ExampleStore, Finished, RowStore, has_results, sweep
from cosmotok.evaluation.summary import model_result
from cosmotok.evaluation.worker import Outcome, Task, content_of
from cosmotok.media import find_media, is_video_path
from cosmotok.processes import reason

__all__ = ["compare", "evaluate"]

SHOWN = 2
"""Images, and as many videos, of which one frame is kept to be shown, of every contestant."""
WORST = 3
"""Images, and as many videos, of which the worst frame is kept, of each contestant."""
UNKNOWN = Traits("tokenizer", image=False, video=False, causal=False, streaming=False)

Advance = Callable[[int], None]


def compare(
    contestants: Sequence[Contestant],
    data: str | Path,
    options: Options | None = None,
    *,
    advance: Advance = lambda count: None,
) -> Comparison:
    """Measures what comes back of every image and clip in a folder with every contestant.

    What a contestant does not take (clips, for an image tokenizer or JPEG) it is not given. Files that cannot be read
    and contestants that fail are named in the result, and the rest goes on. A script that calls this with several jobs
    needs `if __name__ == "__main__":`, since the processes import it.

    Args:
        contestants: of `find_contestants`, or any of your own that can be pickled.
        data: a folder, searched through.
        advance: called with 1 for each file of each contestant.

    Raises:
        InputError: for a folder that holds results of other settings or of another model, or any without `resume`.
        MediaError: where the data's folder is missing.
        CheckpointError: where a weights file of a metric is missing or of another network.
    """
    root = Path(data)
    tasks = [Task(path.relative_to(root).as_posix(), path) for path in find_media(root)]
    if not tasks:
        raise InputError(f"{root}: no images or videos in this folder")
    return evaluate(contestants, tasks, str(data), options or Options(), advance)


class Entry:
    """A contestant with its files, and all that was found so far.

    Args:
        content: `content_of`, which remembers.
        machine: where this run measures speeds.
    """

    def __init__(
        self, contestant: Contestant, options: Options, content: Callable[..., str], machine: str, advance: Advance
    ) -> None:
        self.contestant, self.name = contestant, contestant.name
        self.options, self.content, self.machine, self.advance = options, content, machine, advance
        self.traits = UNKNOWN
        self.waiting: deque[Task] = deque()
        self.error: str | None = None
        self.finished: dict[str, Finished] = {}
        self.failed: dict[str, str] = {}
        self.unread: dict[str, str] = {}
        self.rows: RowStore | None = None
        self.examples: ExampleStore | None = None

    def begin(self, tasks: Sequence[Task], left_out: Mapping[str, str]) -> None:
        """Finds out what the contestant is.

        Raises:
            InputError: where the folder has its results of other settings.
        """
        if self.options.folder is not None:
            self.rows = RowStore(self.options.folder, self.name, self.options.settings(left_out))
            self.examples = ExampleStore(self.options.folder, self.name, WORST)
        self.waiting.extend(tasks)
        try:
            self.traits = self.contestant.traits
        except Exception as error:
            self.error = reason(error)

    def loaded(self, fingerprint: str | None) -> None:
        """Finds out which files are left, once it is known which model does them."""
        if self.rows is None or self.examples is None:
            return
        if not self.rows.begin(fingerprint or fingerprint_of(self.contestant)):
            return
        stored = self.rows.finished()
        names = {file for file, _ in stored}
        for task in self.waiting:
            if task.file in names:
                found = stored.get((task.file, self.content(task.path, task.reconstruction)))
                self.finished |= {} if found is None else {task.file: found}
        self.waiting = deque(task for task in self.waiting if task.file not in self.finished)
        self.examples.keep(self.finished)
        self.advance(len(self.finished))

    def next(self) -> Task:
        task = self.waiting.popleft()
        return task if self.examples is None else replace(task, below=self.examples.thresholds())

    def take(self, outcome: Outcome) -> None:
        if outcome.row is not None:
            row = replace(outcome.row, machine=self.machine)
            self.finished[outcome.file] = Finished(row, outcome.features, outcome.codes)
            if self.examples is not None and self.rows is not None:
                self.examples.add(outcome)
                self.rows.add(self.finished[outcome.file])
        elif outcome.unread is not None:
            self.unread[outcome.file] = outcome.unread
        elif outcome.failed is not None:
            self.failed[outcome.file] = outcome.failed
        self.advance(1)

    def result(self, tasks: Sequence[Task], machine: str) -> ModelResult:
        """All of it, files in the order of `tasks`; times are those of one machine."""
        self.advance(len(self.waiting))
        if self.error is None and not (self.finished or self.failed or self.unread):
            takes = " and ".join(kind for kind in ("image", "video") if getattr(self.traits, kind))
            self.error = f"takes {takes} files alone, and there are none"
        finished = [self.finished[task.file] for task in tasks if task.file in self.finished]
        finished = [one if one.row.machine == machine else one.without_time() for one in finished]
        failed = {task.file: self.failed[task.file] for task in tasks if task.file in self.failed}
        return model_result(self.name, self.traits, finished, self.options.protocol, failed, self.error)


def fingerprint_of(contestant: Contestant) -> str:
    """What tells it from another one of the same name, where what was loaded does not say."""
    return getattr(contestant, "fingerprint", "") or hashlib.sha256(pickle.dumps(contestant)).hexdigest()[:16]


def evaluate(
    contestants: Sequence[Contestant],
    tasks: Sequence[Task],
    data: str,
    options: Options,
    advance: Advance,
    unread: Mapping[str, str] | None = None,
) -> Comparison:
    """Measures every file with every contestant.

    Args:
        data: what to call the files.
        unread: files that are known to be of no use, and why.
    """
    folder = options.folder
    if folder is not None:
        if has_results(folder) and not options.resume:
            raise InputError(
                f"{folder}: holds an evaluation already; --resume (resume=True) goes on with it, or write elsewhere"
            )
        make_folder(folder)
    content, here = cache(content_of), options.machine
    tasks = with_shown(tasks)
    entries = [Entry(contestant, options, content, here, advance) for contestant in contestants]
    with open_pool(options) as pool:
        missing = pool.not_measured()
        for entry in entries:
            entry.begin(tasks, missing)
        pool.run(entries)
    if folder is not None:
        sweep(folder)
    machine = machine_of(entries, here)
    found = {**(unread or {}), **{file: why for entry in entries for file, why in entry.unread.items()}}
    return Comparison(
        protocol=options.protocol.name,
        protocol_text=options.protocol.text,
        data=data,
        models=[entry.result(tasks, machine) for entry in entries],
        unread=found,
        not_measured=missing,
        machine=machine,
    )


def machine_of(entries: Sequence[Entry], here: str) -> str:
    """Where most files were measured, whose speeds alone compare: an evaluation can go on elsewhere."""
    counts = Counter(one.row.machine for entry in entries for one in entry.finished.values())
    return max(counts, key=lambda machine: (counts[machine], machine == here), default=here)


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
