"""The batches of a recipe's stages."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from cosmotok.training.data import Batch, TrainingData
from cosmotok.training.recipe import Recipe

__all__ = ["close_batches", "training_data"]


def training_data(
    recipe: Recipe, stage: int, *, rank: int = 0, world: int = 1, start_step: int = 0, seed: int = 0
) -> TrainingData:
    """The batches of a stage, this process's part of them.

    Args:
        start_step: at which the stage begins.
        seed: added to the recipe's, for other batches than the stage's own.
    """
    shape, config = recipe.stages[stage], recipe.config
    return TrainingData(
        recipe.data,
        frames=shape.frames,
        crop=shape.crop,
        clips=shape.clips,
        images=shape.images,
        spatial_factor=config.spatial_factor,
        seed=recipe.seed + seed,
        rank=rank,
        world=world,
        start_step=start_step,
        past=shape.past,
        temporal_factor=config.temporal_factor,
        option=f"stages.{stage}.",
    )


def close_batches(batches: Iterator[Batch]) -> None:
    """Ends the processes that prepare them."""
    if isinstance(batches, Generator):
        batches.close()
