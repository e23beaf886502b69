"""Exported tokenizers at work: whole clips, and streams by the `StreamEncoder` and `StreamDecoder` of any tokenizer."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cosmotok.checks import check_size, check_tensor, check_tokens, check_video
from cosmotok.config import TokenizerConfig
from cosmotok.errors import CheckpointError, ConfigError, InputError, MissingExtraError
from cosmotok.export.graphs import EVERYTHING
from cosmotok.network import StreamState
from cosmotok.streaming import StreamDecoder, StreamEncoder
from cosmotok.tokenizer import pad_edges

__all__ = ["MANIFEST", "MANIFEST_VERSION", "ExportedTokenizer", "OnnxTokenizer", "ProgramTokenizer"]

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1


class ExportedTokenizer(ABC):
    """The folder that `export` wrote, as a tokenizer on the CPU in float32. No weights of ours are involved.

    Args:
        folder: with `manifest.json`.

    Raises:
        CheckpointError: where that is missing, damaged, or of another format or version.
    """

    to: str
    """The format that this class runs."""
    device, dtype = torch.device("cpu"), torch.float32

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

    # Whole clips -------------------------------------------------------------------------------------------------

    def encode(self, video: Tensor) -> Tensor:
        """A clip (B, 3, T, H, W) or image (B, 3, H, W) to tokens at once; as `Tokenizer.encode`, up to rounding."""
        check_tensor("video", video)
        if video.ndim == 4:
            return self.encode(video.unsqueeze(2)).squeeze(self.config.time_axis)
        check_video(video)
        if video.shape[2] == 0:
            raise InputError("video: expected at least one frame, got T=0")
        missing = (1 - video.shape[2]) % self.config.temporal_factor
        video = torch.cat((video, video[:, :, -1:].expand(-1, -1, missing, -1, -1)), dim=2)
        return self._run("encoder", [self._prepare(video)])[0]

    def decode(self, tokens: Tensor, size: tuple[int, ...] | None = None) -> Tensor:
        """Tokens to a clip or image at once; arguments and results as `Tokenizer.decode`."""
        check_tensor("tokens", tokens)
        axis = self.config.time_axis
        if tokens.ndim == axis + 2:
            clip_size = (1, *size) if size is not None and len(size) == 2 else size
            return self.decode(tokens.unsqueeze(axis), clip_size).squeeze(2)
        check_tokens(tokens, self.config)
        if tokens.shape[axis] == 0:
            raise InputError("tokens: expected at least one latent frame, got T'=0")
        video = self._run("decoder", [self._tokens(tokens)])[0]
        if size is None:
            return video
        frames, height, width = check_size(size, (tokens.shape[axis], *tokens.shape[-2:]), self.config)
        return video[:, :, :frames, :height, :width]

    # Streams -----------------------------------------------------------------------------------------------------

    def stream_encoder(self, *, attention_context: int | None = None) -> StreamEncoder:
        """Starts a stream of frames to tokens; see `StreamEncoder`."""
        return StreamEncoder(self, attention_context)

    def stream_decoder(
        self, *, attention_context: int | None = None, size: tuple[int, int] | None = None
    ) -> StreamDecoder:
        """Starts a stream of tokens to frames; see `StreamDecoder`."""
        return StreamDecoder(self, attention_context, size)

    def encode_step(self, frames: Tensor, state: StreamState) -> Tensor:
        """One step of a stream; `state.frames` holds the whole state, in the order of the manifest."""
        return self._step("encoder", self._prepare(frames), state)

    def decode_step(self, tokens: Tensor, state: StreamState) -> Tensor:
        """One step of a stream, as `encode_step`."""
        return self._step("decoder", self._tokens(tokens), state)

    def empty_tokens(self, batch: int, height: int, width: int) -> Tensor:
        """Tokens of no frames, for a video of that size."""
        _, h, w = self.config.grid(1, height, width)
        if self.config.is_discrete:
            return torch.empty(batch, 0, h, w, dtype=torch.int32)
        return torch.empty(batch, self.config.latent_channels, 0, h, w)

    def _step(self, half: str, data: Tensor, state: StreamState) -> Tensor:
        if self.config.kind == "image":  # which remembers nothing: every step is a clip
            state.started = True
            return self._run(half, [data])[0]
        context = state.attention_context
        inputs = [data]
        if state.started:
            inputs += [torch.tensor(context or EVERYTHING), *state.frames.values()]
        result, *present = self._run(f"{half}_{'next' if state.started else 'first'}", inputs)
        for tensor, value in zip(self.manifest["state"][half], present, strict=True):
            if tensor["frames"] is None and context is not None:
                value = value[:, max(0, value.shape[1] - (context - 1)) :]  # what the next frame may see besides itself
            state.frames[tensor["name"]] = value
        state.started = True
        return result

    # Graphs ------------------------------------------------------------------------------------------------------

    def _prepare(self, frames: Tensor) -> Tensor:
        frames = frames.div(127.5).sub(1) if frames.dtype == torch.uint8 else frames.float()
        return pad_edges(frames.cpu(), self.config.spatial_factor)

    def _tokens(self, tokens: Tensor) -> Tensor:
        return tokens.to("cpu", torch.int32 if self.config.is_discrete else torch.float32)

    def _run(self, name: str, inputs: Sequence[Tensor]) -> list[Tensor]:
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
        return self._execute(self._loaded[name], inputs)

    @abstractmethod
    def _load(self, path: Path) -> Any:
        """The graph in the file, ready to run."""

    @abstractmethod
    def _execute(self, graph: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
        """All outputs of a loaded graph."""


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
            raise MissingExtraError('ONNX Runtime is not installed: pip install "cosmotok[export]"') from None
        return onnxruntime.InferenceSession(path, providers=self.providers)

    def _execute(self, graph: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
        feed = {port.name: value.numpy() for port, value in zip(graph.get_inputs(), inputs, strict=True)}
        return [torch.from_numpy(value) for value in graph.run(None, feed)]


class ProgramTokenizer(ExportedTokenizer):
    """An export to `torch.export`, run by torch: the network as one flat graph, without cosmotok's code.

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
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["manifest_version"]
        if version != MANIFEST_VERSION:
            raise CheckpointError(f"{path}: manifest_version={version!r}, expected {MANIFEST_VERSION}; export again")
        TokenizerConfig.from_dict(manifest["config"])
        for key in ("to", "fingerprint", "graphs", "state"):
            manifest[key]
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; expected a folder that `cosmotok export` wrote") from None
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{path}: not a valid manifest ({error}); export again") from None
    return manifest
