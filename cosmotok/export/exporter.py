"""`export`: a tokenizer's networks as files that other runtimes read, with a manifest that says how."""

from __future__ import annotations

import contextlib
import copy
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from cosmotok import __version__
from cosmotok.config import suggest
from cosmotok.errors import CheckpointError, InputError
from cosmotok.export.capture import FORMATS, require_onnx, write_graph
from cosmotok.export.graphs import EVERYTHING, PARTS, Graph, graphs_of
from cosmotok.export.precision import PRECISIONS, round_weights
from cosmotok.export.runner import MANIFEST, MANIFEST_VERSION, OnnxTokenizer, ProgramTokenizer, read_manifest
from cosmotok.export.shapes import AXES
from cosmotok.export.verify import verify as verify_parts
from cosmotok.tokenizer import Tokenizer
from cosmotok.writing import output_file, output_folder, write_file

__all__ = ["export"]

LARGEST = 2**31 - 2**24
"""Bytes of weights that fit into one ONNX file, with room for the graph."""
RUNNERS = {"onnx": OnnxTokenizer, "torch-export": ProgramTokenizer}


def export(
    tokenizer: Tokenizer,
    folder: str | os.PathLike[str],
    *,
    to: str = "onnx",
    parts: Sequence[str] | None = None,
    precision: str = "float32",
    batch: int | None = None,
    size: tuple[int, int] | None = None,
    verify: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Path]:
    """Writes the networks of `tokenizer` as graphs, free in batch, height, width and number of frames.

    Each graph is one file with its weights: `encoder` and `decoder` take a whole clip at once; `encoder_first`,
    `encoder_next`, `decoder_first`, `decoder_next` are the steps of a stream (`encoder_steps`, `decoder_steps`), whose
    state goes in and comes out as tensors. `manifest.json` beside them has names and shapes of all.

    Frames are (B, 3, T, H, W) in [-1, 1] with H and W multiples of `spatial_factor` and T = 1 + a multiple of
    `temporal_factor`; padding to that is the caller's (`OnnxTokenizer` does it). Tokens are float32 latents or int32
    indices.

    Args:
        folder: made if need be. Files of an earlier export there are replaced; nothing half-written stays.
        to: "onnx" or "torch-export".
        parts: of `PARTS`; all that the tokenizer has unless given. An image tokenizer has no steps.
        precision: of the weights in ONNX files, one of `PRECISIONS`. Inputs, outputs and arithmetic are float32;
            float16 and int8 round the weights, which makes files a half and a quarter as large. With int8 some of the
            tokens differ.
        batch: the only batch size that the graphs take, where given.
        size: the only (height, width) in pixels, multiples of `spatial_factor`, where given.
        verify: whether to run what was exported at other sizes, and to compare, before it gets its name.
        progress: called with the name of each graph as its turn comes, how many are done and how many there are; at
            last with "verify".

    Returns:
        The files written.

    Raises:
        InputError: for an unknown `to`, precision or part, a part that this tokenizer does not have, or sizes that it
            cannot take.
        MissingExtraError: without the packages for ONNX.
        ExportError: where torch cannot export it, or results differ from the network's.
        MediaError: where the folder cannot be written.
    """
    if to not in FORMATS:
        raise InputError(f"to={to!r}: expected one of {', '.join(FORMATS)}{suggest(str(to), FORMATS)}")
    if precision not in PRECISIONS:
        expected = f"expected one of {', '.join(PRECISIONS)}{suggest(str(precision), PRECISIONS)}"
        raise InputError(f"precision={precision!r}: {expected}")
    if precision != "float32" and to != "onnx":
        raise InputError(f"precision={precision!r}: programs of {to} hold float32; export to onnx for {precision}")
    fixed = _fixed(tokenizer, batch, size)
    chosen = _choose(tokenizer, parts)
    folder = Path(os.path.realpath(folder))
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; expected the name of a folder")
    if to == "onnx":
        require_onnx()
    fingerprint = tokenizer.fingerprint
    tokenizer = copy.deepcopy(tokenizer).set_precision("float32").to("cpu", torch.float32)
    tokenizer.network.requires_grad_(False)
    if to == "onnx":
        _check_size(tokenizer)
    round_weights(tokenizer.network, precision)
    graphs: dict[str, Any] = {}
    state: dict[str, Any] = {}
    with output_folder(folder, replaces=_earlier(folder)) as place:
        total = sum(2 if part.endswith("_steps") else 1 for part in chosen)
        for part in chosen:
            for graph in graphs_of(tokenizer.network, tokenizer.config, part):
                graph = graph.fix(fixed)
                if progress is not None:
                    progress(graph.name, len(graphs), total)
                file = graph.name + FORMATS[to][0]
                with output_file(place / file) as written:
                    write_graph(graph, to, precision, written)
                graphs[graph.name] = _describe(graph, file)
                if graph.state:
                    state[graph.half] = [{"name": tensor.name, "frames": tensor.frames} for tensor in graph.state]
        _write_manifest(place, tokenizer, fingerprint, to, precision, graphs, state)
        if verify:
            if progress is not None:
                progress("verify", total, total)
            verify_parts(tokenizer, RUNNERS[to](place), chosen, fixed)
    return [folder / name for name in [*(graph["file"] for graph in graphs.values()), MANIFEST]]


def _choose(tokenizer: Tokenizer, parts: Sequence[str] | None) -> list[str]:
    """The parts to export, in the order of `PARTS`."""
    network, config = tokenizer.network, tokenizer.config
    halves = [half for half in ("encoder", "decoder") if getattr(network, half) is not None]
    there = [part for part in PARTS if part.partition("_")[0] in halves]
    if config.kind == "image":
        there = [part for part in there if not part.endswith("_steps")]
    if parts is None:
        return there
    if isinstance(parts, str) or not parts:
        raise InputError(f"parts={parts!r}: expected a list of some of {', '.join(there)}")
    for part in parts:
        if part not in PARTS:
            raise InputError(f"parts: unknown {part!r}; expected some of {', '.join(PARTS)}")
        if part not in there:
            raise InputError(f"parts: {config.variant} has no {part}; expected some of {', '.join(there)}")
    return [part for part in there if part in parts]


def _fixed(tokenizer: Tokenizer, batch: int | None, size: tuple[int, int] | None) -> dict[str, int]:
    """The free axes that are not to be free, and their sizes."""
    fixed = {}
    if batch is not None:
        if batch < 1:
            raise InputError(f"batch={batch}: expected at least 1")
        fixed["batch"] = batch
    if size is not None:
        factor = tokenizer.config.spatial_factor
        if any(pixels < factor or pixels % factor for pixels in size):
            raise InputError(f"size={tuple(size)}: expected height and width in multiples of {factor}")
        fixed["latent_height"], fixed["latent_width"] = (pixels // factor for pixels in size)
    return fixed


def _check_size(tokenizer: Tokenizer) -> None:
    for half in ("encoder", "decoder"):
        module = getattr(tokenizer.network, half)
        size = sum(4 * p.numel() for p in module.parameters()) if module is not None else 0
        if size > LARGEST:
            raise InputError(
                f"{tokenizer.config.variant}: its {half} has {size / 2**30:.1f} GiB of float32 weights, and an ONNX "
                "file holds 2; export to torch-export"
            )


def _describe(graph: Graph, file: str) -> dict[str, Any]:
    inputs, outputs = ([port.to_dict() for port in ports] for ports in (graph.inputs, graph.outputs))
    return {"file": file, "inputs": inputs, "outputs": outputs}


def _write_manifest(
    folder: Path,
    tokenizer: Tokenizer,
    fingerprint: str,
    to: str,
    precision: str,
    graphs: dict[str, Any],
    state: dict[str, Any],
) -> None:
    manifest = {
        "manifest_version": MANIFEST_VERSION,
        "cosmotok": __version__,
        "torch": torch.__version__,
        "to": to,
        "precision": precision,
        "config": tokenizer.config.to_dict(),
        "fingerprint": fingerprint,
        "least_sizes": AXES,
        "attention_context_for_all": EVERYTHING,
        "graphs": graphs,
        "state": state,
    }
    write_file(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")


def _earlier(folder: Path) -> list[str]:
    """Names of the files of an earlier export in `folder`."""
    with contextlib.suppress(CheckpointError):  # no export, or a damaged one: there is nothing to clear away
        return [MANIFEST, *(Path(graph["file"]).name for graph in read_manifest(folder)["graphs"].values())]
    return []
