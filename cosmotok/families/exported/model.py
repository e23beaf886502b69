"""An exported tokenizer by the path of its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from cosmotok.config import TokenizerConfig
from cosmotok.errors import InputError
from cosmotok.export.runner import ExportedTokenizer, OnnxTokenizer, read_manifest
from cosmotok.foreign import one_line
from cosmotok.interface import Model
from cosmotok.paths import model_path
from cosmotok.spec import TokenizerSpec

__all__ = ["ExportedModel"]


@dataclass(frozen=True)
class ExportedModel(Model):
    """A folder with a manifest and graphs."""

    name: str

    @property
    def folder(self) -> Path:
        return model_path(self.name)

    @property
    def spec(self) -> TokenizerSpec:
        return TokenizerConfig.from_dict(read_manifest(self.folder)["config"]).spec

    def load(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> ExportedTokenizer:
        if torch.device(device or "cpu").type != "cpu" or dtype not in (None, torch.float32):
            raise InputError(f"{self.name}: an export runs on the CPU in float32; pass --device cpu --dtype float32")
        made_for = read_manifest(self.folder)["to"]
        if made_for != OnnxTokenizer.to:  # torch.export.load unpickles, and evaluates formulas
            raise InputError(
                f"{self.name}: expected an export to {OnnxTokenizer.to}, got one to {one_line(made_for)}; loading "
                "torch.export programs can run code, so only cosmotok.export.ProgramTokenizer does it"
            )
        return OnnxTokenizer(self.folder)
