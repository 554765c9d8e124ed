"""Prepares a channels-last graph for a channels-first file."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import UnsupportedError
from ..ir import Graph, Node, Tensor
from ..ops import row
from ..ops._support.layout import first_perm, last_perm, permuted_shape
from ..schema.writing import Writing
from .edit import Edit
from .record import Change, Record


def channels_first(graph: Graph) -> Iterator[Record]:
    """Op on N…C ⇒ Transpose → ChannelsLast → Op → ChannelsFirst → Transpose⁻¹, for every spatial operator of ONNX.

    The outer Transposes are free to move, so that `cancel_transposes` finds them a graph in which all data are NC…; the
    inner ones stay with the operator and cancel with those that its writer puts around the channels-first operator.
    Which operators these are, and which of their operands, is what their writers do.

    Not where it has been done.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        inputs, outputs = _borders(graph, node)
        turned = {t for t in inputs if (p := edit.producer(t)) is not None and p.op == "ChannelsLast"}
        if (not inputs and not outputs) or turned:
            continue
        args = list(node.inputs)
        for i, t in enumerate(args):
            if t is None or t not in inputs or t.is_const or t.shape is None:
                continue
            first = edit.emit("Transpose", [t], {"perm": first_perm(len(t.shape))}, at=node, like=t).outputs[0]
            args[i] = edit.emit("ChannelsLast", [first], at=node, like=t).outputs[0]
        edit.set_inputs(node, args)
        for t in outputs:
            if t.shape is None:
                continue
            perm = first_perm(len(t.shape))
            own = Tensor(edit.name(f"{t.name}/nhwc"), t.dtype, t.shape, None, t.quant)
            edit.take_outputs(node, [own if o is t else o for o in node.outputs])
            first = edit.emit("ChannelsFirst", [own], after=node, like=t).outputs[0]
            first.shape = permuted_shape(t.shape, perm)
            edit.emit("Transpose", [first], {"perm": last_perm(len(t.shape))}, after=node, outputs=[t])
        yield Change("channels_first", node.name, "set between transpositions to NC…")
    edit.finish()


def _borders(graph: Graph, node: Node) -> tuple[set[Tensor], set[Tensor]]:
    """The operands and results that the node's ONNX writer transposes."""
    writer = row(node.op).writers.get("onnx")
    if writer is None or node.op in ("Transpose", "ChannelsLast", "ChannelsFirst"):
        return set(), set()
    trial = Writing("onnx", Graph(graph.name), opset=23)
    try:
        writer(trial, node)
    except UnsupportedError:
        return set(), set()
    inputs: set[Tensor] = set()
    outputs: set[Tensor] = set()
    for operator in trial.emitted:
        if operator.op != "Transpose" or operator.inputs[0] is None:
            continue
        perm, x, y = list(operator.fields["perm"]), operator.inputs[0], operator.outputs[0]
        if x in node.inputs and len(perm) > 2 and perm == first_perm(len(perm)):
            inputs.add(x)
        if y in node.outputs and len(perm) > 2 and perm == last_perm(len(perm)):
            outputs.add(y)
    return inputs, outputs
