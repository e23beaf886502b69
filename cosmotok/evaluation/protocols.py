"""The ways in which PSNR is averaged and computed, by name, so that numbers say how they came about."""

from __future__ import annotations

from dataclasses import dataclass

from cosmotok.config import suggest
from cosmotok.errors import InputError

__all__ = ["DEFAULT", "PROTOCOLS", "Protocol", "find_protocol"]


@dataclass(frozen=True)
class Protocol:
    """How files are measured; what is not set is as TokenBench has it."""

    name: str
    text: str
    """What is done, for the reader of a table."""
    per_frame: bool = False
    """PSNR of each frame, then the mean; otherwise of all frames together."""
    without_first: bool = False
    """The first frame of clips is left out of every figure."""
    pooled: bool = False
    """PSNR in total from the squared errors of all files together, rather than the mean of the files' PSNRs."""
    wrapped: bool = False
    """PSNR in uint8 arithmetic, which wraps around: a mistake, kept to reproduce numbers that have it."""


DEFAULT = Protocol(
    "tokenbench",
    "TokenBench: PSNR of 8-bit values, from the mean squared error over all frames of a file, in exact arithmetic; "
    "SSIM (scikit-image, 7x7 window) and LPIPS (VGG-16) are means over frames. In total, the mean over files.",
)
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        DEFAULT,
        Protocol(
            "per-frame",
            "As tokenbench, but PSNR is taken of each frame and then averaged over the frames of a file. Never below "
            "tokenbench's, and higher the more the error varies; one frame without error makes it infinite.",
            per_frame=True,
        ),
        Protocol(
            "without-first",
            "As tokenbench, but the first frame of clips, which causal tokenizers code by itself, is left out of "
            "every figure. Images are measured whole.",
            without_first=True,
        ),
        Protocol(
            "pooled",
            "As tokenbench, but PSNR in total is that of the mean squared error over all values of all files, so that "
            "large files and large errors weigh more.",
            pooled=True,
        ),
        Protocol(
            "wrapped",
            "As tokenbench, but PSNR is computed in uint8, where differences and squares wrap around modulo 256: the "
            "mistake of TokenBench's first code, whose PSNRs are 2-4 dB too high. Only to reproduce those.",
            wrapped=True,
        ),
    )
}


def find_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        InputError: where there is none; names the nearest.
    """
    try:
        return PROTOCOLS[name]
    except KeyError:
        raise InputError(
            f"protocol {name!r}: unknown{suggest(name, PROTOCOLS)} (there are {', '.join(PROTOCOLS)})"
        ) from None
