"""The recipes known by name: one for every known model."""

from __future__ import annotations

from typing import Any

from cosmotok.config import ModelEntry, find_model, list_models, suggest
from cosmotok.errors import UnknownModelError
from cosmotok.training.data.options import DataOptions
from cosmotok.training.losses.options import LossOptions
from cosmotok.training.optimizers import OptimizerOptions
from cosmotok.training.recipe import Recipe, Stage
from cosmotok.training.schedule import ScheduleOptions

__all__ = ["find_recipe", "list_recipes"]


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

    Numbers of steps and batch sizes were never published, and neither was the adversarial stage: those are ours.
    """
    config = entry.config
    video = config.kind == "video"
    resize = 360 if entry.name.endswith("360p") else 720
    frames = (121 if entry.name == "CV8x8x8-720p" else 49) if video else 1
    gram = {"perceptual": 0.073, "gram": 0.062} | ({"flow": 0.01} if video else {})
    adversarial = {"adversarial": 0.2, "adversarial_start": 1_000_000}

    def stage(steps: int, **loss: Any) -> Stage:
        return Stage(steps=steps, frames=frames, crop=256, clips=8, images=32, loss=loss)

    stages = [stage(500_000), stage(500_000, **gram), stage(100_000, **gram, **adversarial)]
    return Recipe(
        name=entry.name.lower(),
        model=entry.name,
        stages=stages,
        loss=LossOptions(l1=1.0, perceptual=0.1, lecam=0.005, discriminators=["2d", "3d"] if video else ["2d"]),
        precision="bf16",
        data=DataOptions(resize=resize, image_every=4 if video else 1),
        save_every=5000,
    )


def tiny(entry: ModelEntry) -> Recipe:
    """Our own small models: an hour or so on 2 CPU cores; settings measured there."""
    # small clips first, then long and large ones, whose attention looks further
    video = entry.config.kind == "video"
    stages = [
        Stage(steps=8000, frames=9, crop=96, clips=3, images=6),
        Stage(steps=8000, frames=9, crop=128, clips=2, images=4),
        Stage(steps=4000, frames=17, crop=160, clips=1, images=3),
    ]
    if not video:
        stages = [
            Stage(steps=8000, frames=1, crop=96, clips=1, images=8),
            Stage(steps=8000, frames=1, crop=128, clips=1, images=6),
            Stage(steps=4000, frames=1, crop=192, clips=1, images=3),
        ]
    continuous = not entry.config.is_discrete
    return Recipe(
        name=entry.name,
        model=entry.name,
        stages=stages,
        start=None if continuous else "c" + entry.name[1:],
        init_batches=120 if continuous else 40,
        loss=LossOptions(l1=0.0, charbonnier=1.0, charbonnier_epsilon=0.05),
        data=DataOptions(image_every=4 if video else 1),
        optimizer=OptimizerOptions(
            name="muon",
            learning_rate=5e-3 if continuous else 8e-3,
            vector_rate=1e-3,
            shortcut_rate=2e-5,
            betas=(0.9, 0.99),
        ),
        schedule=ScheduleOptions(shape="linear", warmup_steps=100, decay_from=0.4),
        ema_decay=0.999,
    )
