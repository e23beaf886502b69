"""How much of its vocabulary a discrete tokenizer uses."""

from __future__ import annotations

import torch
from torch import Tensor

from cosmotok.errors import InputError

__all__ = ["CodeUsage"]


class CodeUsage:
    """Counts FSQ indices, batch by batch; counts of several processes or data sets can be merged.

    Args:
        vocab_size: number of codes, as `TokenizerConfig.vocab_size`.
    """

    def __init__(self, vocab_size: int) -> None:
        if isinstance(vocab_size, bool) or not isinstance(vocab_size, int) or vocab_size < 1:
            raise InputError(f"vocab_size={vocab_size!r}: expected a whole number of at least 1")
        self.vocab_size = vocab_size
        self.histogram = torch.zeros(vocab_size, dtype=torch.int64)
        """How often each code was seen: int64 (vocab_size,), on the CPU."""

    def update(self, indices: Tensor) -> None:
        """Adds indices of any shape and device, integers in 0..vocab_size-1; none is fine.

        Raises:
            InputError: for another dtype or an index out of range.
        """
        if indices.dtype.is_floating_point or indices.dtype.is_complex or indices.dtype == torch.bool:
            raise InputError(f"indices: expected integers, got {indices.dtype}")
        if indices.numel() == 0:
            return
        flat = indices.flatten().long()
        low, high = int(flat.min()), int(flat.max())
        if low < 0 or high >= self.vocab_size:
            raise InputError(f"indices: expected 0..{self.vocab_size - 1}, got {low}..{high}")
        self.histogram += torch.bincount(flat, minlength=self.vocab_size).cpu()

    def merge(self, other: CodeUsage) -> None:
        """Adds what another counter saw.

        Raises:
            InputError: where the vocabularies differ.
        """
        if other.vocab_size != self.vocab_size:
            raise InputError(f"merge: expected a vocabulary of {self.vocab_size}, got {other.vocab_size}")
        self.histogram += other.histogram

    @property
    def total(self) -> int:
        """Indices counted."""
        return int(self.histogram.sum())

    @property
    def usage(self) -> float:
        """Share of the vocabulary that was seen at least once, 0 to 1. It is at most total / vocab_size."""
        self._require_some()
        return int((self.histogram > 0).sum()) / self.vocab_size

    @property
    def perplexity(self) -> float:
        """2^entropy of the codes' distribution, 1 (one code alone) to vocab_size (all equally often)."""
        self._require_some()
        p = self.histogram[self.histogram > 0].double() / self.total
        return float(torch.exp2(-(p * p.log2()).sum()))

    def _require_some(self) -> None:
        if not self.total:
            raise InputError("code usage: no index was counted yet; call update first")
