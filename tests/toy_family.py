"""A family of tokenizers in forty lines: `toy:8` is the mean colour of squares of 8 x 8 pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F

from cosmotok.families import Family
from cosmotok.interface import BaseTokenizer, Model
from cosmotok.spec import TokenizerSpec


class MeanColours(BaseTokenizer):
    def __init__(self, side):
        self.side = side

    @property
    def spec(self):
        return TokenizerSpec(f"toy-{self.side}", self.side, latent_channels=3, clips=False, chunk=4)

    @property
    def fingerprint(self):
        return f"{self.side:08x}" * 2

    def encode_step(self, frames, state):
        state.started = True
        return F.avg_pool3d(frames, (1, self.side, self.side))

    def decode_step(self, tokens, state):
        state.started = True
        return tokens.repeat_interleave(self.side, 3).repeat_interleave(self.side, 4)


@dataclass(frozen=True)
class ToyModel(Model):
    name: str

    @property
    def spec(self):
        return self.load().spec

    def load(self, device=None, dtype=None):
        return MeanColours(int(self.name.partition(":")[2]))


TOY = Family("a toy", lambda name: name.startswith("toy:"), lambda asked: ToyModel(asked.name), lambda: ["toy:8"])
