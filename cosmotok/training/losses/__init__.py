"""What training supervises with: losses between a reconstruction and its source, and the adversarial stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cosmotok.training.losses.options import PUBLISHED, LossOptions, weight_at

if TYPE_CHECKING:
    from cosmotok.training.losses.adversarial import AdversarialLoss
    from cosmotok.training.losses.pixel import charbonnier
    from cosmotok.training.losses.reconstruction import ReconstructionLoss

__all__ = ["PUBLISHED", "AdversarialLoss", "LossOptions", "ReconstructionLoss", "charbonnier", "weight_at"]


def __getattr__(name: str) -> Any:
    # a recipe needs the options alone, and those do without torch
    if name == "AdversarialLoss":
        from cosmotok.training.losses.adversarial import AdversarialLoss

        return AdversarialLoss
    if name == "ReconstructionLoss":
        from cosmotok.training.losses.reconstruction import ReconstructionLoss

        return ReconstructionLoss
    if name == "charbonnier":
        from cosmotok.training.losses.pixel import charbonnier

        return charbonnier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
