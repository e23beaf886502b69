"""Frozen networks, and where their weights come from."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from cosmotok.errors import CheckpointError, MissingExtraError

__all__ = ["RANDOM", "Frozen", "pretrained", "torchvision_weights"]

RANDOM = "random"
"""In place of a weights file: seeded noise, for tests and smoke runs; what it yields is of no use."""

Network = TypeVar("Network", bound=nn.Module)


class Frozen(nn.Module):
    """A module that never trains: its parameters take no gradients, and it stays in evaluation mode."""

    def freeze(self) -> None:
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Frozen:
        return super().train(False)


def torchvision_weights(name: str) -> Any:
    """Torchvision's entry of the default weights of a model, such as "vgg19".

    Raises:
        MissingExtraError: without torchvision.
    """
    try:
        from torchvision.models import get_model_weights
    except ImportError:
        raise MissingExtraError('torchvision is not installed; run: pip install "cosmotok[train]"') from None
    return get_model_weights(name).DEFAULT


def pretrained(build: Callable[[], Network], name: str, path: str | None, option: str) -> Network:
    """A network with its pretrained weights.

    Args:
        build: makes the network, with any weights.
        name: torchvision's, such as "vgg19".
        path: a file with torchvision's state dict, "random", or None for torchvision's own copy.
        option: what the user calls `path`, for messages.

    Raises:
        CheckpointError: where the weights cannot be had, or are of another network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same noise in every process, and nothing taken from the run's own
        network = build()
    if path == RANDOM:
        return network
    tensors = downloaded(name, option) if path is None else read(Path(path), option)
    wanted = network.state_dict()
    taken = {key: tensors[key] for key in wanted if key in tensors and tensors[key].shape == wanted[key].shape}
    if taken.keys() != wanted.keys():
        raise CheckpointError(
            f"{option}={path}: expected torchvision's weights of {name}, got something else; "
            f"{len(wanted) - len(taken)} of {len(wanted)} tensors are missing or of another shape"
        )
    network.load_state_dict(taken)
    return network


def read(path: Path, option: str) -> dict[str, Tensor]:
    """The state dict in a local file."""
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{option}={path}: no such file") from None
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, ValueError) as error:
        raise CheckpointError(f"{option}={path}: not a PyTorch weights file: {first_line(error)}") from None
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise CheckpointError(f"{option}={path}: expected a state dict of tensors")
    return tensors


def downloaded(name: str, option: str) -> dict[str, Tensor]:
    """Torchvision's copy, from its cache or from the network."""
    weights = torchvision_weights(name)
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError, ValueError) as error:
        # no network, a proxy's error page (its hash differs), a full disk
        raise CheckpointError(
            f"the weights of {name} could not be downloaded ({first_line(error)}); fetch {weights.url} elsewhere and "
            f"pass {option}=FILE, or put it into {Path(torch.hub.get_dir()) / 'checkpoints'}"
        ) from None


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
