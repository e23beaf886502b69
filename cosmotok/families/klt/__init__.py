"""`klt:4x8x8:16`: the best linear transform of blocks of pixels, fitted to a folder of images or clips."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cosmotok.families.registry import Family, Request
from cosmotok.spec import TokenizerSpec

if TYPE_CHECKING:
    from cosmotok.interface import Model

PREFIX = "klt:"


def klt_name(spec: TokenizerSpec, kind: Literal["image", "video"]) -> str:
    """The transform with a tokenizer's latents: as many coefficients, for the pixels of one latent position.

    Args:
        kind: of what is measured. Of images, and in the first frame of a clip, these pixels are of a single frame.
    """
    block = [spec.temporal_factor] * (kind == "video") + [spec.spatial_factor] * 2
    return f"{PREFIX}{'x'.join(map(str, block))}:{spec.latent_channels}"


def find(request: Request) -> Model:
    from cosmotok.families.klt.model import find_klt

    return find_klt(request)


FAMILY = Family(
    "the KLT",
    lambda name: name.partition(":")[0] == "klt",
    find,
    lambda: ("klt:4x8x8:16", "klt:8x8:16"),
    frozenset({"fit"}),
)
