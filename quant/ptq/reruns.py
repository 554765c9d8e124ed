"""Runs of a float graph with some tensors rounded to their codes and some weights changed: only what follows them runs.

Plans of single nodes are built once and values of all tensors are kept, for a graph is run hundreds of times with
hardly anything changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ...converter.ir import Graph, Node, Tensor
from ...converter.numeric.qparams import QuantParam
from ...converter.schema.node import without_absent_tail
from ...converter.schema.op import quant_spec
from ..calibrate.observe import Sample, float_isa
from ..parallel import Workers
from .float_walk import in_codes
from .placement import Placement, weight_index
from .prefix_part import Single

_KEPT = 512 << 20  # bytes of activations
Values = dict[Tensor, np.ndarray]


def kept_samples(graph: Graph, least: int, most: int) -> int:
    """Samples whose activations may be kept together: from `least` to `most`."""
    held = sum(t.nbytes for n in graph.nodes for t in n.outputs)
    return max(least, min(most, _KEPT // max(held, 1)))


class Reruns:
    """The values of all tensors on samples. To be closed, as a context.

    weights: other ones by layer, float32 and of the same shape. steady: with them biases keep the mean of each output
    channel on these samples, as far as no activation is in between: as correcting them has it.
    """

    def __init__(
        self,
        graph: Graph,
        samples: Sequence[Sample],
        threads: int,
        weights: Mapping[Node, np.ndarray] | None = None,
        *,
        steady: bool = False,
    ) -> None:
        self.graph = graph
        self._inside = max(1, threads // max(len(samples), 1))
        self._workers = Workers(min(threads, max(len(samples), 1)))
        self._runs = {node: self._single(node) for node in graph.nodes}
        self._values = list(self._workers.each(self._all, samples))
        self._others = {
            node: self._single(_with_weight(node, w, self._shift(node, w) if steady else None))
            for node, w in (weights or {}).items()
        }

    def __enter__(self) -> Reruns:
        return self

    def __exit__(self, *error: object) -> None:
        self._workers.__exit__(*error)

    def values(
        self,
        wanted: Sequence[Tensor],
        activations: Mapping[Tensor, QuantParam],
        layers: Collection[Node],
        plan: Placement | None = None,
    ) -> list[list[np.ndarray]]:
        """By sample, the wanted tensors where `activations` are rounded to codes as soon as they are there and `layers`
        have their other weights. plan: what is made in float is codes for those nodes alone that read codes by it."""
        rounded = {t: in_codes(quant) for t, quant in activations.items() if t.dtype.kind == "f"}
        runs = {node: self._others[node] for node in layers}

        def one(values: Values) -> list[np.ndarray]:
            coded = {t: rounded[t](values[t]) for t in self.graph.inputs if t in rounded}
            changed = dict(coded) if plan is None else {}

            def real(t: Tensor) -> np.ndarray:
                return changed[t] if t in changed else values[t]

            def read(t: Tensor) -> np.ndarray:
                if t not in rounded:
                    return real(t)
                if t not in coded:
                    coded[t] = rounded[t](real(t))
                return coded[t]

            for node in self.graph.nodes:
                on_codes = plan is None or node in plan.int8_nodes
                if node in runs or any(t in changed or (on_codes and t in rounded) for t in node.inputs):
                    outputs = runs.get(node, self._runs[node])(read if on_codes else real)
                    changed.update(zip(node.outputs, outputs))
                for t in node.outputs:
                    if t in rounded and (plan is None or node in plan.integer):
                        changed[t] = read(t)
            return [real(t) for t in wanted]

        return list(self._workers.each(one, self._values))

    def _all(self, sample: Sample) -> Values:
        values = {t: np.asarray(sample[t.name], order="C") for t in self.graph.inputs}
        for node in self.graph.nodes:
            values |= zip(node.outputs, self._runs[node](values.__getitem__))
        return values

    def _single(self, node: Node) -> Single:
        return Single([node], self._inside, isa=float_isa())

    def _shift(self, node: Node, w: np.ndarray) -> np.ndarray:
        """By how much the mean of each output channel is too small with the weight w, float64[channels]."""
        error = self._single(_error_of(node, node.required(weight_index(node) or 0).value - w))
        means = list(self._workers.each(lambda values: _means(error(values.__getitem__)[0]), self._values))
        return np.mean(means, axis=0)


def _means(a: np.ndarray) -> np.ndarray:
    from ... import _native

    channels = a.shape[-1]
    return _native.observe_channels(a, channels)[2] / max(a.size // channels, 1)


def _error_of(node: Node, lost: np.ndarray) -> Node:
    """The layer of what weights have lost: it gives what its output has."""
    other, bias = _with_weight(node, lost, None), quant_spec(node).bias
    inputs = [None if i == bias else t for i, t in enumerate(other.inputs)]
    attrs = {**node.attrs, "act": "none"} if "act" in node.attrs else node.attrs
    return Node(node.op, node.name, without_absent_tail(inputs), node.outputs, attrs)


def _with_weight(node: Node, data: np.ndarray, shift: np.ndarray | None) -> Node:
    """The layer with another weight, and with a shift added to its bias where it can have one."""
    index, bias = weight_index(node) or 0, quant_spec(node).bias
    inputs = list(node.inputs)
    inputs[index] = Tensor(node.required(index).name, data.dtype, data.shape, data)
    if shift is not None and bias is not None:
        b = node.input(bias)
        value = (shift if b is None else b.value.reshape(-1) + shift).astype(np.float32)
        inputs += [None] * (bias + 1 - len(inputs))
        inputs[bias] = Tensor(f"{node.name}/bias" if b is None else b.name, value.dtype, value.shape, value)
    return Node(node.op, node.name, inputs, node.outputs, node.attrs)
