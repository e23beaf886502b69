"""Our own format: a folder with `config.json` and `model.safetensors`, which also works without the former."""

from __future__ import annotations

import json
import os
from pathlib import Path

import safetensors
import safetensors.torch

from cosmotok.checkpoint.calibration import CALIBRATION_FILE, read_calibration
from cosmotok.checkpoint.contents import Checkpoint, half_of
from cosmotok.checkpoint.files import CONFIG_FILE
from cosmotok.checkpoint.fit import fit
from cosmotok.checkpoint.safetensors_file import SafetensorsFile
from cosmotok.config import TokenizerConfig
from cosmotok.errors import CheckpointError
from cosmotok.foreign import check_regular_file, parse_json, read_json
from cosmotok.network import HALVES
from cosmotok.writing import output_folder, write_file

__all__ = [
    "WEIGHTS_FILE",
    "is_native_file",
    "is_native_folder",
    "read_config",
    "read_file",
    "read_folder",
    "write_folder",
]

WEIGHTS_FILE = "model.safetensors"


def is_native_folder(folder: Path) -> bool:
    """Whether `write_folder` wrote there, as far as the names of the files tell."""
    if (folder / WEIGHTS_FILE).exists():
        return True
    try:
        return "config_version" in read_json(folder / CONFIG_FILE)
    except (OSError, ValueError, TypeError):
        return False


def is_native_file(path: Path) -> bool:
    """Whether the header of a safetensors file says that it is a model of ours."""
    try:
        check_regular_file(path)
        with safetensors.safe_open(path, framework="pt") as file:
            return "config" in (file.metadata() or {})
    except (OSError, ValueError, safetensors.SafetensorError):
        return False


def read_folder(folder: Path, values: bool = True) -> Checkpoint:
    """The model in a folder that `write_folder` wrote.

    Args:
        values: False for the shapes of the weights alone.

    Raises:
        CheckpointError: naming the file that is missing, damaged or invalid.
    """
    config = read_config(folder)
    return read_weights(SafetensorsFile(folder / WEIGHTS_FILE), config, values)


def read_config(folder: Path) -> TokenizerConfig:
    """The config in a folder that `write_folder` wrote; raises CheckpointError where it is missing or invalid."""
    path = folder / CONFIG_FILE
    try:
        return TokenizerConfig.from_dict(read_json(path))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder}: no {CONFIG_FILE}; expected a folder with {CONFIG_FILE} and {WEIGHTS_FILE}"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a valid config: {error}") from None


def read_file(path: Path, values: bool = True) -> Checkpoint:
    """The model in a single `model.safetensors`, whose metadata hold the config.

    Raises:
        CheckpointError: where it is missing, damaged, or not a model that cosmotok wrote.
    """
    file = SafetensorsFile(path)
    if "config" not in file.metadata:
        is_tokens = {"indices", "latents"} & set(file.tensors)
        what = "is a token file, not a model" if is_tokens else "holds no cosmotok config"
        raise CheckpointError(f"{path}: {what}; expected a {WEIGHTS_FILE} that `save_pretrained` wrote")
    try:
        config = TokenizerConfig.from_dict(parse_json(file.metadata["config"]))
    except ValueError as error:
        raise CheckpointError(f"{path}: not a valid config: {error}") from None
    return read_weights(file, config, values)


def read_weights(file: SafetensorsFile, config: TokenizerConfig, values: bool) -> Checkpoint:
    """The checkpoint, with one half alone only where the file says that this is meant."""
    path = file.path
    declared = set(file.metadata.get("halves", " ".join(HALVES)).split())
    absent = sorted(declared - {half_of(name) for name in file.tensors})
    if absent:
        raise CheckpointError(f"{path}: the whole {absent[0]} is missing; fetch or copy it again")
    fit(file.tensors, config, str(path))
    calibration = read_calibration(path.parent) if path.name == WEIGHTS_FILE else None
    return Checkpoint(config, file.read(file.tensors) if values else file.tensors, str(path), calibration)


def write_folder(checkpoint: Checkpoint, folder: str | os.PathLike[str]) -> None:
    """Writes config, weights and calibration, all or nothing; without a calibration, an old one goes.

    Raises:
        InputError: for an empty name.
        MediaError: where the folder cannot be written.
    """
    config = checkpoint.config
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    metadata = {
        "format": "pt",
        "variant": config.variant,
        "config": json.dumps(config.to_dict()),
        "halves": " ".join(sorted(checkpoint.halves)),
    }
    with output_folder(folder, replaces=[CALIBRATION_FILE]) as place:
        write_file(place / WEIGHTS_FILE, safetensors.torch.save(contiguous, metadata))
        write_file(place / CONFIG_FILE, json.dumps(config.to_dict(), indent=2) + "\n")
        if checkpoint.calibration is not None:
            write_file(place / CALIBRATION_FILE, checkpoint.calibration.to_json())
