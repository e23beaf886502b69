"""What workers are given to do, and what they tell of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch

from cosmotok.addresses import public
from cosmotok.dataset.options import Options
from cosmotok.dataset.sources import Source
from cosmotok.dataset.sources.names import from_address, to_address
from cosmotok.errors import InputError
from cosmotok.families import find
from cosmotok.interface import BaseTokenizer
from cosmotok.spec import TokenizerSpec

__all__ = ["USUAL", "Advance", "Care", "Job", "Step", "load"]


class Step(NamedTuple):
    """What a worker has done since it last told."""

    inputs: int = 0
    frames: int = 0
    tokens: int = 0
    keys: tuple[str, ...] = ()
    """The input that is read from now on, or those that are encoded."""


Advance = Callable[[Step], None]


@dataclass(frozen=True)
class Care:
    """How a shard is made at which workers died."""

    careful: bool = False
    """Whether nothing is read ahead and batches are told of, so that what was last told of is what ends the process."""
    alone: Set[str] = frozenset()
    """Keys of inputs that share no batch with others."""
    doomed: Mapping[str, str] = field(default_factory=dict)
    """Keys of inputs that are not to be tried, and why."""


USUAL = Care()
"""Of a shard at which no worker died."""


@dataclass(frozen=True)
class Job:
    """All that workers have in common; it can be sent to them."""

    place: str
    """Of the data set: a folder or URL."""
    model: str
    fingerprint: str
    spec: TokenizerSpec
    options: Options
    device: str
    sources: Mapping[int, tuple[Source, ...]]
    """Of each part of the plan."""
    signals: Mapping[str, tuple[int, ...]]
    variant: str | None = None
    fit: Path | None = None
    full: Mapping[str, str] = field(default_factory=dict)
    """Addresses with their secrets, by those that the plan has; in memory alone."""

    def address(self, planned: str) -> str:
        """Where an input is, as this run's sources have it."""
        path, inside = from_address(planned)
        return to_address(self.full.get(public(path), path), inside)

    def load(self) -> BaseTokenizer:
        """The model, ready to run.

        Raises:
            InputError: where it has other weights than the data set's.
        """
        tokenizer = load(self.model, self.options, self.device, self.variant, self.fit)
        if tokenizer.fingerprint != self.fingerprint:
            raise InputError(
                f"{self.model}: its weights are {tokenizer.fingerprint} here and {self.fingerprint} where the run "
                "began; have the same files everywhere"
            )
        return tokenizer


def load(
    model: str, options: Options, device: str, variant: str | None = None, fit: Path | None = None
) -> BaseTokenizer:
    """The model called so, as a data set's options have it."""
    found = find(model, variant=variant, precision=options.precision, fit=fit)
    return found.load(device, getattr(torch, options.dtype))
