"""A graph as rows, one per node in the order of execution: what it computes on, how much, and what it moves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...converter.errors import GraphError
from ...converter.ir import Graph, Node, Tensor, is_quantized
from ...converter.ops import row
from ...converter.schema.builder import specialize
from ...converter.schema.macs import macs

Row = dict[str, Any]


def fixed(graph: Graph) -> Graph:
    """The graph with 1 for each size of its inputs that is open, where it can be had so; else as it is."""
    shapes = {t.name: tuple(d or 1 for d in t.shape) for t in graph.inputs if t.shape is not None and not t.is_static}
    if not shapes:
        return graph
    try:
        return specialize(graph, shapes)
    except GraphError:
        return graph


def node_rows(graph: Graph) -> list[Row]:
    """One row per node.

    Keys: name, op; inputs (rows of the nodes it reads, -1 for an input of the graph); shape and dtype of its first
    output, output (its name); computes ("int8", "codes": float on weights in codes, "float", "other"); bits of its
    weight or null; macs; bytes read, written and of constants (codes at their width); fused: the source's operators
    that it stands for, where they are several.
    """
    place = {t: k for k, node in enumerate(graph.nodes) for t in node.outputs}
    fed = set(graph.inputs)
    rows = []
    for node in graph.nodes:
        values = [t for t in node.inputs if t is not None]
        moved = [t for t in values if not t.is_const]
        output = node.outputs[0]
        rows.append(
            {
                "name": node.name,
                "op": node.op,
                "inputs": [place.get(t, -1) for t in dict.fromkeys(moved) if t in place or t in fed],
                "output": output.name,
                "shape": None if output.shape is None else list(output.shape),
                "dtype": output.dtype.name,
                "computes": _computes(node),
                "bits": _weight_bits(node),
                "macs": macs(node),
                "bytes": {
                    "read": sum(t.nbytes for t in dict.fromkeys(moved)),
                    "written": sum(t.nbytes for t in node.outputs),
                    "constants": sum(stored_bytes(t) for t in dict.fromkeys(values) if t.is_const),
                },
                "fused": list(node.origin) if len(node.origin) > 1 else [],
            }
        )
    return rows


def memory(graph: Graph) -> dict[str, Any]:
    """Bytes: constants as stored, activations alive while each node runs, their peak and the node that has it."""
    last = {t: k for k, node in enumerate(graph.nodes) for t in node.inputs if t is not None}
    last.update(dict.fromkeys(graph.outputs, len(graph.nodes)))
    alive = {t: t.nbytes for t in graph.inputs}
    live = []
    for k, node in enumerate(graph.nodes):
        alive.update((t, t.nbytes) for t in node.outputs)
        live.append(sum(alive.values()))
        for t in (*node.inputs, *node.outputs):
            if t is not None and last.get(t, -1) <= k:
                alive.pop(t, None)
    peak = max(live, default=0)
    return {
        "constants": sum(stored_bytes(t) for t in graph.constants()),
        "live": live,
        "peak": peak,
        "at": graph.nodes[live.index(peak)].name if live else "",
    }


def stored_bytes(t: Tensor) -> int:
    """Bytes of a constant, codes at their width."""
    if t.data is None:
        return 0
    bits = min(t.quant.bits, t.dtype.itemsize * 8) if is_quantized(t) and t.quant is not None else t.dtype.itemsize * 8
    return -(-t.data.size * bits // 8)


def _weight_bits(node: Node) -> int | None:
    spec = row(node.op).quant
    w = node.input(spec.weights[0]) if spec is not None and spec.weights else None
    if w is None or not w.is_const:
        return None
    return (
        min(w.quant.bits, 8 * w.dtype.itemsize)
        if w.quant is not None and w.dtype.kind in "iu"
        else 8 * w.dtype.itemsize
    )


def _computes(node: Node) -> str:
    values = [t for t in node.inputs if t is not None and not t.is_const] or node.outputs
    if node.op not in ("Quantize", "Dequantize") and is_quantized(values[0]):
        return "int8"
    if any(t is not None and t.is_const and is_quantized(t) for t in node.inputs):
        return "codes"
    return "float" if values[0].dtype.kind == "f" else "other"


def by_steps(rows: Sequence[Row], spent: Iterable[tuple[str, float]]) -> None:
    """Puts milliseconds on rows, by the names of the steps that ran: a step of several nodes, whose names it joins with
    "+", is counted at its first node and named on all; a node that no step names has no time of its own."""
    at: Mapping[str, int] = {r["name"]: k for k, r in enumerate(rows)}
    for name, ms in spent:
        parts = [name] if name in at else [part for part in name.split("+") if part in at]
        for part in parts:
            rows[at[part]]["step"] = name
        if parts:
            first = rows[at[parts[0]]]
            first["ms"] = round(first.get("ms", 0.0) + ms, 6)
