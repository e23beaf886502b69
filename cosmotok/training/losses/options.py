"""Which losses supervise a run, and how strongly at which step, as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cosmotok.errors import ConfigError

__all__ = ["PUBLISHED", "LossOptions", "is_ever_on", "weight_at"]

RECONSTRUCTION_TERMS = ("l1", "charbonnier", "l2", "perceptual", "gram", "lpips", "flow")
CHOICES = {
    "perceptual_network": ("vgg19", "vgg16"),
    "flow_network": ("raft_large", "raft_small"),
    "adversarial_loss": ("hinge", "non-saturating"),
}
DISCRIMINATORS = ("2d", "3d")
RANGES: dict[str, tuple[float, float]] = {
    "charbonnier_epsilon": (1e-6, 2),
    "flow_scale": (0.01, 4),
    "flow_updates": (1, 100),
    "discriminator_width": (1, 4096),
    "discriminator_layers": (1, 10),
    "adversarial_start": (0, 1e12),
    "adaptive_max": (0, 1e12),
    "lecam": (0, 1e6),
    "lecam_decay": (0, 1),
}


def weight_at(schedule: Any, step: int) -> float:
    """The weight of a loss at a step.

    Args:
        schedule: a number, or a mapping {step: weight}: each weight holds from its step on, and before the first it
            is 0.
    """
    if not isinstance(schedule, Mapping):
        return float(schedule)
    begun = [begin for begin in schedule if begin <= step]
    return float(schedule[max(begun)]) if begun else 0.0


def is_ever_on(schedule: Any) -> bool:
    """Whether the weight is other than 0 at any step."""
    return any(schedule.values()) if isinstance(schedule, Mapping) else bool(schedule)


@dataclass(frozen=True)
class LossOptions:
    """Losses and their weights; by default L1 alone. docs/losses.md has the formulas.

    A weight is a number, or a schedule {step: weight} as `weight_at` reads it.

    Weights of frozen networks come from a file as torchvision has them (`*_weights_path`). None stands for
    torchvision's own copy, downloaded once; "random" for seeded noise.

    Raises:
        ConfigError: where a value makes no sense.
    """

    l1: Any = 1.0
    charbonnier: Any = 0.0
    l2: Any = 0.0
    perceptual: Any = 0.0
    gram: Any = 0.0
    lpips: Any = 0.0
    flow: Any = 0.0
    adversarial: Any = 0.0
    """Of the generator's term; 0.2 is what peers use."""

    charbonnier_epsilon: float = 0.05
    """Differences below it, of signals in [-1, 1], count by their square."""

    perceptual_network: str = "vgg19"
    """For the perceptual and the Gram loss: vgg19 (paper) or vgg16 (released code)."""
    perceptual_layer_weights: list[float] = field(
        default_factory=lambda: [1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5]
    )
    """Of the last ReLU of each of VGG's five blocks."""
    perceptual_weights_path: str | None = None
    lpips_weights_path: str | None = None
    """Of LPIPS's VGG-16; its own linear weights come with the lpips package."""

    flow_network: str = "raft_large"
    flow_weights_path: str | None = None
    flow_scale: float = 0.5
    """Flow is estimated on frames of this relative size."""
    flow_updates: int = 12
    """Of RAFT's recurrent unit."""

    checkpoint: bool = False
    """Compute VGG's and RAFT's activations again in the backward pass rather than keep them."""

    discriminators: list[str] = field(default_factory=lambda: list(DISCRIMINATORS))
    """2d judges single frames, 3d clips."""
    discriminator_width: int = 64
    """Channels of the first layer."""
    discriminator_layers: int = 3
    """Layers that halve the resolution."""
    adversarial_loss: str = "hinge"
    adversarial_start: int = 20_000
    """Step from which the discriminators learn; the generator hears of them from then on too, where weighted."""
    adaptive: bool = True
    """Scale the generator's term to the gradient of all other losses."""
    adaptive_max: float = 1e4
    lecam: float = 0.0
    """Weight of LeCam regularisation; 0.005 is what peers use."""
    lecam_decay: float = 0.999

    def __post_init__(self) -> None:
        for name in (*RECONSTRUCTION_TERMS, "adversarial"):
            object.__setattr__(self, name, checked_schedule(name, getattr(self, name)))
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name}={getattr(self, name)!r}: expected {' or '.join(choices)}")
        layer_weights = self.perceptual_layer_weights
        if len(layer_weights) != 5 or not all(isinstance(w, (int, float)) and 0 <= w < math.inf for w in layer_weights):
            raise ConfigError(f"perceptual_layer_weights={layer_weights}: expected five numbers of 0 or more")
        if set(self.discriminators) - set(DISCRIMINATORS) or len(set(self.discriminators)) != len(self.discriminators):
            raise ConfigError(f"discriminators={list(self.discriminators)}: expected 2d, 3d or both")
        if is_ever_on(self.adversarial) and not self.discriminators:
            raise ConfigError(f"adversarial={self.adversarial} without discriminators: name 2d, 3d or both")
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise ConfigError(f"{name}={value!r}: expected a number from {low:g} to {high:g}")

    @property
    def is_adversarial(self) -> bool:
        """Whether the run has an adversarial stage."""
        return is_ever_on(self.adversarial)


def checked_schedule(name: str, schedule: Any) -> float | dict[int, float]:
    """The schedule with its steps and weights as numbers."""
    try:
        if not isinstance(schedule, Mapping):
            return checked_weight(schedule)
        if not schedule or min(map(int, schedule)) < 0:
            raise ValueError
        return {int(step): checked_weight(weight) for step, weight in sorted(schedule.items(), key=lambda p: int(p[0]))}
    except (TypeError, ValueError):
        raise ConfigError(
            f"{name}={schedule!r}: expected a weight of 0 or more, or a schedule such as {{0: 0.1, 50000: 0.05}}"
        ) from None


def checked_weight(weight: Any) -> float:
    number = float(weight)
    if isinstance(weight, bool) or not 0 <= number < math.inf:
        raise ValueError
    return number


PUBLISHED = LossOptions(
    l1=1.0,
    perceptual={0: 0.1, 500_000: 0.073},
    gram={500_000: 0.062},
    flow={250_000: 0.01},
)
"""The released configuration's weights (its adversarial stage was never released). Use `dataclasses.replace`."""
