"""Cosmos tokenizers: bundled and published ones, and files, folders and Hub ids of every kind that we read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cosmotok.config import list_models
from cosmotok.families.registry import Family, Request

if TYPE_CHECKING:
    from cosmotok.interface import Model


def find(request: Request) -> Model:
    from cosmotok.families.cosmos.model import find_cosmos

    return find_cosmos(request)


FAMILY = Family("a Cosmos tokenizer", lambda name: True, find, list_models, frozenset({"variant", "precision"}))
