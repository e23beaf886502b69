"""Networks as files for other runtimes, ONNX or `torch.export`, with the state of a stream as inputs and outputs."""

from cosmotok.export.capture import FORMATS
from cosmotok.export.exporter import export
from cosmotok.export.graphs import PARTS
from cosmotok.export.precision import PRECISIONS
from cosmotok.export.runner import ExportedTokenizer, OnnxTokenizer, ProgramTokenizer
from cosmotok.export.verify import ExportError

__all__ = [
    "FORMATS",
    "PARTS",
    "PRECISIONS",
    "ExportError",
    "ExportedTokenizer",
    "OnnxTokenizer",
    "ProgramTokenizer",
    "export",
]
