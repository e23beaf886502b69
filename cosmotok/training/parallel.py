"""What the processes of a run do together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cosmotok.training.launch import launched

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = [
    "as_first_process_has",
    "distributed",
    "local_processes",
    "means_over_processes",
    "random_states",
    "same_everywhere",
    "set_random_state",
]


def local_processes(accelerator: Accelerator) -> int:
    """How many processes run on this machine."""
    return min(accelerator.num_processes, launched("LOCAL_WORLD_SIZE", 1, accelerator.num_processes))


@torch.no_grad()
def same_everywhere(accelerator: Accelerator, network: nn.Module) -> None:
    """Gives all processes the first one's weights: machines may differ in the last digit."""
    if accelerator.num_processes == 1:
        return
    from accelerate.utils import broadcast

    for parameter in network.parameters():
        parameter.copy_(broadcast(parameter.detach().to(accelerator.device)))


def distributed(accelerator: Accelerator, module: nn.Module, **options: Any) -> nn.Module:
    """`module`, with its gradients averaged over the processes."""
    if accelerator.num_processes == 1:
        return module
    device = accelerator.device
    return DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None, **options)


def means_over_processes(accelerator: Accelerator, figures: Mapping[str, Tensor]) -> dict[str, float]:
    """Of each figure, which is a single number."""
    values = torch.stack([value.float().to(accelerator.device) for value in figures.values()])
    if accelerator.num_processes > 1:
        values = accelerator.reduce(values, "mean")
    return dict(zip(figures, values.tolist(), strict=True))


def as_first_process_has(accelerator: Accelerator, value: float) -> float:
    """The first process's value, on all of them."""
    if accelerator.num_processes == 1:
        return value
    from accelerate.utils import broadcast

    return float(broadcast(torch.tensor([value], dtype=torch.float64, device=accelerator.device)).item())


def random_states(accelerator: Accelerator) -> list[dict[str, Tensor]]:
    """Those of PyTorch's generators, of every process."""
    own = {"cpu": torch.get_rng_state()}
    if accelerator.device.type == "cuda":
        own["cuda"] = torch.cuda.get_rng_state(accelerator.device)
    if accelerator.num_processes == 1:
        return [own]
    from accelerate.utils import gather_object

    states: list[dict[str, Tensor]] = gather_object([own])
    return states


def set_random_state(accelerator: Accelerator, states: list[dict[str, Tensor]], seed: int) -> None:
    """Goes on from `random_states`; from `seed`, another one for each process, where there were more or fewer."""
    if len(states) != accelerator.num_processes:
        torch.manual_seed(seed)
        return
    own = states[accelerator.process_index]
    torch.set_rng_state(own["cpu"])
    if "cuda" in own and accelerator.device.type == "cuda":
        torch.cuda.set_rng_state(own["cuda"], accelerator.device)
