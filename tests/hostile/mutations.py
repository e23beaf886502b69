"""Generators of hostile inputs: bytes, JSON, names, options. The same random numbers give the same input."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

HOSTILE_NUMBERS = (0, -1, 1, 2, 3, 7, 2**31, 2**63, 2**64, 10**9, 10**24, 10**400, -(10**30), 0.5, 1.5, 1e308)
HOSTILE_TEXTS = (
    *("", " ", "\0", "\ud800", "../../../tmp/x", "/dev/zero", "/etc/passwd", "~nouser/x", "a" * 5000, "=cmd|'/c'!A1"),
    *("\x1b[31mred", "line\nline", "\t", "\u202egnp", "NaN", "1e99999999", "1/0", "9" * 4000, "nobody/no-such-model"),
    *("video", "image", "null", "true", "[]", "%s%n", "cuda:99", "meta"),
)
RAW = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "-0",
    "9" * 4000,
    "[" * 100_000 + "]" * 100_000,
    '"\\ud800"',
    '"\\u0000"',
)
"""JSON that Python's writer would not write."""
MARK = "@hostile@"


def damage(random: Random, content: bytes) -> bytes:
    """The bytes of a file with one to four things wrong."""
    content = bytearray(content)
    for _ in range(random.randint(1, 4)):
        if not content:
            break
        at = random.randrange(len(content))
        if random.random() < 0.5:  # most of what matters is at the beginning
            at = random.randrange(min(len(content), 512))
        span = min(random.choice((1, 2, 4, 8, 64, 1024)), len(content) - at)
        match random.randrange(8):
            case 0:
                content[at] ^= 1 << random.randrange(8)
            case 1:
                content[at : at + span] = random.randbytes(span)
            case 2:
                content[at : at + span] = random.choice((b"\x00", b"\xff", b"\x7f", b"\x80")) * span
            case 3:
                del content[at:]
            case 4:
                del content[at : at + span]
            case 5:
                content[at:at] = random.randbytes(span)
            case 6:
                content[at:at] = content[at : at + span] * random.choice((1, 2, 50))
            case 7:
                other = random.randrange(len(content))
                content[at : at + span] = content[other : other + span]
    return bytes(content)


def hostile_value(random: Random, near: Any = None) -> Any:
    """Something that does not belong; often of the kind of what was there."""
    if isinstance(near, bool) or random.random() < 0.15:
        return random.choice((None, True, False, [], {}, [[]], {"a": {}}))
    if isinstance(near, (int, float)) or random.random() < 0.4:
        return random.choice(HOSTILE_NUMBERS)
    if isinstance(near, list) and near and random.random() < 0.5:
        return random.choice(
            (near * 1000, near[:-1], [*near, near[0]], [hostile_value(random)] * len(near), near[::-1])
        )
    return random.choice(HOSTILE_TEXTS)


def damage_json(random: Random, value: Any, embedded: tuple[str, ...] = ()) -> str:
    """JSON of a value in which one to three entries are others, are gone, or are there twice.

    Args:
        embedded: keys whose values are text that may be JSON itself, which is damaged as such half of the time.
    """
    value = copy.deepcopy(value)
    raw = None
    for _ in range(random.randint(1, 3)):
        holder, key = random.choice(list(places(value)) or [(None, None)])
        if holder is None:
            return json.dumps(hostile_value(random))
        old = holder[key]
        if key in embedded and isinstance(old, str) and random.random() < 0.7:
            try:
                holder[key] = damage_json(random, json.loads(old))
            except ValueError:
                holder[key] = random.choice(HOSTILE_TEXTS)
            continue
        match random.randrange(6):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[random.choice(("", "__proto__", "x" * 300, str(key) + " "))] = old
            case 2:
                raw = raw or random.choice(RAW)
                holder[key] = MARK
            case _:
                holder[key] = hostile_value(random, old)
    text = json.dumps(value)
    return text.replace(json.dumps(MARK), raw) if raw else text


def places(value: Any) -> Any:
    """All (container, key) of a JSON value."""
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])
