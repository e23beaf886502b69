"""Two folders of files that are there already: originals, and what something made of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cosmotok.contestants import Source, Tally, Traits
from cosmotok.errors import InputError
from cosmotok.evaluation.options import Options
from cosmotok.evaluation.results import Comparison
from cosmotok.evaluation.run import evaluate
from cosmotok.evaluation.worker import Task
from cosmotok.media import find_media, is_video_path

__all__ = ["compare_folders", "pair"]


@dataclass(frozen=True)
class Files:
    """Stands for whatever made the files: tasks bring its reconstructions."""

    name: str
    traits: Traits

    def load(self, device: str) -> Files:
        return self

    def reconstruct(self, frames: Iterable[np.ndarray], source: Source, tally: Tally) -> Iterator[np.ndarray]:
        raise InputError(f"{self.name}: expected a task with a reconstruction")


def compare_folders(
    reference: str | Path,
    reconstruction: str | Path,
    options: Options | None = None,
    *,
    advance: Callable[[int], None] = lambda count: None,
) -> Comparison:
    """Measures the files of one folder against those of the same names in another, pixels as they are.

    Files without a partner are among the `unread`, those that differ in size or length among the `failed`.

    Args:
        reference, reconstruction: folders of images and videos, searched through. `a/b.png` goes with `a/b.jpg`.
        options: as in `compare`, without `size`.

    Raises:
        InputError: where no file has a partner, and as `compare`.
        MediaError: where a folder is missing.
    """
    root, other = Path(reference), Path(reconstruction)
    options = options or Options()
    if options.size is not None:
        raise InputError("size: files that are there already are measured as they are")
    pairs, alone = pair(root, other)
    if not pairs:
        raise InputError(
            f"{root} and {other}: no file of one has the name of a file of the other; expected the same names below "
            "both folders, suffixes aside"
        )
    traits = Traits("codec", image=True, video=True, causal=False, streaming=False, note=f"files in {other}")
    tasks = [Task(name, root / name, other / partner) for name, partner in pairs.items()]
    files = Files(other.resolve().name or str(other), traits)
    return evaluate([files], tasks, str(reference), options, advance, alone)


def pair(root: Path, other: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Files below two folders by their names, relative and with forward slashes: pairs, and those without a partner,
    each with the reason."""
    names, others = ([path.relative_to(place).as_posix() for path in find_media(place)] for place in (root, other))
    there = set(others)
    pairs = {name: name for name in names if name in there}
    left = by_key(name for name in names if name not in pairs)
    free = by_key(name for name in others if name not in pairs)
    alone: dict[str, str] = {}
    for one, rivals in left.items():
        fitting = free.pop(one, [])
        if len(fitting) == len(rivals) == 1:
            pairs[rivals[0]] = fitting[0]
        elif fitting:
            alone |= dict.fromkeys(rivals, f"goes with any of {', '.join(fitting)} in {other}; keep one of that name")
        else:
            alone |= dict.fromkeys(rivals, f"no file of that name in {other}")
    for unmatched in free.values():
        alone |= dict.fromkeys(unmatched, f"in {other} alone, with no original in {root}")
    return {name: pairs[name] for name in names if name in pairs}, alone


def by_key(names: Iterable[str]) -> dict[tuple[str, bool], list[str]]:
    """Those that may go with the same files."""
    found = defaultdict(list)
    for name in names:
        found[key(name)].append(name)
    return found


def key(name: str) -> tuple[str, bool]:
    """What two files that go together have in common: the name without its suffix, and whether it is a video's."""
    path = Path(name)
    return path.with_suffix("").as_posix(), is_video_path(path)
