"""Takes a part out of a graph by the names of its tensors, names ends anew, and adds outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import UnsupportedError, UsageError
from ..ir import Graph, Tensor
from .find import declared_layout, tag_ends, tensor_named, unknown


def cut(graph: Graph, inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> list[str]:
    """Keeps, in place, what lies between tensors: from `inputs`, which become the inputs in this order, to `outputs`.

    Args:
        inputs, outputs: names of tensors or nodes (then what the node gives); none: those of the graph.
    Returns:
        A line that says what is left.
    Raises:
        UsageError: no tensor has a name, with the nearest one; or the outputs need an input that is not named.
        UnsupportedError: the graph keeps states from run to run.
    """
    if graph.states:
        raise UnsupportedError(f"a model that keeps states ({graph.state_pairs[0][0].name!r} first) is not cut")
    before, layout = len(graph.nodes), declared_layout(graph)
    starts = [tensor_named(graph, name) for name in inputs]
    ends = [tensor_named(graph, name) for name in outputs] or graph.outputs
    for t in (*starts, *ends):
        if t.is_const:
            raise UsageError(f"{t.name!r} is a constant, not a value that is computed")
    if both := next((t for t in starts if t in ends), None):
        raise UsageError(f"{both.name!r} is named as input and as output")
    fed = list(dict.fromkeys(starts))
    if starts:
        _detach(graph, fed)
    graph.outputs = list(dict.fromkeys(ends))
    graph.prune()
    read = {t for node in graph.nodes for t in node.inputs}
    if starts:
        missing = next((t for t in graph.inputs if t in read and t not in fed), None)
        if missing is not None:
            raise UsageError(
                f"{graph.outputs[0].name!r} needs input {missing.name!r}, too, which is not among"
                f" {', '.join(repr(t.name) for t in fed)}",
                hint=f"{missing.name!r} among the inputs of the cut",
            )
        unread = next((t for t in fed if t not in read), None)
        if unread is not None:
            raise UsageError(f"nothing between {unread.name!r} and the outputs reads it")
        graph.inputs = fed
    else:
        graph.inputs = [t for t in graph.inputs if t in read]
    tag_ends((*graph.inputs, *graph.outputs), layout)
    shown = [", ".join(f"{t.name!r} {t.type_text()}" for t in side) for side in (graph.inputs, graph.outputs)]
    return [f"cut: {len(graph.nodes)} of {before} nodes left, from {shown[0]} to {shown[1]}"]


def _detach(graph: Graph, starts: list[Tensor]) -> None:
    """Makes the tensors values that nothing computes."""
    for node in graph.nodes:
        node.outputs = [
            Tensor(f"{t.name}/cut", t.dtype, t.shape, None, t.quant) if t in starts else t for t in node.outputs
        ]
    graph.uniquify()


def rename_ends(graph: Graph, names: Mapping[str, str]) -> list[str]:
    """Gives inputs and outputs other names, in place. Returns a line per name.

    Raises:
        UsageError: no input or output has a name, with the nearest one; or the new name is taken.
    """
    ends = {t.name: t for t in (*graph.inputs, *graph.outputs)}
    for old in names:
        if old not in ends:
            raise unknown(old, "input or output of the model", ends)
    chosen = {ends[old] for old in names}
    free = {t.name for t in graph.tensors() if t not in chosen and t in ends.values()}
    for old, new in names.items():
        if new in free or not new:
            raise UsageError(f"{old!r} cannot become {new!r}: {'another end has this name' if new else 'it is empty'}")
        free.add(new)
    inner = {t.name: t for t in graph.tensors() if t not in ends.values()}
    for old, new in names.items():
        if new in inner:
            inner[new].name = f"{new}/inside"
        ends[old].name = new
    graph.uniquify()
    return [f"{old!r} is named {new!r}" for old, new in names.items()]


def add_outputs(graph: Graph, names: Sequence[str]) -> list[str]:
    """Makes tensors, by their names or their nodes', further outputs, in place. Returns a line per tensor.

    Raises:
        UsageError: no tensor has a name, with the nearest one; or it is an input or a constant.
        UnsupportedError: the graph keeps states, whose outputs are the last.
    """
    if graph.states:
        raise UnsupportedError("a model that keeps states from run to run takes no further outputs")
    lines, layout = [], declared_layout(graph)
    for name in names:
        t = tensor_named(graph, name)
        if t.is_const or t in graph.inputs:
            raise UsageError(f"{name!r} is {'a constant' if t.is_const else 'an input'}, not a value that is computed")
        if t not in graph.outputs:
            graph.outputs = [*graph.outputs, t]
            tag_ends([t], layout)
            lines.append(f"{t.name!r} {t.type_text()} is an output, too")
    return lines
