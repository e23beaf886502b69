"""Writes figures and pictures of the bundled models: docs/models.md and log.md, the README, the models' cards.

    python benchmarks/comparison.py VAL --fit TRAIN    # quality, into build/comparison
    python benchmarks/suite.py                         # speed and pictures; then writes

Speed is measured here, one model at a time.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from pages import DOCS, ROOT, replace_between
from pictures import draw_clips, draw_photos

from cosmotok.benchmark import benchmark
from cosmotok.benchmark.findings import Report, Result
from cosmotok.config import ModelEntry, bundled_models
from cosmotok.evaluation.results import Comparison, ModelResult, Totals
from cosmotok.families.klt import klt_name
from cosmotok.interface import Clip

PAGES = (DOCS / "models.md", DOCS / "models.pt.md")
PHOTOS, CLIPS = (DOCS / "models" / name for name in ("photos.webp", "clips.webp"))
SIDE, FRAMES = 256, 33
MEGAPIXEL = 1024


@dataclass(frozen=True)
class Model:
    """A bundled model, and all that is said of it."""

    entry: ModelEntry
    result: ModelResult
    linear: dict[str, ModelResult]
    """By kind, "image" and "video": the KLT with as many components per latent position, fitted to the training set."""
    parameters: int
    megabytes: float
    frames_per_second: tuple[float, float]
    """Encoding and decoding frames of `SIDE`; for image models photos of that size."""
    megapixel_seconds: float
    """For encoding and decoding a photo."""


# What was measured ----------------------------------------------------------------------------------------------------


def gather(comparison: Comparison) -> list[Model]:
    entries = bundled_models()
    results = {result.name: result for result in comparison.models}
    missing = [entry.name for entry in entries if entry.name not in results]
    if missing:
        raise SystemExit(f"the comparison lacks {', '.join(missing)}: run benchmarks/comparison.py again")
    print("measuring speed ...", flush=True)
    videos = [entry.name for entry in entries if entry.config.kind == "video"]
    images = [entry.name for entry in entries if entry.config.kind == "image"]
    report = {
        "video": benchmark(videos, sizes=[(SIDE, SIDE)], frames=[FRAMES]),
        "image": benchmark(images, sizes=[(SIDE, SIDE)], frames=[1]),
    }
    large = benchmark([*images, *videos], sizes=[(MEGAPIXEL, MEGAPIXEL)], frames=[1])
    models = []
    for entry in entries:
        kind = entry.config.kind
        speed = timed(report[kind], entry.name, Clip(FRAMES if kind == "video" else 1, SIDE, SIDE))
        photo = timed(large, entry.name, Clip(1, MEGAPIXEL, MEGAPIXEL))
        models.append(
            Model(
                entry,
                results[entry.name],
                {kind: results[klt_name(entry.config.spec, kind)] for kind in kinds(entry)},
                speed.parameters or 0,
                (ROOT / "cosmotok" / "weights" / entry.name / "model.safetensors").stat().st_size / 1e6,
                (speed.encode.frames_per_second, speed.decode.frames_per_second),  # type: ignore[union-attr]
                sum(1 / half.frames_per_second for half in (photo.encode, photo.decode) if half),
            )
        )
    return models


def timed(report: Report, name: str, clip: Clip) -> Result:
    result = report.result(name, clip)
    if result is None or result.encode is None or result.decode is None:
        raise SystemExit(f"{name}: {result.error if result else 'was not measured'}")
    return result


def kinds(entry: ModelEntry) -> tuple[str, ...]:
    return ("image", "video") if entry.config.kind == "video" else ("image",)


def totals(result: ModelResult, kind: str) -> Totals:
    found = result.images if kind == "image" else result.videos
    if found is None:
        raise SystemExit(f"{result.name}: the comparison has no {kind}s")
    return found


# Tables ---------------------------------------------------------------------------------------------------------------


def gain(model: Model, kind: str) -> float:
    """dB above the KLT."""
    own, linear = (totals(result, kind).figures["psnr"].mean for result in (model.result, model.linear[kind]))
    return own - linear


def quality_cells(result: ModelResult, kind: str) -> list[str]:
    """PSNR, SSIM, sharpness."""
    figures = totals(result, kind).figures
    return [f"{figures['psnr'].mean:.2f}", f"{figures['ssim'].mean:.4f}", f"{figures['sharpness'].mean:.2f}"]


def quality_table(models: list[Model], kind: str) -> str:
    lines = [
        "| model | PSNR, dB | above the KLT | SSIM | sharpness | bits per pixel |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for model in models:
        if kind in model.linear:
            psnr, ssim, sharpness = quality_cells(model.result, kind)
            bits = totals(model.result, kind).bits_per_pixel
            lines.append(
                f"| `{model.entry.name}` | {psnr} | {gain(model, kind):+.2f} | {ssim} | {sharpness} | {bits:.3g} |"
            )
    return "\n".join(lines)


def codes_table(models: list[Model]) -> str:
    """With what as many indices would use if all codes were equally likely: more than that cannot be hoped for."""
    lines = ["| model | indices | codes in use | if drawn evenly | perplexity |", "|---|---:|---:|---:|---:|"]
    for model in models:
        if model.entry.config.is_discrete:
            count = sum(file.codes or 0 for file in model.result.files)
            even = 1 - (1 - 1 / model.entry.config.vocab_size) ** count
            cells = f"{model.result.code_usage:.0%} | {even:.0%} | {model.result.perplexity:,.0f}"
            lines.append(f"| `{model.entry.name}` | {count:,} | {cells} |")
    return "\n".join(lines)


def cost_table(models: list[Model]) -> str:
    lines = [
        f"| model | parameters | file | {SIDE} x {SIDE}: encode | decode | both | photo of {MEGAPIXEL} x {MEGAPIXEL} |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for model in models:
        encode, decode = model.frames_per_second
        both = 1 / (1 / encode + 1 / decode)
        lines.append(
            f"| `{model.entry.name}` | {model.parameters / 1e6:.2f} M | {model.megabytes:.1f} MB | {encode:.0f} /s | "
            f"{decode:.0f} /s | {both:.0f} /s | {model.megapixel_seconds:.2f} s |"
        )
    return "\n".join(lines)


def overview(models: list[Model]) -> str:
    """The short table of the README."""
    lines = ["| name | tokens | compression | parameters | photos, dB | clips, dB |", "|---|---|---|---:|---:|---:|"]
    for model in models:
        config = model.entry.config
        tokens = (
            f"{config.vocab_size:,} FSQ codes" if config.is_discrete else f"{config.latent_channels}-channel latents"
        )
        space = f"{config.spatial_factor}x{config.spatial_factor}"
        shape = f"{config.temporal_factor}x{space}" if config.kind == "video" else f"{space} (images)"
        cells = [
            f"{quality_cells(model.result, kind)[0]} ({gain(model, kind):+.2f})" if kind in model.linear else ""
            for kind in ("image", "video")
        ]
        size = f"{model.parameters / 1e6:.1f} M"
        lines.append(f"| `{model.entry.name}` | {tokens} | {shape} | {size} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def leaderboard(models: list[Model], kind: str) -> str:
    """The models by what their tokens weigh."""
    entries = [model for model in models if kind in model.linear]
    bits = {model.entry.name: totals(model.result, kind).bits_per_pixel or 0 for model in entries}
    lines = ["| bits per pixel | model | PSNR, dB | above the KLT |", "|---:|---|---:|---:|"]
    for model in sorted(entries, key=lambda model: (bits[model.entry.name], -gain(model, kind))):
        name = model.entry.name
        psnr = quality_cells(model.result, kind)[0]
        lines.append(f"| {bits[name]:.3g} | `{name}` | {psnr} | {gain(model, kind):+.2f} |")
    return "\n".join(lines)


def card_figures(model: Model) -> str:
    """What a model's card says of it."""
    words = {"image": "photos", "video": "clips"}
    shown = list(model.linear)
    header = [f"{figure}, {words[kind]}" for kind in shown for figure in ("PSNR", "SSIM", "sharpness")]
    lines = ["| | " + " | ".join(header) + " |", "|---|" + "---:|" * len(header)]
    linear = " and ".join(dict.fromkeys(result.name for result in model.linear.values()))
    for name, results in (
        ("this model", dict.fromkeys(shown, model.result)),
        (f"KLT ({linear})", model.linear),
    ):
        cells = [cell for kind in shown for cell in quality_cells(results[kind], kind)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    files = " and ".join(f"{totals(model.result, kind).files} {words[kind]}" for kind in shown)
    gains = ", ".join(f"{gain(model, kind):+.2f} dB on {words[kind]}" for kind in shown)
    encode, decode = model.frames_per_second
    text = [
        *lines,
        "",
        f"Means over {files}; over the KLT: {gains}.",
        f"{model.parameters / 1e6:.2f} million parameters, {model.megabytes:.1f} MB.",
        f"On two CPU cores it encodes {encode:.0f} and decodes {decode:.0f} frames of {SIDE} x {SIDE} a second,",
        f"and takes {model.megapixel_seconds:.2f} s for a photo of {MEGAPIXEL} x {MEGAPIXEL}, there and back.",
    ]
    if model.entry.config.is_discrete:
        text.append(
            f"Of the {model.entry.config.vocab_size:,} codes {model.result.code_usage:.0%} are in use on these files, "
            f"with a perplexity of {model.result.perplexity:,.0f}."
        )
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--comparison", type=Path, default=Path("build/comparison"))
    folder = parser.parse_args().comparison
    comparison = Comparison.from_dict(json.loads((folder / "results.json").read_text(encoding="utf-8")))
    models = gather(comparison)
    draw_photos([model.entry.name for model in models], PHOTOS)
    draw_clips([model.entry.name for model in models if "video" in model.linear], CLIPS)
    tables = "\n\n".join(
        (
            "#### Photos",
            quality_table(models, "image"),
            "#### Clips",
            quality_table(models, "video"),
            "#### Codes",
            codes_table(models),
            "#### Cost",
            cost_table(models),
        )
    )
    for page in PAGES:
        replace_between(page, "tables", tables)
    for name in ("README.md", "README.pt.md"):
        replace_between(ROOT / name, "models", overview(models))
    for name in ("log.md", "log.pt.md"):
        replace_between(DOCS / name, "photos", leaderboard(models, "image"))
        replace_between(DOCS / name, "clips", leaderboard(models, "video"))
    for model in models:
        replace_between(ROOT / "cosmotok" / "weights" / model.entry.name / "README.md", "figures", card_figures(model))
    print(f"wrote {', '.join(page.name for page in PAGES)}, {PHOTOS.name}, {CLIPS.name} and {len(models)} cards")


if __name__ == "__main__":
    main()
