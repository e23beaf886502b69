"""Our own format: a folder with `config.json` and `model.safetensors`, which also works without the former."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from cosmotok.checkpoint.contents import Checkpoint, half_of, make_folder
from cosmotok.config import TokenizerConfig
from cosmotok.errors import CheckpointError, ConfigError
from cosmotok.media.atomic import atomic_path
from cosmotok.network import HALVES
from cosmotok.quantization import CALIBRATION_FILE, Calibration

__all__ = [
    "CONFIG_FILE",
    "WEIGHTS_FILE",
    "fingerprint",
    "is_native_file",
    "is_native_folder",
    "read_calibration",
    "read_file",
    "read_folder",
    "same_weights",
    "write_calibration",
    "write_folder",
]

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
ABSENT = "00000000"


def is_native_folder(folder: Path) -> bool:
    """Whether `write_folder` wrote there, as far as the names of the files tell."""
    if (folder / WEIGHTS_FILE).exists():
        return True
    try:
        return "config_version" in json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def is_native_file(path: Path) -> bool:
    """Whether the header of a safetensors file says that it is a model of ours."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return "config" in (file.metadata() or {})
    except (OSError, safetensors.SafetensorError):
        return False


def read_folder(folder: Path) -> Checkpoint:
    """The model in a folder that `write_folder` wrote.

    Raises:
        CheckpointError: naming the file that is missing, damaged or invalid.
    """
    path = folder / CONFIG_FILE
    try:
        config = config_of(path, path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder}: no {CONFIG_FILE}; expected a folder with {CONFIG_FILE} and {WEIGHTS_FILE}"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a valid config: {error}") from None
    tensors, metadata = read_safetensors(folder / WEIGHTS_FILE)
    return checkpoint_of(folder / WEIGHTS_FILE, config, tensors, metadata)


def read_file(path: Path) -> Checkpoint:
    """The model in a single `model.safetensors`, whose metadata hold the config.

    Raises:
        CheckpointError: where it is missing, damaged, or not a model that cosmotok wrote.
    """
    tensors, metadata = read_safetensors(path)
    if "config" not in metadata:
        what = "is a token file, not a model" if {"indices", "latents"} & set(tensors) else "holds no cosmotok config"
        raise CheckpointError(f"{path}: {what}; expected a {WEIGHTS_FILE} that `save_pretrained` wrote")
    return checkpoint_of(path, config_of(path, metadata["config"]), tensors, metadata)


def config_of(path: Path, text: str) -> TokenizerConfig:
    try:
        return TokenizerConfig.from_dict(json.loads(text))
    except (ValueError, ConfigError) as error:
        raise CheckpointError(f"{path}: not a valid config: {error}") from None


def checkpoint_of(
    path: Path, config: TokenizerConfig, tensors: dict[str, Tensor], metadata: Mapping[str, str]
) -> Checkpoint:
    """The checkpoint, with one half alone only where the file says that this is meant."""
    checkpoint = Checkpoint(config, tensors, str(path))
    declared = set(metadata.get("halves", " ".join(HALVES)).split())
    absent = sorted(declared - checkpoint.halves)
    if absent:
        raise CheckpointError(f"{path}: the whole {absent[0]} is missing; fetch or copy it again")
    return checkpoint


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, on the CPU, and its metadata.

    Raises:
        CheckpointError: where the file is missing or damaged.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; the model's weights are missing") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error}); fetch or copy it again") from None


def write_folder(checkpoint: Checkpoint, folder: Path) -> None:
    """Writes config and weights, each to a temporary name first.

    Raises:
        CheckpointError: where the folder cannot be made.
    """
    make_folder(folder)
    config = checkpoint.config
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
        metadata = {
            "format": "pt",
            "variant": config.variant,
            "config": json.dumps(config.to_dict()),
            "halves": " ".join(sorted(checkpoint.halves)),
        }
        temporary.write_bytes(safetensors.torch.save(contiguous, metadata))
    with atomic_path(folder / CONFIG_FILE) as temporary:
        temporary.write_text(json.dumps(config.to_dict(), indent=2) + "\n", encoding="utf-8")


def read_calibration(weights: Path) -> Calibration | None:
    """What `write_calibration` wrote beside the weights file; None where nothing is.

    Raises:
        CheckpointError: where the file is damaged.
    """
    path = weights.with_name(CALIBRATION_FILE)
    if weights.name != WEIGHTS_FILE or not path.exists():
        return None
    try:
        return Calibration.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, CheckpointError) as error:
        raise CheckpointError(f"{path}: not a valid calibration ({error}); delete it, or calibrate again") from None


def write_calibration(calibration: Calibration | None, folder: Path) -> None:
    """Writes it beside the weights in `folder`; None removes one of earlier weights."""
    path = folder / CALIBRATION_FILE
    if calibration is None:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary:
        temporary.write_text(calibration.to_json(), encoding="utf-8")


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """16 hex digits that change with any weight, 8 for each half: what a token file remembers of its model."""
    digits = ""
    for half in HALVES:
        digest = hashlib.blake2b(digest_size=4)
        names = sorted(name for name in tensors if half_of(name) == half)
        for name in names:
            tensor = tensors[name].detach().to("cpu", torch.float32).contiguous()
            digest.update(f"{name}{list(tensor.shape)}".encode())
            digest.update(tensor.numpy().tobytes())
        digits += digest.hexdigest() if names else ABSENT
    return digits


def same_weights(one: str, other: str) -> bool:
    """Whether two fingerprints may be of one model: they agree in every half that both have."""
    pairs = ((one[:8], other[:8]), (one[8:], other[8:]))
    return all(a == b or ABSENT in (a, b) for a, b in pairs)
