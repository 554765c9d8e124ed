"""What loops over the steps of a recurrent layer have in common in every container: weights, rounds, and whether a
file's loop is one that would be written.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir import Graph, Node, Tensor
from ...numeric.qparams import QuantParam
from ...schema.builder import Builder
from ...schema.loops import Loop
from ...schema.reading import Reading
from ...schema.writing import Emitted, Writing
from .rnn import GATES

Weights = tuple[list[Tensor], list[Tensor | None]]
"""[rows, columns] of the products and their biases [rows]: the input's, then the state's."""
Stored = tuple[str, list[int], list[int], dict[str, Any]]
"""An operator of a file: its name, indices of inputs (-1 where one is absent) and outputs, attributes."""


def is_constant(node: Node, index: int) -> bool:
    """Whether an input is there and known."""
    t = node.input(index)
    return t is not None and t.is_const


def weights_of(w: Writing, node: Node) -> Weights:
    """The layer's constants as those of its products."""
    gates, hidden, b = GATES[node.op], node.attrs["hidden_size"], node.input(3)
    rows, after = gates * hidden, bool(node.attrs.get("linear_before_reset"))
    weights = []
    cuts = [0, rows] if node.op != "Gru" or after else [0, 2 * hidden, rows]
    for index, begin, end in ((1, 0, rows), *((2, *cut) for cut in itertools.pairwise(cuts))):
        t = node.required(index)
        whole = (begin, end) == (0, rows)
        weights.append(rows_of(t, begin, end, t.name if whole else w.name(f"{t.name}/{begin}")))
    if b is None:
        return weights, [None] * len(weights)
    values = b.real()[0].astype(np.float32)
    sums = values[:rows] if after else values[:rows] + values[rows:]
    biases: list[Tensor | None] = [w.constant(sums, np.float32, f"{node.name}/bias"), *[None] * (len(weights) - 1)]
    if after:
        biases[1] = w.constant(values[rows:], np.float32, f"{node.name}/state_bias")
    return weights, biases


def rows_of(t: Tensor, begin: int, end: int, name: str) -> Tensor:
    """t[0, begin:end] of a weight [1, rows, columns]."""
    q = t.quant
    if q is not None and q.axis is not None:
        parts = {f: getattr(q, f) for f in ("scale", "zero_point", "var_corr", "mean_corr")}
        q = dataclasses.replace(q, axis=0, **{f: v[begin:end] for f, v in parts.items() if v is not None})
    data = t.value[0, begin:end]
    return Tensor(name, t.dtype, data.shape, data, q)


class Round:
    """The nodes of a loop's round, as the parts of a layer are emitted."""

    def __init__(self, w: Writing) -> None:
        self.writing, self.graph = w, Graph()
        self.build = Builder(self.graph, fold_limit=0)

    def name(self, wish: str) -> str:
        return self.writing.name(wish)

    def constant(self, data: Any, name: str, quant: QuantParam | None = None) -> Tensor:
        t = self.writing.constant(data, name=name)
        t.quant = quant
        return t

    def emit(
        self,
        op: str,
        inputs: Sequence[Tensor | None],
        attrs: dict[str, Any] | None = None,
        *,
        at: Node | None = None,
        name: str = "",
        origin: tuple[str, ...] = (),
    ) -> Node:
        """Behind all others, wherever `at` is."""
        self.build.emit(op, inputs, attrs, name=name, origin=origin, fold=False)
        return self.graph.nodes[-1]


def stacked(parts: list[Tensor]) -> Tensor:
    """Weights [rows, columns] below each other, as [1, rows, columns]."""
    first, q = parts[0], parts[0].quant
    data = first.value if len(parts) == 1 else np.concatenate([t.value for t in parts])
    if q is not None and q.axis is not None:
        fields = ("scale", "zero_point", "var_corr", "mean_corr")
        joined = {
            f: None if getattr(q, f) is None else np.concatenate([getattr(t.quant, f) for t in parts]) for f in fields
        }
        q = dataclasses.replace(q, axis=1, **joined)
    return Tensor(first.name, first.dtype, (1, *data.shape), data[None], q)


def bias_of(r: Reading, weights: Weights) -> Tensor | None:
    """The bias [1, 2·rows] of a layer of these products; None without any."""
    (w, *_), biases = weights
    if biases == [None] * len(biases):
        return None
    parts = [np.zeros(w.size(0), np.float32) if b is None else b.real() for b in biases[:2]]
    parts[1] = np.pad(parts[1], (0, w.size(0) - len(parts[1])))  # the candidate's product has none
    return r.constant(np.concatenate(parts)[None], np.float32, f"{r.name}/b")


def same_round(
    loop: Loop,
    params: Sequence[int],
    nodes: Sequence[Stored],
    after: Sequence[int],
    values: Callable[[int], Tensor | None],
) -> bool:
    """Whether a file's round is the loop's, but for names and what passes through unchanged.

    Args:
        params, after: indices of what the file's round begins with and ends with. values: index → constant.
    """
    number: dict[Tensor, int] = dict(zip(loop.params, params))
    most = len(loop.params)
    if len(nodes) != len(loop.body) or len(params) < most:
        return False
    for operator, (op, ins, outs, fields) in zip(loop.body, nodes):
        given = [t for t in operator.inputs if t is not None]
        ins = [i for i in ins if i != -1]
        if operator.op != op or len(given) != len(ins) or len(operator.outputs) != len(outs):
            return False
        if not all(_alike(t, i, number, values) for t, i in zip(given, ins)) or not _holds(operator, fields):
            return False
        number |= dict(zip(operator.outputs, outs))
    return [number.get(t) for t in loop.after] == [*after[:most]] and [*after[most:]] == [*params[most:]]


def _alike(t: Tensor, index: int, number: dict[Tensor, int], values: Callable[[int], Tensor | None]) -> bool:
    if t.data is None:
        return number.get(t) == index
    other = values(index)
    return other is t or (other is not None and other.data is not None and np.array_equal(other.data, t.data))


def _holds(operator: Emitted, fields: dict[str, Any]) -> bool:
    """Whether a stored operator has the attributes of one that would be written; a file leaves out what is 0."""
    return all(
        v is None or np.array_equal(np.asarray(0 if fields.get(k) is None else fields[k]), np.asarray(v))
        for k, v in operator.fields.items()
    )
