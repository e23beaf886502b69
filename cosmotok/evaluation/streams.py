"""A clip through a tokenizer as a stream, and originals beside what comes back, a few frames at a time in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from cosmotok.defaults import ATTENTION_CONTEXT
from cosmotok.frames import to_pixels
from cosmotok.interface import BaseTokenizer

__all__ = ["groups", "paired", "streamed"]


def streamed(
    tokenizer: BaseTokenizer, frames: Iterable[np.ndarray], count: Callable[[Tensor], None] = lambda tokens: None
) -> Iterator[np.ndarray]:
    """What a tokenizer makes of a clip, frame for frame, uint8 (H, W, 3).

    Args:
        frames: uint8 (H, W, 3), of one size; read as they are needed.
        count: called with all tokens, piece by piece.
    """
    encoder = tokenizer.stream_encoder(attention_context=ATTENTION_CONTEXT)
    decoder = None
    missing = 0
    """Frames that went in and have not come out; what comes beyond is padding of the last group."""
    for group in groups(frames, tokenizer.spec.step_frames):
        if decoder is None:
            height, width = group[0].shape[:2]
            decoder = tokenizer.stream_decoder(attention_context=ATTENTION_CONTEXT, size=(height, width))
        missing += len(group)
        tokens = encoder.push(torch.from_numpy(np.stack(group)).permute(3, 0, 1, 2).unsqueeze(0))
        count(tokens)
        for pixels in to_pixels(decoder.push(tokens)):
            missing -= 1
            yield pixels
    if decoder is None:
        return
    tokens = encoder.flush()
    count(tokens)
    last = torch.cat((decoder.push(tokens), decoder.flush()), dim=2)
    yield from to_pixels(last[:, :, :missing])


def paired(
    frames: Iterable[np.ndarray], through: Callable[[Iterator[np.ndarray]], Iterator[np.ndarray]]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every frame with what `through` makes of it; originals are kept no longer than until theirs has come."""
    waiting: deque[np.ndarray] = deque()

    def noted() -> Iterator[np.ndarray]:
        for frame in frames:
            waiting.append(frame)
            yield frame

    for result in through(noted()):
        yield waiting.popleft(), result


def groups(frames: Iterable[np.ndarray], count: int) -> Iterator[list[np.ndarray]]:
    """The first frame by itself, then `count` at a time, as the steps of a stream are."""
    iterator = iter(frames)
    size = 1
    while group := list(islice(iterator, size)):
        yield group
        size = count
