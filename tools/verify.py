"""Checks the kernels of this machine's CPU against the numpy definitions, node by node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..converter.execute import execute
from ..converter.ir import Graph, Node, Tensor, is_quantized
from ..converter.schema.builder import specialize
from ..native.session import Session

TOLERANCE = 1e-4
"""Of the reference's range, for float outputs. Integer outputs must be equal."""


@dataclass(frozen=True)
class Checked:
    """One node: `error` of a float output as a share of its range, `wrong` elements of integer outputs that differ."""

    name: str
    op: str
    native: bool
    error: float
    wrong: int
    why: str = ""

    @property
    def ok(self) -> bool:
        return self.error <= TOLERANCE and not self.wrong


def verify(session: Session, feed: Mapping[str, np.ndarray]) -> list[Checked]:
    """Runs every node alone, on the reference's own values, and compares what it gives with the reference.

    A node that reads a Dequantize runs together with it, as it does in a plan. Nodes without a kernel are listed, too.
    """
    graph = specialize(session.graph, {name: array.shape for name, array in feed.items()})
    given = {**feed, **graph.first_states}
    values: dict[Tensor, np.ndarray] = {t: given[t.name] for t in graph.inputs}
    producers = graph.producers()
    rows = []
    for node in graph.nodes:
        arrays = [None if t is None else t.data if t.data is not None else values[t] for t in node.inputs]
        values.update(zip(node.outputs, execute(node, arrays)))
        rows.append(_check(session, node, producers, values))
    return rows


def _check(session: Session, node: Node, producers: dict[Tensor, Node], values: dict[Tensor, np.ndarray]) -> Checked:
    group = [node]
    source = producers.get(node.inputs[0]) if node.inputs and node.inputs[0] is not None else None
    if source is not None and source.op == "Dequantize" and any(is_quantized(t) for t in node.inputs[1:]):
        group = [source, node]
    produced = {t for n in group for t in n.outputs}
    reads = dict.fromkeys(t for n in group for t in n.inputs if t is not None and t.data is None and t not in produced)
    alone = Session(Graph(node.name, group, list(reads), list(node.outputs), dict(session.graph.meta)), session.threads)
    got = alone.run({t.name: values[t] for t in reads})
    error, wrong = 0.0, 0
    for t in node.outputs:
        reference = values[t]
        if reference.dtype.kind == "f":
            error = max(error, _share(got[t.name], reference))
        else:
            wrong += int((got[t.name] != reference).sum())
    why = alone.refusals.get(node.name, "")
    return Checked(node.name, node.op, not why, error, wrong, why)


def _share(got: np.ndarray, reference: np.ndarray) -> float:
    """The largest difference over the reference's range; equal NaN and infinities count as equal."""
    x, y = got.astype(np.float64), reference.astype(np.float64)
    finite = np.isfinite(y)
    if not np.array_equal(x[~finite], y[~finite], equal_nan=True) or not np.isfinite(x[finite]).all():
        return float("inf")
    if not finite.any():
        return 0.0
    span = float(np.ptp(y[finite])) or float(np.abs(y[finite]).max()) or 1.0
    return float(np.abs(x[finite] - y[finite]).max()) / span
