"""Weights, their gradients and the optimiser's state split over processes (PyTorch's FSDP2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from cosmotok.training.modes import CHECKPOINTED

__all__ = ["gather", "load_sharded", "shard", "sharded_state", "split_like"]

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def shard(network: nn.Module, device: torch.device, processes: int) -> None:
    """Splits the weights over all processes; a block has them whole only while it computes. In place."""
    mesh = init_device_mesh(device.type, (processes,))
    for module in network.modules():
        if isinstance(module, CHECKPOINTED):
            fully_shard(module, mesh=mesh)
    fully_shard(network, mesh=mesh)


def gather(values: Tensor) -> Tensor:
    """A split tensor as a whole one, on every process; any other as it is."""
    return values.full_tensor() if isinstance(values, DTensor) else values


def split_like(whole: Tensor, like: Tensor) -> Tensor:
    """Inverse of `gather`: `whole` split as `like` is."""
    if not isinstance(like, DTensor):
        return whole
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements)


def sharded_state(network: nn.Module, optimizers: list[torch.optim.Optimizer]) -> dict[str, Any]:
    """Weights and optimisers' states as whole tensors on the CPU; empty ones but on the first process."""
    return {
        "network": get_model_state_dict(network, options=WHOLE),
        "optimizers": [get_optimizer_state_dict(network, optimizer, options=WHOLE) for optimizer in optimizers],
    }


def load_sharded(network: nn.Module, optimizers: list[torch.optim.Optimizer], state: Mapping[str, Any]) -> None:
    """Takes what `sharded_state` gave; every process has all of it."""
    options = StateDictOptions(full_state_dict=True)
    set_model_state_dict(network, dict(state["network"]), options=options)
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        set_optimizer_state_dict(network, optimizer, saved, options=options)
