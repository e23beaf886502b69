"""Training data: from files and shards to batches that are the same in every run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .check import DataReport, check_data
from .options import DataOptions
from .sources import Item, find_items

if TYPE_CHECKING:
    from .loader import Batch, TrainingData

__all__ = ["Batch", "DataOptions", "DataReport", "Item", "TrainingData", "check_data", "find_items"]


def __getattr__(name: str) -> Any:
    # Options and checks do without torch, which takes seconds to import.
    if name in ("Batch", "TrainingData"):
        from . import loader

        return getattr(loader, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
