"""`CosmotokVAE`: a tokenizer as the `vae` of a diffusers pipeline, which gains streaming and bounded memory.

In a pipeline that is loaded already, with its own weights and latent statistics:

```python
pipe = CosmosTextToWorldPipeline.from_pretrained("nvidia/Cosmos-1.0-Diffusion-7B-Text2World", ...)
pipe.vae = CosmotokVAE.from_diffusers(pipe.vae, attention_context=16)
```

With any other continuous tokenizer, one trained with cosmotok for example:

```python
pipe.vae = CosmotokVAE(Tokenizer.from_pretrained("my-model"))
```

diffusers itself is not needed here: its pipelines ask for attributes and methods, not for a class.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cosmotok.checkpoint.contents import Checkpoint
from cosmotok.checkpoint.diffusers import config_from_diffusers, obstacles, tensors_from_diffusers
from cosmotok.checkpoint.diffusers_files import write_diffusers
from cosmotok.errors import InputError
from cosmotok.normalization import denormalize_latents, normalize_latents
from cosmotok.tokenizer import Tokenizer

__all__ = ["CosmotokVAE", "Decoded", "Encoded", "LatentPoint", "VAEConfig"]


class VAEConfig(dict[str, Any]):
    """A config as diffusers has them: keys are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no config key {name!r}; there are {', '.join(self)}") from None


@dataclass(frozen=True)
class LatentPoint:
    """The distribution of a plain autoencoder's latents: all of it on one point."""

    mean: Tensor

    def mode(self) -> Tensor:
        """The latents."""
        return self.mean

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """The latents; nothing is drawn, so `generator` stays as it is."""
        return self.mean


class Encoded(NamedTuple):
    """What `CosmotokVAE.encode` returns."""

    latent_dist: LatentPoint


class Decoded(NamedTuple):
    """What `CosmotokVAE.decode` returns."""

    sample: Tensor
    """(B, 3, T, H, W) in about [-1, 1], not clipped."""


class CosmotokVAE(nn.Module):
    """A continuous tokenizer with the interface of diffusers' `AutoencoderKLCosmos`.

    What is better than there: clips run through in chunks, so that memory does not grow with their length but for the
    attention's cache, which `attention_context` bounds; attention is never materialised; any number of frames and any
    size can be encoded. Results are the same where both work, but for rounding. `enable_tiling` warns and does nothing:
    tiles would change the statistics of the norms and so the result, and streaming bounds memory already.

    As in the tokenizer, nothing tracks gradients, and what goes in has to be finite and in [-1, 1].

    Args:
        tokenizer: with continuous latents. Its network becomes part of this module, so that moving one moves the other.
        attention_context: latent frames that temporal attention looks back on; None (exact) keeps all of them.
        latents_mean, latents_std: what pipelines normalise latents by: one number per channel, or one per channel and
            latent frame, channel by channel. Those of the tokenizer's config unless given; None there: unknown.

    Raises:
        InputError: for a discrete tokenizer, or statistics that do not fit its latents.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        attention_context: int | None = None,
        latents_mean: Sequence[float] | None = None,
        latents_std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        config = tokenizer.config
        if config.is_discrete:
            raise InputError(f"tokenizer: {config.variant} is discrete; a diffusion pipeline needs continuous latents")
        mean = list(config.latents_mean if latents_mean is None else latents_mean)
        std = list(config.latents_std if latents_std is None else latents_std)
        if len(mean) != len(std) or len(mean) % config.latent_channels:
            raise InputError(
                f"latents_mean, latents_std: expected equally many numbers, a multiple of {config.latent_channels} "
                f"channels, got {len(mean)} and {len(std)}"
            )
        self.tokenizer = tokenizer
        self.network = tokenizer.network
        self.attention_context = attention_context
        self.use_slicing = False
        self.config = VAEConfig(
            in_channels=3,
            out_channels=3,
            latent_channels=config.latent_channels,
            patch_size=config.patch,
            scaling_factor=1.0,
            spatial_compression_ratio=config.spatial_factor,
            temporal_compression_ratio=config.temporal_factor,
            latents_mean=mean or None,
            latents_std=std or None,
        )

    @classmethod
    def from_diffusers(cls, vae: Any, *, attention_context: int | None = None) -> CosmotokVAE:
        """The same model as `vae`, an `AutoencoderKLCosmos`, on its device and in its dtype; weights are copied.

        Its latent statistics stay as they are, also where they differ from frame to frame.

        Raises:
            ConfigError: where our network does not compute what its config says.
            CheckpointError: where its weights do not fit its config.
        """
        name = type(vae).__name__
        config = config_from_diffusers(dict(vae.config))
        tensors = tensors_from_diffusers(vae.state_dict(), config, name)
        tokenizer = Tokenizer.from_checkpoint(Checkpoint(config, tensors, name)).to(vae.device, vae.dtype)
        return cls(
            tokenizer,
            attention_context=attention_context,
            latents_mean=vae.config["latents_mean"],
            latents_std=vae.config["latents_std"],
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.tokenizer.device

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and results."""
        return self.tokenizer.dtype

    def enable_slicing(self) -> None:
        """Encodes and decodes the clips of a batch one after the other, for less memory."""
        self.use_slicing = True

    def disable_slicing(self) -> None:
        """Encodes and decodes a batch at once."""
        self.use_slicing = False

    def enable_tiling(self, *sizes: Any, **named_sizes: Any) -> None:
        """Warns that tiles are not needed here and would change the result; takes whatever scripts pass."""
        warnings.warn(
            "CosmotokVAE.enable_tiling does nothing: clips are encoded in steps already, attention holds no matrix of "
            "weights, and tiles would change the result; attention_context=N bounds the memory of long clips",
            stacklevel=2,
        )

    def disable_tiling(self) -> None:
        """There are no tiles: nothing to do."""

    def normalize(self, latents: Tensor) -> Tensor:
        """Latents of mean 0 and deviation 1, by `config.latents_mean` and `config.latents_std`.

        Args:
            latents: (B, C, T', H', W'), or of images (B, C, H', W'), as `encode` gives them.

        Raises:
            InputError: for no statistics, or ones of fewer latent frames than these.
        """
        return normalize_latents(latents, self.config.latents_mean or (), self.config.latents_std or ())

    def denormalize(self, latents: Tensor) -> Tensor:
        """The way back from `normalize`: what a diffusion model generated, ready for `decode`."""
        return denormalize_latents(latents, self.config.latents_mean or (), self.config.latents_std or ())

    def save_pretrained(self, save_directory: str | os.PathLike[str], **options: Any) -> None:
        """Writes a folder that `AutoencoderKLCosmos.from_pretrained` and `Tokenizer.from_pretrained` load.

        A model that diffusers cannot express (with a linear shortcut, or for images) is written in cosmotok's own
        format, which only `Tokenizer.from_pretrained` loads; a warning says so.

        Args:
            save_directory: the folder.
            options: what diffusers takes here. `is_main_process=False` writes nothing; the rest is not needed.

        Raises:
            MediaError: where the folder cannot be written.
            CheckpointError: where it holds another model.
        """
        if not options.get("is_main_process", True):
            return
        checkpoint = self.tokenizer.to_checkpoint()
        reasons = [reason for reason, holds in obstacles(checkpoint.config, self.tokenizer.halves).items() if holds]
        if not reasons:
            statistics = {name: self.config[name] for name in ("latents_mean", "latents_std")}
            write_diffusers(checkpoint, Path(save_directory), statistics)
            return
        warnings.warn(
            f"CosmotokVAE.save_pretrained: diffusers has no such model ({', '.join(reasons)}); {save_directory} is in "
            "cosmotok's format, for Tokenizer.from_pretrained",
            stacklevel=2,
        )
        self.tokenizer.save_pretrained(save_directory)

    def encode(self, x: Tensor, return_dict: bool = True) -> Encoded | tuple[LatentPoint]:
        """Clips to the distribution of their latents, `encode(x).latent_dist.mode()`.

        Args:
            x: (B, 3, T, H, W) in [-1, 1], or uint8 in 0..255; or images (B, 3, H, W).
            return_dict: whether the result has a name, or is a plain tuple.

        Returns:
            Of latents (B, C, T', H', W'); without T' for images.

        Raises:
            InputError: for a wrong rank, dtype or range, or no frames.
        """
        point = LatentPoint(self._run(self.tokenizer.encode, x))
        return Encoded(point) if return_dict else (point,)

    def decode(self, z: Tensor, return_dict: bool = True) -> Decoded | tuple[Tensor]:
        """Latents to clips, `decode(z).sample`.

        Args:
            z: (B, C, T', H', W'), not normalised; or of images (B, C, H', W').
            return_dict: whether the result has a name, or is a plain tuple.

        Returns:
            (B, 3, 1 + (T' - 1) * s_T, H' * s, W' * s) in about [-1, 1], not clipped; without T for images.

        Raises:
            InputError: for a wrong rank, dtype or number of channels, NaN or infinity.
        """
        sample = self._run(self.tokenizer.decode, z)
        return Decoded(sample) if return_dict else (sample,)

    def forward(
        self,
        sample: Tensor,
        sample_posterior: bool = False,
        return_dict: bool = True,
        generator: torch.Generator | None = None,
    ) -> Decoded | tuple[Tensor]:
        """`decode` of `encode`. The latents are a point, so mode and sample (`sample_posterior`) are the same."""
        point = self.encode(sample)[0]
        return self.decode(point.sample(generator) if sample_posterior else point.mode(), return_dict)

    def _run(self, step: Callable[..., Tensor], x: Tensor) -> Tensor:
        # accelerate's offloading brings a module's weights in before `forward`; for other methods they have to ask
        hook = getattr(self, "_hf_hook", None)
        if hook is not None:
            hook.pre_forward(self)
        parts = x.split(1) if self.use_slicing and len(x) else (x,)
        return torch.cat([step(part, attention_context=self.attention_context) for part in parts])
