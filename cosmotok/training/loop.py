"""The training loop: alternating batches of clips and of images, averaged weights, safe checkpoints."""

from __future__ import annotations

import copy
import math
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cosmotok.errors import CheckpointError, InputError
from cosmotok.media.atomic import atomic_path
from cosmotok.tokenizer import Tokenizer
from cosmotok.training.data import MediaSet
from cosmotok.training.klt import initialise_from_continuous, initialise_with_klt
from cosmotok.training.losses import charbonnier
from cosmotok.training.muon import Muon
from cosmotok.training.recipe import Recipe

__all__ = ["Progress", "Trainer"]

STATE_FILE = "training.pt"


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for whoever shows it."""

    step: int
    share: float
    """Of the run, 0 to 1."""
    loss: float
    """Mean since the last report."""
    psnr: float
    """Of the training batches since the last report, dB."""
    seconds: float


class Trainer:
    """One training run of `tokenizer` on `data`.

    Args:
        tokenizer: trained in place; afterwards it holds the averaged weights.
        folder: checkpoints go there: the averaged model as `from_pretrained` reads it, and the run's state.
    """

    def __init__(self, tokenizer: Tokenizer, data: MediaSet, recipe: Recipe, folder: Path) -> None:
        if not data.videos and not data.images:
            raise InputError("expected images or videos to train on, got none")
        if not data.videos and tokenizer.config.kind == "video" and recipe.image_every != 1:
            raise InputError(
                "expected videos for a video tokenizer, found images alone; pass image_every=1 to train on those"
            )
        for phase in recipe.phases:
            config = tokenizer.config
            whole = (phase.frames - 1) % config.temporal_factor == 0 and phase.crop % config.spatial_factor == 0
            if not whole or phase.frames < 1 or phase.crop < 1:
                raise InputError(
                    f"{phase}: expected frames = 1 + a multiple of {config.temporal_factor} "
                    f"and crop a multiple of {config.spatial_factor}"
                )
        self.tokenizer, self.data, self.recipe, self.folder = tokenizer, data, recipe, folder
        self.rng = np.random.default_rng(recipe.seed)
        torch.manual_seed(recipe.seed)
        self.network = copy.deepcopy(tokenizer.network).train()
        self.average = tokenizer.network
        self.optimizers = self.make_optimizers()
        self.step = 0
        self.seconds = 0.0

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        """Muon for matrices and kernels, AdamW for vectors and for the linear shortcuts.

        The shortcuts start at an optimum and their weights are far smaller than the others': they learn slowly.
        """
        recipe, named = self.recipe, dict(self.network.named_parameters())
        shortcuts = [p for name, p in named.items() if "_shortcut." in name]
        others = [p for name, p in named.items() if "_shortcut." not in name]
        adam: list[dict[str, Any]] = [{"params": [p for p in others if p.ndim == 1], "rate": recipe.vector_rate}]
        if shortcuts:
            adam.append({"params": shortcuts, "rate": recipe.shortcut_rate})
        muon = {"params": [p for p in others if p.ndim > 1], "rate": recipe.learning_rate}
        return [
            Muon([muon], lr=recipe.learning_rate, weight_decay=recipe.weight_decay),
            torch.optim.AdamW(adam, lr=recipe.vector_rate, betas=recipe.betas, weight_decay=0.0),
        ]

    def start_from_klt(self, batches: int = 120) -> None:
        """Initialises the linear shortcuts from random clips and images of the data."""
        initialise_with_klt(self.network, self.sample(batches))
        self.average.load_state_dict(self.network.state_dict())

    def start_from_continuous(self, continuous: Tokenizer, batches: int = 40) -> None:
        """Initialises a discrete tokenizer from a trained continuous one that is otherwise of the same shape."""
        initialise_from_continuous(self.network, continuous.network, self.sample(batches))
        self.average.load_state_dict(self.network.state_dict())

    def sample(self, batches: int) -> list[Tensor]:
        """Random clips, and every fourth time images, to compute statistics of."""
        phase = self.recipe.phases[0]
        return [self.batch(phase.frames, phase.crop, 4, 4, images=i % 4 == 3) for i in range(batches)]

    def batch(self, frames: int, crop: int, clips: int, photos: int, images: bool) -> Tensor:
        if images or not self.data.videos:
            return self.data.photos(self.rng, photos, crop)
        return self.data.clips(self.rng, clips, frames, crop)

    @property
    def share(self) -> float:
        """How much of the run is done, 0 to 1."""
        return min(1.0, max(self.step / self.recipe.steps, self.seconds / 60 / self.recipe.minutes))

    def run(self, report: Callable[[Progress], None], report_every: int = 50, save_every: float = 300.0) -> None:
        """Trains to the end of the recipe; saves every `save_every` seconds and at the end.

        Ctrl-C saves and ends the run, which `resume` continues.
        """
        losses: list[float] = []
        errors: list[float] = []
        saved = time.monotonic()
        try:
            while self.share < 1:
                begin = time.monotonic()
                loss, error = self.train_step()
                losses.append(loss)
                errors.append(error)
                self.seconds += time.monotonic() - begin
                if self.step % report_every == 0 or self.share >= 1:
                    # signals span 2, from -1 to 1
                    psnr = float(np.mean([10 * math.log10(4 / e) for e in errors]))
                    report(Progress(self.step, self.share, float(np.mean(losses)), psnr, self.seconds))
                    losses.clear()
                    errors.clear()
                if time.monotonic() - saved > save_every:
                    self.save()
                    saved = time.monotonic()
        finally:
            self.save()

    def train_step(self) -> tuple[float, float]:
        """One batch; returns its loss and mean squared error."""
        recipe, share = self.recipe, self.share
        phase = recipe.phase(share)
        images = recipe.image_every > 0 and self.step % recipe.image_every == recipe.image_every - 1
        source = self.batch(phase.frames, phase.crop, phase.clips, phase.images, images).to(self.tokenizer.device)
        pace = min(1, (self.step + 1) / max(1, recipe.warmup_steps)) * decay(share, recipe.decay_from)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["rate"] * pace
        reconstruction = self.network(source)
        loss = charbonnier(reconstruction, source, recipe.charbonnier_epsilon)
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.max_grad_norm)
        self.step += 1
        if torch.isfinite(norm):
            for optimizer in self.optimizers:
                optimizer.step()
            self.update_average()
        with torch.no_grad():
            return loss.item(), (reconstruction - source).square().mean().item()

    @torch.no_grad()
    def update_average(self) -> None:
        # The average would remember the start for long if it did not forget faster at first.
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)

    def save(self) -> None:
        """Writes the averaged model and the state of the run, each under a temporary name first."""
        self.tokenizer.save_pretrained(self.folder)
        state = {
            "network": self.network.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
        }
        with atomic_path(self.folder / STATE_FILE) as temporary:
            torch.save(state, temporary)

    def resume(self) -> None:
        """Continues from what `save` wrote to the folder (with other random crops).

        Raises:
            CheckpointError: where there is nothing to resume, or it belongs to another model.
        """
        path = self.folder / STATE_FILE
        try:
            state = torch.load(path, map_location=self.tokenizer.device, weights_only=True)
            self.network.load_state_dict(state["network"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
        except FileNotFoundError:
            raise CheckpointError(f"{path}: nothing to resume; start without --resume") from None
        except (OSError, EOFError, pickle.UnpicklingError, RuntimeError, ValueError, KeyError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(
                f"{path}: is damaged or does not belong to {self.tokenizer.config.variant}: {reason}"
            ) from None
        self.step, self.seconds = state["step"], state["seconds"]
        average = Tokenizer.from_pretrained(self.folder)
        self.average.load_state_dict(average.network.state_dict())
        self.rng = np.random.default_rng((self.recipe.seed, self.step))


def decay(share: float, begin: float) -> float:
    """Factor of the learning rate: 1 until `begin`, then straight down to 0 at the end of the run."""
    return 1.0 if share <= begin else (1 - share) / (1 - begin)
