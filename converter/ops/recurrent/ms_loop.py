"""Recurrent layers in `.ms` that MindSpore Lite has no operator for, as a loop over their steps.

A loop is read by writing it again: weights found in its body make the layer that it may be, and the loop of that layer
must be the one in the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import Error
from ...ir import Graph, Node, Tensor
from ...schema.loops import LOOP, Loop
from ...schema.op import reads, row
from ...schema.reading import Reading
from ...schema.writing import Writing
from .cells import CELLS, CellWeights
from .loop_parts import Round, Weights, bias_of, is_constant, same_round, stacked, weights_of
from .parts import Parts
from .rnn import GATES, gates_of, plain_gates

FEWEST_STEPS = 8
"""Fewer are written one by one: a loop costs as many operators."""
_X, _COUNTER, _Y, _H = range(4)
# Layer, linear_before_reset, how many products its step has.
_KINDS = (("Gru", True, 2), ("Gru", False, 3), ("Rnn", None, 2))


def why_no_loop(node: Node) -> str:
    """Why a node of one direction cannot be a loop, "" where it can."""
    x, h0 = node.inputs[0], node.input(5)
    if node.op not in ("Gru", "Rnn") or node.input(4) is not None or not plain_gates(node) or node.attrs["clip"] > 0:
        return "a loop has plain gates and no sequence lengths"
    if x is None or not x.is_static or x.size(0) < FEWEST_STEPS:
        return f"a loop has {FEWEST_STEPS} steps or more of known sizes"
    if any(t is None or not t.is_const for t in node.inputs[1:3]) or not (
        node.input(3) is None or is_constant(node, 3)
    ):
        return "a loop has constant weights"
    return "" if h0 is None or h0.is_static else "the sizes of its first state are not known"


def write_loop(w: Writing, node: Node) -> None:
    """Writes a node of one direction for which `why_no_loop` says nothing."""
    x, y, start = node.required(0), node.outputs[0], node.input(5)
    backwards, steps = node.attrs["direction"] == "reverse", x.size(0)
    loop = _loop(node.name, w, node.op, node.attrs | {"dynamic": False}, x, weights_of(w, node))
    first = w.between(y, name=f"{node.name}/empty")
    fill = [w.constant(0.0, np.float32, f"{node.name}/zero"), w.constant(y.known_shape, np.int32, f"{node.name}/sizes")]
    w.node("Fill", node, fill, [first])
    if start is None:
        start = w.constant(np.zeros(loop.params[_H].static_shape), np.float32, f"{node.name}/h0")
    counter = w.constant([steps - 1 if backwards else 0], np.int32, f"{node.name}/step")
    w.node(LOOP, node, [x, counter, first, start], list(node.outputs), loop=loop)


def _loop(name: str, w: Writing, op: str, attrs: dict[str, Any], x: Tensor, given: Weights) -> Loop:
    """The loop over the steps of x [T, N, I]; its parameters are x, counter [1], outputs [T, 1, N, H] and state
    [1, N, H], its results outputs and state."""
    (weights, biases), hidden, backwards = given, attrs["hidden_size"], attrs["direction"] == "reverse"
    steps, batch = x.size(0), x.known_shape[1]
    body = Round(w)
    parts = Parts(body, Node(op, name, [], [], attrs))
    shapes = (x.known_shape, (1,), (steps, 1, batch, hidden), (1, batch, hidden))
    names = ("input", "step", "outputs", "state")
    xs, counter, ys, h = (
        body.build.input(w.name(f"{name}/{what}"), np.int32 if what == "step" else np.float32, shape)
        for what, shape in zip(names, shapes)
    )

    def integer(value: int, what: str) -> Tensor:
        return w.constant([value], np.int32, f"{name}/{what}")

    cell = CELLS[op](parts, attrs, gates_of(op, attrs, 1)[0], CellWeights(tuple(weights[1:]), biases[0], biases[1]))
    (fresh,) = cell.step(cell.product(parts.make("Gather", xs, counter), weights[0], biases[0]), h)
    bounds = ((0, steps - 1) if backwards else (1, steps), ("begin", "end"))
    kept = parts.make("Slice", ys, *map(integer, *bounds), integer(0, "axis"), integer(1, "stride"))
    outputs = [kept, parts.make("ExpandDims", fresh, axes=[1])]
    told = parts.make("Concat", *(reversed(outputs) if backwards else outputs), axis=0)
    following = parts.make("Add", counter, integer(-1 if backwards else 1, "one"))
    inside = w.within(body.graph)
    for node in body.graph.nodes:
        row(node.op).writers["ms"](inside, node)
    limit = integer(-1 if backwards else steps, "limit")
    test = (limit, counter) if backwards else (counter, limit)
    return Loop([xs, counter, ys, h], inside.emitted, [xs, following, told, fresh], test, [ys, h])


@reads("ms", LOOP)
def read_ms_loop(r: Reading) -> list[Tensor]:
    """A loop whose rounds are steps of a recurrent layer. Results: outputs [T, 1, N, H], the last state [1, N, H]."""
    stored, nodes, values = r.options["loop"], r.options["nodes"], r.options["constants"]
    x, h0 = r.input(_X), r.input(_H)
    products = [k for k, (op, _, _, _) in enumerate(nodes) if op in ("MatMulFusion", "FullConnection")]
    weights = [[values(i) for i in nodes[k][1][1:3]] for k in products]
    computed = any(t is None for pair in weights for t in pair) or not r.input(_COUNTER).is_const
    if computed or not weights or not h0.shape or not x.is_static or x.rank != 3:
        r.refuse("a loop that is no recurrent layer")
    biases = [pair[1] if len(pair) > 1 else None for pair in weights]
    given: Weights = [pair[0] for pair in weights], biases
    for op, after, count in _KINDS:
        if count != len(products) or weights[0][0].size(0) != GATES[op] * h0.size(-1):
            continue
        for direction in ("forward", "reverse"):
            attrs = {"hidden_size": h0.shape[-1], "direction": direction}
            attrs |= {} if after is None else {"linear_before_reset": after}
            try:
                loop = _loop(r.name, Writing("ms", Graph()), op, row(op).attrs | attrs, x, given)
            except Error:
                continue
            if (
                same_round(loop, stored.params, nodes, stored.after, values)
                and _whole(r, direction)
                and {*r.options["results"]} <= {_Y, _H}
            ):
                results = _layer(r, op, attrs, given)
                return [results[k - _Y] for k in r.options["results"]]
    r.refuse("a loop that is no recurrent layer")


def _layer(r: Reading, op: str, attrs: dict[str, Any], given: Weights) -> list[Tensor]:
    """The layer of these products."""
    (w, *state), _ = given
    inputs = [r.input(_X), stacked([w]), stacked(state), bias_of(r, given), None, r.input(_H)]
    return r.emit_many(op, inputs, **attrs)


def _whole(r: Reading, direction: str) -> bool:
    """Whether the loop begins with the first step and ends with the last."""
    steps, (a, b) = r.input(_X).size(0), r.options["loop"].test
    limit = r.options["constants"](~b if direction == "forward" else ~a) if (a, b)[direction == "forward"] < 0 else None
    begin = r.input(_COUNTER).real().ravel().tolist()
    end = None if limit is None else limit.real().ravel().tolist()
    place = (a, b)[direction != "forward"]
    return place == _COUNTER and (begin, end) == (([0], [steps]) if direction == "forward" else ([steps - 1], [-1]))
