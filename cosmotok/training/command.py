"""What `cosmotok train` does, behind its options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cosmotok.errors import ConfigError
from cosmotok.language import translate as _
from cosmotok.printing import print_json, say
from cosmotok.sentences import translated
from cosmotok.training.launch import launched
from cosmotok.training.overrides import override, read_recipe, to_yaml
from cosmotok.training.recipe import Recipe
from cosmotok.training.recipes import find_recipe, list_recipes

__all__ = ["check_data", "default_output", "dry_run", "resolve", "train"]


def resolve(
    name: str | None,
    *,
    file: Path | None = None,
    assignments: Sequence[str] = (),
    resumed: Path | None = None,
) -> Recipe:
    """The recipe that the options ask for.

    Args:
        name: a known recipe, or a YAML file that holds a whole one. None takes that of the resumed run.
        file: YAML with changes.
        assignments: `key=value`.
        resumed: the folder of the run to resume.

    Raises:
        UnknownModelError, ConfigError: as `find_recipe` and `override`; where there is no name.
    """
    if name is None and resumed is not None and (resumed / "recipe.yaml").exists():
        recipe = read_recipe(resumed / "recipe.yaml")
    elif name is None:
        raise ConfigError(f"--recipe: expected a name or a YAML file; known: {', '.join(list_recipes())}")
    else:
        recipe = read_recipe(Path(name)) if name.endswith((".yaml", ".yml")) else find_recipe(name)
    return override(recipe, file, assignments)


def default_output(recipe: Recipe) -> Path:
    """Where a run goes that was not told where."""
    return Path("runs") / recipe.name


def train(
    name: str | None,
    *,
    output: Path | None = None,
    file: Path | None = None,
    assignments: Sequence[str] = (),
    resume: bool = False,
    device: str = "auto",
) -> Path:
    """Trains, and shows how it goes; see `resolve` for the recipe and `start_run` for the rest.

    Returns:
        The folder of the run.
    """
    recipe = resolve(name, file=file, assignments=assignments, resumed=output if resume else None)
    folder = default_output(recipe) if output is None else output
    from cosmotok.training.console import RunConsole
    from cosmotok.training.report import write_report
    from cosmotok.training.run import start_run

    if launched("RANK", 0) > 0:  # one of several processes, of which the first one talks
        return start_run(recipe, folder, resume=resume, device=device)
    try:
        with RunConsole(_("training {name}").format(name=recipe.name), recipe.steps, recipe.minutes) as console:
            start_run(recipe, folder, resume=resume, device=device, report=console)
    except KeyboardInterrupt:
        say(_("to go on: {command}").format(command=f"cosmotok train --resume --output {folder}"))
        raise
    say(_("wrote {path}").format(path=write_report(folder)))
    say(_("wrote {path}; try: {command}").format(path=folder, command=f"cosmotok reconstruct CLIP --model {folder}"))
    return folder


def dry_run(
    name: str | None,
    *,
    file: Path | None = None,
    assignments: Sequence[str] = (),
    device: str = "auto",
    as_json: bool = False,
) -> None:
    """Prints the resolved recipe, and what it comes to on this machine, without training."""
    import torch

    from cosmotok.training.describe import describe, describe_lines

    recipe = resolve(name, file=file, assignments=assignments)
    place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    facts = describe(recipe, torch.device(place), processes=launched("WORLD_SIZE", 1))
    if as_json:
        print_json(facts)
        return
    print(to_yaml(recipe), end="")
    print()
    for line in describe_lines(facts):
        print("# " + translated(line))


def check_data(
    name: str | None,
    *,
    file: Path | None = None,
    assignments: Sequence[str] = (),
    as_json: bool = False,
) -> bool:
    """Reads all training and validation data once, and prints what is there.

    Returns:
        Whether every file can be read.

    Raises:
        InputError: as training would, where a recipe is named and this data is too little for its batches.
    """
    from cosmotok.progress import Progress
    from cosmotok.training.batches import training_data
    from cosmotok.training.data import check_data as examine

    recipe = resolve(name or list_recipes()[0], file=file, assignments=assignments)
    with Progress(_("checking data"), None, _("files")) as progress:

        def advance(done: int, total: int) -> None:
            progress.total = total
            progress.advance(1)

        report = examine(recipe.data, advance)
    if as_json:
        print_json(report.to_dict())
    else:
        print("\n".join(map(translated, report.lines())))
    parts = [report.train] + ([report.validation] if report.validation is not None else [])
    if any(part.broken for part in parts):
        return False
    if name is not None:
        for stage in range(len(recipe.stages)):
            training_data(recipe, stage, world=launched("WORLD_SIZE", 1))
    return True
