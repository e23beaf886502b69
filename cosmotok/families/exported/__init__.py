"""Folders of ONNX that `cosmotok export` wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cosmotok.families.registry import Family, Request
from cosmotok.paths import model_path

if TYPE_CHECKING:
    from cosmotok.interface import Model


def is_export(name: str) -> bool:
    try:
        return (model_path(name) / "manifest.json").is_file()
    except OSError:
        return False


def find(request: Request) -> Model:
    from cosmotok.families.exported.model import ExportedModel

    return ExportedModel(request.name)


FAMILY = Family("an exported tokenizer", is_export, find)
