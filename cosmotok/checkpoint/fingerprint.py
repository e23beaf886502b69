"""Whose weights these are, in 16 hex digits, and whether two of them agree."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from cosmotok.checkpoint.contents import half_of
from cosmotok.foreign import one_line
from cosmotok.network import HALVES

__all__ = ["ABSENT", "fingerprint", "other_maker", "same_weights"]

ABSENT = "00000000"
"""In place of the digits of a half that is not there."""


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """16 hex digits that change with any weight, 8 for each half: what a token file remembers of its model."""
    digits = ""
    for half in HALVES:
        digest = hashlib.blake2b(digest_size=4)
        names = sorted(name for name in tensors if half_of(name) == half)
        for name in names:
            tensor = tensors[name].detach().to("cpu", torch.float32).contiguous()
            digest.update(f"{name}{list(tensor.shape)}".encode())
            digest.update(tensor.numpy().data)
        digits += digest.hexdigest() if names else ABSENT
    return digits


def same_weights(one: str, other: str) -> bool:
    """Whether two fingerprints may be of one model: they agree in every half that both have."""
    pairs = ((one[:8], other[:8]), (one[8:], other[8:]))
    return all(a == b or ABSENT in (a, b) for a, b in pairs)


def other_maker(label: str, model: str, made_with: str, name: str, weights: str) -> str | None:
    """What to say where tokens were not made by the model at hand, or None where they were.

    Args:
        label: of the tokens: a file or data set.
        model, made_with: name and fingerprint of what made them.
        name, weights: name and fingerprint of the model at hand.
    """
    if same_weights(made_with, weights):
        return None
    return (
        f"{label}: made by {one_line(model)} with weights {made_with}, not by {name} with weights {weights}; "
        "name the right one with --model"
    )
