"""Exported tokenizers at work: whole clips, and streams by the `StreamEncoder` and `StreamDecoder` of any tokenizer."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cosmotok.config import TokenizerConfig
from cosmotok.errors import CheckpointError, InputError, MissingExtraError, missing_extra
from cosmotok.export.graphs import EVERYTHING
from cosmotok.foreign import one_line, read_json
from cosmotok.interface import BaseTokenizer
from cosmotok.network import StreamState
from cosmotok.spec import TokenizerSpec

__all__ = ["MANIFEST", "MANIFEST_VERSION", "ExportedTokenizer", "OnnxTokenizer", "ProgramTokenizer"]

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1


class ExportedTokenizer(BaseTokenizer):
    """The folder that `export` wrote, as a tokenizer on the CPU in float32. No weights of ours are involved.

    Args:
        folder: with `manifest.json`.

    Raises:
        CheckpointError: where that is missing, damaged, or of another format or version.
    """

    to: str
    """The format that this class runs."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        if self.manifest["to"] != self.to:
            raise CheckpointError(f"{folder}: expected an export to {self.to}, got one to {self.manifest['to']}")
        self.config = TokenizerConfig.from_dict(self.manifest["config"])
        self._loaded: dict[str, Any] = {}

    @property
    def fingerprint(self) -> str:
        """That of the tokenizer which was exported."""
        return str(self.manifest["fingerprint"])

    @property
    def spec(self) -> TokenizerSpec:
        return self.config.spec

    def encode(self, video: Tensor, *, attention_context: int | None = None) -> Tensor:
        """As `Tokenizer.encode`, up to rounding: at once where that graph was exported, else in steps."""
        whole = attention_context is None and "encoder" in self.manifest["graphs"]
        return WholeClips(self).encode(video) if whole else super().encode(video, attention_context=attention_context)

    def decode(
        self,
        tokens: Tensor,
        size: tuple[int, ...] | None = None,
        *,
        attention_context: int | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """As `Tokenizer.decode`, up to rounding: at once where that graph was exported, else in steps."""
        if attention_context is None and "decoder" in self.manifest["graphs"]:
            return WholeClips(self).decode(tokens, size, out=out)
        return super().decode(tokens, size, attention_context=attention_context, out=out)

    def encode_step(self, frames: Tensor, state: StreamState) -> Tensor:
        """One step of a stream; `state.frames` holds the whole state, in the order of the manifest."""
        return self._step("encoder", frames, state)

    def decode_step(self, tokens: Tensor, state: StreamState) -> Tensor:
        """One step of a stream, as `encode_step`."""
        return self._step("decoder", tokens, state)

    def _step(self, half: str, data: Tensor, state: StreamState) -> Tensor:
        if self.config.kind == "image":  # which remembers nothing: every step is a clip
            state.started = True
            return self.run(half, [data])[0]
        context = state.attention_context
        inputs = [data]
        if state.started:
            inputs += [torch.tensor(context or EVERYTHING), *state.frames.values()]
        result, *present = self.run(f"{half}_{'next' if state.started else 'first'}", inputs)
        for tensor, value in zip(self.manifest["state"][half], present, strict=True):
            if tensor["frames"] is None and context is not None:
                value = value[:, max(0, value.shape[1] - (context - 1)) :]  # what the next frame may see besides itself
            state.frames[tensor["name"]] = value
        state.started = True
        return result

    # Graphs ------------------------------------------------------------------------------------------------------

    def run(self, name: str, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The outputs of graph `name`, in the order of the manifest."""
        if name not in self._loaded:
            entry = self.manifest["graphs"].get(name)
            if entry is None:
                known = ", ".join(self.manifest["graphs"])
                raise InputError(f"{self.folder}: has no {name}, only {known}; export that part too")
            path = self.folder / entry["file"]
            if not path.is_file():
                raise CheckpointError(f"{path}: no such file; export again, or copy the whole folder")
            try:
                self._loaded[name] = self._load(path)
            except MissingExtraError:
                raise
            except Exception as error:  # each runtime has its own
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise CheckpointError(f"{path}: cannot be loaded ({reason}); export it again") from error
        self._check_sizes(name, inputs)
        return self._execute(self._loaded[name], inputs)

    def _check_sizes(self, name: str, inputs: Sequence[Tensor]) -> None:
        """Frames or tokens against the sizes that the export fixed."""
        expected = self.manifest["graphs"][name]["inputs"][0]
        got = tuple(inputs[0].shape)
        if any(isinstance(n, int) and n != m for n, m in zip(expected["shape"], got, strict=True)):
            shape = ", ".join(map(str, expected["shape"]))
            raise InputError(
                f"{self.folder}: {name} takes {expected['name']} of ({shape}), got {got}; export other sizes"
            )

    @abstractmethod
    def _load(self, path: Path) -> Any:
        """The graph in the file, ready to run."""

    @abstractmethod
    def _execute(self, graph: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
        """All outputs of a loaded graph."""


class WholeClips(BaseTokenizer):
    """The graphs of an export that take a whole clip at once."""

    def __init__(self, exported: ExportedTokenizer) -> None:
        self.exported = exported

    @property
    def spec(self) -> TokenizerSpec:
        return replace(self.exported.spec, chunk=None)

    @property
    def fingerprint(self) -> str:
        return self.exported.fingerprint

    def encode_step(self, frames: Tensor, state: StreamState) -> Tensor:
        return self.exported.run("encoder", [frames])[0]

    def decode_step(self, tokens: Tensor, state: StreamState) -> Tensor:
        return self.exported.run("decoder", [tokens])[0]


class OnnxTokenizer(ExportedTokenizer):
    """An export to ONNX, run by ONNX Runtime.

    Args:
        folder: what `export(..., to="onnx")` wrote.
        providers: execution providers of ONNX Runtime, the preferred one first.

    Raises:
        CheckpointError: as `ExportedTokenizer`.
        MissingExtraError: without onnxruntime.
    """

    to = "onnx"

    def __init__(self, folder: str | os.PathLike[str], providers: Sequence[str] = ("CPUExecutionProvider",)) -> None:
        super().__init__(folder)
        self.providers = list(providers)

    def _load(self, path: Path) -> Any:
        try:
            import onnxruntime
        except ImportError:
            raise missing_extra("ONNX Runtime is not installed", "export") from None
        return onnxruntime.InferenceSession(path, providers=self.providers)

    def _execute(self, graph: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
        feed = {port.name: value.numpy() for port, value in zip(graph.get_inputs(), inputs, strict=True)}
        return [torch.from_numpy(value) for value in graph.run(None, feed)]


class ProgramTokenizer(ExportedTokenizer):
    """An export to `torch.export`, run by torch: the network as one flat graph, without cosmotok's code.

    PyTorch unpickles parts of a program's file, so loading it can run code: only for programs that you made or trust.

    Args:
        folder: what `export(..., to="torch-export")` wrote.

    Raises:
        CheckpointError: as `ExportedTokenizer`.
    """

    to = "torch-export"

    def _load(self, path: Path) -> Any:
        return torch.export.load(path).module()

    @torch.no_grad()
    def _execute(self, graph: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
        return list(graph(*inputs) if len(inputs) == 1 else graph(inputs[0], inputs[1], list(inputs[2:])))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an exported folder.

    Raises:
        CheckpointError: where it is missing, damaged or of another version.
    """
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = read_json(path)
        version = manifest["manifest_version"]
        if version != MANIFEST_VERSION:
            raise CheckpointError(
                f"{path}: manifest_version={one_line(version)}, expected {MANIFEST_VERSION}; export again"
            )
        TokenizerConfig.from_dict(manifest["config"])
        for key in ("to", "fingerprint", "graphs", "state"):
            manifest[key]
        for graph in manifest["graphs"].values():
            if Path(graph["file"]).name != graph["file"]:
                raise ValueError(f"graph in {one_line(graph['file'])}, not in the folder")
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; expected a folder that `cosmotok export` wrote") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a valid manifest ({one_line(error, 200)}); export again") from None
    return manifest
