"""What strangers' files say, judged before anything is built of it: text, numbers, JSON, and the file itself.

Functions that judge a value raise ValueError with a short reason; whoever reads the file adds its name and the remedy.
"""

from __future__ import annotations

import json
import math
import re
import stat
from fractions import Fraction
from pathlib import Path
from typing import Any

from cosmotok.errors import CosmotokError

__all__ = ["check_regular_file", "one_line", "parse_fraction", "parse_json", "whole_number"]

DIGITS = 18
"""That a whole number may have in JSON: all that fits into 64 bits, whatever its sign."""
FRACTION = re.compile(r"\d{1,12}(?:[./]\d{1,12})?", re.ASCII)


def one_line(value: object, limit: int = 80) -> str:
    """`value` as printable text of at most `limit` characters, for a message."""
    try:
        text = str(value)
    except Exception as error:  # an integer of 5,000 digits, or a stranger's __str__
        text = f"<{type(error).__name__}>"
    text = text if len(text) <= limit else text[: limit - 3] + "..."
    return "".join(c if c.isprintable() else "?" for c in text)


def parse_json(text: str | bytes) -> Any:
    """JSON without numbers that are infinite, not a number, or of more digits than a 64-bit integer has."""
    try:
        return json.loads(text, parse_int=_integer, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("brackets nested too deeply") from None


def _integer(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{one_line(text, 20)} is not a finite number")
    return number


def whole_number(value: object, low: int, high: int) -> int:
    """`value`, if it is an integer (no bool, no 1.0) of `low` to `high`."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"expected a whole number from {low} to {high}, got {one_line(value, 40)}")
    return value


def parse_fraction(text: object) -> Fraction:
    """A number above 0 such as "30", "29.97" or "30000/1001"."""
    if not isinstance(text, str) or not FRACTION.fullmatch(text) or text.rstrip("0").endswith("/"):
        raise ValueError(f"expected a number such as 30 or 30000/1001, got {one_line(text, 40)}")
    number = Fraction(text)
    if number <= 0:
        raise ValueError(f"expected a number above 0, got {text}")
    return number


def check_regular_file(path: Path, error: type[CosmotokError]) -> None:
    """Raises `error` where `path` is there, but no ordinary file: a pipe, socket or device would be waited for."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # whoever opens it says why not
        return
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise error(f"{path}: is {kind}; expected an ordinary file")
