"""WeightQuant without data of a model of images: biases take up what the means of layers are off on images of noise.

The graph and the float one go side by side, layer by layer behind the biases corrected before. One program takes both
from a layer to the next, with the layer itself once more as it is with its new bias: so many programs as layers, and
no more than the values that are still to be read in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...converter.errors import DataError
from ...converter.ir import Graph, Node, Tensor
from ...native.plan import Plan
from ..calibrate.noise import COUNT, noise_images
from ..calibrate.observe import Sample, float_isa
from ..parallel import Workers
from ..progress import Progress, no_progress
from ..ptq.fidelity import Reference, float_outputs, outputs_on
from ..ptq.quantized_graph import QuantizedGraph, beside, note_stored
from .weight_quant import WeightRow, WeightSettings, quantize_graph_weights

Values = dict[Tensor, np.ndarray]
_JUDGES = 2  # images that biases are not fitted to: one of each range that models take
_HELD = 256 << 20  # bytes of values of both graphs, of all images


def correct_on_noise(
    graph: Graph, settings: WeightSettings, image: Tensor, threads: int, progress: Progress = no_progress
) -> tuple[list[WeightRow], bool]:
    """Replaces weights by their codes, in place, where there are no data: each by itself, and biases keep the means of
    layers on images of noise. (Codes do not: rounded for noise they lose more on photographs than each by itself.)
    Biases stay where outputs are no nearer for it on other such images, of both ranges that models take.

    Args:
        image: the input that takes them.
    Returns:
        One row per weight, in graph order, and whether biases keep the means.
    Raises:
        UsageError: keep_float or layer_bits names nothing in the graph. DataError: the float model gives NaN or
            infinity on noise.
    """
    source = graph.copy()
    layers = quantize_graph_weights(graph, settings)
    alone, noise = graph.copy(), noise_images(image, COUNT + _JUDGES).rows
    keep_means(source, beside(source, graph), noise[: _at_once(source)], threads, progress)
    if _nearer(source, alone, graph, noise[COUNT:], threads):
        return layers, True
    graph.nodes, graph.inputs, graph.outputs = alone.nodes, alone.inputs, alone.outputs
    return layers, False


def _nearer(source: Graph, before: Graph, after: Graph, images: Sequence[Sample], threads: int) -> bool:
    """Whether `after` gives what the float graph does better than `before`, on an image within [-1, 1] and one within
    [0, 1]."""
    first, second = images
    samples = [first, {name: (x + 1) / 2 for name, x in second.items()}]
    fed = [t.name for t in source.inputs]

    def outputs(graph: Graph) -> list[list[np.ndarray]]:
        return outputs_on(graph, [graph.outputs[k] for k in places], fed, samples, 1)

    floats = float_outputs(source)
    places = [k for k, t in enumerate(source.outputs) if t in floats]
    with Workers(min(threads, 3)) as workers:  # a program takes as long to make as it runs here
        real, old, new = workers.each(outputs, (source, before, after))
    judge = Reference(source, samples, threads, values=real)
    return all(judge.worst_of(new, slice(k, k + 1)) >= judge.worst_of(old, slice(k, k + 1)) for k in range(_JUDGES))


def _at_once(graph: Graph) -> int:
    """How many images have their values in memory while two graphs of this kind go side by side: `COUNT`, one at
    least."""
    last = {t: k for k, node in enumerate(graph.nodes) for t in node.inputs if t is not None and not t.is_const}
    live, most = set(graph.inputs), 0
    for k, node in enumerate(graph.nodes):
        live.update(node.outputs)
        most = max(most, sum(t.nbytes for t in live))
        live = {t for t in live if last.get(t, -1) > k}
    return max(1, min(COUNT, _HELD // max(2 * most, 1)))


def keep_means(
    source: Graph, quantized: QuantizedGraph, samples: Sequence[Sample], threads: int, progress: Progress = no_progress
) -> None:
    """Corrects the biases of `quantized`, a copy of `source` whose weights are codes, in place; layers in float, too.

    No bit depends on threads. Raises DataError: the float model gives NaN or infinity on a sample.
    """
    note_stored(quantized, every=True)
    if not quantized.stored:
        return
    walk = _Walk(source, quantized, samples)
    with Workers(min(threads, len(samples))) as workers:
        walk.threads, walk.workers = max(1, threads // len(samples)), workers
        for node in progress(list(quantized.stored), "rounding weights"):
            real, codes = walk.means_at(node)
            bias = quantized.stored[node].bias
            bias.data = (bias.value + (real - codes)).astype(np.float32)


class _Walk:
    """Values that are still to be read, of both graphs, by sample."""

    def __init__(self, source: Graph, quantized: QuantizedGraph, samples: Sequence[Sample]) -> None:
        self.quantized, self.meta = quantized, source.meta
        self.pairs: Iterator[tuple[int, Node]] = iter(enumerate(source.nodes))
        self.again: list[Node] = []  # the layer whose bias has changed
        self.last: dict[Tensor, int] = {}  # the node that reads it last, by its number
        for k, node in enumerate(source.nodes):
            for t in (*node.inputs, *quantized.node[node].inputs):
                if t is not None and not t.is_const:
                    self.last[t] = k
        self.values: list[Values] = []
        for sample in samples:
            ports = zip(source.inputs, quantized.graph.inputs)
            fed = {t: np.asarray(sample[real.name], t.dtype, order="C") for real, codes in ports for t in (real, codes)}
            self.values.append(fed)
        self.threads, self.workers = 1, Workers(1)

    def means_at(self, layer: Node) -> tuple[np.ndarray, np.ndarray]:
        """The means per channel of what the layer gives in float and with its codes, float64[channels]."""
        nodes, codes, at = list[Node](), self.again, 0
        for at, node in self.pairs:  # noqa: B007
            nodes.append(node)
            codes.append(self.quantized.node[node])
            if node is layer:
                break
        self.again = [codes[-1]]
        watched = nodes[-1].outputs[0], codes[-1].outputs[0]
        made = [t for node in (*nodes, *codes[:-1]) for t in node.outputs if self.last.get(t, -1) > at]
        # The layer with codes runs again, with its new bias: what it reads is to be read once more.
        made += [t for t in codes[-1].inputs if t is not None and not t.is_const and t not in self.values[0]]
        outputs = list(dict.fromkeys([*watched, *made]))
        inner = {t for node in (*nodes, *codes) for t in node.outputs}
        read = (t for node in (*nodes, *codes) for t in node.inputs if t is not None and not t.is_const)
        inputs = [t for t in dict.fromkeys(read) if t not in inner]
        plan = Plan(
            Graph(layer.name, [*nodes, *codes], inputs, outputs), self.threads, self.meta.get("rounding", "rne_f32"),
            float_isa(),
        )  # fmt: skip
        gone = [t for t in self.values[0] if self.last.get(t, -1) <= at and t not in codes[-1].inputs]

        def run(values: Values) -> list[tuple[np.ndarray, int]]:
            found = dict(zip(outputs, plan.run([values[t] for t in inputs])))
            sums = [_sums(layer, found[t]) for t in watched]
            values.update((t, found[t]) for t in made)
            for t in gone:
                values.pop(t, None)
            return sums

        totals = list(self.workers.each(run, self.values, -(-len(self.values) // self.workers.threads)))
        real, of_codes = (np.sum([s for s, _ in side], axis=0) / sum(n for _, n in side) for side in zip(*totals))
        return real, of_codes


def _sums(layer: Node, x: np.ndarray) -> tuple[np.ndarray, int]:
    from ... import _native

    channels = x.shape[-1]
    try:
        return _native.observe_channels(x, channels)[2], x.size // channels
    except ValueError as error:
        raise DataError(f"tensor {layer.outputs[0].name!r}: {error}") from error
