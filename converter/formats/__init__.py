"""Readers and writers, one container a file, or a folder where it takes several."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import GraphError, ModelError
from ..ir import Graph
from ..schema.verify import verify
from .files import sniff

CONTAINERS = ("tflite", "onnx", "ms")
"""What is read and written."""
SOURCES = (*CONTAINERS, "mindir", "caffe")
"""What is read."""
WRITTEN = (*CONTAINERS, "c")
"""What is written."""


def read_model(
    path: str,
    shapes: Mapping[Any, Sequence[int]] | None = None,
    container: str | None = None,
    weights: str | None = None,
) -> Graph:
    """Reads a model file into the IR.

    Args:
        shapes: input name, or position → sizes to take instead of the file's own; -1 leaves one as it is.
        container: "tflite", "onnx", "ms", "mindir" or "caffe"; told by the file's contents when None.
        weights: the .caffemodel of a .prototxt; None for the one of the same name beside it.
    Raises:
        ModelError: missing, damaged, or none of these. UnsupportedError: holds what is not read.
    """
    sniffed = sniff(path)
    if sniffed not in SOURCES or (container is not None and sniffed != container):
        what = f"its format is {sniffed}" if sniffed else f"it is none of {', '.join(SOURCES)}"
        raise ModelError(f"{what}{f', not {container}' if container and sniffed else ''}", file=str(path))
    if weights is not None and sniffed != "caffe":
        raise ModelError(f"is a {sniffed} file, and {weights} would be the weights of a Caffe network", file=str(path))
    try:
        graph: Graph = importlib.import_module(f".{sniffed}", __package__).read(
            str(path), shapes, **({"weights": weights} if sniffed == "caffe" else {})
        )
        verify(graph)
    except GraphError as error:
        raise ModelError(f"is inconsistent: {error}", file=str(path)) from error
    except MemoryError as error:
        raise ModelError("needs more memory than there is", file=str(path)) from error
    graph.meta.setdefault("path", str(path))
    return graph
