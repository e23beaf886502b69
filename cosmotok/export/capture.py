"""One graph to one file: `torch.export` captures it, and the ONNX exporter translates what was captured."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from cosmotok.errors import missing_extra
from cosmotok.export.graphs import Graph
from cosmotok.export.layers import translations, whole_layers
from cosmotok.export.precision import store_weights
from cosmotok.export.shapes import AXES
from cosmotok.export.verify import ExportError
from cosmotok.private import free_sizes
from cosmotok.writing import OutputFile, buffered

__all__ = ["FORMATS", "require_onnx", "write_graph"]

OPSET = 18
LARGEST = 1 << 30
"""Of a free size. Older PyTorch makes a constraint of it that sums of sizes fit into 64 bits, unless that is clear."""
# Of the examples that are traced: all different, and none is 0 or 1, which torch.export would take for constants.
EXAMPLE = {"batch": 2, "latent_frames": 4, "latent_height": 3, "latent_width": 5, "past": 7}


def require_onnx() -> None:
    """Raises MissingExtraError unless the packages for ONNX are there."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise missing_extra(f"ONNX needs {error.name}", "export") from None


def write_graph(graph: Graph, to: str, precision: str, file: OutputFile) -> None:
    """Writes `graph` to `file` in one of `FORMATS`, its weights in one of `PRECISIONS`.

    Raises:
        ExportError: where this version of torch cannot.
    """
    try:
        with _quiet():
            FORMATS[to][1](graph, precision, file)
    except OSError:
        raise
    except Exception as error:  # the exporters have dozens of their own
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ExportError(
            f"{graph.name}: torch {torch.__version__} cannot export it to {to} ({reason.strip()}); "
            "a newer torch may: this is tested with 2.15"
        ) from error


@torch.no_grad()
def capture(graph: Graph) -> ExportedProgram:
    """The graph as `torch.export` sees it, free in all the axes of `AXES` that are not fixed in its ports."""
    dims = {name: Dim(name, min=least, max=LARGEST) for name, least in AXES.items()}
    arguments = _grouped([port.zeros(EXAMPLE) for port in graph.inputs])
    shapes = _grouped([port.dims(dims) for port in graph.inputs])
    program = torch.export.export(graph.module, arguments, dynamic_shapes=shapes, strict=False)
    free_sizes(program)  # `verify` runs sizes of 1
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths on the machine of the exporter
    return program


def _grouped(values: list[Any]) -> tuple[Any, ...]:
    """Values of all inputs as the modules take them: data, or data, attention context and list of states."""
    return tuple(values) if len(values) == 1 else (values[0], values[1], values[2:])


def _write_program(graph: Graph, precision: str, file: OutputFile) -> None:
    program = capture(graph)
    with buffered(file) as whole:
        torch.export.save(program, whole)


def _write_onnx(graph: Graph, precision: str, file: OutputFile) -> None:
    import onnx

    with whole_layers(graph.module):
        program = capture(graph)
    # There is nothing to decompose, and looking for it means to trace all again.
    vars(program)["run_decompositions"] = lambda *_: program
    names = [[port.name for port in ports] for ports in (graph.inputs, graph.outputs)]
    exported = torch.onnx.export(
        program,
        dynamo=True,
        input_names=names[0],
        output_names=names[1],
        opset_version=OPSET,
        verbose=False,
        custom_translation_table=translations(),
    )
    model = exported.model_proto  # type: ignore[union-attr]
    for ports, values in ((graph.inputs, model.graph.input), (graph.outputs, model.graph.output)):
        for port, value in zip(ports, values, strict=True):
            for size, dim in zip(port.shape, value.type.tensor_type.shape.dim, strict=True):
                if not isinstance(size, int):
                    dim.dim_param = str(size)
    # What the tracer knew of the values in between, under its own names of the axes, and where the code was.
    del model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
    if precision != "float32":
        store_weights(model, precision)
    onnx.save(model, file)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' remarks about their own insides."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


FORMATS: dict[str, tuple[str, Callable[[Graph, str, OutputFile], None]]] = {
    "onnx": (".onnx", _write_onnx),
    "torch-export": (".pt2", _write_program),
}
"""What to export to: suffix of the files, and what writes them."""
