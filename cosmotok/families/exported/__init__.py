"""Folders of ONNX that `cosmotok export` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cosmotok.families.registry import Family, Request

if TYPE_CHECKING:
    from cosmotok.interface import Model


def is_export(name: str) -> bool:
    try:
        return (Path(name).expanduser() / "manifest.json").is_file()
    except OSError:
        return False


def find(request: Request) -> Model:
    from cosmotok.families.exported.model import ExportedModel

    return ExportedModel(request.name)


FAMILY = Family("an exported tokenizer", is_export, find)
