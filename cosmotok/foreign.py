"""What strangers' files say, judged before anything is built of it: text, numbers, JSON, and the file itself.

Functions that judge raise ValueError with a short reason; whoever reads the file adds its name and the remedy.
"""

from __future__ import annotations

import json
import math
import re
import stat
from fractions import Fraction
from pathlib import Path
from typing import Any

__all__ = ["check_regular_file", "one_line", "parse_fraction", "parse_json", "plain_text", "read_json", "whole_number"]

LONGEST = 2**25
"""Characters of JSON that are read: those of the times of every frame of some twelve hours."""
DIGITS = 300
"""Of a whole number in JSON: any of these can be compared with a floating-point number."""
FRACTION = re.compile(r"\d{1,12}(?:[./]\d{1,12})?", re.ASCII)


def one_line(value: object, limit: int = 80) -> str:
    """`value` as printable text of at most `limit` characters, for a message."""
    try:
        text = str(value)
    except ValueError:  # a whole number of more than 4,300 digits
        text = "<a number of thousands of digits>"
    text = text if len(text) <= limit else text[: limit - 3] + "..."
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def plain_text(name: str, value: object, longest: int) -> str:
    """`value`, if it is printable text of 1 to `longest` characters."""
    if not isinstance(value, str) or not 1 <= len(value) <= longest or not value.isprintable():
        raise ValueError(f"{name}: expected 1 to {longest} printable characters, got {one_line(value, 40)}")
    return value


def whole_number(name: str, value: object, low: int, high: int) -> int:
    """`value`, if it is an integer (no bool, no 1.0) from `low` to `high`."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name}: expected a whole number from {low} to {high}, got {one_line(value, 40)}")
    return value


def parse_fraction(name: str, value: object) -> Fraction:
    """A number above 0 from text such as "30", "29.97" or "30000/1001"."""
    if isinstance(value, str) and FRACTION.fullmatch(value):
        try:
            number = Fraction(value)
        except ZeroDivisionError:
            number = Fraction(0)
        if number > 0:
            return number
    raise ValueError(f"{name}: expected a number above 0 such as 30 or 30000/1001, got {one_line(value, 40)}")


def parse_json(text: str) -> Any:
    """JSON whose numbers are finite and have at most `DIGITS` digits."""
    if len(text) > LONGEST:
        raise ValueError(f"JSON of {len(text)} characters; expected at most {LONGEST}")
    try:
        return json.loads(text, parse_int=_integer, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("brackets nested too deeply") from None


def read_json(path: Path) -> Any:
    """The JSON in a file, as `parse_json`; also raises OSError."""
    check_regular_file(path)
    if path.stat().st_size > 4 * LONGEST:
        raise ValueError(f"JSON of {path.stat().st_size} bytes")
    return parse_json(path.read_text(encoding="utf-8"))


def _integer(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{one_line(text, 20)} is no finite number")
    return number


def check_regular_file(path: Path) -> None:
    """Raises ValueError for a folder, and for a pipe, socket or device, which might never end; OSError without one."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise ValueError("is a folder" if stat.S_ISDIR(mode) else "is a pipe, socket or device, not a file")
