"""A comparison with made-up numbers, as large and as odd as real ones get. Nothing here was measured."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cosmotok.contestants import Traits
from cosmotok.evaluation.pictures import Example
from cosmotok.evaluation.results import FIGURES, Comparison, FileResult, ModelResult, Totals
from cosmotok.metrics.intervals import Interval

HOSTILE = '</script><script>alert("1")</script>&$x_{2}$ [bold]|`*.png'
IMAGES = [f"photos/{name}.png" for name in ("astronaut", "coffee", "chelsea", "rocket")]
VIDEOS = [f"clips/{name}.mp4" for name in ("street in the rain", "running dog", "harbour", "traffic")]


def tokenizer(space: int, time: int, *, discrete: bool = False, parameters: int = 1_000_000) -> Traits:
    return Traits(
        family="tokenizer",
        image=True,
        video=time > 1,
        causal=time > 1,
        streaming=time > 1,
        space=space,
        time=time,
        channels=None if discrete else 16,
        vocab_size=64_000 if discrete else None,
        parameters=parameters,
    )


def codec(*, video: bool) -> Traits:
    note = "made-up settings of this sort of codec"
    return Traits(family="codec", image=not video, video=video, causal=False, streaming=video, note=note)


def linear(space: int, time: int) -> Traits:
    return replace(tokenizer(space, time), family="linear", image=time == 1, parameters=3 * space**2 * time * 16)


def interval(values: Sequence[float]) -> Interval:
    mean = sum(values) / len(values)
    spread = 1.96 * (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5 / len(values) ** 0.5
    return Interval(mean, mean - spread, mean + spread, len(values))


def totals(files: list[FileResult], bits: float, speed: float, frechet: float | None) -> Totals | None:
    if not files:
        return None
    figures = {}
    for name in FIGURES:
        values = [value for file in files if (value := getattr(file, name)) is not None]
        if values:
            figures[name] = interval(values)
    frames = sum(file.frames for file in files)
    pixels = files[0].width * files[0].height
    places = {name: interval([file.places[name] for file in files]) for name in files[0].places}
    return Totals(len(files), frames, figures, bits, speed * 1e6 / pixels, speed, frechet, places)


def made_up_model(name: str, traits: Traits, psnr: float, bits: float, speed: float, **more) -> ModelResult:
    """A model whose images and videos are about as good as `psnr`."""
    draw = random.Random(name)
    files = []
    kinds = [("image", IMAGES, traits.image), ("video", VIDEOS, traits.video)]
    for kind, names, taken in kinds:
        for i, file in enumerate(names if taken else []):
            value = psnr + 2.5 * (i - 1.5) + draw.uniform(-0.7, 0.7) + (1.5 if kind == "video" else 0)
            files.append(
                FileResult(
                    file=file,
                    kind=kind,
                    frames=33 if kind == "video" else 1,
                    width=640 if kind == "video" else 512,
                    height=360 if kind == "video" else 512,
                    psnr=value,
                    ssim=min(0.999, 0.5 + value / 80),
                    lpips=max(0.01, 0.6 - value / 70),
                    temporal=value + 4 if kind == "video" else None,
                    sharpness=value / 50,
                    bits_per_pixel=bits,
                    codes=2025 if traits.vocab_size else None,
                    seconds=1 / speed,
                    places={"1": value + 2, "2-17": value + 0.5, "18-33": value - 1.5} if kind == "video" else {},
                )
            )
    images, videos = ([file for file in files if file.kind == kind] for kind in ("image", "video"))
    return ModelResult(
        name,
        traits,
        files,
        totals(images, bits, speed, 41.7 - psnr),
        totals(videos, bits, speed, None),
        **more,
    )


def lifelike() -> Comparison:
    """Five tokenizers, three linear transforms, and four codecs at several rates."""
    models = [
        made_up_model("cv4x8x8-tiny", tokenizer(8, 4, parameters=1_604_000), 29.6, 1.0, 2.6),
        made_up_model("cv8x8x8-tiny", tokenizer(8, 8, parameters=1_904_000), 27.9, 0.5, 2.9),
        made_up_model("ci8x8-tiny", tokenizer(8, 1, parameters=640_000), 30.4, 4.0, 5.1),
        made_up_model(
            "dv4x8x8-tiny",
            tokenizer(8, 4, discrete=True, parameters=1_620_000),
            24.1,
            0.0624,
            2.4,
            code_usage=0.713,
            perplexity=8123.4,
        ),
        made_up_model(
            "di8x8-tiny",
            tokenizer(8, 1, discrete=True, parameters=655_000),
            25.3,
            0.2495,
            4.4,
            code_usage=0.402,
            perplexity=3911.0,
        ),
        made_up_model("klt:8x8:16", linear(8, 1), 28.76, 4.0, 160.0),
        made_up_model("klt:4x8x8:16", linear(8, 4), 28.1, 1.0, 120.0),
        made_up_model("klt:8x8x8:16", linear(8, 8), 26.3, 0.5, 122.0),
    ]
    for name, video, start, speed in (
        ("jpeg", False, 30.0, 95.0),
        ("webp", False, 31.5, 9.0),
        ("h264", True, 33.0, 41.0),
        ("av1", True, 35.0, 12.0),
    ):
        for rate in (0.0624, 0.2495, 0.5, 1.0, 4.0) if video else (0.2495, 1.0, 4.0):
            psnr = start + 4.4 * math.log2(rate / 0.25) / 2
            at = f"{name}@{rate}bpp"
            models.append(made_up_model(at, codec(video=video), psnr, rate * 0.98, speed / (1 + rate / 4)))
    return Comparison(
        protocol="tokenbench",
        protocol_text="PSNR over all values of a clip, 8 bit; SSIM of every frame, 7x7 windows; means over files.",
        data="a folder of photos and clips",
        models=models,
        not_measured={"rfvd": "needs the weights of I3D: give --i3d-weights"},
        machine="2 cores of a made-up CPU, 1 thread, PyTorch 2.15",
    )


def everything_wrong() -> Comparison:
    """Hostile names, failures of every sort, figures that are missing or infinite."""
    exact = FileResult(HOSTILE, "image", 1, 8, 8, math.inf, 1.0)
    bare = FileResult("b\nb\x1b[2J.png", "image", 1, 8, 8, None)
    first = ModelResult(
        HOSTILE,
        tokenizer(8, 1),
        [exact, bare],
        Totals(2, 2, {"psnr": Interval(math.inf, math.inf, math.inf, 1), "ssim": Interval(1.0, 1.0, 1.0, 1)}),
        None,
        failed={"<i>broken</i>.png": "is <b>damaged</b>"},
    )
    nothing = Traits(family="tokenizer", image=True, video=True, causal=False, streaming=False)
    second = ModelResult("absent", nothing, [], None, None, error="its weights <are> missing")
    third = ModelResult("no figures", nothing, [bare], Totals(1, 1, {}), Totals(0, 0, {}))
    return Comparison(
        protocol="<p>",
        protocol_text="<em>words</em>",
        data="/data/<u>here</u>",
        models=[first, second, third],
        unread={"<s>x</s>.mp4": "cannot be read: <script>"},
        not_measured={"LPIPS": "needs <weights>"},
        machine="<machine>",
    )


def blurred(picture: np.ndarray, step: int) -> np.ndarray:
    """Every block of `step` pixels by its mean, somewhat smoothed: stands in for a reconstruction."""
    from PIL import Image

    height, width = picture.shape[:2]
    small = Image.fromarray(picture).resize((width // step, height // step), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def examples() -> list[Example]:
    """Real pictures that come with scikit-image, spoilt in two ways."""
    from skimage import data

    found = []
    for file, picture in (("photos/astronaut.png", data.astronaut()), ("photos/chelsea.png", data.chelsea())):
        for model, step in (("cv4x8x8-tiny", 3), ("dv4x8x8-tiny", 6), ("klt:8x8:16", 4)):
            found.append(Example(model, file, 0, picture, blurred(picture, step)))
    rocket = data.rocket()
    found.append(Example("cv4x8x8-tiny", "clips/rocket.mp4", 12, rocket, blurred(rocket, 4)))
    return found
