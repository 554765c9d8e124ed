"""Recurrent layers in TFLite that it has no operator for, as a WHILE over blocks of their steps.

A runtime copies all that goes round in each round, the whole input and all outputs with it; so a round is a block of
steps. A loop is read by writing it again: weights found in its round make the layer that it may be, and the round of
that layer must be the one in the file. Any other loop is unrolled.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import Error
from ...ir import Graph, Node, Tensor
from ...schema.loops import LOOP, Held, Loop
from ...schema.op import row
from ...schema.reading import Reading
from ...schema.writing import Writing
from .cells import CELLS, Cell, CellWeights, operators_of
from .loop_parts import Round, Weights, bias_of, is_constant, same_round, stacked, weights_of
from .parts import Parts
from .rnn import GATES, gates_of
from .steps import Mask, masks_at, take_steps

FEWEST_STEPS = 129
"""Fewer are written one by one, which a runtime takes faster, unless the layer is heavy."""
_HEAVY = 16 << 20
"""Bytes of the recurrent weights in all steps, of each of which a runtime keeps a copy, that its caches do not hold."""
_BLOCK, _LEAST = 32, 4
"""Steps of a round at least: of few steps, and of heavy ones."""
_CACHED = 4 << 20
"""Bytes of a round's copies of its weights that caches hold."""
# Layer, linear_before_reset, how many products a step has.
_KINDS = (("Gru", True, 1), ("Gru", False, 2), ("Rnn", None, 1), ("Lstm", None, 1))
_X, _COUNTER, _Y, _STATES = range(4)
_Peepholes = tuple[Tensor | None, ...]


def why_no_tflite_loop(node: Node) -> str:
    """Why a node of one direction cannot be a loop, "" where it can."""
    x, lengths = node.inputs[0], node.input(4)
    if node.op not in GATES or x is None or not x.is_static or x.dtype != np.float32:
        return "a loop has steps of known sizes"
    if any(t is None or not t.is_const for t in node.inputs[1:3]):
        return "a loop has constant weights"
    if any(node.input(i) is not None and not is_constant(node, i) for i in (3, 7)):
        return "a loop has constant weights"
    if any(t is not None and not t.is_static for t in (node.input(5), node.input(6), lengths)):
        return "the sizes of its first state are not known"
    gates = gates_of(node.op, node.attrs, node.required(1).size(0))
    if any("tflite" not in row(name).writers for name in operators_of([g for side in gates for g in side])):
        return "a loop has gates that are operators of TFLite"
    heavy = 4 * x.size(0) * node.required(2).value.size > _HEAVY
    fewest = 4 * _LEAST if heavy else FEWEST_STEPS
    return "" if x.size(0) >= fewest else f"a loop has {fewest} steps or more"


def block_of(steps: int, weights: int) -> int:
    """Steps of a round, so that few are left over. More of them copy what goes round less often, but a runtime keeps
    a copy of the recurrent weights, of so many bytes, for each."""
    least = min(max(_BLOCK, 2 * math.isqrt(steps)), max(_LEAST, _CACHED // max(weights, 1)), steps)
    return min(range(least, min(2 * least, steps + 1)), key=lambda block: (steps % block, block))


def write_tflite_loop(w: Writing, node: Node) -> None:
    """Writes a node that goes forward and for which `why_no_tflite_loop` says nothing."""
    attrs, x, lengths = node.attrs | {"dynamic": False}, node.required(0), node.input(4)
    steps, batch, hidden = x.size(0), x.size(1), attrs["hidden_size"]
    block = block_of(steps, 4 * node.required(2).value.size)
    given, outside = weights_of(w, node), _Outside(w, node, attrs)
    peepholes = _peepholes(outside.parts, node)
    cell = _cell(outside.parts, attrs, given, peepholes)
    zeros = np.zeros((1, batch, hidden), np.float32)
    states = [node.input(5 + k) or outside.parts.constant(zeros, f"start_{k}") for k in range(cell.states)]
    # Steps that fill no block are taken before; where lengths tell which steps count, x is filled up instead.
    before, ys = steps % block if lengths is None else 0, list[Tensor]()
    total = before + -(-(steps - before) // block) * block
    if before:
        products = cell.product(outside.cut(x, before), given[0][0], given[1][0])
        ys, states = take_steps(cell, outside.parts.split(products, 0, [1] * before), [None] * before, states)
    elif total > steps:
        x = outside.parts.make("Pad", x, outside.parts.constant([0, total - steps, 0, 0, 0, 0], "pads", np.int64))
    outside.write()
    loop = _loop(w, node.op, node.name, attrs, x, (before, total, block), (given, peepholes), lengths)
    told = w.between(node.outputs[0], (total - before, batch, hidden), f"{node.name}/empty")
    sizes = w.constant(told.static_shape, np.int32, f"{node.name}/sizes")
    w.node("FILL", node, [sizes, w.constant(0.0, np.float32, f"{node.name}/zero")], [told])
    begin = w.constant([before], np.int32, f"{node.name}/step")
    more = [lengths] if lengths is not None and not lengths.is_const else []
    outs = [w.between(t, name=f"{t.name}/last") for t in loop.params]
    outs[_STATES : _STATES + len(node.outputs) - 1] = node.outputs[1:]
    w.node(LOOP, node, [x, begin, told, *states, *more], outs, loop=loop)
    y = outside.cut(outs[_Y], steps) if total > steps else outs[_Y]
    y = outside.parts.make("Concat", *ys, y, axis=0) if ys else y
    outside.parts.make("ExpandDims", y, axes=[1])
    outside.write(node.outputs[0])


class _Outside:
    """Nodes that stand before and behind a loop."""

    def __init__(self, w: Writing, node: Node, attrs: dict[str, Any]) -> None:
        self.w, self.round = w, Round(w)
        self.parts = Parts(self.round, Node(node.op, node.name, [], [], attrs))

    def cut(self, x: Tensor, end: int) -> Tensor:
        """x[:end]"""
        bounds = ((0, "begin"), (end, "end"), (0, "axis"))
        return self.parts.make("Slice", x, *(self.parts.constant([v], k, np.int32) for v, k in bounds))

    def write(self, last: Tensor | None = None) -> None:
        """Writes the nodes that there are; the last one gives `last`."""
        nodes = self.round.graph.nodes
        if last is not None:
            nodes[-1].outputs = [last]
        for node in nodes:
            row(node.op).writers["tflite"](self.w, node)
        nodes.clear()


def _peepholes(parts: Parts[Any], node: Node) -> _Peepholes:
    p = node.input(7)
    if p is None:
        return None, None, None
    return tuple(parts.constant(v, f"peephole_{k}") for k, v in enumerate(p.real()[0].reshape(3, -1)))


def _cell(parts: Parts[Any], attrs: dict[str, Any], given: Weights, peepholes: _Peepholes) -> Cell:
    (_, *products), biases = given
    op, weights = parts.node.op, CellWeights(tuple(products), biases[0], biases[1], peepholes)
    return CELLS[op](parts, attrs, gates_of(op, attrs, 1)[0], weights)


def _loop(
    w: Writing,
    op: str,
    name: str,
    attrs: dict[str, Any],
    x: Tensor,
    course: tuple[int, int, int],
    given: tuple[Weights, _Peepholes],
    lengths: Tensor | None,
) -> Loop:
    """The loop over blocks of the steps of x [T, N, I].

    Its parameters are x, the next step [1], the block's outputs behind those of the blocks before [T', N, H], states
    [1, N, H], and lengths [N] where these are computed.

    Args:
        course: the first step, the one after the last, and steps of a block.
    """
    (weights, peepholes), hidden, (begin, total, block) = given, attrs["hidden_size"], course
    body, batch = Round(w), x.size(1)
    parts = Parts(body, Node(op, name, [], [], attrs))
    cell = _cell(parts, attrs, weights, peepholes)

    def param(what: str, dtype: Any, shape: tuple[int, ...]) -> Tensor:
        return body.build.input(w.name(f"{name}/{what}"), dtype, shape)

    xs = param("input", np.float32, x.static_shape)
    at = param("at", np.int32, (1,))
    ys = param("outputs", np.float32, (total - begin, batch, hidden))
    states = [param(f"state_{k}", np.float32, (1, batch, hidden)) for k in range(cell.states)]
    more = []
    if lengths is not None and not lengths.is_const:
        lengths = param("lengths", lengths.dtype, lengths.static_shape)
        more = [lengths]
    places = parts.make("Add", at, parts.constant(np.arange(block), "places", np.int32))
    products = cell.product(parts.make("Gather", xs, places), weights[0][0], weights[1][0])
    masks: list[Mask] = [None] * block
    if lengths is not None:
        masks = masks_at(parts, parts.make("ExpandDims", places, axes=[1]), lengths, block)
    made, after = take_steps(cell, parts.split(products, 0, [1] * block), masks, states)
    kept = [] if total - begin == block else [
        parts.make("Slice", ys, *(parts.constant([v], k, np.int32) for v, k in
                                  ((block, "begin"), (total - begin, "end"), (0, "axis"))))
    ]  # fmt: skip
    told = parts.make("Concat", *kept, *made, axis=0)
    following = parts.make("Add", at, parts.constant([block], "block", np.int32))
    inside = w.within(body.graph)
    for node in body.graph.nodes:
        row(node.op).writers["tflite"](inside, node)
    limit = w.constant([total], np.int32, f"{name}/limit")
    params = [xs, at, ys, *states, *more]
    return Loop(params, inside.emitted, [xs, following, told, *after, *more], (at, limit), params)


def read_tflite_loop(r: Reading) -> list[Tensor] | None:
    """The results of a WHILE whose rounds are blocks of the steps of a layer; None where they are something else."""
    test, body = (r.subgraph(r.attr(f"{k}_subgraph_index", 0), held=True) for k in ("cond", "body"))
    layers = [k for k, (op, *_) in enumerate(body.nodes) if op == "FULLY_CONNECTED"]
    x, at = r.input(_X), r.input(_COUNTER)
    if not layers or len(r.inputs) <= _STATES or not x.is_static or x.rank != 3 or not at.is_const:
        return None
    limit = _limit(test)
    if limit is None or at.data is None or at.data.size != 1:
        return None
    begin, h = int(at.data.reshape(-1)[0]), r.input(_STATES)
    for op, after, count in _KINDS:
        block, rest = divmod(len(layers) - 1, count)
        stored = [[body.constant(i) for i in body.nodes[k][1][1:3] if i != -1] for k in layers[: 1 + count]]
        if rest or not block or (limit - begin) % block or any(t is None for pair in stored for t in pair):
            continue
        given: Weights = [pair[0] for pair in stored], [pair[1] if len(pair) > 1 else None for pair in stored]
        if not h.shape or given[0][0].size(0) != GATES[op] * h.size(-1):
            continue
        attrs = row(op).attrs | {"hidden_size": h.size(-1)} | ({} if after is None else {"linear_before_reset": after})
        lengths = _lengths(r, body, CELLS[op].states)
        try:
            w = Writing("tflite", Graph())
            loop = _loop(w, op, r.name, attrs, x, (begin, limit, block), (given, (None,) * 3), lengths)
        except Error:
            continue
        if same_round(loop, body.params, body.nodes, body.results, body.constant):
            return _layer(r, op, attrs, given, lengths, begin, limit)
    return None


def _limit(test: Held) -> int | None:
    """Where the counter ends, of a condition that compares it; None where it does something else."""
    if len(test.nodes) != 1 or test.nodes[0][0] != "LESS" or len(test.params) <= _COUNTER:
        return None
    _, (a, b), outs, _ = test.nodes[0]
    limit = test.constant(b)
    if a != test.params[_COUNTER] or [*outs] != [*test.results] or limit is None or limit.value.size != 1:
        return None
    return int(limit.value.reshape(-1)[0])


def _lengths(r: Reading, body: Held, states: int) -> Tensor | None:
    """What a round compares its steps with: the last parameter or a constant; None where it compares nothing."""
    less = next((ins for op, ins, *_ in body.nodes if op == "LESS"), None)
    if less is None or len(less) != 2:
        return None
    at = _STATES + states
    return r.input(at) if less[1] in body.params and len(r.inputs) > at else body.constant(less[1])


def _layer(
    r: Reading, op: str, attrs: dict[str, Any], given: Weights, lengths: Tensor | None, begin: int, end: int
) -> list[Tensor]:
    """The layer, and what the loop gives of it in the order of its parameters."""
    (w, *state), _ = given
    x, states = r.input(_X), [r.input(_STATES + k) for k in range(CELLS[op].states)]
    if (begin, end) != (0, x.size(0)):
        x = r.emit("Slice", x, *(r.constant([v], np.int64) for v in (begin, end, 0)))
    inputs = [x, stacked([w]), stacked(state), bias_of(r, given), lengths, *states]
    y, *last = r.emit_many(op, inputs, **attrs)
    more = r.inputs[_STATES + len(states) :]
    step = r.constant([end], np.int32)
    return [r.input(_X), step, r.emit("Squeeze", y, axes=[1]), *last, *(t for t in more if t is not None)]
