"""Mixed bit widths: each layer's weight gets the fewest bits with which the model still gives what it gave in float.

As in MindSpore Lite r1.2 (`mixed=true`), from the last layer to the first 2 to 8 bits are tried on calibration data, by
the error of the model's outputs. It is the mean relative one: Σ|y - y_float| / Σ|y_float| over all elements of all
samples, and the mean of that where there are several outputs.

Layers that are decided keep their bits, those still to be decided have 8. So an error seen is a whole file's, the last
one accepted is that of the file written, and what 8 bits everywhere cost is spent beforehand: where that is beyond
the threshold T already, every layer keeps 8. Of the rest no layer may take more than its share: with a part f of all
elements decided, the error must be within √(e² + f (T² - e²)), where e is the error of 8 bits everywhere. Errors of
layers add up like noise, in squares, and noise in proportion to the elements is what takes the fewest bits. (With T
as the bound of every layer, the last one spends it all: on ResNet-8 at T = 0.1, codes of 60,544 bytes, not 40,112.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...converter.errors import DataError, UsageError
from ...converter.ir import Graph, Tensor
from ..calibrate.observe import Runner, Sample
from ..parallel import Workers
from .weight_quant import WIDTHS, WeightSettings, named_widths, quantize_graph_weights

BITS = range(2, 9)
SAMPLES = 16  # that a width is judged by
_HELD = 256 << 20  # bytes of activations kept where a layer begins


@dataclass(frozen=True)
class Mixed:
    """What the search found.

    bits: node name → bits, of the layers that the gates let through at some width. error: of the model's outputs with
    these bits; start: with 8 bits everywhere.
    """

    bits: dict[str, int]
    error: float
    start: float


def choose_bits(
    graph: Graph,
    samples: Sequence[Sample],
    settings: WeightSettings,
    threshold: float,
    threads: int = 1,
    track: Callable[[Iterable[tuple[int, str]], str], Iterable[tuple[int, str]]] = lambda items, label: items,
) -> Mixed:
    """Chooses the bits of each layer that settings.layer_bits does not name; the graph stays as it is.

    What is found does not depend on `threads`.

    Raises:
        UsageError: no output is float. DataError: the float model gives NaN or infinity on the samples.
    """
    allowed = WIDTHS.get(settings.container, BITS)
    forms = {b: _codes(graph, replace(settings, bits=b, alone=True)) for b in BITS if b in allowed}
    fixed = {node.name for node in named_widths(graph, settings)}
    search = _Search(graph, samples, threads)
    for tensors in forms[8].values():
        search.put(tensors)
    layers = [
        (at, node.name) for at, node in enumerate(graph.nodes) if any(node.name in form for form in forms.values())
    ]
    layers = [(at, name) for at, name in layers[::-1] if name not in fixed]
    bits = dict.fromkeys((name for _, name in layers), 8)
    elements = {
        name: sum(t.data.size for t in tensors if t.data is not None)
        for form in forms.values()
        for name, tensors in form.items()
    }
    total, done = sum(elements[name] for name in bits), 0
    with Workers(threads) as workers:
        start = error = search.error(workers, np.inf)
        for at, name in track(layers if start <= threshold else [], "choosing bits"):
            done += elements[name]
            limit = _share(start, threshold, done / total)
            search.begin(workers, at)
            for b, form in forms.items():
                if b == 8 or name not in form:
                    continue
                before = search.put(form[name])
                reached = search.error(workers, limit)
                if reached <= limit:
                    bits[name], error = b, reached
                    break
                search.put(before)
    return Mixed(bits, error, start)


def _share(start: float, threshold: float, part: float) -> float:
    """The error allowed once this part of all elements is decided: all of the threshold, no more, at the end."""
    return min(threshold, float(np.sqrt(start**2 + part * (threshold**2 - start**2))))


def _codes(graph: Graph, settings: WeightSettings) -> dict[str, list[Tensor]]:
    """Layer → its weights quantized, where the gates let them through."""
    trial = graph.copy()
    rows = quantize_graph_weights(trial, settings)
    tensors = {t.name: t for t in trial.constants()}
    by_layer: dict[str, list[Tensor]] = {}
    for row in rows:
        if not row.reason:
            by_layer.setdefault(row.layer, []).append(tensors[row.tensor])
    return by_layer


class _Search:
    """The model with float weights that are those of some codes, run from where a layer begins."""

    def __init__(self, graph: Graph, samples: Sequence[Sample], threads: int) -> None:
        self.graph, self.samples, self.threads = graph.copy(), list(samples), threads
        self.outputs = [t for t in self.graph.outputs if t.dtype.kind == "f"]
        if not self.outputs:
            raise UsageError("mixed: no output of the model is float, so there is no error to hold to a threshold")
        self.constants = {t.name: t for t in self.graph.constants()}
        self.start, self.border, self.feeds = 0, list(self.graph.inputs), self.samples
        run = self._runner(self.border, 0, len(self.graph.nodes), self.outputs)
        self.reference = [run(sample, _copies) for sample in self.samples]
        self.sizes = [self._size(t) for t in self.outputs]

    def _size(self, t: Tensor) -> float:
        size = sum(float(np.abs(values[t.name], dtype=np.float64).sum()) for values in self.reference)
        if not np.isfinite(size):
            raise DataError(f"mixed: the float model gives NaN or infinity at output {t.name!r} on these samples")
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
        """Runs every sample up to node `at`: trials start there, or at the inputs where that takes too much memory."""
        behind = self.graph.nodes[at:]
        produced = {t for n in behind for t in n.outputs}
        read = [t for n in behind for t in n.inputs if t is not None and not t.is_const]
        border = [t for t in dict.fromkeys([*read, *self.outputs]) if t not in produced]
        if sum(t.nbytes for t in border) * len(self.samples) > _HELD:
            self.start, self.border, self.feeds = 0, list(self.graph.inputs), self.samples
            return
        run = self._runner(self.graph.inputs, 0, at, border)
        self.feeds = list(workers.each(lambda sample: run(sample, _copies), self.samples))
        self.start, self.border = at, border

    def error(self, workers: Workers, limit: float) -> float:
        """The outputs' mean relative error with the weights as they are; inf as soon as it is beyond `limit`."""
        run = self._runner(self.border, self.start, len(self.graph.nodes), self.outputs)
        feeds, error = self.feeds, 0.0

        def look(k: int) -> np.ndarray:
            return run(feeds[k], lambda values: self._distances(values, k))

        total = np.zeros(len(self.outputs))
        for part in workers.each(look, range(len(self.samples))):
            total += part
            error = float(np.mean(total / self.sizes))
            if not error <= limit:
                return np.inf
        return error

    def _distances(self, values: Mapping[str, np.ndarray], k: int) -> np.ndarray:
        want = self.reference[k]
        apart = [np.abs(values[t.name].astype(np.float64) - want[t.name]).sum() for t in self.outputs]
        return np.array(apart)

    def _runner(self, inputs: Sequence[Tensor], first: int, last: int, wanted: Sequence[Tensor]) -> Runner:
        part = Graph(self.graph.name, self.graph.nodes[first:last], list(inputs), [], dict(self.graph.meta))
        return Runner(part, wanted, max(1, self.threads // len(self.samples)))


def _copies(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.array(value) for name, value in values.items()}
