"""What a training run does, as plain values."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from cosmotok.config import TokenizerConfig, find_model, suggest
from cosmotok.errors import ConfigError
from cosmotok.training.data.options import DataOptions
from cosmotok.training.losses.options import LossOptions
from cosmotok.training.optimizers import OptimizerOptions
from cosmotok.training.schedule import ScheduleOptions

__all__ = ["Recipe", "TrainingStage", "ValidationOptions"]


DISCRIMINATOR_FIELDS = {"discriminators", "discriminator_width", "discriminator_layers", "lecam_decay"}


@dataclass(frozen=True)
class TrainingStage:
    """A part of the run with batches of one shape and one set of losses."""

    steps: int
    frames: int
    """Frames per clip: 1 + a multiple of the temporal factor."""
    crop: int
    """Height and width in pixels: a multiple of the spatial factor."""
    clips: int
    """Clips per video batch, over all processes."""
    images: int
    """Images per image batch, over all processes."""
    past: int = 0
    """Frames of a stream that come before a clip at most, 1 + a multiple of the temporal factor: the network goes
    through them without gradients, so that it trains on what it meets in the middle of a stream. A batch has less, or
    none, by chance; where it has some, the clip's first frame belongs to it. 0: every clip begins a stream."""
    loss: dict[str, Any] = field(default_factory=dict)
    """Changes to the recipe's `loss`. Steps of a weight's schedule count from the start of the run."""
    rate: float = 1.0
    """Factor of all learning rates."""
    freeze_encoder: bool = False


@dataclass(frozen=True)
class ValidationOptions:
    """How the averaged weights are measured on `data.validation`, where that names any."""

    every: int = 1000
    """Steps between two measurements."""
    frames: int = 33
    """Of each video, from its start."""
    videos: int | None = 8
    """At most so many; null for all."""
    images: int | None = 24
    lpips_weights_path: str | None = None
    """torchvision's VGG-16 weights; LPIPS is measured only with them."""


@dataclass(frozen=True)
class Recipe:
    """A training run: stages one after the other, then the averaged weights are the model.

    Losses supervise the decoder's output alone (paper section 3.2). Published settings are the defaults where they
    are known.

    Raises:
        ConfigError: where values make no sense.
    """

    name: str
    model: str
    """A known model's name: its shape."""
    stages: list[TrainingStage]
    model_changes: dict[str, Any] = field(default_factory=dict)
    """Fields of `TokenizerConfig` that differ from the model's."""
    start: str | None = None
    """Weights to start from, as `Tokenizer.from_pretrained` takes them: of the same shape, or, for a discrete model
    with linear shortcuts, of the continuous one. Null for fresh ones."""
    init_batches: int = 0
    """Batches that linear shortcuts are fitted to before the first step: to the best linear transform (KLT) where the
    weights are fresh, to the continuous model's latents where a discrete one starts from it. 0 leaves noise."""
    train: Literal["all", "decoder"] = "all"
    data: DataOptions = field(default_factory=DataOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions)
    ema_decay: float = 0.9999
    max_grad_norm: float = 1.0
    precision: Literal["no", "bf16", "fp16"] = "no"
    """Of the arithmetic; weights, their average and the optimiser's state are float32 always."""
    accumulate: int = 1
    """Parts that a batch is cut into, computed one after the other, to save memory."""
    activation_checkpointing: bool = False
    """Compute the blocks' activations again in the backward pass rather than keep them: less memory, a third slower."""
    shard: bool = False
    """Whether several processes split weights, average and optimiser state among them (FSDP2), each to hold less."""
    compile: bool = False
    """Whether to compile the network with `torch.compile`."""
    seed: int = 0
    """Of weights, crops and their order."""
    minutes: float | None = None
    """End after so many minutes of training, if that is sooner than the stages do; stages, learning rates and all that
    begins at a step then go by the share of the time. Such a run is not repeated to the bit."""
    skips_in_a_row: int = 20
    """Steps with a loss or gradient that is not finite are skipped; after so many in a row the run stops."""
    log_every: int = 50
    save_every: int = 1000
    keep: int = 2
    """Checkpoints that are kept."""
    validation: ValidationOptions = field(default_factory=ValidationOptions)
    trackers: list[str] = field(default_factory=list)
    """Of Accelerate: tensorboard, wandb, mlflow and so on."""

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("stages=[]: expected at least one stage")
        for path, value, least in self._whole_numbers():
            if value < least:
                raise ConfigError(f"{path}={value}: expected a whole number of at least {least}")
        for path, number, low, high in self._numbers():
            if not low < number < high:  # neither is NaN
                bound = f"above {low:g}" + ("" if high == math.inf else f" and below {high:g}")
                raise ConfigError(f"{path}={number}: expected a number {bound}")
        for index, stage in enumerate(self.stages):
            self.loss_of(index)
            shared = set(stage.loss) & DISCRIMINATOR_FIELDS
            if shared:
                raise ConfigError(f"stages.{index}.loss.{min(shared)}: all stages share one set; expected it in loss")
        config = self.config
        for index, stage in enumerate(self.stages):
            time, space = config.temporal_factor, config.spatial_factor
            if (stage.frames - 1) % time or stage.crop % space:
                raise ConfigError(
                    f"stages.{index}: frames={stage.frames}, crop={stage.crop} do not fit {config.variant}: expected "
                    f"frames = 1 + a multiple of {time} and crop a multiple of {space}"
                )
            if (stage.past and (stage.past - 1) % time) or stage.past < 0 or (stage.past and config.kind == "image"):
                raise ConfigError(
                    f"stages.{index}.past={stage.past}: expected 0, or 1 + a multiple of {time} for a video model"
                )
        if self.init_batches and not config.linear_shortcut:
            raise ConfigError(
                f"init_batches={self.init_batches}: {config.variant} has no linear shortcuts to fit; set it to 0, or "
                "model_changes.linear_shortcut=true"
            )
        if self.shard and self.optimizer.name == "muon":
            raise ConfigError("shard=true: Muon needs whole matrices; set optimizer.name=adamw")
        if self.shard and any(stage.freeze_encoder for stage in self.stages):
            raise ConfigError("shard=true: what is split cannot be frozen on the way; expected train=decoder instead")
        if self.train == "decoder" and self.start is None:
            raise ConfigError("train=decoder: expected start, the model whose encoder stays as it is")

    def _whole_numbers(self) -> list[tuple[str, int, int]]:
        found = [
            (f"stages.{i}.{name}", getattr(stage, name), 1)
            for i, stage in enumerate(self.stages)
            for name in ("steps", "frames", "crop", "clips", "images")
        ]
        found += [(name, getattr(self, name), 1) for name in ("accumulate", "log_every", "save_every", "keep")]
        return [
            *found,
            *((name, getattr(self, name), 0) for name in ("seed", "init_batches")),
            ("skips_in_a_row", self.skips_in_a_row, 1),
            ("validation.every", self.validation.every, 1),
        ]

    def _numbers(self) -> list[tuple[str, float, float, float]]:
        found = [(f"stages.{i}.rate", stage.rate, 0.0, math.inf) for i, stage in enumerate(self.stages)]
        found += [("ema_decay", self.ema_decay, 0.0, 1.0), ("max_grad_norm", self.max_grad_norm, 0.0, math.inf)]
        return found if self.minutes is None else [*found, ("minutes", self.minutes, 0.0, math.inf)]

    @property
    def config(self) -> TokenizerConfig:
        """Of the tokenizer that is trained.

        Raises:
            UnknownModelError: for an unknown model.
            ConfigError: where the changes do not fit it.
        """
        known = {f.name for f in fields(TokenizerConfig)}
        for key in self.model_changes:
            if key not in known:
                raise ConfigError(f"model_changes.{key}: unknown key{suggest(key, known)}")
        base = find_model(self.model).config
        # a different number of latent frames per step follows from another temporal factor
        derived = {"chunk": 0} if "temporal_factor" in self.model_changes else {}
        return TokenizerConfig.from_dict(base.to_dict() | derived | dict(self.model_changes))

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)

    def loss_of(self, index: int) -> LossOptions:
        """The losses of a stage.

        Raises:
            ConfigError: for a key that losses do not have, or a value that makes no sense.
        """
        known = {f.name for f in fields(LossOptions)}
        changes = self.stages[index].loss
        for key in changes:
            if key not in known:
                raise ConfigError(f"stages.{index}.loss.{key}: unknown key{suggest(key, known)}")
        return replace(self.loss, **changes)

    def stage_at(self, position: int) -> int:
        """The index of the stage at `position`, in steps from the start of the run."""
        for index, stage in enumerate(self.stages):
            if position < stage.steps:
                return index
            position -= stage.steps
        return len(self.stages) - 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values for YAML and JSON."""
        return plain(asdict(self))


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value
