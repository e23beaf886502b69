"""How much memory a recipe needs, as an estimate, and how much there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cosmotok.config import TokenizerConfig
from cosmotok.errors import ConfigError, missing_extra
from cosmotok.language import number
from cosmotok.network import HALVES
from cosmotok.tokenizer import build_network
from cosmotok.training.losses.options import LossOptions, is_ever_on
from cosmotok.training.modes import CHECKPOINTED
from cosmotok.training.recipe import Recipe, TrainingStage

__all__ = ["MemoryEstimate", "available_memory", "check_memory", "count_parameters", "estimate_memory", "gigabytes"]

FLOAT = 4
# What autocast keeps in 16 bit: nearly all activations but the norms' inputs and what follows them.
HALF_SHARE = 0.6
WORKSPACE = 16
"""Times the largest activation: what comes and goes in a step. With it, the estimates for nine runs on a CPU were
between 18 % below and 24 % above what was measured."""
PASSING = 6
"""Times the largest activation, where nothing is kept: of a clip's past, in 16 bit hardly less. Pasts of 77 frames took
as much as this says, or a fifth more."""
# Numbers that autograd was counted to keep per pixel (5 frames of 128 x 128): of VGG-19's losses, of RAFT's (per pixel
# of the size that flow is estimated at), and of a discriminator per channel of its first layer.
VGG, VGG_RECOMPUTED, RAFT, RAFT_UPDATE, DISCRIMINATOR = 643, 377, 1393, 143, 1.05


@dataclass(frozen=True)
class MemoryEstimate:
    """Of one process, in bytes; an estimate."""

    weights: int
    average: int
    gradients: int
    optimizer: int
    activations: int
    """Kept for the backward pass of the largest batch, by the network and the losses' networks."""
    workspace: int
    """What comes and goes beside them."""
    largest_stage: int

    @property
    def total(self) -> int:
        """All of it together; updating the weights takes as much as they do, but not at the same time."""
        passing = max(self.activations + self.workspace, self.weights)
        return self.weights + self.average + self.gradients + self.optimizer + passing


def estimate_memory(recipe: Recipe, processes: int = 1) -> MemoryEstimate:
    """What one of so many processes needs, from shapes alone: nothing is computed.

    Activations are counted by running the network on PyTorch's "meta" device. The work space is `WORKSPACE`.
    """
    with torch.device("meta"):
        network = build_network(recipe.config)
    parameters = list(network.parameters())
    if recipe.train == "decoder":
        network.requires_grad_(False)
        for name in HALVES["decoder"]:
            module = getattr(network, name)
            if module is not None:
                module.requires_grad_(True)
    count = sum(p.numel() for p in parameters)
    trained = [p for p in parameters if p.requires_grad]
    muon = recipe.optimizer.name == "muon"
    moments = sum(p.numel() * (1 if muon and p.ndim > 1 else 2) for p in trained)
    by_stage = [stage_activations(network, recipe, index, processes) for index in range(len(recipe.stages))]
    largest = max(range(len(by_stage)), key=lambda index: sum(by_stage[index]))
    activations, workspace = by_stage[largest]
    split = processes if recipe.shard else 1
    return MemoryEstimate(
        weights=FLOAT * count // split,
        average=FLOAT * count // split + (FLOAT * count if recipe.shard else 0),  # split, and whole to be saved
        gradients=FLOAT * sum(p.numel() for p in trained) // split,
        optimizer=FLOAT * moments // split,
        activations=activations,
        workspace=workspace,
        largest_stage=largest,
    )


def count_parameters(config: TokenizerConfig) -> int:
    """Numbers in the weights."""
    with torch.device("meta"):
        return sum(p.numel() for p in build_network(config).parameters())


def stage_activations(network: nn.Module, recipe: Recipe, index: int, processes: int) -> tuple[int, int]:
    """Bytes kept, and those of the work space, at the peak of the larger of a stage's two kinds of batch."""
    stage = recipe.stages[index]
    sizes = {(part_size(stage.images, recipe, processes), 1)}
    if recipe.config.kind == "video":
        sizes.add((part_size(stage.clips, recipe, processes), stage.frames))
    share = 1.0 if recipe.precision == "no" else HALF_SHARE
    losses = recipe.loss_of(index)
    found = []
    for batch, frames in sizes:
        kept, largest = network_activations(network, batch, frames, stage.crop, recipe.activation_checkpointing)
        of_losses = loss_activations(losses, batch * frames, stage.crop)
        past = PASSING * stage.past / frames if frames > 1 else 0.0
        found.append((int(share * kept) + of_losses, int(max(share * WORKSPACE, past) * largest)))
    return max(found, key=sum)


def part_size(batch: int, recipe: Recipe, processes: int) -> int:
    """Samples that are computed at once by one process."""
    own = -(-batch // processes)
    return -(-own // min(recipe.accumulate, own))


def network_activations(network: nn.Module, batch: int, frames: int, crop: int, recompute: bool) -> tuple[int, int]:
    """Bytes that autograd keeps of the network's forward pass in float32, and those of the largest tensor of them."""
    blocks = CHECKPOINTED if recompute else ()
    video = torch.empty(batch, 3, frames, crop, crop, device="meta")
    with saved_bytes(network, blocks) as count:
        output = network(video)
    # source, reconstruction, and the gradient of the latter
    kept, largest = count()
    return kept + 3 * output.numel() * FLOAT, largest


@contextmanager
def saved_bytes(network: nn.Module, blocks: tuple[type[nn.Module], ...]) -> Iterator[Callable[[], tuple[int, int]]]:
    """Counts what autograd saves inside: bytes, and those of the largest tensor.

    Args:
        blocks: modules of which only the inputs count, and what the largest of them saves.
    """
    outside: dict[int, Tensor] = {}
    inside: dict[int, dict[int, Tensor]] = {}
    current: list[int] = []
    weights = {p.untyped_storage()._cdata for p in network.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in weights:
            (inside[current[0]] if current else outside)[storage] = tensor
        return tensor

    def enter(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        outside[inputs[0].untyped_storage()._cdata] = inputs[0]
        inside.setdefault(id(module), {})
        current.append(id(module))

    def leave(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        current.pop()

    handles = []
    for module in network.modules():
        if blocks and isinstance(module, blocks):
            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]

    def count() -> tuple[int, int]:
        block = max((bytes_of(tensors) for tensors in inside.values()), default=0)
        tensors = [tensor for part in (outside, *inside.values()) for tensor in part.values()]
        largest = max((tensor.untyped_storage().nbytes() for tensor in tensors), default=0)
        return bytes_of(outside) + block, largest

    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            yield count
    finally:
        for handle in handles:
            handle.remove()


def bytes_of(tensors: dict[int, Tensor]) -> int:
    """Of the storages, each of which several tensors may share."""
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors.values())


def loss_activations(losses: LossOptions, frames: int, crop: int) -> int:
    """Bytes that the losses' frozen networks and the discriminators keep, by what they were counted to keep.

    Args:
        frames: of all clips together.
    """
    pixels = frames * crop * crop
    numbers = 0.0
    if is_ever_on(losses.perceptual) or is_ever_on(losses.gram):
        numbers += pixels * (VGG_RECOMPUTED if losses.checkpoint else VGG)
    if is_ever_on(losses.lpips):
        numbers += pixels * (VGG_RECOMPUTED if losses.checkpoint else VGG)
    if is_ever_on(losses.flow):
        raft = RAFT + RAFT_UPDATE * losses.flow_updates
        numbers += pixels * losses.flow_scale**2 * (raft / 2 if losses.checkpoint else raft)
    if losses.is_adversarial:
        numbers += pixels * DISCRIMINATOR * losses.discriminator_width * len(losses.discriminators)
    return int(FLOAT * numbers)


def available_memory(device: torch.device) -> int:
    """Bytes that are free where training happens."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        import psutil
    except ImportError:
        raise missing_extra("training needs psutil", "train") from None
    return int(psutil.virtual_memory().available)


def check_memory(recipe: Recipe, device: torch.device, processes: int = 1, on_this_machine: int = 1) -> None:
    """Refuses a recipe that cannot fit.

    Args:
        on_this_machine: how many of the processes share its main memory.

    Raises:
        ConfigError: saying what to reduce.
    """
    estimate, free = estimate_memory(recipe, processes), available_memory(device)
    needed = estimate.total * (on_this_machine if device.type == "cpu" else 1)
    if needed <= free:
        return
    index = estimate.largest_stage
    stage: TrainingStage = recipe.stages[index]
    options = [f"stages.{index}.crop (now {stage.crop})", f"stages.{index}.images ({stage.images})"]
    if recipe.config.kind == "video":
        options += [f"stages.{index}.clips ({stage.clips})", f"stages.{index}.frames ({stage.frames})"]
    more = [] if recipe.activation_checkpointing else ["set activation_checkpointing=true"]
    more += [f"raise accumulate ({recipe.accumulate})"] if max(stage.clips, stage.images) > 1 else []
    raise ConfigError(
        f"recipe {recipe.name}: needs about {gigabytes(needed)} (an estimate), of which activations "
        f"{gigabytes(estimate.activations)}, but {device} has {gigabytes(free)} free; reduce {', '.join(options)}"
        + (f", or {', or '.join(more)}" if more else "")
    )


def gigabytes(count: int) -> str:
    """Bytes for people."""
    return number(f"{count / 1e9:.2f} GB" if count < 10e9 else f"{count / 1e9:.0f} GB")
