"""A training run from its recipe: the weights it starts from, its folder, its processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cosmotok.config import TokenizerConfig
from cosmotok.errors import CheckpointError, ConfigError, InputError, missing_extra
from cosmotok.network import HALVES
from cosmotok.private import forget_accelerator
from cosmotok.tokenizer import Tokenizer
from cosmotok.training.batches import close_batches, training_data
from cosmotok.training.checkpoints import Checkpoints
from cosmotok.training.engine import STATE_VERSION, Engine
from cosmotok.training.history import PICTURES_FOLDER
from cosmotok.training.klt import initialise_from_continuous, initialise_with_klt
from cosmotok.training.log import RunLog
from cosmotok.training.losses import ReconstructionLoss
from cosmotok.training.memory import check_memory
from cosmotok.training.overrides import read_recipe, to_yaml
from cosmotok.training.parallel import local_processes, same_everywhere
from cosmotok.training.recipe import Recipe
from cosmotok.training.trackers import track_grid
from cosmotok.writing import spare, write_file

if TYPE_CHECKING:
    from accelerate import Accelerator

    from cosmotok.training.validation import Validator

__all__ = ["RECIPE_FILE", "check_folder", "start_run", "starting_tokenizer"]

OTHER = 1_000_003
"""Added to the seed for batches that are not the run's own."""
RECIPE_FILE = "recipe.yaml"
LOG_FILE = "log.jsonl"
FREE = (
    *("log_every", "save_every", "keep", "validation", "trackers", "skips_in_a_row"),
    *("data.validation", "data.workers", "data.cache", "data.downloads", "data.max_broken"),
)
"""Fields that may change when a run is resumed: none of them changes what the steps compute."""


def start_run(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    report: Callable[[dict[str, Any]], None] = lambda record: None,
) -> Path:
    """Trains as `recipe` says; `accelerate launch` makes it one of several processes.

    In the end, and from the first checkpoint on, `folder` is a model for `Tokenizer.from_pretrained`. It also holds
    `recipe.yaml`, `log.jsonl`, `checkpoints/` and, with a validation set, `samples/`.

    Args:
        folder: all processes must see the same one.
        resume: continue the run in `folder`, which must be of the same recipe; from its last checkpoint, or from the
            start where there is none yet.
        device: "auto", "cpu" or "cuda"; under `accelerate launch`, that decides.
        report: gets every record that is logged, in the first process.

    Returns:
        The folder.

    Raises:
        ConfigError: where the recipe does not fit the machine or the number of processes.
        CheckpointError: where the folder holds another run, or none to resume.
        TrainingError: where losses stay not finite.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, when the state is saved.
    """
    check_folder(recipe, folder, resume)
    accelerator = make_accelerator(recipe, folder, device)
    check_stages(recipe, accelerator)
    check_memory(recipe, accelerator.device, accelerator.num_processes, local_processes(accelerator))
    torch.manual_seed(recipe.seed)
    checkpoints = Checkpoints(folder / "checkpoints", recipe.keep)
    steps = checkpoints.steps() if resume else []
    if steps:
        state = checkpoints.load(steps[-1])
        check_state(state, recipe, checkpoints.path(steps[-1]))
        tokenizer = Tokenizer(config_of(recipe, folder))
    else:
        state = None
        tokenizer = starting_tokenizer(recipe, folder)
        same_everywhere(accelerator, tokenizer.network)
    validator = make_validator(recipe) if accelerator.is_main_process else None  # one process measures
    torch.manual_seed(recipe.seed + accelerator.process_index)

    def validate(averaged: Tokenizer, step: int) -> dict[str, Any]:
        if validator is None:
            return {}
        outcome = validator.run(averaged)
        grid = outcome.write_pictures(folder / PICTURES_FOLDER, step)
        if recipe.trackers:
            track_grid(accelerator, grid, step)
        return outcome.to_log()

    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        RunLog(folder / LOG_FILE).rewind(state["step"] if state else 0)
        write_file(folder / RECIPE_FILE, to_yaml(recipe))
    accelerator.wait_for_everyone()
    engine = Engine(
        recipe,
        tokenizer,
        folder,
        accelerator,
        validate=validate if recipe.data.validation else None,
        report=report,
    )
    if state is not None:
        engine.load_state_dict(state)
    if recipe.trackers:
        accelerator.init_trackers("cosmotok")
    try:
        engine.run()
    finally:
        if recipe.trackers:
            accelerator.end_training()
    return folder


# The folder -------------------------------------------------------------------------------------------------------


def check_folder(recipe: Recipe, folder: Path, resume: bool) -> None:
    """Refuses to mix two runs.

    Raises:
        CheckpointError: for a folder that is in use, or where there is nothing to resume, or another recipe.
    """
    path = folder / RECIPE_FILE
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder}: is a file; expected a folder for the run")
    if resume and not path.exists():
        raise CheckpointError(f"{path}: is not there, so there is nothing to resume; start without --resume")
    if resume:
        differing = differences(read_recipe(path).to_dict(), recipe.to_dict())
        if differing:
            raise CheckpointError(f"{path}: cannot be resumed as another recipe: {differing}; {ANEW}")
        return
    spare(folder, recipe.start)
    held = [name for name in (RECIPE_FILE, LOG_FILE, "checkpoints", "model.safetensors") if (folder / name).exists()]
    if held:
        raise CheckpointError(
            f"{folder}: holds a run already ({', '.join(held)}); --resume goes on with it, another --output leaves it"
        )


def check_stages(recipe: Recipe, accelerator: Accelerator) -> None:
    """Finds the data and the losses' weights of every stage, so that none of them fails after days of training.

    Raises:
        InputError: where there is no data, or too little for a batch.
        CheckpointError: where a loss's weights cannot be had.
    """
    for index in range(len(recipe.stages)):
        training_data(recipe, index, rank=accelerator.process_index, world=accelerator.num_processes)
        ReconstructionLoss(recipe.loss_of(index))


ANEW = "resume without these changes, or start a new run from its weights with start=FOLDER"


def check_state(state: Mapping[str, Any], recipe: Recipe, path: Path) -> None:
    """Raises CheckpointError, naming the fields, where a checkpoint is of another run."""
    if state.get("version") != STATE_VERSION:
        raise CheckpointError(f"{path}: state version {state.get('version')!r}, expected {STATE_VERSION}")
    differing = differences(state["recipe"], recipe.to_dict())
    if differing:
        raise CheckpointError(f"{path}: belongs to another recipe: {differing}; {ANEW}")


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The fields that differ, apart from those that may; empty where none do."""
    before, after = flat(old), flat(new)
    found = [
        f"{key} was {before.get(key, 'not there')}, is {after.get(key, 'not there')}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and not f"{key}.".startswith(tuple(f"{free}." for free in FREE))
    ]
    return ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """The leaves of nested mappings and lists, by dotted path."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if items is None or not value:
        return {path: value}
    leaves: dict[str, Any] = {}
    for key, item in items:
        leaves |= flat(item, f"{path}.{key}" if path else str(key))
    return leaves


# The processes ----------------------------------------------------------------------------------------------------


def make_accelerator(recipe: Recipe, folder: Path, device: str) -> Accelerator:
    """Accelerate's view of this process.

    Raises:
        MissingExtraError: without Accelerate.
        ConfigError: where the recipe does not suit what `accelerate launch` set up.
    """
    try:
        from accelerate import Accelerator, DistributedType
        from accelerate.utils import ProjectConfiguration
    except ImportError:
        raise missing_extra("training needs accelerate", "train") from None
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device {device}: expected auto, cpu or cuda; choose GPUs with CUDA_VISIBLE_DEVICES")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch finds no CUDA device here")
    if recipe.precision == "fp16" and (device == "cpu" or not torch.cuda.is_available()):
        raise ConfigError("precision=fp16: needs a CUDA device; expected bf16 or no here")
    forget_accelerator()  # of another run in this process, perhaps of another precision
    try:
        accelerator = Accelerator(
            cpu=device == "cpu",
            mixed_precision=recipe.precision,
            log_with=recipe.trackers or None,
            project_config=ProjectConfiguration(str(folder), logging_dir=str(folder / "trackers")),
        )
    except (ValueError, ImportError, RuntimeError) as error:
        raise ConfigError(f"Accelerate refuses this recipe on this machine: {str(error).splitlines()[0]}") from None
    kind = accelerator.distributed_type
    plain = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
    if kind == DistributedType.FSDP and not recipe.shard:
        raise ConfigError(
            "accelerate launch --use_fsdp: the recipe says otherwise; set shard=true, and leave this option out"
        )
    if kind not in (*plain, DistributedType.FSDP):
        raise ConfigError(f"accelerate launch set up {kind.value}: expected plain data-parallel processes, or FSDP")
    if recipe.shard and kind == DistributedType.NO:
        raise ConfigError("shard=true: there is one process alone; start several with accelerate launch or torchrun")
    return accelerator


# The weights at the start -----------------------------------------------------------------------------------------


def config_of(recipe: Recipe, folder: Path) -> TokenizerConfig:
    """The model's, called as the folder is unless the recipe has a name for it."""
    return recipe.config if "variant" in recipe.model_changes else replace(recipe.config, variant=folder.resolve().name)


def starting_tokenizer(recipe: Recipe, folder: Path) -> Tokenizer:
    """The weights that the first step starts from, in float32 on the CPU.

    Raises:
        CheckpointError: where the recipe's `start` is of another shape; names the fields.
    """
    tokenizer = Tokenizer(config_of(recipe, folder))
    if recipe.start is None:
        if recipe.init_batches:
            initialise_with_klt(tokenizer.network, first_batches(recipe))
        return tokenizer
    beginning = Tokenizer.from_pretrained(recipe.start, dtype=torch.float32)
    for half in HALVES:
        beginning.require(half)
    differing = shape_differences(beginning.config, tokenizer.config)
    if not differing:
        tokenizer.network.load_state_dict(beginning.network.state_dict())
        return tokenizer
    if tokenizer.config.is_discrete and not beginning.config.is_discrete and recipe.init_batches:
        try:
            initialise_from_continuous(tokenizer.network, beginning.network, first_batches(recipe))
        except InputError as error:
            raise CheckpointError(f"start={recipe.start}: {error}: {differing}") from None
        return tokenizer
    hint = "; to start a discrete model from a continuous one, set init_batches" if tokenizer.config.is_discrete else ""
    raise CheckpointError(f"start={recipe.start}: does not fit {recipe.model}: {differing}{hint}")


def shape_differences(old: TokenizerConfig, new: TokenizerConfig) -> str:
    """The fields of two configs that differ and matter to the weights."""
    about = ("variant", "chunk", "latents_mean", "latents_std")
    before, after = old.to_dict(), new.to_dict()
    return ", ".join(
        f"{key} is {before[key]} there, {after[key]} here"
        for key in after
        if key not in about and before[key] != after[key]
    )


def first_batches(recipe: Recipe) -> list[Tensor]:
    """Batches like those of the first stage, but others, and without a past, in [-1, 1]."""
    batches = training_data(replace(recipe, stages=[replace(recipe.stages[0], past=0)]), 0, seed=OTHER).batches(0)
    clips = [batch.pixels.float().div_(127.5).sub_(1) for batch in islice(batches, recipe.init_batches)]
    close_batches(batches)
    return clips


def make_validator(recipe: Recipe) -> Validator | None:
    """The fixed set, or None where the recipe has none."""
    options, sources = recipe.validation, recipe.data.validation
    if not sources:
        return None
    from cosmotok.training.data.sources import find_items
    from cosmotok.training.validation import Validator

    items = find_items(sources, downloads=recipe.data.downloads, name="data.validation")
    packed = next((item for item in items if item.name), None)
    if packed is not None:
        raise InputError(f"data.validation: {packed.path} is a shard; expected files outside of shards")
    return Validator(
        [item.path for item in items],
        frames=options.frames,
        max_videos=options.videos,
        max_images=options.images,
        lpips=None if options.lpips_weights_path is None else Path(options.lpips_weights_path),
    )
