"""Published reconstruction quality of tokenizers, to be drawn beside what was measured here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["DRAWN", "LITERATURE", "Reported"]

SOURCE = "Cosmos, arXiv 2501.03575"
CORRECTED = f"{SOURCE}; corrected for TokenBench#3"
"""TokenBench's first code subtracted in uint8, which wrapped around: its values were 2 to 4 dB too high."""


@dataclass(frozen=True)
class Reported:
    """What somebody reported of one tokenizer on one data set, at original resolution. None where nothing was."""

    model: str
    kind: Literal["image", "video"]
    """Of the data."""
    tokens: Literal["continuous", "discrete"]
    time: int
    """Frames per latent frame; 1 for images."""
    space: int
    """Pixels per latent position, in height and in width."""
    frames: int | None
    """Per window that the tokenizer sees at once."""
    data: str
    psnr: float
    """dB."""
    ssim: float | None
    frechet: float | None
    """rFID of images, rFVD of videos."""
    source: str

    @property
    def compression(self) -> int:
        """Pixels per token."""
        return self.space**2 * self.time


DRAWN = {"image": "COCO-2017 val", "video": "TokenBench"}
"""The data set of each kind that charts show."""

# model, factors (time, height and width; height and width), frames per window, then PSNR / SSIM / rFVD or rFID
VIDEOS = {
    "continuous": """
CogVideoX                4x8x8    17   29.29 .864  19.58   32.06 .909   6.97
OmniTokenizer            4x8x8    17   22.23 .713 117.66   24.48 .830  35.86
Cosmos-0.1-CV            4x8x8    49   32.80 .900  15.93   35.45 .928   6.85
Cosmos-0.1-CV            8x8x8    49   30.61 .856  30.16   34.44 .917  11.62
Cosmos-0.1-CV            8x16x16  49   27.60 .779  93.82   31.61 .875  43.08
Cosmos-1.0-CV            8x8x8    121  31.28 .868  23.49   35.13 .926   9.82
Cosmos-Tokenize1-CV-360p 4x8x8    49   35.85 .920  10.06   38.42 -      -
""",
    "discrete": """
VideoGPT                 4x4x4    -    28.17 .850  72.33   33.66 .914  13.85
OmniTokenizer            4x8x8    17   20.02 .703 188.60   25.31 .827  53.55
Cosmos-0.1-DV            4x8x8    17   28.81 .818  37.36   31.97 .888  19.67
Cosmos-0.1-DV            8x8x8    17   27.51 .789 100.15   30.95 .873  43.86
Cosmos-0.1-DV            8x16x16  17   25.09 .714 241.52   28.91 .829 113.48
Cosmos-1.0-DV            8x16x16  49   25.49 .719 259.33   29.33 .838 107.43
""",
}
IMAGES = {
    "continuous": """
FLUX                     8x8      1    24.00 .682   2.50   20.09 .518   1.23
Cosmos-CI                8x8      1    28.66 .836   1.76   28.83 .837   0.69
Cosmos-CI                16x16    1    23.63 .663   3.82   23.72 .655   1.03
""",
    "discrete": """
Cosmos-DI                8x8      1    24.40 .704   3.71   24.48 .701   1.27
Cosmos-DI                16x16    1    20.45 .529   7.23   20.49 .518   2.52
LlamaGen                 8x8      1    21.99 .616   4.12   19.64 .498   1.40
LlamaGen                 16x16    1    19.11 .491   6.08   18.38 .448   1.66
Open-MAGVIT2             16x16    1    19.50 .502   6.65   17.00 .398   2.70
""",
}
DATA: dict[Literal["image", "video"], tuple[dict[str, str], tuple[tuple[str, str], ...]]] = {
    "video": (VIDEOS, (("DAVIS 1080p", SOURCE), ("TokenBench", CORRECTED))),
    "image": (IMAGES, (("COCO-2017 val", SOURCE), ("ImageNet val", SOURCE))),
}


def read(kind: Literal["image", "video"], tokens: Literal["continuous", "discrete"]) -> list[Reported]:
    tables, sets = DATA[kind]
    found = []
    for line in tables[tokens].strip().splitlines():
        model, factors, frames, *values = line.split()
        sizes = [int(factor) for factor in factors.split("x")]
        for i, (data, source) in enumerate(sets):
            psnr, ssim, frechet = values[3 * i : 3 * i + 3]
            found.append(
                Reported(
                    model=model,
                    kind=kind,
                    tokens=tokens,
                    time=sizes[0] if len(sizes) == 3 else 1,
                    space=sizes[-1],
                    frames=None if frames == "-" else int(frames),
                    data=data,
                    psnr=float(psnr),
                    ssim=None if ssim == "-" else float(ssim),
                    frechet=None if frechet == "-" else float(frechet),
                    source=source,
                )
            )
    return found


LITERATURE: list[Reported] = [
    *read("video", "continuous"),
    *read("video", "discrete"),
    *read("image", "continuous"),
    *read("image", "discrete"),
]
