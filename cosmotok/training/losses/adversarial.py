"""The adversarial stage: discriminators, their losses, and the generator's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosmotok.errors import InputError
from cosmotok.perceptual.vgg import at_least_float32
from cosmotok.training.discriminator import PatchDiscriminator
from cosmotok.training.losses.options import LossOptions, weight_at
from cosmotok.training.losses.reconstruction import check_pair

__all__ = ["AdversarialLoss", "LeCam", "discriminator_loss", "generator_loss"]

STABILISER = 1e-4  # in the adaptive weight's denominator, as Esser et al. have it


def generator_loss(kind: str, fake: Tensor) -> Tensor:
    """What the generator minimises, from the logits of its reconstructions.

    Args:
        kind: hinge: -mean(logit) (Lim and Ye 2017). non-saturating: mean(softplus(-logit)) (Goodfellow et al. 2014).
    """
    return -fake.mean() if kind == "hinge" else F.softplus(-fake).mean()


def discriminator_loss(kind: str, real: Tensor, fake: Tensor) -> Tensor:
    """What a discriminator minimises, from its logits: half a term for either side.

    Args:
        kind: hinge: relu(1 - real), relu(1 + fake). non-saturating: softplus(-real), softplus(fake).
    """
    if kind == "hinge":
        return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


class LeCam(nn.Module):
    """Keeps a discriminator from growing too sure on little data (Tseng et al. 2021).

    mean(relu(real - F)^2) + mean(relu(R - fake)^2), with R and F the running means of its logits for sources and for
    reconstructions, over all processes. The paper has no relu; the authors' code does.
    """

    real: Tensor
    fake: Tensor
    started: Tensor

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("real", torch.zeros(()))
        self.register_buffer("fake", torch.zeros(()))
        self.register_buffer("started", torch.zeros(()))

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """Takes the logits into the running means, then measures against those."""
        with torch.no_grad():
            now = sum_over_processes(torch.stack((real.mean(), fake.mean()))) / processes()
            # the first means are taken as they are: zeros would take long to forget
            pace = 1 - self.decay * self.started
            self.real += pace * (now[0] - self.real)
            self.fake += pace * (now[1] - self.fake)
            self.started.fill_(1)
        return F.relu(real - self.fake).square().mean() + F.relu(self.real - fake).square().mean()


class AdversarialLoss(nn.Module):
    """Discriminators against the tokenizer as generator; its parameters are the discriminators', for their optimiser.

    Of two alternating updates, `generator_terms` belongs to the tokenizer's and leaves no gradient on the
    discriminators; `discriminator_loss` (which `forward` is too, for DistributedDataParallel) belongs to theirs, and
    leaves none on the tokenizer. All processes must come with batches of one shape, since clips have a discriminator
    that single frames do not have.

    The state dict holds all that a resumed run needs.
    """

    def __init__(self, options: LossOptions) -> None:
        super().__init__()
        self.options = options
        self.discriminators = nn.ModuleDict(
            {
                name: PatchDiscriminator(int(name[0]), options.discriminator_width, options.discriminator_layers)
                for name in options.discriminators
            }
        )
        self.lecam = nn.ModuleDict({name: LeCam(options.lecam_decay) for name in options.discriminators})

    def generator_terms(self, reconstruction: Tensor, source: Tensor, step: int, others: Tensor) -> dict[str, Tensor]:
        """The weighted term of each discriminator; none before `adversarial_start` or at weight 0.

        With `adaptive`, they are scaled by |gradient of others| / (|gradient of the terms' sum| + 1e-4), at most
        `adaptive_max` (Esser et al. 2021): at weight 1, they pull as hard as all other losses together. Gradients are
        compared at the reconstruction rather than at the decoder's last layer, as frozen, sharded and compiled decoders
        need it.

        Args:
            reconstruction: (B, 3, T, H, W) in [-1, 1], in the graph; source: the same shape.
            others: the sum of all other losses, in the graph, of this very `reconstruction`.

        Raises:
            InputError: for tensors of other shapes, or not of one graph.
        """
        check_pair(reconstruction, source)
        weight = weight_at(self.options.adversarial, step)
        if not weight or step < self.options.adversarial_start:
            return {}
        with untrained(self.discriminators):
            terms = {
                f"adversarial_{name}": generator_loss(self.options.adversarial_loss, self.logits(name, reconstruction))
                for name in self.suitable(reconstruction)
            }
        if terms and self.options.adaptive:
            total = torch.stack(list(terms.values())).sum()
            ratio = gradient_norm(others, reconstruction) / (gradient_norm(total, reconstruction) + STABILISER)
            return {name: weight * ratio.clamp(max=self.options.adaptive_max) * term for name, term in terms.items()}
        return {name: weight * term for name, term in terms.items()}

    def discriminator_loss(self, reconstruction: Tensor, source: Tensor, step: int) -> dict[str, Tensor]:
        """What the discriminators minimise, with LeCam's terms; their sum is the loss. Empty before the start.

        Args:
            reconstruction, source: (B, 3, T, H, W) in [-1, 1]; taken without their graphs.

        Raises:
            InputError: for tensors of other shapes.
        """
        check_pair(reconstruction, source)
        losses: dict[str, Tensor] = {}
        if step < self.options.adversarial_start:
            return losses
        for name in self.suitable(source):
            real, fake = self.logits(name, source.detach()), self.logits(name, reconstruction.detach())
            losses[f"discriminator_{name}"] = discriminator_loss(self.options.adversarial_loss, real, fake)
            if self.options.lecam:
                losses[f"lecam_{name}"] = self.options.lecam * self.lecam[name](real, fake)
        return losses

    forward = discriminator_loss

    def suitable(self, video: Tensor) -> list[str]:
        """The discriminators for videos (B, 3, T, H, W): a single frame has no motion to judge."""
        return [name for name in self.discriminators if name == "2d" or video.shape[2] > 1]

    def logits(self, name: str, video: Tensor) -> Tensor:
        return at_least_float32(self.discriminators[name](at_least_float32(video)))


@contextmanager
def untrained(module: nn.Module) -> Iterator[None]:
    """Inside, gradients pass through the module and leave nothing on its parameters."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def gradient_norm(loss: Tensor, batch: Tensor) -> Tensor:
    """Norm of the gradient, at a batch of which each process has its part, of the mean of all processes' losses."""
    gradient = torch.autograd.grad(loss, batch, retain_graph=True, allow_unused=True)[0] if loss.requires_grad else None
    if gradient is None:
        raise InputError(
            "the adaptive weight needs every loss to depend on the reconstruction: pass the one that the other losses "
            "were computed from"
        )
    return sum_over_processes((gradient / processes()).square().sum()).sqrt()


def processes() -> int:
    """How many train together."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if distributed else 1


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of `x` over all processes, on each of them."""
    if processes() > 1:
        torch.distributed.all_reduce(x)
    return x
