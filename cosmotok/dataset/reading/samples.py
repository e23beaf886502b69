"""From a stored row to what is trained on."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cosmotok.dataset.manifest import Manifest
from cosmotok.dataset.reading.shards import Row
from cosmotok.dataset.schema import SIGNAL, unpack
from cosmotok.errors import InputError
from cosmotok.foreign import one_line
from cosmotok.normalization import normalize_latents
from cosmotok.spec import TokenizerSpec

__all__ = ["Sample", "Samples", "collate", "frames_of_latents", "shape_of"]

Sample = dict[str, Any]
SIGNALS = ("signals", "latent_signals")


@dataclass(frozen=True)
class Samples:
    """Makes samples of rows."""

    manifest: Manifest
    place: str
    """Of the data set, for messages."""
    statistics: tuple[Sequence[float], Sequence[float]] | None
    """Mean and deviation by which latents are normalised, if they are to be."""

    def make(self, number: int, row: Row) -> Sample:
        """What `TokenDataset` says of its rows.

        Raises:
            InputError: where the row is damaged.
        """
        try:
            return self._make(number, row)
        except (ValueError, TypeError, KeyError, RuntimeError, OverflowError) as error:
            raise InputError(
                f"{self.place}: row {number} is damaged ({one_line(error, 120)}); `cosmotok verify` checks all"
            ) from None

    def _make(self, number: int, row: Row) -> Sample:
        spec = self.manifest.spec
        size = row["frames"], row["height"], row["width"]
        if shape_of(row) != spec.grid(*size):
            raise ValueError(f"a grid of {shape_of(row)} for {size} frames, height and width")
        tokens = unpack(row, spec, self.manifest.latent_dtype)
        if spec.is_discrete:
            tokens = tokens.long()
            if int(tokens.max()) >= (spec.vocab_size or 0) or int(tokens.min()) < 0:
                raise ValueError(f"an index of {int(tokens.max())}, where there are {spec.vocab_size}")
        elif self.statistics is not None:
            tokens = normalize_latents(tokens[None], *self.statistics)[0]
        signals = self._signals(row)
        frames = frames_of_latents(spec, tokens.shape[-3], size[0])
        return {
            "tokens": tokens,
            "row": number,
            "key": row["key"],
            "segment": row["segment"],
            "caption": row["caption"] or "",
            "metadata": json.loads(row["metadata"]),
            "size": size,
            "original_size": (row["original_height"], row["original_width"]),
            "first_frame": row["first_frame"],
            "frame_rate": row["frame_rate"] or 0.0,
            "times": torch.from_numpy(row["start"] + times_of(row)),
            "signals": signals,
            "latent_signals": {name: values[frames] for name, values in signals.items()},
        }

    def _signals(self, row: Row) -> dict[str, Tensor]:
        found = {name: (row[SIGNAL + name], shape) for name, shape in self.manifest.signals.items()}
        return {
            name: torch.from_numpy(np.asarray(values)).reshape(row["frames"], *shape)
            for name, (values, shape) in found.items()
            if values is not None
        }


def times_of(row: Row) -> np.ndarray:
    """Seconds of each frame from the first: (T,) float64; raises ValueError where they cannot be."""
    frames, rate, times = row["frames"], row["frame_rate"], row["times"]
    if rate is None:
        return np.zeros(frames)
    if not 0 < rate < math.inf or (times is not None and len(times) != frames):
        raise ValueError(f"{frames} frames at a rate of {rate}, with other times")
    return np.arange(frames) / rate if times is None else times


def shape_of(row: Row) -> tuple[int, int, int]:
    """T', H', W' of a row's tokens."""
    return row["latent_frames"], row["latent_height"], row["latent_width"]


def frames_of_latents(spec: TokenizerSpec, latent_frames: int, frames: int) -> Tensor:
    """Which frames each latent frame stands for: (T', temporal_factor) numbers of frames.

    A frame is named again where the tokenizer repeats it: the first one of a causal tokenizer, which has a latent frame
    to itself, and the last one, which fills the last group.
    """
    last = spec.first - 1 + spec.temporal_factor * torch.arange(latent_frames)
    before = torch.arange(spec.temporal_factor - 1, -1, -1)
    return (last[:, None] - before).clamp(0, frames - 1)


def collate(samples: Sequence[Sample]) -> dict[str, Any]:
    """A batch of samples, for `DataLoader(collate_fn=collate)`: tensors of one shape are stacked and numbers become a
    tensor; all else, texts and tensors of different shapes too, is a list."""
    batch = {name: _together([sample[name] for sample in samples]) for name in samples[0]}
    for kind in SIGNALS:
        names = dict.fromkeys(name for sample in samples for name in sample[kind])
        batch[kind] = {name: _together([sample[kind].get(name) for sample in samples]) for name in names}
    return batch


def _together(values: list[Any]) -> Any:
    if all(isinstance(value, Tensor) and value.shape == values[0].shape for value in values):
        return torch.stack(values)
    if all(type(value) in (int, float) for value in values):
        return torch.tensor(values)
    return values
