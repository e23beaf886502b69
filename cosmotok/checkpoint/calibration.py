"""`Calibration`: ranges of activations, kept beside weights for computing in 8-bit integers."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cosmotok.errors import CheckpointError
from cosmotok.foreign import check_regular_file, one_line, parse_json

__all__ = ["CALIBRATION_FILE", "Calibration", "read_calibration"]

CALIBRATION_FILE = "int8.json"
FORMAT = 1
"""Of the file; another number is refused."""


@dataclass(frozen=True)
class Calibration:
    """Ranges for `precision="int8"`, saved beside the weights as `int8.json`.

    Raises:
        CheckpointError: where values are not ranges.
    """

    fingerprint: str
    """Of the weights that it was made with."""
    clips: int
    """Images and videos that it was made from."""
    ranges: dict[str, tuple[float, float]]
    """Smallest and largest input of each layer, by its path in the network; what is not named stays float32."""

    def __post_init__(self) -> None:
        for field, kind in (("fingerprint", str), ("clips", int), ("ranges", dict)):
            if not isinstance(getattr(self, field), kind):
                raise CheckpointError(f"{field}: expected {kind.__name__}, got {one_line(getattr(self, field))}")
        for path, ends in self.ranges.items():
            if not isinstance(ends, (list, tuple)) or len(ends) != 2 or not all(is_number(end) for end in ends):
                raise CheckpointError(f"range of {one_line(path)}: expected two finite numbers, got {one_line(ends)}")
            if ends[0] > ends[1]:
                raise CheckpointError(f"range of {one_line(path)}: expected the smaller number first, got {list(ends)}")
        object.__setattr__(self, "ranges", {path: (low, high) for path, (low, high) in self.ranges.items()})

    def to_json(self) -> str:
        """For `from_json`."""
        return json.dumps({"int8_format": FORMAT, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """Inverse of `to_json`.

        Raises:
            CheckpointError: for anything else.
        """
        try:
            values = parse_json(text)
        except ValueError as error:
            raise CheckpointError(f"not JSON: {error}") from None
        if not isinstance(values, dict) or values.pop("int8_format", None) != FORMAT:
            raise CheckpointError(f"expected a JSON object with int8_format={FORMAT}")
        if set(values) != {"fingerprint", "clips", "ranges"}:
            raise CheckpointError(f"expected fingerprint, clips and ranges, got {one_line(', '.join(sorted(values)))}")
        return cls(**values)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def read_calibration(folder: Path) -> Calibration | None:
    """What was written beside the weights in `folder`; None where nothing is.

    Raises:
        CheckpointError: where the file is damaged.
    """
    path = folder / CALIBRATION_FILE
    try:
        check_regular_file(path)
        return Calibration.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, CheckpointError) as error:
        raise CheckpointError(f"{path}: not a valid calibration ({error}); delete it, or calibrate again") from None
