"""What a training run does, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from cosmotok.errors import ConfigError

__all__ = ["Phase", "Recipe"]


@dataclass(frozen=True)
class Phase:
    """A part of the run with crops of one shape.

    Early phases see many small clips, late ones long and large ones, whose attention looks further.
    """

    until: float
    """Share of the run at which the phase ends, in (0, 1]."""
    frames: int
    """Frames per clip: 1 + a multiple of the temporal factor."""
    crop: int
    """Height and width in pixels: a multiple of the spatial factor."""
    clips: int
    """Clips per video batch."""
    images: int
    """Images per image batch."""


@dataclass(frozen=True)
class Recipe:
    """A training run. The run ends after `steps` or `minutes`, whichever comes first, and the learning rate with it.

    Losses supervise the decoder's output alone (paper section 3.2); the optimisers and the fast average of the
    weights are our own choice, for short runs.

    Raises:
        ConfigError: where values make no sense.
    """

    phases: tuple[Phase, ...] = (
        Phase(until=0.4, frames=9, crop=96, clips=3, images=6),
        Phase(until=0.8, frames=9, crop=128, clips=2, images=4),
        Phase(until=1.0, frames=17, crop=160, clips=1, images=3),
    )
    steps: int = 20_000
    minutes: float = float("inf")
    image_every: int = 4
    """Every how many steps the batch is of images; 0 for never."""
    learning_rate: float = 5e-3
    """Of Muon, for matrices and kernels."""
    vector_rate: float = 1e-3
    """Of AdamW, for biases and norms."""
    shortcut_rate: float = 2e-5
    """Of AdamW, for the linear shortcuts."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Of AdamW."""
    weight_decay: float = 0.01
    warmup_steps: int = 100
    decay_from: float = 0.4
    """Share of the run after which the learning rates fall to zero."""
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999
    charbonnier_epsilon: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        ends = [phase.until for phase in self.phases]
        if not ends or ends != sorted(ends) or ends[-1] != 1.0:
            raise ConfigError(f"phases end at {ends}: expected rising shares of the run, the last one 1.0")
        for phase in self.phases:
            if phase.until <= 0 or phase.clips < 1 or phase.images < 1:
                raise ConfigError(f"{phase}: expected until above 0, and clips and images of at least 1")
        if self.charbonnier_epsilon <= 0:
            raise ConfigError(f"charbonnier_epsilon={self.charbonnier_epsilon}: expected above 0")
        if self.steps < 1 or self.minutes <= 0:
            raise ConfigError(f"steps={self.steps}, minutes={self.minutes}: expected a run of some length")
        if not 0 < self.ema_decay < 1 or self.learning_rate <= 0:
            raise ConfigError(
                f"ema_decay={self.ema_decay}, learning_rate={self.learning_rate}: expected 0..1 and above 0"
            )

    def phase(self, progress: float) -> Phase:
        """The phase at `progress` in [0, 1]."""
        return next(phase for phase in self.phases if progress <= phase.until)
