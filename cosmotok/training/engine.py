"""The training loop on Hugging Face Accelerate: stages, accumulation, averaged weights, checkpoints, exact resuming."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cosmotok.errors import CheckpointError, ConfigError, CosmotokError
from cosmotok.network import Autoencoder
from cosmotok.tokenizer import Tokenizer
from cosmotok.training.adversary import Adversary
from cosmotok.training.batches import close_batches, training_data
from cosmotok.training.checkpoints import Checkpoints
from cosmotok.training.data import Batch
from cosmotok.training.ema import ExponentialAverage
from cosmotok.training.guard import NonFiniteGuard
from cosmotok.training.interrupts import Interrupts
from cosmotok.training.log import Meter, RunLog, psnr
from cosmotok.training.losses import ReconstructionLoss
from cosmotok.training.modes import checkpoint_activations, compile_steps, set_encoder_trains
from cosmotok.training.optimizers import apply_gradients, clip_gradients, make_optimizers, set_rates
from cosmotok.training.parallel import (
    as_first_process_has,
    distributed,
    means_over_processes,
    random_states,
    set_random_state,
)
from cosmotok.training.recipe import Recipe
from cosmotok.training.sharding import gather, load_sharded, shard, sharded_state, split_like
from cosmotok.training.trackers import tracker_values

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Engine"]

STATE_VERSION = 2


class Engine:
    """One run of a recipe.

    A step takes one batch, of clips or of images, over all processes. Where a run stands is in its state alone: the
    data is a function of the step, so a resumed run on the CPU repeats the very numbers that it would have had.

    Args:
        tokenizer: where the weights start; afterwards it holds their average.
        folder: of the run.
        validate: measures the averaged weights and returns the fields to log; called by the first process.
        report: gets every record that is logged.
    """

    def __init__(
        self,
        recipe: Recipe,
        tokenizer: Tokenizer,
        folder: Path,
        accelerator: Accelerator,
        *,
        validate: Callable[[Tokenizer, int], dict[str, Any]] | None = None,
        report: Callable[[dict[str, Any]], None] = lambda record: None,
    ) -> None:
        self.recipe, self.folder, self.accelerator = recipe, folder, accelerator
        self.validate, self.report = validate, report
        self.tokenizer = tokenizer.to(accelerator.device)
        self.network: Autoencoder = copy.deepcopy(tokenizer.network).train()
        self.tokenizer.network.requires_grad_(False)
        set_encoder_trains(self.network, recipe.train == "all")
        if recipe.shard:
            shard(self.network, accelerator.device, accelerator.num_processes)
        held = None if recipe.shard else self.tokenizer.network.parameters()
        self.average = ExponentialAverage(self.network.parameters(), recipe.ema_decay, into=held)
        self.optimizers = make_optimizers(self.network, recipe.optimizer)
        if recipe.activation_checkpointing:
            checkpoint_activations(self.network)
        if recipe.compile:
            compile_steps(self.network)
        self.model: nn.Module | None = None
        self.batches: Iterator[Batch] = iter(())
        self.expected_data: str | None = None
        self.adversary = Adversary.of(recipe, accelerator)
        self.guard = NonFiniteGuard(folder, recipe.skips_in_a_row)
        self.checkpoints = Checkpoints(folder / "checkpoints", recipe.keep)
        self.log = RunLog(folder / "log.jsonl")
        self.meter = Meter()
        self.step = 0
        self.stage = 0
        self.stage_begin = 0
        self.epochs = 0.0
        self.seconds = 0.0

    # The run ------------------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """How far the run is, in the recipe's steps: further than the steps done where its time is short."""
        if self.recipe.minutes is None:
            return self.step
        return max(self.step, int(self.seconds / 60 / self.recipe.minutes * self.recipe.steps))

    @property
    def share(self) -> float:
        """How much of the run is done, 0 to 1."""
        return min(1.0, self.position / self.recipe.steps)

    def run(self) -> None:
        """Trains to the end of the recipe; logs, measures and saves on the way and at the end.

        Ctrl-C and SIGTERM save and end the run, which can be resumed.

        Raises:
            KeyboardInterrupt: after such an end.
            TrainingError: where losses or gradients stay not finite.
            CheckpointError: where a checkpoint cannot be written.
        """
        with Interrupts() as interrupts:
            try:
                self.loop(interrupts)
            finally:
                close_batches(self.batches)

    def loop(self, interrupts: Interrupts) -> None:
        recipe = self.recipe
        self.enter_stage()
        while self.share < 1:
            if (stage := recipe.stage_at(self.position)) > self.stage:
                self.stage, self.stage_begin = stage, self.step
                self.enter_stage()
            try:
                asked = self.train_step(interrupts.asked)
            except CosmotokError:
                # whoever stops a whole group of processes stops those that prepare data, too
                if not interrupts.asked or self.accelerator.num_processes > 1:
                    raise
                asked = True
            over = self.share >= 1
            if self.step % recipe.log_every == 0 or over:
                self.write_log()
            if self.validate is not None and (self.step % recipe.validation.every == 0 or over):
                self.write_validation()
            if self.step % recipe.save_every == 0 or over or asked:
                self.save()
            if asked and not over:
                raise KeyboardInterrupt

    def enter_stage(self) -> None:
        """Data, losses and what trains, as the stage has them."""
        recipe, stage = self.recipe, self.recipe.stages[self.stage]
        options = recipe.loss_of(self.stage)
        encoder_trains = recipe.train == "all" and not stage.freeze_encoder
        set_encoder_trains(self.network, encoder_trains)
        self.model = None  # the old one lets go of the weights first
        self.model = self.network if recipe.shard else distributed(self.accelerator, self.network)
        self.losses = ReconstructionLoss(options).to(self.accelerator.device)
        if self.adversary is not None:
            self.adversary.loss.options = options
        close_batches(self.batches)
        self.data = training_data(
            recipe,
            self.stage,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
            start_step=self.stage_begin,
        )
        if self.expected_data not in (None, self.data.fingerprint):
            raise CheckpointError(
                f"{self.checkpoints.path(self.step)}: the files of data.train are others than when the run began, so "
                "it cannot go on exactly; restore them, or start a new run from its weights with start=FOLDER"
            )
        self.expected_data = self.data.fingerprint
        self.batches = self.data.batches(self.step)

    def train_step(self, asked: bool = False) -> bool:
        """One batch.

        Args:
            asked: whether this process has been asked to stop.

        Returns:
            Whether any process has.
        """
        begin = time.monotonic()
        batch = next(self.batches)
        waited = time.monotonic() - begin
        if batch.broken:
            self.report({"kind": "broken", "step": self.step, "files": batch.broken})
        stage = self.recipe.stages[self.stage]
        factor = stage.rate * self.recipe.schedule.factor(self.position, self.share)
        scaler, limit, adversary = self.accelerator.scaler, self.recipe.max_grad_norm, self.adversary
        optimizers = list(self.optimizers)
        figures = self.gradients(batch.pixels, batch.past)
        norms = [gather(clip_gradients(self.network, optimizers, limit, scaler))]
        if adversary is not None and "discriminator" in figures:
            norms.append(clip_gradients(adversary.loss, [adversary.optimizer], limit, scaler))
            optimizers.append(adversary.optimizer)
        set_rates(optimizers, factor)
        means = means_over_processes(self.accelerator, figures | {"asked": torch.tensor(float(asked))})
        any_asked = means.pop("asked") > 0
        means["grad_norm"] = norms[0].item()
        fine = all(math.isfinite(value) for value in (*means.values(), *(n.item() for n in norms)))
        apply_gradients(optimizers, scaler, fine)
        self.step += 1
        self.epochs += 1 / self.data.steps_per_epoch
        if fine:
            self.guard.passed()
            self.average.update(self.step)
            self.meter.add(means | {"psnr": psnr(means["mean_square"])})
        samples = stage.clips if batch.kind == "video" else stage.images
        elapsed = time.monotonic() - begin
        self.meter.count(samples, elapsed, waited)
        self.seconds += elapsed
        if self.recipe.minutes is not None:  # the clock decides when the run ends
            self.seconds = as_first_process_has(self.accelerator, self.seconds)
        if not fine:
            if adversary is not None:
                adversary.forget_step()
            bad = {name: value for name, value in means.items() if not math.isfinite(value)}
            self.guard.failed(self.step, self.accelerator.process_index, batch, bad)
        return any_asked

    def gradients(self, pixels: Tensor, past: int = 0) -> dict[str, Tensor]:
        """Adds the gradients of a batch to the weights; returns its losses and mean squared error.

        Args:
            pixels: this process's part, uint8 (B, 3, T, H, W).
            past: frames at its beginning that are only remembered.
        """
        model, adversary = self.model, self.adversary
        if model is None:
            raise RuntimeError("enter_stage comes first")
        position = self.position
        source = pixels.to(self.accelerator.device, non_blocking=True).float().div_(127.5).sub_(1)
        self.network.zero_grad(set_to_none=True)
        if adversary is not None:
            adversary.begin_step()
        parts = source.tensor_split(min(self.recipe.accumulate, len(source)))
        sums: dict[str, Tensor] = {}

        def note(name: str, value: Tensor, weight: float) -> None:
            sums[name] = sums.get(name, 0) + weight * value.detach()

        for number, part in enumerate(parts, 1):
            weight = len(part) / len(source)
            last = number == len(parts)
            with self.synchronised(model, last):
                with self.accelerator.autocast():
                    reconstruction = model(part, past) if past else model(part)
                reconstruction, part = reconstruction.float(), part[:, :, past:]
                terms = self.losses(reconstruction, part, position)
                if adversary is not None:
                    terms |= adversary.loss.generator_terms(reconstruction, part, position, total(terms))
                loss = total(terms)
                self.accelerator.backward(weight * loss)
            note("loss", loss, weight)
            note("mean_square", (reconstruction.detach() - part).square().mean(), weight)
            for name, term in terms.items():
                note("term." + name, term, weight)
            if adversary is not None and adversary.has_begun(position):
                with self.synchronised(adversary.module, last):
                    judged = adversary.module(reconstruction.detach(), part, position)
                    self.accelerator.backward(weight * total(judged))
                note("discriminator", total(judged), weight)
                for name, term in judged.items():
                    note("term." + name, term, weight)
        return sums

    def synchronised(self, module: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """Gradients are averaged over the processes in the last part's backward pass alone."""
        return nullcontext() if last else self.accelerator.no_sync(module)

    # Logs ---------------------------------------------------------------------------------------------------------

    def write_log(self) -> None:
        """A line with the means since the last one."""
        meter, self.meter = self.meter, Meter()
        self.write(
            {
                "kind": "train",
                "step": self.step,
                "stage": self.stage,
                "epoch": self.epochs,
                "seconds": self.seconds,
                "loss": meter.mean("loss"),
                "terms": meter.means("term."),
                "psnr": meter.mean("psnr"),
                "lr": self.optimizers[0].param_groups[0]["lr"],
                "grad_norm": meter.mean("grad_norm"),
                "samples_per_second": meter.samples / meter.seconds,
                "waiting": meter.waited / meter.seconds,
                "skipped": self.guard.skipped,
            }
        )

    def write_validation(self) -> None:
        """A line with the figures of the averaged weights."""
        self.gather_average()
        if self.accelerator.is_main_process and self.validate is not None:
            figures = self.validate(self.tokenizer, self.step)
            self.write({"kind": "validation", "step": self.step, "seconds": self.seconds, **figures})
        self.accelerator.wait_for_everyone()

    def write(self, record: dict[str, Any]) -> None:
        if not self.accelerator.is_main_process:
            return
        self.log.write(record)
        if self.recipe.trackers:
            self.accelerator.log(tracker_values(record), step=record["step"])
        self.report(record)

    # State --------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """The run's state, then the averaged model, each complete or not at all."""
        self.gather_average()
        state = self.state_dict()
        if self.accelerator.is_main_process:
            self.checkpoints.save(self.step, state)
            self.tokenizer.save_pretrained(self.folder)
        self.accelerator.wait_for_everyone()

    @torch.no_grad()
    def gather_average(self) -> None:
        """Puts the whole average into the tokenizer, where it is split."""
        if self.recipe.shard:
            for held, value in zip(self.tokenizer.network.parameters(), self.average.values, strict=True):
                held.copy_(gather(value))

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the run depends on."""
        if self.recipe.shard:
            trained = sharded_state(self.network, self.optimizers)
        else:
            optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
            trained = {"network": self.network.state_dict(), "optimizers": optimizers}
        scaler = self.accelerator.scaler
        return {
            "version": STATE_VERSION,
            "config": self.tokenizer.config.to_dict(),
            "recipe": self.recipe.to_dict(),
            **trained,
            "average": self.tokenizer.network.state_dict(),
            "adversary": None if self.adversary is None else self.adversary.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "random": random_states(self.accelerator),
            "step": self.step,
            "stage": self.stage,
            "stage_begin": self.stage_begin,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "skipped": self.guard.skipped,
            "skipped_in_a_row": self.guard.in_a_row,
            "meter": self.meter.state_dict(),
            "data": self.data.fingerprint,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from `state`, which is of this recipe.

        Raises:
            CheckpointError: in `run`, where the data's files are others than before.
        """
        self.expected_data = state["data"]
        if self.recipe.shard:
            load_sharded(self.network, self.optimizers, state)
        else:
            self.network.load_state_dict(state["network"])
            for optimizer, values in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(values)
        self.tokenizer.network.load_state_dict(state["average"])
        self.average.load(
            split_like(w, v) for w, v in zip(self.tokenizer.network.parameters(), self.average.values, strict=True)
        )
        if self.adversary is not None:
            self.adversary.load_state_dict(state["adversary"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        other_seed = self.recipe.seed + 1_000_003 * state["step"] + self.accelerator.process_index
        set_random_state(self.accelerator, state["random"], other_seed)
        for name in ("step", "stage", "stage_begin", "epochs", "seconds"):
            setattr(self, name, state[name])
        self.guard.skipped, self.guard.in_a_row = state["skipped"], state["skipped_in_a_row"]
        self.meter = Meter(**state["meter"])


def total(terms: Mapping[str, Tensor]) -> Tensor:
    if not terms:
        raise ConfigError("loss: no loss has a weight above 0 at this step; expected at least one, such as loss.l1=1")
    return torch.stack(list(terms.values())).sum()
