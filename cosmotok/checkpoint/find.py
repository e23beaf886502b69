"""Weights by whatever users call them: a bundled name, a file or folder of any known kind, a Hub id."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from cosmotok.checkpoint import native
from cosmotok.checkpoint.contents import Checkpoint
from cosmotok.config import find_model
from cosmotok.errors import CheckpointError, ConfigError, UnknownModelError

__all__ = ["is_model", "load_checkpoint"]

Weights = Literal["auto", "plain", "averaged"]
PICKLED = (".jit", ".pt", ".pth", ".ckpt")
BUNDLED = Path(__file__).parents[1] / "weights"


def load_checkpoint(
    name: str | os.PathLike[str],
    *,
    variant: str | None = None,
    weights: Weights = "auto",
    revision: str | None = None,
    token: str | bool | None = None,
) -> Checkpoint:
    """The model called `name`, from wherever it is; see `Tokenizer.from_pretrained`, which has the same arguments.

    Raises:
        UnknownModelError: where nothing goes by that name; suggests the nearest.
        CheckpointError: where the weights are damaged, unsafe, ambiguous or do not fit their config.
    """
    if variant is not None:
        variant = find_model(variant).name
    text, path = str(name), Path(name).expanduser()
    if path.is_dir():
        return read_folder(path, variant, weights)
    if path.exists():
        return read_file(path, variant, weights)
    if text.startswith((".", "/", "~")) or path.suffix in (".safetensors", *PICKLED):
        raise UnknownModelError(f"{text}: no such file or folder")
    try:
        entry = find_model(text)
    except UnknownModelError:
        if text.count("/") != 1:
            raise
    else:
        if entry.bundled:
            return native.read_folder(BUNDLED / entry.name)
        variant = variant or entry.name
    from cosmotok.checkpoint import hub  # its client takes long to import

    repo = hub.hub_id(text) or text
    return read_folder(hub.fetch(repo, revision=revision, token=token), variant, weights, names=(repo,))


def is_model(path: Path) -> bool:
    """Whether the file or folder is a model, as far as names and headers tell."""
    from cosmotok.checkpoint import diffusers_files

    if path.is_dir():
        holds_pickled = any(file.suffix in PICKLED for file in path.iterdir())
        return native.is_native_folder(path) or diffusers_files.is_diffusers_folder(path) or holds_pickled
    return path.suffix in PICKLED or (path.suffix == ".safetensors" and native.is_native_file(path))


def read_folder(folder: Path, variant: str | None, weights: Weights, names: tuple[str, ...] = ()) -> Checkpoint:
    """The model in `folder`: ours, a diffusers autoencoder (or pipeline), or NVIDIA's files."""
    if native.is_native_folder(folder):
        return as_variant(native.read_folder(folder), variant)
    from cosmotok.checkpoint import diffusers_files, reference_files

    if diffusers_files.is_diffusers_folder(folder):
        return as_variant(diffusers_files.read_diffusers(folder), variant)
    if any(path.suffix in PICKLED for path in folder.iterdir()):
        return reference_files.read_reference(folder, variant, names, weights)
    raise CheckpointError(
        f"{folder}: no model in it; expected {native.CONFIG_FILE} and {native.WEIGHTS_FILE}, a diffusers autoencoder "
        "(also in vae/), or encoder.jit and decoder.jit, autoencoder.jit, model.pt or iter_*.pt"
    )


def read_file(path: Path, variant: str | None, weights: Weights) -> Checkpoint:
    """The model in a single file, or in the folder that it stands for."""
    from cosmotok.checkpoint import diffusers_files, reference_files

    if path.suffix == ".safetensors":
        if diffusers_files.is_diffusers_folder(path.parent) and path.name.startswith("diffusion_pytorch_model"):
            return as_variant(diffusers_files.read_diffusers(path), variant)
        return as_variant(native.read_file(path), variant)
    if path.suffix in PICKLED:
        return reference_files.read_reference(path, variant, weights=weights)
    raise CheckpointError(
        f"{path}: not a model; expected a .safetensors, .jit or .pt file, or a folder (what you have, and how it "
        "loads: docs/checkpoints.md)"
    )


def as_variant(checkpoint: Checkpoint, variant: str | None) -> Checkpoint:
    """`checkpoint`, whose config says what it is; raises ConfigError where that contradicts `variant`."""
    if variant is not None:
        wanted, found = find_model(variant).config, checkpoint.config
        for field in ("kind", "spatial_factor", "temporal_factor", "is_discrete"):
            if getattr(wanted, field) != getattr(found, field):
                raise ConfigError(
                    f"variant={variant}: but {checkpoint.source} has {field}={getattr(found, field)}; leave it out"
                )
    return checkpoint
