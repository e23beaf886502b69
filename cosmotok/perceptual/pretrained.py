"""Frozen networks, and where their weights come from."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn

from cosmotok.errors import CheckpointError, missing_extra

__all__ = ["RANDOM", "Download", "Frozen", "pretrained", "torchvision_download"]

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


@dataclass(frozen=True)
class Download:
    """Where a network's weights are published, and where they are kept once they are here: torch.hub's cache."""

    name: str
    """Of the network and its publisher, for messages."""
    url: str
    digest: str
    """The first digits of the file's SHA-256."""

    @property
    def file(self) -> Path:
        """Its place on this machine, whether it is there or not."""
        return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(self.url).path).name

    def fetch(self, option: str) -> Path:
        """The file on this machine, downloaded if it is not there yet.

        Args:
            option: by which the user could name another file, for messages.

        Raises:
            CheckpointError: where it cannot be had, such as without network.
        """
        if not self.file.exists():
            try:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                torch.hub.download_url_to_file(self.url, str(self.file), self.digest, progress=False)
            except (OSError, RuntimeError, ValueError) as error:
                # no network, a proxy's error page (its hash differs), a full disk
                raise CheckpointError(
                    f"{self.name} could not be downloaded ({first_line(error)}); fetch {self.url} elsewhere and "
                    f"pass {option}=FILE, or put it into {self.file.parent}"
                ) from None
        return self.file


def torchvision_download(name: str) -> Download:
    """Torchvision's default weights of a model, such as "vgg19".

    Raises:
        MissingExtraError: without torchvision.
    """
    try:
        from torchvision.models import get_model_weights
    except ImportError:
        raise missing_extra("torchvision is not installed", "train") from None
    url = get_model_weights(name).DEFAULT.url
    # named after their hash: vgg19-dcbb9e9d.pth
    return Download(f"torchvision's weights of {name}", url, Path(url).stem.rpartition("-")[2])


def pretrained(
    build: Callable[[], Network], name: str, path: str | None, option: str, download: Download | None = None
) -> Network:
    """A network with its pretrained weights.

    Args:
        build: makes the network, with any weights.
        name: the network's, such as "vgg19"; torchvision's where there is no `download`.
        path: a file with a state dict by the network's names, "random", or None for the published copy.
        option: what the user calls `path`, for messages.
        download: the published copy, where it is not torchvision's.

    Raises:
        CheckpointError: where the weights cannot be had, or are of another network.
        MissingExtraError: where torchvision would know the address and is not installed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same noise in every process, and nothing taken from the run's own
        network = build()
    if path == RANDOM:
        return network
    file = (download or torchvision_download(name)).fetch(option) if path is None else Path(path)
    tensors = read(file, option)
    # batches that a batch norm saw play no part in what it yields, and older files do not count them
    wanted = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    taken = {key: tensors[key] for key in wanted if key in tensors and tensors[key].shape == wanted[key].shape}
    if taken.keys() != wanted.keys():
        expected = download.name if download else f"torchvision's weights of {name}"
        raise CheckpointError(
            f"{option}={file}: expected {expected}, got something else; "
            f"{len(wanted) - len(taken)} of {len(wanted)} tensors are missing or of another shape"
        )
    network.load_state_dict(taken, strict=False)
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


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
