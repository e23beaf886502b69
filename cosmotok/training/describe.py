"""What a recipe comes to on this machine, before anything is trained."""

from __future__ import annotations

from typing import Any

import torch

from cosmotok.language import number
from cosmotok.language import translate as _
from cosmotok.training.batches import training_data
from cosmotok.training.memory import available_memory, count_parameters, estimate_memory, gigabytes
from cosmotok.training.recipe import Recipe

__all__ = ["describe", "describe_lines"]


def describe(recipe: Recipe, device: torch.device, processes: int = 1) -> dict[str, Any]:
    """Plain values: the resolved recipe, parameters, memory per process in bytes (an estimate), steps per epoch.

    Steps per epoch are None where the recipe names no data.

    Raises:
        InputError: where there is no data at the places that the recipe names.
    """
    estimate = estimate_memory(recipe, processes)
    epochs = None
    if recipe.data.train:
        stages = range(len(recipe.stages))
        epochs = [training_data(recipe, i, world=processes).steps_per_epoch for i in stages]
    return {
        "recipe": recipe.to_dict(),
        "parameters": count_parameters(recipe.config),
        "memory": {**vars(estimate), "total": estimate.total},
        "memory_available": available_memory(device),
        "device": str(device),
        "processes": processes,
        "steps": recipe.steps,
        "steps_per_epoch": epochs,
    }


def describe_lines(facts: dict[str, Any]) -> list[str]:
    """The same, but the recipe, for people."""
    memory = facts["memory"]
    parts = ", ".join(
        f"{_(name)} {gigabytes(memory[name])}"
        for name in ("weights", "average", "gradients", "optimizer", "activations", "workspace")
    )
    steps, minutes = number(f"{facts['steps']:,}"), facts["recipe"]["minutes"]
    lines = [
        f"parameters: {number(format(facts['parameters'], ','))}",
        f"memory, estimated: {gigabytes(memory['total'])} per process ({parts}); "
        f"{facts['device']} has {gigabytes(facts['memory_available'])} free",
        f"steps: {steps}"
        if minutes is None
        else f"time: {number(format(minutes, 'g'))} min, or {steps} steps if those are done first",
    ]
    if facts["steps_per_epoch"] is None:
        return [*lines, "steps per epoch: unknown without data; add data.train=FOLDER"]
    each = ", ".join(f"{number(format(count, ','))} in stage {i}" for i, count in enumerate(facts["steps_per_epoch"]))
    return [*lines, f"steps per epoch: {each}"]
