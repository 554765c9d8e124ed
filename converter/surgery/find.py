"""Tensors and nodes by the names that a file gives them."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import UsageError
from ..ir import Graph, Node, Tensor
from ..text import nearest


def tensor_named(graph: Graph, name: str) -> Tensor:
    """The tensor of that name, else the first output of the node of that name. Raises UsageError: the nearest name."""
    tensors = {t.name: t for t in graph.tensors()}
    if name in tensors:
        return tensors[name]
    node = next((n for n in graph.nodes if name == n.name or name in n.origin), None)
    if node is None or not node.outputs:
        raise unknown(name, "tensor of the model", (*tensors, *(n.name for n in graph.nodes)))
    return node.outputs[0]


def node_named(graph: Graph, name: str) -> Node:
    """The node of that name, else the one that makes the tensor of that name. Raises UsageError: the nearest name."""
    for node in graph.nodes:
        if name == node.name or any(name == t.name for t in node.outputs):
            return node
    raise unknown(name, "node of the model", (n for node in graph.nodes for n in (node.name, *_outputs(node))))


def _outputs(node: Node) -> list[str]:
    return [t.name for t in node.outputs]


def unknown(name: str, what: str, names: Iterable[str]) -> UsageError:
    known = list(dict.fromkeys(names))
    near = nearest(name, known)
    return UsageError(f"{name!r} is no {what}", hint=repr(near) if near else ", ".join(map(repr, known[:5])))


def operator_of(graph: Graph, node: Node) -> str:
    """The operator of the file that the node was read from."""
    return graph.meta.get("operators", {}).get(node.name, node.op)


def declared_layout(graph: Graph) -> str:
    """The layout that the graph's 4-D ends declare, "" where they do not agree."""
    tags = {t.layout for t in (*graph.inputs, *graph.outputs) if t.rank == 4 and t.layout}
    return tags.pop() if len(tags) == 1 else ""


def tag_ends(ends: Iterable[Tensor], layout: str) -> None:
    """Declares the layout of tensors that became ends."""
    for t in ends:
        if t.rank == 4 and not t.layout:
            t.layout = layout
