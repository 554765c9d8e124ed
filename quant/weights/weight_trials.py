"""Runs of the float model with some weights quantized, from where a layer begins: what a width of one layer costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ...converter.errors import DataError, UsageError
from ...converter.ir import Graph, Tensor
from ..calibrate.observe import Runner, Sample
from ..parallel import Workers
from .weight_quant import WeightSettings, quantize_graph_weights

_HELD = 256 << 20  # bytes of activations kept where a layer begins
Moments = tuple[np.ndarray, float, int]
"""Of differences: their sum per channel, their energy, and the rows that these are of."""


def codes_by_layer(graph: Graph, settings: WeightSettings) -> dict[str, list[Tensor]]:
    """Layer → its weights quantized, where the gates let them through."""
    trial = graph.copy()
    rows = quantize_graph_weights(trial, settings)
    tensors = {t.name: t for t in trial.constants()}
    by_layer: dict[str, list[Tensor]] = {}
    for row in rows:
        if not row.reason:
            by_layer.setdefault(row.layer, []).append(tensors[row.tensor])
    return by_layer


class WeightTrials:
    """The model with float weights that are those of some codes, run from where a layer begins.

    scores: tensors to be looked at as if they were outputs, too.
    """

    def __init__(self, graph: Graph, samples: Sequence[Sample], threads: int, scores: Iterable[Tensor] = ()) -> None:
        self.graph, self.samples, self.threads = graph.copy(), list(samples), threads
        named = {t.name: t for t in self.graph.tensors()}
        self.graph.outputs = list(dict.fromkeys([*self.graph.outputs, *(named[t.name] for t in scores)]))
        self.outputs = [t for t in self.graph.outputs if t.dtype.kind == "f"]
        if not self.outputs:
            raise UsageError("no output of the model is float, so there is no error to choose bits by")
        self.constants = {t.name: t for t in self.graph.constants()}
        self.start, self.border, self.feeds = 0, list(self.graph.inputs), self.samples
        run = self._runner(self.border, 0, len(self.graph.nodes), self.outputs)
        self.reference = [run(sample, _copies) for sample in self.samples]
        self.sizes = [self._size(t) for t in self.outputs]

    def _size(self, t: Tensor) -> float:
        size = sum(float(np.abs(values[t.name], dtype=np.float64).sum()) for values in self.reference)
        if not np.isfinite(size):
            raise DataError(f"the float model gives NaN or infinity at output {t.name!r} on these samples")
        return size or 1e-30

    def put(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Gives weights the reals of these; returns what was there."""
        before = []
        for quantized in tensors:
            t = self.constants[quantized.name]
            before.append(Tensor(t.name, t.dtype, t.shape, t.data))
            t.data = quantized.real()
            t.dtype = t.data.dtype
        return before

    def begin(self, workers: Workers, at: int) -> None:
        """Runs every sample up to node `at`, from where trials started before if that is no later: trials start there
        now, or at the inputs where that takes too much memory."""
        behind = self.graph.nodes[at:]
        produced = {t for n in behind for t in n.outputs}
        read = [t for n in behind for t in n.inputs if t is not None and not t.is_const]
        border = [t for t in dict.fromkeys([*read, *self.outputs]) if t not in produced]
        if sum(t.nbytes for t in border) * len(self.samples) > _HELD:
            self.start, self.border, self.feeds = 0, list(self.graph.inputs), self.samples
            return
        if self.start > at:
            self.start, self.border, self.feeds = 0, list(self.graph.inputs), self.samples
        run = self._runner(self.border, self.start, at, border)
        self.feeds = list(workers.each(lambda feed: run(feed, _copies), self.feeds))
        self.start, self.border = at, border

    def error(self, workers: Workers) -> float:
        """The outputs' mean relative error with the weights as they are; inf where it is not finite."""
        run = self._runner(self.border, self.start, len(self.graph.nodes), self.outputs)
        feeds = self.feeds

        def look(k: int) -> np.ndarray:
            return run(feeds[k], lambda values: self._distances(values, k))

        total = np.zeros(len(self.outputs))
        for part in workers.each(look, range(len(self.samples))):
            total += part
        error = float(np.mean(total / self.sizes))
        return error if np.isfinite(error) else np.inf

    def noise(self, workers: Workers) -> np.ndarray:
        """The share of each output's energy that is off with the weights as they are, aside from the mean of each
        channel, which biases take up; inf where it is not finite. float64 [outputs], those of scores behind."""
        run = self._runner(self.border, self.start, len(self.graph.nodes), self.outputs)
        feeds = self.feeds

        def look(k: int) -> list[Moments]:
            return run(
                feeds[k], lambda values: [_moments(values[t.name], self.reference[k][t.name]) for t in self.outputs]
            )

        found = list(zip(*workers.each(look, range(len(self.samples)))))
        wanted = [
            sum(float(np.square(row[t.name], dtype=np.float64).sum()) for row in self.reference) for t in self.outputs
        ]
        return np.array([_energy(moments) / (size or 1e-30) for moments, size in zip(found, wanted)])

    def layer_noise(self, workers: Workers, at: int, forms: Sequence[Sequence[Tensor]]) -> list[float]:
        """Energy of what the outputs of node `at`, after `begin(at)`, are off with each of these weights, aside from
        the mean of each channel, which a bias takes up; inf where it is not finite."""
        outputs = [t for t in self.graph.nodes[at].outputs if t.dtype.kind == "f"]

        def run_of(tensors: Sequence[Tensor]) -> Runner:
            nodes = self.graph.nodes[self.start : at + 1]
            part = Graph(self.graph.name, nodes, list(self.border), list(outputs), dict(self.graph.meta)).copy()
            constants = {t.name: t for t in part.constants()}  # a session reads weights when it first runs
            for quantized in tensors:
                t = constants[quantized.name]
                t.data = quantized.real()
                t.dtype = t.data.dtype
            return Runner(part, part.outputs, max(1, self.threads // len(self.samples)))

        float_run, runs = run_of(()), [run_of(tensors) for tensors in forms]

        def look(feed: Sample) -> list[list[Moments]]:
            want = float_run(feed, _copies)
            return [run(feed, lambda values: [_moments(values[t.name], want[t.name]) for t in outputs]) for run in runs]

        energies = [0.0] * len(forms)
        for k, of_samples in enumerate(zip(*workers.each(look, self.feeds))):
            for moments in zip(*of_samples):
                energies[k] += _energy(moments)
        return energies

    def _distances(self, values: Mapping[str, np.ndarray], k: int) -> np.ndarray:
        want = self.reference[k]
        apart = [np.abs(values[t.name].astype(np.float64) - want[t.name]).sum() for t in self.outputs]
        return np.array(apart)

    def _runner(self, inputs: Sequence[Tensor], first: int, last: int, wanted: Sequence[Tensor]) -> Runner:
        part = Graph(self.graph.name, self.graph.nodes[first:last], list(inputs), [], dict(self.graph.meta))
        return Runner(part, wanted, max(1, self.threads // len(self.samples)))


def _energy(moments: Sequence[Moments]) -> float:
    """Of differences, by sample, aside from the mean of each channel; inf where it is not finite."""
    sums, squares, rows = (sum(part) for part in zip(*moments))
    energy = squares - float((np.asarray(sums) ** 2).sum()) / max(rows, 1)
    return max(energy, 0.0) if np.isfinite(energy) else np.inf


def _moments(got: np.ndarray, want: np.ndarray) -> Moments:
    apart = (got.astype(np.float64) - want).reshape(-1, want.shape[-1] if want.ndim else 1)
    return apart.sum(axis=0), float(np.square(apart).sum()), len(apart)


def _copies(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.array(value) for name, value in values.items()}
