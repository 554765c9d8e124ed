"""Fixed sizes: a model on a microcontroller runs one sample at a time, in memory that is laid out before."""

from __future__ import annotations

from ...errors import Setting, UnsupportedError
from ...ir import Graph
from ...schema.builder import specialize


def with_fixed_sizes(graph: Graph) -> tuple[Graph, str]:
    """(a copy of the graph whose open batch sizes are 1, what to tell its user of that).

    Raises:
        UnsupportedError: another size of an input is open.
    """
    shapes = {}
    for t in graph.inputs:
        if t.is_static:
            continue
        if t.shape is None or None in t.shape[1:]:
            raise UnsupportedError(
                f"input {t.name!r} has shape {t.shape}, and C code holds memory of fixed sizes",
                hint=Setting("input_shape"),
            )
        shapes[t.name] = (1, *(n for n in t.shape[1:] if n is not None))
    if not shapes:
        return graph.copy(), ""
    return specialize(graph, shapes), f"C code runs one sample at a time: {', '.join(map(repr, shapes))} has batch 1"
