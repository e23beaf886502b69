"""`published:NAME`: a Cosmos tokenizer computed as the published code lays it out, to measure ours against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cosmotok.families.registry import Family, Request

if TYPE_CHECKING:
    from cosmotok.interface import Model

PREFIX = "published:"


def find(request: Request) -> Model:
    from cosmotok.families.published.model import find_published

    return find_published(request)


FAMILY = Family(
    "a tokenizer in the published layout",
    lambda name: name.lower().startswith(PREFIX),
    find,
    options=frozenset({"variant"}),
)
