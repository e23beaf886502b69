"""Classical video codecs through PyAV, at a constant quality or at the rate of a tokenizer."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cosmotok.contestants import Source, Tally, Traits
from cosmotok.errors import MissingExtraError

from .encoders import ENCODERS, CodecEncoder, encoder_of
from .rates import Setting

if TYPE_CHECKING:
    from .process import CodingProcess

__all__ = ["VIDEO_CODECS", "VideoCodec", "VideoContestant"]


@dataclass(frozen=True)
class VideoCodec:
    """A video codec; what a clip costs is its elementary stream, without a container."""

    name: str
    encoders: tuple[CodecEncoder, ...]
    """The first that is there is used."""
    unit: str = "crf"

    @property
    def settings(self) -> tuple[int, int]:
        """Best and worst constant rate factor."""
        return self.encoders[0].crfs

    @property
    def text(self) -> str:
        """Settings, for people; of the encoder that would be used."""
        encoder = encoder_of(self.name) if self.available else self.encoders[0]
        return f"{encoder.text}, 8 bit, 4:2:0, a key frame every 250 frames, one thread"

    def require(self) -> CodecEncoder:
        """Raises MissingExtraError where this PyAV lacks the codec."""
        return encoder_of(self.name)

    @property
    def available(self) -> bool:
        try:
            self.require()
        except MissingExtraError:
            return False
        return True

    def contestant(self, name: str, setting: Setting) -> VideoContestant:
        return VideoContestant(name, self, setting)


VIDEO_CODECS = {
    name: VideoCodec(name, tuple(encoder for encoder in ENCODERS if encoder.codec == name))
    for name in dict.fromkeys(encoder.codec for encoder in ENCODERS)
}
"""By name."""


@dataclass(frozen=True)
class VideoContestant:
    """A video codec at a setting."""

    name: str
    codec: VideoCodec
    setting: Setting

    @property
    def traits(self) -> Traits:
        matched = self.setting.unit == "bpp"
        note = self.codec.text
        if matched:
            note += "; the best quality within the rate, or the least there is where none is"
        # Frames depend on later ones (B-frames); a rate is matched by encoding the whole clip several times.
        return Traits(family="codec", image=False, video=True, causal=False, streaming=not matched, note=note)

    def load(self, device: str) -> LoadedVideoCodec:
        return LoadedVideoCodec(self.codec.require(), self.setting)


class LoadedVideoCodec:
    """Keeps its process from clip to clip; clips coded at the same time have one each."""

    def __init__(self, encoder: CodecEncoder, setting: Setting) -> None:
        self._encoder, self._setting = encoder, setting
        self._idle: list[CodingProcess] = []
        weakref.finalize(self, close_all, self._idle)

    def reconstruct(self, frames: Iterable[np.ndarray], source: Source, tally: Tally) -> Iterator[np.ndarray]:
        from .coding import Job
        from .process import CodingProcess

        job = Job(self._encoder, self._setting, source.height, source.width, source.frame_rate)
        process = self._idle.pop() if self._idle else CodingProcess()
        held: list[np.ndarray] = []  # one frame: with the last of them, the tally is complete
        try:
            for answer in process.code(job, frames):
                if isinstance(answer, int):
                    tally.bits = answer
                else:
                    yield from held
                    held = [answer]
        except BaseException:  # its next answers would belong to this clip
            process.close(idle=False)
            raise
        self._idle.append(process)
        yield from held


def close_all(processes: list[CodingProcess]) -> None:
    for process in processes:
        process.close()
