"""Our own format: a folder with `config.json` and `model.safetensors`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from cosmotok.config import TokenizerConfig
from cosmotok.errors import CheckpointError, ConfigError
from cosmotok.media.atomic import atomic_path

__all__ = ["CONFIG_FILE", "WEIGHTS_FILE", "fingerprint", "read_folder", "read_safetensors", "write_folder"]

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


def read_folder(folder: Path) -> tuple[TokenizerConfig, dict[str, Tensor]]:
    """Config and weights of a folder that `write_folder` wrote.

    Raises:
        CheckpointError: naming the file that is missing, damaged or invalid.
    """
    path = folder / CONFIG_FILE
    try:
        config = TokenizerConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder}: no {CONFIG_FILE}; expected a folder with {CONFIG_FILE} and {WEIGHTS_FILE}"
        ) from None
    except (OSError, ValueError, ConfigError) as error:
        raise CheckpointError(f"{path}: not a valid config: {error}") from None
    return config, read_safetensors(folder / WEIGHTS_FILE)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU.

    Raises:
        CheckpointError: where the file is missing or damaged.
    """
    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; the model's weights are missing") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error}); fetch or copy it again") from None


def write_folder(folder: Path, config: TokenizerConfig, tensors: Mapping[str, Tensor]) -> None:
    """Writes config and weights, each to a temporary name first."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot make this folder for the weights: {error.strerror}") from None
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        metadata = {"format": "pt", "variant": config.variant}
        temporary.write_bytes(safetensors.torch.save(contiguous, metadata))
    with atomic_path(folder / CONFIG_FILE) as temporary:
        temporary.write_text(json.dumps(config.to_dict(), indent=2) + "\n", encoding="utf-8")


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """16 hex digits that change with any weight: what a token file remembers of its model."""
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name}{list(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
