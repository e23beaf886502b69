"""What a run writes down: means over some steps, one line of JSON each."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cosmotok.writing import append, write_file

__all__ = ["Meter", "RunLog"]


@dataclass
class Meter:
    """Sums since the last line; plain values, since they belong to the run's state."""

    samples: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    """Seconds of them spent waiting for data."""
    sums: dict[str, list[float]] = field(default_factory=dict)
    """Of each figure: the sum, and of how many steps."""

    def add(self, figures: Mapping[str, float]) -> None:
        """The figures of a step that was not skipped."""
        for name, value in figures.items():
            entry = self.sums.setdefault(name, [0.0, 0.0])
            entry[0] += value
            entry[1] += 1

    def count(self, samples: int, seconds: float, waited: float) -> None:
        """A step of the run."""
        self.samples += samples
        self.seconds += seconds
        self.waited += waited

    def mean(self, name: str) -> float | None:
        """None where every step was skipped."""
        total, count = self.sums.get(name, (0.0, 0.0))
        return total / count if count else None

    def means(self, prefix: str) -> dict[str, float]:
        """Of all figures whose names begin so, which is left out of theirs."""
        return {
            name.removeprefix(prefix): total / count
            for name, (total, count) in self.sums.items()
            if name.startswith(prefix)
        }

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)


def psnr(mean_square: float) -> float:
    """dB, of signals in [-1, 1]."""
    return 10 * math.log10(4 / max(mean_square, 1e-12))


class RunLog:
    """`log.jsonl`: one JSON object per line, each of a kind and a step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends a line, and hands it to the system at once."""
        append(self.path, (json.dumps(record, allow_nan=False) + "\n").encode())

    def read(self) -> list[dict[str, Any]]:
        """All lines; one that a killed process left half-written is not taken."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        records = []
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                records.append(record)
        return records

    def rewind(self, step: int) -> None:
        """Drops what came after `step`, which a resumed run writes again."""
        kept = [record for record in self.read() if record.get("step", 0) <= step]
        if self.path.exists():
            write_file(self.path, "".join(json.dumps(record) + "\n" for record in kept))
