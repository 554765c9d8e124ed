"""Runs of a float graph with some tensors rounded to their codes and some weights changed: only what follows them runs.

Plans of single nodes are built once and values of all tensors are kept, for a graph is run hundreds of times with
hardly anything changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...converter.ir import Graph, Node, Tensor
from ...converter.numeric.qparams import QuantParam
from ..calibrate.observe import Sample, float_isa
from ..parallel import Workers
from .float_walk import in_codes
from .placement import weight_index
from .prefix_part import Single

_KEPT = 512 << 20  # bytes of activations
Values = dict[Tensor, np.ndarray]


def kept_samples(graph: Graph, least: int, most: int) -> int:
    """Samples whose activations may be kept together: from `least` to `most`."""
    held = sum(t.nbytes for n in graph.nodes for t in n.outputs)
    return max(least, min(most, _KEPT // max(held, 1)))


class Reruns:
    """The values of all tensors on samples. To be closed, as a context."""

    def __init__(self, graph: Graph, samples: Sequence[Sample], threads: int) -> None:
        self.graph = graph
        self._inside = max(1, threads // max(len(samples), 1))
        self._workers = Workers(min(threads, max(len(samples), 1)))
        self._runs = {node: self._single(node) for node in graph.nodes}
        self._values = list(self._workers.each(self._all, samples))

    def __enter__(self) -> Reruns:
        return self

    def __exit__(self, *error: object) -> None:
        self._workers.__exit__(*error)

    def values(
        self, wanted: Sequence[Tensor], activations: Mapping[Tensor, QuantParam], weights: Mapping[Node, np.ndarray]
    ) -> list[list[np.ndarray]]:
        """By sample, the wanted tensors where `activations` are rounded to codes as soon as they are there, and layers
        have other `weights` (float32, of the same shape)."""
        rounded = {t: in_codes(quant) for t, quant in activations.items() if t.dtype.kind == "f"}
        runs = {node: self._single(_with_weight(node, data)) for node, data in weights.items()}

        def one(values: Values) -> list[np.ndarray]:
            changed = {t: change(values[t]) for t, change in rounded.items()}

            def read(t: Tensor) -> np.ndarray:
                return changed[t] if t in changed else values[t]

            for node in self.graph.nodes:
                if node not in runs and changed.keys().isdisjoint(node.inputs):
                    continue
                found = runs.get(node, self._runs[node])(read)
                for t, a in zip(node.outputs, found):
                    changed[t] = rounded[t](a) if t in rounded else a
            return [read(t) for t in wanted]

        return list(self._workers.each(one, self._values))

    def _all(self, sample: Sample) -> Values:
        values = {t: np.asarray(sample[t.name], order="C") for t in self.graph.inputs}
        for node in self.graph.nodes:
            values |= zip(node.outputs, self._runs[node](values.__getitem__))
        return values

    def _single(self, node: Node) -> Single:
        return Single([node], self._inside, isa=float_isa())


def _with_weight(node: Node, data: np.ndarray) -> Node:
    index = weight_index(node) or 0
    inputs = list(node.inputs)
    inputs[index] = Tensor(node.required(index).name, data.dtype, data.shape, data)
    return Node(node.op, node.name, inputs, node.outputs, node.attrs)
