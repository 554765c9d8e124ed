"""Which nodes of a graph a user's selectors mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..converter.errors import Setting, UsageError
from ..converter.ir import Graph, Node
from ..converter.schema.op import quant_spec
from ..converter.text import nearest
from .selectors import Selector

REQUESTED = "kept in float on request"  # why what a user's selectors mean is in float


def select(graph: Graph, selectors: Sequence[Selector]) -> set[Node]:
    """The nodes that the selectors mean, one after the other: each adds its own, or takes them out.

    A node answers to its own name, its outputs' names, and those of the source nodes that were fused into it; to the
    first of several that TFLite has joined by semicolons, too.

    Raises:
        UsageError: a selector names nothing, with the nearest name.
    """
    selected: set[Node] = set()
    for selector in selectors:
        meant = _stretch(graph, selector) if selector.kind == "stretch" else _named_nodes(graph, selector)
        selected = selected - meant if selector.excluded else selected | meant
    return selected


def _named_nodes(graph: Graph, selector: Selector) -> set[Node]:
    meant = {n for n in graph.nodes if any(selector.matches(name, n.op) for name in _names(n))}
    if not meant and selector.kind == "type":
        meant = {n for n in graph.nodes if any(selector.matches(n.name, op) for op in _source_ops(graph, n))}
    if not meant and selector.kind == "type":
        kinds = sorted({op for n in graph.nodes for op in (n.op, *_source_ops(graph, n))})
        raise UsageError(f"'{selector}' is no operator of the model", hint=", ".join(kinds))
    if not meant:
        raise _unknown(graph, str(selector), selector.first)
    return meant


def _names(node: Node) -> Iterable[str]:
    whole = (node.name, *(t.name for t in node.outputs), *node.origin)
    return dict.fromkeys((*whole, *(name.partition(";")[0] for name in whole)))


def _source_ops(graph: Graph, node: Node) -> set[str]:
    """The operators of the source file that the node stands for, as that format names them; where it has one name for
    all convolutions, those that tell them apart elsewhere, too: Conv2D, DepthwiseConv2D."""
    known = graph.meta.get("operators", {})
    named = {known[name] for name in (node.name, *node.origin) if name in known}
    cell = quant_spec(node)
    if named <= {node.op} and cell.conv_family and cell.mixes_channels is not None:
        depthwise = "Depthwise" if cell.mixes_channels(node) == "each" else ""
        named = named | {f"{depthwise}{node.op}{len(node.attrs['stride'])}D"}
    return named


def _unknown(graph: Graph, shown: str, word: str) -> UsageError:
    near = nearest(word, (name for n in graph.nodes for name in _names(n)))
    return UsageError(
        f"{shown!r} names no node of the model",
        hint=repr(near) if near else (Setting("dump_ir", "DIR"), " to see the names"),
    )


def _named(graph: Graph, name: str) -> set[Node]:
    meant = {n for n in graph.nodes if name in _names(n)}
    meant |= {n for n in graph.nodes if any(t is not None and t.name == name for t in n.inputs if t in graph.inputs)}
    if not meant:
        raise _unknown(graph, name, name)
    return meant


def _stretch(graph: Graph, selector: Selector) -> set[Node]:
    """Every node on a path from `first` to `last`, both included; an open end reaches the graph's inputs or outputs."""
    producers, consumers = graph.producers(), graph.consumers()
    behind = _reach(
        _named(graph, selector.first) if selector.first else set(graph.nodes),
        lambda n: (c for t in n.outputs for c in consumers.get(t, ())),
    )
    before = _reach(
        _named(graph, selector.last) if selector.last else set(graph.nodes),
        lambda n: (producers[t] for t in n.inputs if t in producers),
    )
    between = behind & before
    if not between:
        raise UsageError(f"{str(selector)!r}: no path of the model leads from the one to the other")
    return between


def _reach(start: set[Node], step) -> set[Node]:  # pyright: ignore[reportMissingParameterType]
    reached, open_nodes = set(start), list(start)
    while open_nodes:
        for other in step(open_nodes.pop()):
            if other not in reached:
                reached.add(other)
                open_nodes.append(other)
    return reached
