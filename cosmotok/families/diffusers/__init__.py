"""`diffusers:NAME` and `diffusers:PATH`: autoencoders of diffusers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cosmotok.families.diffusers.peers import PEERS, PREFIX
from cosmotok.families.registry import Family, Request

if TYPE_CHECKING:
    from cosmotok.interface import Model


def find(request: Request) -> Model:
    from cosmotok.families.diffusers.model import find_diffusers

    return find_diffusers(request)


FAMILY = Family(
    "an autoencoder of diffusers",
    lambda name: name.lower().startswith(PREFIX),
    find,
    lambda: [PREFIX + name for name in PEERS],
)
