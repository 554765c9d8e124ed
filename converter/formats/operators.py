"""IR nodes → a container's operators, by their rows' writers."""

from __future__ import annotations

from ..errors import Setting, UnsupportedError
from ..ir import Graph
from ..ops import row
from ..schema.writing import Writing
from .ms_types import fit_types
from .tflite_types import misfits


def write_operators(graph: Graph, container: str, **options: object) -> Writing:
    """Runs every node's writer. Raises UnsupportedError, before anything is emitted, naming the first node without."""
    for node in graph.nodes:
        if container not in row(node.op).writers:
            raise UnsupportedError(
                f"{node.name}: operator {node.op} has no form in {container}",
                hint=(Setting("check"), ", which lists every operator"),
            )
    writing = Writing(container, graph, **options)
    for node in graph.nodes:
        row(node.op).writers[container](writing, node)
    if container == "ms":
        fit_types(graph, writing)
    if container == "tflite":
        for error in misfits(writing).values():
            raise error
    return writing
