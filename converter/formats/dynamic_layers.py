"""Which layers quantize their inputs while running, in files whose operators cannot say it.

Layers are named by their weights, which keep their names in every container.
"""

from __future__ import annotations

import json
from typing import Any

from ..ir import Graph, is_quantized

KEY = "bitlite.dynamic"
"""The name under which a file holds the note."""


def dynamic_weights(graph: Graph) -> list[str]:
    """Names of the int8 weights of layers that quantize their inputs."""
    weights = [n.inputs[1] for n in graph.nodes if n.attrs.get("dynamic", False)]
    return [w.name for w in dict.fromkeys(weights) if w is not None and w.is_const and is_quantized(w)]


def mark_dynamic(graph: Graph, noted: Any) -> None:
    """Marks the layers of a graph that was read; what is no list of names is not looked at."""
    if isinstance(noted, (bytes, str)):
        try:
            noted = json.loads(noted)
        except ValueError:
            return
    names = {n for n in noted if isinstance(n, str)} if isinstance(noted, list) else set()
    for node in graph.nodes if names else ():
        w = node.input(1)
        if "dynamic" in node.attrs and w is not None and w.is_const and is_quantized(w) and w.name in names:
            node.attrs["dynamic"] = True


def note(graph: Graph) -> bytes:
    """What a file holds of `dynamic_weights`; empty when there are none."""
    names = dynamic_weights(graph)
    return json.dumps(names).encode() if names else b""
