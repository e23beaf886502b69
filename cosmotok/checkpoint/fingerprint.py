"""Whose weights these are, in 16 hex digits, and whether two of them agree."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from cosmotok.checkpoint.contents import half_of
from cosmotok.network import HALVES

__all__ = ["ABSENT", "fingerprint", "same_weights"]

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
