"""Walks the float graph node by node on a few samples, and asks of each node what its output loses by another input."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...converter.ir import Graph, Node, Tensor
from ...converter.numeric.packing import storage_dtype
from ...converter.numeric.qparams import QuantParam, fake_quantize
from ..calibrate.observe import Sample, float_isa
from ..parallel import Workers
from .prefix_part import Single

_SMALL = 1e-30
Change = Callable[[np.ndarray], np.ndarray]
"""What is read in place of a tensor's value."""


def in_codes(codes: QuantParam) -> Change:
    """The value as codes hold it."""
    return partial(fake_quantize, qp=codes, dtype=storage_dtype(codes.bits))


@dataclass(frozen=True)
class Stop:
    """A node between its inputs and its outputs.

    values: of each tensor that is still read, one array a sample. outputs: by sample, the node's. threads: of one run.
    """

    node: Node
    values: Mapping[Tensor, Sequence[np.ndarray]]
    outputs: Sequence[Sequence[np.ndarray]]
    workers: Workers
    threads: int
    run: Single

    def lost(self, t: Tensor, changes: Sequence[Change], *, steady: bool = False) -> list[float]:
        """For each change of one input, a constant or not, the share of the first output's energy that is lost. steady:
        aside from what the mean of each channel is off, which correcting biases mends."""
        if t.is_const:
            runs = [Single([_with(self.node, t, change(t.value))], self.threads, isa=float_isa()) for change in changes]
            return self._shares(lambda i: [self._beside(i, run(_reader(self.values, i))) for run in runs], steady)

        def look(i: int) -> list[_Error]:
            value = self.values[t][i]
            return [self._beside(i, self.run(_reader(self.values, i, t, change(value)))) for change in changes]

        return self._shares(look, steady)

    def _shares(self, look: Callable[[int], list[_Error]], steady: bool) -> list[float]:
        each, count = self.workers.each, len(self.outputs)
        energy = sum(each(lambda o: float(np.square(o[0], dtype=np.float64).sum()), self.outputs)) + _SMALL
        return [_energy(errors, steady) / energy for errors in zip(*each(look, range(count)))]

    def _beside(self, sample: int, got: Sequence[np.ndarray]) -> _Error:
        want = self.outputs[sample][0]
        error = np.subtract(got[0], want, dtype=want.dtype if want.dtype.kind == "f" else np.float64)
        rows = error.reshape(-1, error.shape[-1]) if error.ndim else error.reshape(1, 1)
        return float(np.square(error, dtype=np.float64).sum()), rows.sum(axis=0).astype(np.float64), len(rows)


_Error = tuple[float, np.ndarray, int]
"""Of one sample: the energy, the sum by channel, and the rows."""


def _energy(errors: Sequence[_Error], steady: bool) -> float:
    total = sum(energy for energy, _, _ in errors)
    if not steady:
        return total
    sums, rows = np.sum([sums for _, sums, _ in errors], axis=0), sum(rows for _, _, rows in errors)
    return max(0.0, total - float(np.square(sums).sum()) / max(rows, 1))


def walk(graph: Graph, samples: Sequence[Sample], wanted: Collection[Node], threads: int) -> Iterator[Stop]:
    """Yields the wanted nodes in order; nothing behind the last one runs."""
    last_use = {t: k for k, n in enumerate(graph.nodes) for t in n.inputs if t is not None}
    end = max((k for k, n in enumerate(graph.nodes) if n in wanted), default=-1)
    values: dict[Tensor, list[np.ndarray]] = {
        t: [np.asarray(s[t.name], order="C") for s in samples] for t in graph.inputs
    }
    inside = max(1, threads // max(len(samples), 1))
    with Workers(min(threads, max(len(samples), 1))) as workers:
        for k, node in enumerate(graph.nodes[: end + 1]):
            run = Single([node], inside, isa=float_isa())
            outputs = list(workers.each(lambda i, run=run: run(_reader(values, i)), range(len(samples))))
            if node in wanted:
                yield Stop(node, values, outputs, workers, inside, run)
            for i, t in enumerate(node.outputs):
                values[t] = [o[i] for o in outputs]
            for t in [t for t in values if last_use.get(t, -1) <= k]:
                del values[t]


def _reader(
    values: Mapping[Tensor, Sequence[np.ndarray]],
    sample: int,
    other: Tensor | None = None,
    instead: np.ndarray | None = None,
) -> Callable[[Tensor], np.ndarray]:
    """Values of one sample, with another array in place of one tensor's."""
    return lambda t: instead if t is other and instead is not None else values[t][sample]


def _with(node: Node, t: Tensor, value: np.ndarray) -> Node:
    """The node with another value of one constant."""
    other = Tensor(t.name, value.dtype, value.shape, value)
    return Node(node.op, node.name, [other if x is t else x for x in node.inputs], node.outputs, node.attrs)
