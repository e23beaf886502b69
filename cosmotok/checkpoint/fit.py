"""Whether tensors are those of a network, whatever names and shapes a format gives them: the comparison of all readers.

Shapes alone are looked at, so that tensors on the meta device do, before any memory is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from cosmotok.build import build_network
from cosmotok.checkpoint.contents import half_of
from cosmotok.config import TokenizerConfig
from cosmotok.errors import CheckpointError
from cosmotok.foreign import one_line
from cosmotok.network import HALVES

__all__ = ["fit", "refuse", "shapes_of"]

LISTED = 12
"""Problems that an error names before it says how many more there are."""

Shape = Sequence[int]


def fit(
    tensors: Mapping[str, Tensor],
    config: TokenizerConfig,
    source: str,
    *,
    key: Callable[[str], str] = str,
    shape: Callable[[Shape], Shape] = tuple,
    is_unused: Callable[[str], bool] = lambda key: False,
    halves: Collection[str] = (),
) -> dict[str, str]:
    """Which of `tensors` each parameter of the network of `config` is: our names to keys of `tensors`.

    Args:
        key, shape: the format's name and shape of a parameter of ours.
        is_unused: which further keys it may hold.
        halves: that have to be there; none for those of which there is anything.

    Raises:
        CheckpointError: naming every tensor that is missing, unexpected, of another shape, or no floating point.
    """
    what = f"{source}: weights do not fit {config.variant}"
    stages = len(config.encoder_multipliers) + len(config.decoder_multipliers)
    if config.blocks * stages > max(1, len(tensors)):  # a config gone wrong must not build a giant
        raise CheckpointError(
            f"{what}: {len(tensors)} tensors are fewer than {config.blocks} blocks in each of {stages} stages have; "
            "is it another model's config?"
        )
    try:
        shapes = shapes_of(config)
    except RuntimeError as error:
        raise CheckpointError(f"{what}: the config is of no network ({str(error).splitlines()[0]})") from None
    keys = {name: key(name) for name in shapes}
    there = set(halves) or {str(half_of(name)) for name in shapes if keys[name] in tensors} or set(HALVES)
    keys = {name: theirs for name, theirs in keys.items() if half_of(name) in there}
    known = set(keys.values())
    problems = [f"missing {theirs}" for theirs in keys.values() if theirs not in tensors]
    problems += [f"unexpected {theirs}" for theirs in tensors if theirs not in known and not is_unused(theirs)]
    for name, theirs in keys.items():
        tensor, expected = tensors.get(theirs), list(shape(shapes[name]))
        if tensor is not None and list(tensor.shape) != expected:
            problems.append(f"{theirs} has shape {list(tensor.shape)}, expected {expected}")
        elif tensor is not None and not tensor.is_floating_point():
            problems.append(f"{theirs} is {tensor.dtype}, expected floating point")
    refuse(problems, what)
    return keys


@lru_cache(maxsize=8)
def shapes_of(config: TokenizerConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters of the network of `config`, of which no memory is taken; not to be changed."""
    with torch.device("meta"):
        network = build_network(config)
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def refuse(problems: Sequence[str], what: str) -> None:
    """Raises CheckpointError if there are problems: the first dozen, and how many more."""
    if problems:
        more = len(problems) - LISTED
        raise CheckpointError(
            f"{what}: {'; '.join(one_line(problem, 200) for problem in problems[:LISTED])}"
            + (f"; and {more} more" if more > 0 else "")
        )
