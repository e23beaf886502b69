"""A benchmark in words and tables."""

from __future__ import annotations

from collections.abc import Sequence

from cosmotok.benchmark.findings import GIGA, HALVES, Half, Report, Result
from cosmotok.families.published import PREFIX as PUBLISHED_PREFIX
from cosmotok.interface import Clip
from cosmotok.language import number
from cosmotok.language import translate as _
from cosmotok.printing import clean, print_table
from cosmotok.sentences import translated

__all__ = ["clip_words", "memory", "notes", "print_report", "rows", "speed"]

NOTHING = "-"


def print_report(report: Report) -> None:
    """A table for every size of clip, on standard output."""
    for clip in report.clips:
        print(f"\n{caption(report, clip)}")
        print_table(header(report), rows(report, clip))
        for line in notes(report, clip):
            print(f" {clean(line)}")


def header(report: Report) -> tuple[str, ...]:
    versus = _("vs {name}").format(name=short(report.baseline))
    return (_("model"), "", _("GFLOP/frame"), _("frames/s"), _("of peak"), versus, _("memory"), _("parameters"))


def caption(report: Report, clip: Clip) -> str:
    """What was measured, how, and where."""
    machine = report.machine
    threads = _("1 thread") if machine.threads == 1 else _("{count} threads").format(count=machine.threads)
    where = f"{machine.device}, {threads}" if machine.device_type == "cpu" else machine.device
    rounds = _("best of {count} rounds, ratios are medians").format(count=report.rounds)
    rounds = _("1 round") if report.rounds == 1 else rounds
    products = sorted(machine.products[clip].items(), key=lambda one: -one[1])
    each = _("{rate} GFLOP/s by {library}")
    rates = [each.format(rate=number(f"{rate / GIGA:,.0f}"), library=library) for library, rate in products]
    return _("{clip}, {dtype} on {place}; peak = a matrix product, {rates}; {rounds}").format(
        clip=clip_words(clip), dtype=machine.dtype, place=where, rates=", ".join(rates), rounds=rounds
    )


def rows(report: Report, clip: Clip) -> list[tuple[str, ...]]:
    """Two rows for every model, of encoding and of decoding; one for a model that failed."""
    found: list[tuple[str, ...]] = []
    for result in (result for result in report.results if result.asked == clip):
        if result.error is not None:
            found.append((result.name, _("failed"), *[NOTHING] * 6))
        for name in HALVES:
            half: Half | None = getattr(result, name)
            if half is not None:
                first = name == HALVES[0]
                found.append(
                    (
                        result.name if first else "",
                        _(name),
                        speed(half.gflop_per_frame),
                        speed(half.frames_per_second),
                        percent(report.share(result, name)),
                        times(report.speedup(result, name)),
                        memory(half.peak_memory),
                        number(f"{(result.parameters or 0) / 1e6:.1f} M") if first else "",
                    )
                )
    return aligned(found, 2)


def notes(report: Report, clip: Clip) -> list[str]:
    """Remarks on the models, why some failed, and what was compared."""
    lines = [line for result in report.results if result.asked == clip for line in remarks(result)]
    for one in report.agreements:
        if one.clip == clip:
            told = _(
                "{one} and {other}, the same weights: latents equal within {latents} of their range, "
                "frames within {frames}"
            )
            latents, frames = (number(f"{difference:.1e}") for difference in (one.latents, one.frames))
            lines.append(told.format(one=one.name, other=one.other, latents=latents, frames=frames))
    return lines


def remarks(result: Result) -> list[str]:
    said = list(map(translated, result.notes))
    if result.taken is not None and result.taken != result.asked:
        said.insert(0, _("takes {clip}").format(clip=clip_words(result.taken)))
    if result.error is not None:
        said.append(_("failed: {reason}").format(reason=translated(result.error)))
    return [f"{result.name}: {'; '.join(said)}"] if said else []


def aligned(table: Sequence[tuple[str, ...]], begin: int) -> list[tuple[str, ...]]:
    """Columns from `begin` on flush right."""
    widths = [max((len(row[i]) for row in table), default=0) for i in range(len(table[0]) if table else 0)]
    return [(*row[:begin], *(text.rjust(widths[i]) for i, text in enumerate(row) if i >= begin)) for row in table]


def clip_words(clip: Clip) -> str:
    words = _("1 frame of {size}") if clip.frames == 1 else _("{count} frames of {size}")
    return words.format(count=clip.frames, size=f"{clip.width}x{clip.height}")


def speed(value: float | None) -> str:
    """Three digits: 0.123, 1.23, 12.3, 123, 1,234."""
    if value is None:
        return NOTHING
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return number(f"{value:,.{digits}f}")


def percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.0%}"


def times(ratio: float | None) -> str:
    return NOTHING if ratio is None else number(f"{ratio:.2f}x")


def memory(size: int | None) -> str:
    """Decimal units."""
    if size is None:
        return NOTHING
    return number(f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB")


def short(name: str) -> str:
    """Without folders or the prefix, except for that of a model of ours in the published layout."""
    kept = PUBLISHED_PREFIX if name.startswith(PUBLISHED_PREFIX) else ""
    return kept + name.rpartition(":")[2].rpartition("/")[2]
