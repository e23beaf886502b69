"""What to do about losses and gradients that are not finite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cosmotok.errors import CosmotokError
from cosmotok.writing import buffered, output_file

__all__ = ["NonFiniteGuard", "TrainingError"]


class TrainingError(CosmotokError):
    """A run cannot go on."""


class NonFiniteGuard:
    """Counts skipped steps, and stops the run when there are too many in a row.

    Args:
        folder: where the batch is saved then.
        limit: so many in a row are too many.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self.skipped = 0
        self.in_a_row = 0

    def passed(self) -> None:
        """A step was fine."""
        self.in_a_row = 0

    def failed(self, step: int, rank: int, batch: Any, figures: dict[str, float]) -> None:
        """A step was skipped.

        Args:
            batch: with `pixels`, `kind` and `keys`.
            figures: losses and gradient norms, for the message.

        Raises:
            TrainingError: at the limit, naming the file that has the batch.
        """
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row < self.limit:
            return
        path = self.folder / f"not-finite-step-{step:08d}-rank-{rank}.pt"
        with output_file(path) as file, buffered(file) as whole:
            torch.save({"pixels": batch.pixels, "kind": batch.kind, "keys": list(batch.keys), "step": step}, whole)
        found = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        raise TrainingError(
            f"step {step}: {self.in_a_row} steps in a row had a loss or gradient that is not finite ({found}); the "
            f"last batch is in {path}. Lower optimizer.learning_rate, use precision=no or bf16, or look at that batch; "
            "--resume goes on from the last checkpoint"
        )
