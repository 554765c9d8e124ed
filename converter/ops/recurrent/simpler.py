"""A recurrent layer as several that ask for less: of one sequence, or of one direction, each."""

from __future__ import annotations

from ...ir import Node, Tensor
from .parts import GraphEdit, LayerParts
from .rnn import attrs_of

_LENGTHS = 4


def write_sequences(edit: GraphEdit, node: Node) -> None:
    """A layer for each sequence of the batch."""
    parts = LayerParts(edit, node)
    x, start, rest = node.required(0), node.input(5), node.inputs[1:4]
    batch = x.size(1)
    starts: list[Tensor | None] = [None] * batch
    if start is not None and start.data is not None:
        starts = [edit.constant(start.data[:, k : k + 1], f"{start.name}/{k}") for k in range(batch)]
    elif start is not None:
        starts = list(parts.split(start, 1, [1] * batch))
    xs = parts.split(x, 1, [1] * batch)
    layers = [parts.all(node.op, xs[k], *rest, None, starts[k], **node.attrs) for k in range(batch)]
    _join(parts, layers, (2, 1))


def write_forward_directions(edit: GraphEdit, node: Node) -> None:
    """A layer for each direction, each of which goes forward over steps that are reversed before and after."""
    _write_directions(edit, node, reversing=True)


def write_directions(edit: GraphEdit, node: Node) -> None:
    """A layer for each direction."""
    _write_directions(edit, node, reversing=False)


def _write_directions(edit: GraphEdit, node: Node, reversing: bool) -> None:
    parts, x = LayerParts(edit, node), node.required(0)
    count, both = node.required(1).size(0), node.attrs["direction"] == "bidirectional"
    layers: list[list[Tensor]] = []
    for d in range(count):
        backwards = d == 1 or not both
        attrs = attrs_of(node.op, node.attrs, count, d)
        attrs["direction"] = "reverse" if backwards and not reversing else "forward"
        turns = backwards and reversing
        source = _turned(parts, x) if turns else x
        inputs = [
            t if i == _LENGTHS else parts.state(i, d, count) if i in (5, 6) else _direction_of(parts, t, d)
            for i, t in enumerate(node.inputs[1:], 1)
        ]
        y, *states = parts.all(node.op, source, *inputs, **attrs)
        layers.append([_turned(parts, y) if turns else y, *states])
    _join(parts, layers, (1, 0))


def _turned(parts: LayerParts, x: Tensor) -> Tensor:
    """x [T, N, …] with the steps of each sequence in the opposite order; what stands behind its end stays there."""
    lengths = parts.node.input(_LENGTHS)
    if lengths is None:
        return parts.make("Reverse", x, axes=[0])
    axis = 1 if x.rank == 3 else 2
    return parts.make("ReverseSequence", x, lengths, time_axis=0, batch_axis=axis)


def _direction_of(parts: LayerParts, t: Tensor | None, d: int) -> Tensor | None:
    """t[d : d + 1] of a constant."""
    if t is None or t.data is None or len(t.data) == 1:
        return t
    return parts.edit.constant(t.data[d : d + 1], f"{t.name}/{d}", t.quant)


def _join(parts: LayerParts, layers: list[list[Tensor]], axes: tuple[int, int]) -> None:
    """The outputs of all layers become those of the node: along axes[0] the outputs, along axes[1] the last states."""
    for k, (axis, y) in enumerate(zip((axes[0], *[axes[1]] * 2), parts.node.outputs)):
        if parts.used(y):
            parts.end(k, [outputs[k] for outputs in layers], axis)
