"""Mean and standard deviation of a tokenizer's latents over a data set, by which diffusion training normalises them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from cosmotok.config import TokenizerConfig
from cosmotok.errors import InputError, MediaError
from cosmotok.frames import batches, to_video
from cosmotok.interface import BaseTokenizer
from cosmotok.media import open_media

__all__ = ["LatentStatistics", "RunningMoments", "latent_statistics", "with_statistics"]


@dataclass(frozen=True)
class LatentStatistics:
    """What `latent_statistics` found."""

    mean: tuple[float, ...]
    """Of each latent channel."""
    std: tuple[float, ...]
    """Of each latent channel; of all positions, so divided by `count` and not by one less."""
    count: int
    """Latent positions that went in."""
    clips: int
    """Files that went in."""
    skipped: tuple[str, ...] = ()
    """Files that could not be read, and why."""


class RunningMoments:
    """Mean and variance per channel, of values that come in parts, in float64.

    Parts are joined as in Chan, Golub and LeVeque (1979): by their means and sums of squared deviations, so that
    nothing cancels where the mean is large against the deviation.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean = torch.zeros(channels, dtype=torch.float64)
        self.squares = torch.zeros(channels, dtype=torch.float64)
        """Of the deviations from the mean, summed."""

    def update(self, latents: Tensor) -> None:
        """Adds latents (B, C, ...)."""
        values = latents.detach().cpu().double().transpose(0, 1).flatten(1)
        if values.shape[1]:
            part = RunningMoments(values.shape[0])
            part.count, part.mean = values.shape[1], values.mean(1)
            part.squares = (values - part.mean.unsqueeze(1)).square().sum(1)
            self.merge(part)

    def merge(self, other: RunningMoments) -> None:
        """Adds what `other` has seen."""
        total = self.count + other.count
        if total == 0:
            return
        distance, share = other.mean - self.mean, other.count / total
        self.mean = self.mean + distance * share
        self.squares = self.squares + other.squares + distance.square() * (self.count * share)
        self.count = total

    @property
    def std(self) -> Tensor:
        """Standard deviation of all values so far."""
        return (self.squares / max(1, self.count)).sqrt()


def latent_statistics(
    tokenizer: BaseTokenizer,
    files: Iterable[str | Path],
    *,
    max_clips: int | None = None,
    frames: int | None = None,
    attention_context: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> LatentStatistics:
    """Mean and standard deviation of each latent channel over images and videos.

    Each file is encoded as a whole as one stream, in its own size, in memory that does not grow with its length but for
    the attention's cache. Every latent position of every file has the same weight; those at the edges that hold
    padding, too.

    Args:
        tokenizer: with continuous latents.
        files: images and videos, such as `cosmotok.media.find_media(folder)`.
        max_clips: files that go in, the first that can be read; None: all of them.
        frames: of each file, from its start; None: all of them.
        attention_context: latent frames that temporal attention looks back on; None (exact) keeps all of them.
        advance: called with 1 after each file, read or not.

    Returns:
        The statistics, and which files could not be read: a file that breaks off counts among these as a whole.

    Raises:
        InputError: for a discrete tokenizer, or limits below 1.
        MediaError: where no file can be read.
    """
    if tokenizer.spec.is_discrete:
        raise InputError(f"{tokenizer.spec.name}: is discrete; only continuous latents have such statistics")
    for argument, limit in (("max_clips", max_clips), ("frames", frames)):
        if limit is not None and limit < 1:
            raise InputError(f"{argument}={limit}: expected at least 1, or None for all")
    total, clips, skipped = RunningMoments(tokenizer.spec.latent_channels), 0, []
    for path in files:
        if clips == max_clips:
            break
        try:
            total.merge(moments_of_file(tokenizer, Path(path), frames, attention_context))
            clips += 1
        except MediaError as error:
            skipped.append(str(error))
        if advance is not None:
            advance(1)
    if clips == 0:
        reason = f"; the first of {len(skipped)} that cannot be read: {skipped[0]}" if skipped else ""
        raise MediaError(f"no image or video to take statistics of{reason}")
    return LatentStatistics(tuple(total.mean.tolist()), tuple(total.std.tolist()), total.count, clips, tuple(skipped))


def moments_of_file(
    tokenizer: BaseTokenizer, path: Path, frames: int | None, attention_context: int | None
) -> RunningMoments:
    """The moments of one file's latents."""
    moments = RunningMoments(tokenizer.spec.latent_channels)
    encoder = tokenizer.stream_encoder(attention_context=attention_context)
    with open_media(path, frames=slice(frames)) as reader:
        for batch in batches(reader, tokenizer.spec.step_frames):
            moments.update(encoder.push(to_video(batch)))
    moments.update(encoder.flush())
    return moments


def with_statistics(config: TokenizerConfig, statistics: LatentStatistics) -> TokenizerConfig:
    """`config` that knows the statistics of its latents.

    Raises:
        ConfigError: where they are not finite or a channel never varies, so that it cannot be normalised.
    """
    return replace(config, latents_mean=statistics.mean, latents_std=statistics.std)
