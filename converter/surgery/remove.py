"""Removes nodes at the ends of a graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..errors import UsageError
from ..ir import Graph, Node, Tensor
from .find import node_named, operator_of


def remove_node_types(graph: Graph, types: Sequence[str]) -> list[str]:
    """Removes, in place, nodes of these types where they stand at an input or an output, one type after the other.

    Behind what one type leaves, the next is looked for, so the order matters. An end keeps its name and takes the type
    and shape of what the node had inside.

    Args:
        types: operators as the file or bitlite names them; Quantize also means QuantizeLinear.
    Returns:
        A line per node that went, and per type that stands at no end.
    Raises:
        UsageError: nothing but an input would be left.
    """
    lines = []
    for kind in types:
        found = list(_of_type(graph, kind))
        lines += found or [f"no {kind} stands at an end of the model"]
    return lines


def remove_nodes(graph: Graph, names: Sequence[str]) -> list[str]:
    """Removes, in place, the named nodes, which stand at ends of the graph when their turn comes.

    Returns:
        A line per node.
    Raises:
        UsageError: no node has the name, with the nearest one; or it stands at no end.
    """
    lines = []
    for name in names:
        node = node_named(graph, name)
        end = next((t for t in (*graph.inputs, *graph.outputs) if _at(graph, t) is node), None)
        if end is None:
            raise UsageError(
                f"{name!r} ({node.op}) stands at no end of the model, where alone nodes are removed",
                hint="cut, which takes what lies between tensors",
            )
        lines.append(_remove(graph, end, node))
    return lines


def _of_type(graph: Graph, kind: str) -> Iterator[str]:
    wanted = {_plain(kind), _plain(kind) + "linear"}
    for side in ("inputs", "outputs"):
        for k in range(len(getattr(graph, side))):
            while True:
                end = getattr(graph, side)[k]
                node = _at(graph, end)
                if node is None or not wanted & {_plain(operator_of(graph, node))}:
                    break
                yield _remove(graph, end, node)


def _plain(op: str) -> str:
    return op.lower().replace("_", "")


def _at(graph: Graph, end: Tensor) -> Node | None:
    """The node that alone reads an input, or makes an output; None where removing it would leave no graph."""
    if end in graph.inputs:
        readers = graph.consumers().get(end, [])
        alone = len(readers) == 1 and end not in graph.outputs and len(readers[0].outputs) == 1
        return readers[0] if alone and readers[0].inputs[0] is end else None
    node = graph.producers().get(end)
    return node if node is not None and node.inputs and not node.required(0).is_const else None


def _remove(graph: Graph, end: Tensor, node: Node) -> str:
    at_input = end in graph.inputs
    inner = node.outputs[0] if at_input else node.required(0)
    ends = graph.inputs if at_input else graph.outputs
    if inner in graph.inputs or inner in graph.outputs:
        raise UsageError(f"{node.name} ({node.op}) is all that stands between {end.name!r} and {inner.name!r}")
    if node.op == "Transpose" and end.layout:
        perm = node.attrs["perm"]
        order = perm if at_input else [list(perm).index(k) for k in range(len(perm))]
        letters = "".join(end.layout[p] for p in order)
        inner.layout = letters if letters in ("NHWC", "NCHW") else ""
    else:
        inner.layout = end.layout if inner.rank == end.rank == 4 else ""
    ends[ends.index(end)] = inner
    inner.name, end.name = end.name, inner.name
    graph.nodes.remove(node)
    graph.prune()
    side = "input" if at_input else "output"
    return f"{node.name} ({operator_of(graph, node)}) removed: {side} {inner.name!r} is {inner.type_text()}"
