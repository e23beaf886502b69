"""The other side of a run's adversarial stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from cosmotok.training.losses import AdversarialLoss
from cosmotok.training.losses.options import LossOptions
from cosmotok.training.optimizers import OptimizerOptions, make_discriminator_optimizer
from cosmotok.training.parallel import distributed
from cosmotok.training.recipe import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Adversary"]


class Adversary:
    """The discriminators, one set for all stages, and their optimiser.

    Args:
        options: of any adversarial stage; `loss.options` is to be that of the stage at hand.
    """

    def __init__(self, options: LossOptions, optimizer: OptimizerOptions, accelerator: Accelerator) -> None:
        self.loss = AdversarialLoss(options).to(accelerator.device)
        self.optimizer = make_discriminator_optimizer(self.loss, optimizer)
        # images have no use for the discriminators of clips
        self.module = distributed(accelerator, self.loss, find_unused_parameters=True)
        """`loss`, with its gradients averaged over the processes."""
        self._before: list[Tensor] = []

    @classmethod
    def of(cls, recipe: Recipe, accelerator: Accelerator) -> Adversary | None:
        """That of a recipe; None where no stage is adversarial."""
        options = [recipe.loss_of(index) for index in range(len(recipe.stages))]
        found = next((each for each in options if each.is_adversarial), None)
        return None if found is None else cls(found, recipe.optimizer, accelerator)

    def has_begun(self, position: int) -> bool:
        """Whether discriminators train at this step."""
        return self.loss.options.is_adversarial and position >= self.loss.options.adversarial_start

    def begin_step(self) -> None:
        """Lets go of the last step's gradients."""
        self.loss.zero_grad(set_to_none=True)
        self._before = [buffer.clone() for buffer in self.loss.buffers()]

    def forget_step(self) -> None:
        """Takes back what running means have seen since `begin_step`, where that was not finite."""
        for buffer, before in zip(self.loss.buffers(), self._before, strict=True):
            buffer.copy_(before)

    def state_dict(self) -> dict[str, Any]:
        return {"loss": self.loss.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.loss.load_state_dict(state["loss"])
        self.optimizer.load_state_dict(state["optimizer"])
