"""What a codec is set to, and the search for the largest file within a rate."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from cosmotok.errors import InputError

__all__ = ["Setting", "largest_within", "parse_setting"]

_SETTING = re.compile(r"(?P<rate>[0-9.]+(e-?[0-9]+)?)bpp|(?P<unit>q|crf)(?P<value>[0-9]+)", re.ASCII)


@dataclass(frozen=True)
class Setting:
    """A rate ("bpp": bits per pixel) that each file is matched to, or a quality ("q", "crf") for all files."""

    unit: str
    value: float


def parse_setting(text: str) -> Setting | None:
    """`0.25bpp`, `q80` or `crf28`; None where the text is none of these."""
    match = _SETTING.fullmatch(text)
    if match is None:
        return None
    try:
        value = float(match["rate"] or match["value"])
    except ValueError:
        return None
    if match["rate"] and not 0 < value < math.inf:
        raise InputError(f"{text}: expected a rate above 0 bits per pixel")
    return Setting(match["unit"] or "bpp", value)


class Sized(Protocol):
    @property
    def bits(self) -> int: ...


Encoded = TypeVar("Encoded", bound=Sized)


def largest_within(
    encode: Callable[[int], Encoded],
    budget: float,
    *,
    levels: int,
    first: int,
    growth: float,
    tries: int,
    enough: float = 1.0,
) -> Encoded:
    """The largest encoding of at most `budget` bits; where even level 0 is larger, that one.

    Sizes are taken for exponential between the two levels known next to the budget, and the bracket is halved when
    that has missed twice on one side: a handful of encodings, where a plain bisection needs one per bit of `levels`.

    Args:
        encode: by level, 0 for the smallest file to `levels - 1` for the largest.
        first: level to begin with.
        growth: of the logarithm of the size from one level to the next, as long as nothing better is known.
        tries: encodings at most.
        enough: part of the budget that need not be improved on.
    """
    below, above = -1, levels  # what is known to fit, and not to fit
    best: Encoded | None = None
    sizes: dict[int, float] = {}
    goal = math.log(budget)
    level, fitted_before = first, None
    for left in reversed(range(tries)):
        encoded = encode(level)
        sizes[level] = math.log(encoded.bits)
        fits = encoded.bits <= budget
        if fits:
            below = level
            if best is None or encoded.bits > best.bits:
                best = encoded
        else:
            above = level
        if above - below == 1 or (fits and encoded.bits >= enough * budget):
            break
        if below < 0 or above == levels:  # no bracket yet
            if len(sizes) > 1:
                near, far = sorted(sizes, key=lambda known: abs(known - level))[:2]
                growth = max((sizes[far] - sizes[near]) / (far - near), 1e-3)
            step = math.ceil(abs(goal - sizes[level]) / growth) or 1
            level += step if fits else -step
        elif fits == fitted_before:
            level = (below + above) // 2
        else:
            part = (goal - sizes[below]) / (sizes[above] - sizes[below])
            level = below + int(part * (above - below))
        level = min(max(level, below + 1), above - 1)
        fitted_before = fits
        if best is None and left == 1:
            level = 0
    return encoded if best is None else best
