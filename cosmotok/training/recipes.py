"""The recipes known by name: one for every known model."""

from __future__ import annotations

from typing import Any

from cosmotok.config import ModelEntry, find_model, list_models, suggest
from cosmotok.errors import UnknownModelError
from cosmotok.training.data.options import DataOptions, MotionOptions
from cosmotok.training.losses.options import LossOptions
from cosmotok.training.optimizers import OptimizerOptions
from cosmotok.training.recipe import Recipe, TrainingStage, ValidationOptions
from cosmotok.training.schedule import ScheduleOptions

__all__ = ["find_recipe", "list_recipes"]

PAST = 97
"""Frames that a clip's stream may have seen before: beyond the joint reach of the temporal convolutions, so that late
frames are no news. A batch has 39 of them on average and no gradients there, which costs less than half a step."""

VIDEOS = ValidationOptions(frames=97)
"""Long enough to see whether quality holds beyond the clips of the training."""


def list_recipes() -> list[str]:
    """Names of all known recipes, which are those of the models, in lower case."""
    return [name.lower() for name in list_models()]


def find_recipe(name: str) -> Recipe:
    """The recipe called `name`; capitals do not matter.

    Raises:
        UnknownModelError: naming the nearest known ones.
    """
    names = list_recipes()
    if name.lower() not in names:
        raise UnknownModelError(f"unknown recipe {name!r}{suggest(name, names)} (known: {', '.join(names)})")
    entry = find_model(name)
    return tiny(entry) if entry.bundled else published(entry)


def published(entry: ModelEntry) -> Recipe:
    """What is known of how a published model was trained (paper section 4.2 and the released configurations).

    Numbers of steps and batch sizes were never published, and neither was the adversarial stage: those are ours. So is
    the past of the clips: the published models saw the beginnings of streams alone.
    """
    config = entry.config
    video = config.kind == "video"
    resize = 360 if entry.name.endswith("360p") else 720
    frames = (121 if entry.name == "CV8x8x8-720p" else 49) if video else 1
    gram = {"perceptual": 0.073, "gram": 0.062} | ({"flow": 0.01} if video else {})
    adversarial = {"adversarial": 0.2, "adversarial_start": 1_000_000}

    def stage(steps: int, **loss: Any) -> TrainingStage:
        return TrainingStage(
            steps=steps, frames=frames, crop=256, clips=8, images=32, loss=loss, past=PAST if video else 0
        )

    stages = [stage(500_000), stage(500_000, **gram), stage(100_000, **gram, **adversarial)]
    return Recipe(
        name=entry.name.lower(),
        model=entry.name,
        stages=stages,
        loss=LossOptions(l1=1.0, perceptual=0.1, lecam=0.005, discriminators=["2d", "3d"] if video else ["2d"]),
        precision="bf16",
        data=DataOptions(resize=resize, image_every=4 if video else 1),
        save_every=5000,
        validation=VIDEOS if video else ValidationOptions(),
    )


IMAGES = DataOptions(image_every=1)

# Small crops make many steps; large ones, late, show attention and norms what whole frames are like.
TINY_CROPS = {
    ("image", 8): (96, 128, 192),
    ("image", 16): (128, 160, 224),
    ("video", 8): (96, 128, 160),
    ("video", 16): (128, 160, 192),
}


def tiny(entry: ModelEntry) -> Recipe:
    """Our own small models: an hour or so of one CPU core or two; settings measured there."""
    config = entry.config
    video, continuous = config.kind == "video", not config.is_discrete
    crops = TINY_CROPS[config.kind, config.spatial_factor]
    frames, past = (17, PAST) if video else (1, 0)
    shapes = zip((16_000, 16_000, 8000), crops, (2, 1, 1), (4, 3, 2), strict=True)
    stages = [
        TrainingStage(steps=n, frames=frames, crop=side, clips=b, images=i, past=past) for n, side, b, i in shapes
    ]
    continuous_twin = "c" + entry.name[1:]
    start = None if continuous or continuous_twin not in list_models() else continuous_twin
    return Recipe(
        name=entry.name,
        model=entry.name,
        stages=stages,
        start=start,
        init_batches=120 if start is None else 40,
        loss=LossOptions(l1=0.0, charbonnier=1.0, charbonnier_epsilon=0.05),
        # photos that move, and longer strides: real clips are mostly quiet
        data=DataOptions(image_every=4, strides=[1, 2, 3], motion=MotionOptions(share=0.5)) if video else IMAGES,
        precision="bf16" if video else "no",  # steps of the image models would be slower
        optimizer=OptimizerOptions(
            name="muon",
            learning_rate=5e-3 if continuous else 8e-3,
            vector_rate=1e-3,
            shortcut_rate=2e-5,
            betas=(0.9, 0.99),
        ),
        schedule=ScheduleOptions(shape="linear", warmup_steps=100, decay_from=0.4),
        ema_decay=0.999,
        validation=VIDEOS if video else ValidationOptions(),
    )
