"""Weights by whatever users call them: a bundled name, a file or folder of any known kind, a Hub id."""

from __future__ import annotations

import os
from pathlib import Path

from cosmotok.checkpoint import diffusers_files, native, reference_files
from cosmotok.checkpoint.contents import Checkpoint
from cosmotok.checkpoint.files import CONFIG_FILE
from cosmotok.checkpoint.reference_files import Weights
from cosmotok.config import ModelEntry, TokenizerConfig, find_model
from cosmotok.errors import CheckpointError, ConfigError, InputError, UnknownModelError
from cosmotok.paths import model_path

__all__ = ["is_model", "load_checkpoint", "load_config"]

PICKLED = (".jit", ".pt", ".pth", ".ckpt")
BUNDLED = Path(__file__).parents[1] / "weights"


def load_checkpoint(
    name: str | os.PathLike[str],
    *,
    variant: str | None = None,
    weights: Weights = "auto",
    revision: str | None = None,
    token: str | bool | None = None,
    values: bool = True,
) -> Checkpoint:
    """The model called `name`, from wherever it is; see `Tokenizer.from_pretrained`, which has the same arguments.

    Args:
        values: False for names and shapes of the weights alone, as tensors on the meta device: of files, little more
            than the headers is read.

    Raises:
        UnknownModelError: where nothing goes by that name; suggests the nearest.
        CheckpointError: where the weights are damaged, unsafe, ambiguous or do not fit their config.
        ConfigError: where `variant` contradicts what the model says of itself.
        InputError: for a revision of a model that is not on the Hub.
    """
    if variant is not None:
        variant = find_model(variant).name
    path = model_path(name)
    entry = None if path.exists() else known_by_name(name)
    if path.exists() or (entry is not None and entry.bundled):
        refuse_revision(name, revision)
    if path.is_dir():
        return read_folder(path, variant, weights, values)
    if path.exists():
        return read_file(path, variant, weights, values)
    if entry is not None and entry.bundled:
        return as_variant(native.read_folder(BUNDLED / entry.name, values), variant, weights)
    if entry is not None:
        variant = variant or entry.name
    from cosmotok.checkpoint import hub  # its client takes long to import

    repo = hub.hub_id(str(name)) or str(name)
    return read_folder(hub.fetch(repo, revision=revision, token=token), variant, weights, values, names=(repo,))


def load_config(
    name: str | os.PathLike[str],
    *,
    variant: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
) -> TokenizerConfig:
    """The config of the model called `name`, as `load_checkpoint` gives it, without its weights.

    Of files, little more than the headers is read; a published name downloads nothing, and one of our own models on
    the Hub its config alone.

    Raises:
        UnknownModelError, CheckpointError, ConfigError: as `load_checkpoint`, as far as config and shapes tell.
    """
    path = model_path(name)
    entry = None if path.exists() else known_by_name(name)
    if path.exists() or (entry is not None and entry.bundled):
        return load_checkpoint(name, variant=variant, revision=revision, values=False).config
    if entry is not None:
        return checked(entry.config, str(name), variant)
    from cosmotok.checkpoint import hub

    repo = hub.hub_id(str(name)) or str(name)
    folder = hub.fetch(repo, revision=revision, token=token, config_only=True)
    if native.is_native_folder(folder):
        return checked(native.read_config(folder), repo, variant)
    return read_folder(folder, variant, "auto", values=False, names=(repo,)).config


def refuse_revision(name: str | os.PathLike[str], revision: str | None) -> None:
    """Raises InputError for a revision of what is here, which would be ignored."""
    if revision is not None:
        raise InputError(f"{name}: is here, and only models on the Hub have a --revision; leave it out")


def known_by_name(name: str | os.PathLike[str]) -> ModelEntry | None:
    """The model that goes by that name, or None for what may be an id of the Hub.

    Raises:
        UnknownModelError: for a path, where nothing is, and for other names.
    """
    text = str(name)
    if text.startswith((".", "/", "~")) or Path(text).suffix in (".safetensors", *PICKLED):
        raise UnknownModelError(f"{text}: no such file or folder")
    try:
        return find_model(text)
    except UnknownModelError:
        if text.count("/") != 1:
            raise
        return None


def is_model(path: Path) -> bool:
    """Whether the file or folder is a model, as far as names and headers tell."""
    if path.is_dir():
        holds_pickled = any(file.suffix in PICKLED for file in path.iterdir())
        return native.is_native_folder(path) or diffusers_files.is_diffusers_folder(path) or holds_pickled
    return path.suffix in PICKLED or (path.suffix == ".safetensors" and native.is_native_file(path))


def read_folder(
    folder: Path, variant: str | None, weights: Weights, values: bool, names: tuple[str, ...] = ()
) -> Checkpoint:
    """The model in `folder`: ours, a diffusers autoencoder (or pipeline), or NVIDIA's files."""
    if native.is_native_folder(folder):
        return as_variant(native.read_folder(folder, values), variant, weights)
    if diffusers_files.is_diffusers_folder(folder):
        return as_variant(diffusers_files.read_diffusers(folder, values), variant, weights)
    if any(path.suffix in PICKLED for path in folder.iterdir()):
        return reference_files.read_reference(folder, variant, names, weights, values)
    raise CheckpointError(
        f"{folder}: no model in it; expected {CONFIG_FILE} and {native.WEIGHTS_FILE}, a diffusers autoencoder "
        "(also in vae/), or encoder.jit and decoder.jit, autoencoder.jit, model.pt or iter_*.pt"
    )


def read_file(path: Path, variant: str | None, weights: Weights, values: bool) -> Checkpoint:
    """The model in a single file, or in the folder that it stands for."""
    if path.suffix == ".safetensors":
        if diffusers_files.is_diffusers_folder(path.parent) and path.name.startswith("diffusion_pytorch_model"):
            return as_variant(diffusers_files.read_diffusers(path, values), variant, weights)
        return as_variant(native.read_file(path, values), variant, weights)
    if path.suffix in PICKLED:
        return reference_files.read_reference(path, variant, weights=weights, values=values)
    raise CheckpointError(
        f"{path}: not a model; expected a .safetensors, .jit or .pt file, or a folder with a model in it; "
        "`cosmotok info PATH` tells what a file is"
    )


def as_variant(checkpoint: Checkpoint, variant: str | None, weights: Weights) -> Checkpoint:
    """`checkpoint`, whose config says what it is and which has one set of weights.

    Raises:
        ConfigError: where the config contradicts `variant`.
        InputError: where one of several sets of weights is asked for.
    """
    if weights != "auto":
        raise InputError(f"{checkpoint.source}: has one set of weights, so there is no choice; leave out --weights")
    checked(checkpoint.config, checkpoint.source, variant)
    return checkpoint


def checked(config: TokenizerConfig, source: str, variant: str | None) -> TokenizerConfig:
    """`config`; raises ConfigError where it contradicts `variant`."""
    if variant is not None:
        wanted = find_model(variant).config
        for field in ("kind", "spatial_factor", "temporal_factor", "is_discrete"):
            if getattr(wanted, field) != getattr(config, field):
                raise ConfigError(f"variant={variant}: but {source} has {field}={getattr(config, field)}; leave it out")
    return config
