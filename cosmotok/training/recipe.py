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

    Losses supervise the decoder's output alone (paper section 3.2); AdamW and the averaged weights as in the
    published configuration, with a larger rate and a faster average because runs are short.

    Raises:
        ConfigError: where values make no sense.
    """

    phases: tuple[Phase, ...] = (
        Phase(until=0.5, frames=9, crop=64, clips=4, images=8),
        Phase(until=0.8, frames=9, crop=96, clips=4, images=8),
        Phase(until=1.0, frames=17, crop=128, clips=2, images=6),
    )
    steps: int = 20_000
    minutes: float = float("inf")
    image_every: int = 4
    """Every how many steps the batch is of images; 0 for never."""
    learning_rate: float = 1e-3
    shortcut_rate: float = 0.02
    """Learning rate of the linear shortcuts, as a share of the others'."""
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    warmup_steps: int = 200
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999
    charbonnier_epsilon: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        ends = [phase.until for phase in self.phases]
        if not ends or ends != sorted(ends) or ends[-1] != 1.0:
            raise ConfigError(f"phases end at {ends}: expected rising shares of the run, the last one 1.0")
        if self.steps < 1 or self.minutes <= 0:
            raise ConfigError(f"steps={self.steps}, minutes={self.minutes}: expected a run of some length")
        if not 0 < self.ema_decay < 1 or self.learning_rate <= 0:
            raise ConfigError(
                f"ema_decay={self.ema_decay}, learning_rate={self.learning_rate}: expected 0..1 and above 0"
            )

    def phase(self, progress: float) -> Phase:
        """The phase at `progress` in [0, 1]."""
        return next(phase for phase in self.phases if progress <= phase.until)
