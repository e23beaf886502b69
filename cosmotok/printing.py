"""What the command prints: tables for people, JSON for scripts, remarks on standard error."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

from cosmotok.language import number
from cosmotok.language import translate as _
from cosmotok.sentences import translated

__all__ = ["clean", "print_json", "print_table", "say", "show", "worded"]


def clean(text: str) -> str:
    """One line that neither moves a terminal's cursor nor turns the direction of a page's text."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def show(report: Any, as_json: bool) -> None:
    """A report as a table for people, or as JSON."""
    import math

    facts = report if isinstance(report, dict) else vars(report)
    if as_json:
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in facts.items()}
        print_json(finite)
        return
    print_table(None, readable(facts) if "bits_per_pixel" in facts else plain(facts))


def plain(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Facts with values for people; those without a value are left out."""
    return [(_(name.replace("_", " ")), words) for name, value in facts.items() if (words := fact(name, value))]


def fact(name: str, value: Any) -> str:
    """The value of a fact, as its name wants it: kinds and halves are words, and shapes have an x between numbers."""
    if name in ("what", "kind"):
        return worded(_(value))
    if name == "halves":
        return ", ".join(map(_, value))
    if name in ("size", "indices", "latents"):
        return " x ".join(map(str, value))
    return worded(value)


def worded(value: Any) -> str:
    """A value as people write it: yes or no, 4 digits of a fraction, 1,409,392, and commas between several."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, int):
        return number(f"{value:,}") if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return number(f"{value:.4g}")
    if isinstance(value, (list, tuple)):
        return ", ".join(map(worded, value))
    return str(value)


def readable(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """The rows that a person wants of a `ClipReport`."""
    grid = " x ".join(map(str, facts["token_grid"]))
    frames = str(facts["frames"])
    if facts["frame_rate"]:
        frames = _("{frames} at {rate} frames/s").format(frames=frames, rate=number(f"{facts['frame_rate']:.4g}"))
    ratio, bits = number(f"{facts['compression']:.1f}"), number(f"{facts['bits_per_pixel']:.3f}")
    speed, seconds = number(f"{facts['frames_per_second']:.1f}"), number(f"{facts['seconds']:.1f}")
    counts = [worded(int(count)) for count in re.findall(r"\d+", facts["token_kind"])]
    kind = _(re.sub(r"\d+", "{}", facts["token_kind"])).format(*counts)
    rows = [
        (_("model"), facts["model"]),
        (_("frames"), frames),
        (_("size"), f"{facts['width']} x {facts['height']}"),
        (_("tokens"), f"{number(format(facts['tokens'], ','))} = {grid}, {kind}"),
        (
            _("compression"),
            _("{ratio}x smaller than raw, {bits} bits per pixel").format(ratio=ratio, bits=bits),
        ),
    ]
    if facts["psnr"] is not None:
        rows.append(("PSNR", number(f"{facts['psnr']:.2f} dB")))
        rows.append(("SSIM", "-" if facts["ssim"] is None else number(f"{facts['ssim']:.4f}")))
    rows.append((_("speed"), _("{speed} frames/s, {seconds} s in all").format(speed=speed, seconds=seconds)))
    rows.append((_("written"), facts["output"] + (_(" (with sound)") if facts["audio"] else "")))
    if facts["side_by_side"]:
        rows.append((_("side by side"), facts["side_by_side"]))
    return rows


def print_json(value: Any) -> None:
    import json

    print(json.dumps(value))


def print_table(header: tuple[str, ...] | None, rows: Sequence[tuple[str, ...]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, show_header=header is not None, pad_edge=False)
    for i, title in enumerate(header or [""] * len(rows[0])):
        table.add_column(Text(clean(title)), style="bold" if i == 0 else None, overflow="fold")
    for row in rows:
        table.add_row(*(Text(clean(text)) for text in row))
    # a pipe or file takes lines of any length
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def say(text: str) -> None:
    """A remark on standard error, in the language of the locale where its sentence is known."""
    print("\n".join(clean(translated(line)) for line in text.split("\n")), file=sys.stderr, flush=True)
