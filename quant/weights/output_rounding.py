"""WeightQuant with calibration data: weights that keep each layer's output behind the layers that come before it.

Codes start where they are without data (`weight_quant`). Then, layer by layer on the already quantized prefix, with
activations in float: the codes by descent on the layer's output and each channel's grid by least squares, in turns
(`ptq/rounding`, `ptq/grid`), and the mean of the output back to the float one (`ptq/bias_correction`). Without data
images of noise say what that mean is, as far as it is the network's own making (`noise_biases`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...converter.ir import Graph, Node
from ...converter.schema.logarithms import before_logarithms
from ..calibrate.observe import ChannelMeans
from ..calibrate.spread import Chosen
from ..cluster.pool import Workforce
from ..progress import Progress, no_progress
from ..ptq.bias_correction import correct
from ..ptq.fidelity import GOOD, Fidelity, Reference, hold_back, judge_of, scores_of, spread
from ..ptq.prefix_runner import QuantizedPrefixRunner, most_samples
from ..ptq.quantized_graph import beside, note_stored
from ..ptq.reruns import kept_samples
from ..ptq.rounding import REFITS, reads_float, refine
from ..ptq.settings import Samples
from ..ptq.trials import improves
from ..score import Scoring
from .finer_weights import finer_weights, lacking
from .spare_bits import shares_grids, spare_bits
from .table_grids import RowCounts, count_rows, fit_tables
from .weight_quant import WeightRow, WeightSettings, quantize_graph_weights
from .wider_weights import may_be_wider, wider_weights

SAMPLES = 128
_COMPARED = 64  # samples that finer weights must be better on
_JUDGED = 6  # samples that say which weights want more bits
_MEASURED = 16  # of weights below 8 bits, unless their activations are large
_LEAST_GAIN = 1.0  # dB


def quantize_by_output(
    graph: Graph,
    settings: WeightSettings,
    samples: Samples,
    workers: Workforce,
    progress: Progress = no_progress,
    *,
    correct_biases: bool = True,
    scoring: Scoring | None = None,
    size_of: Callable[[Graph], int] | None = None,
    float_bytes: int = 4,
) -> tuple[list[WeightRow], Fidelity | None]:
    """Replaces weights by their codes, in place. Where the outputs are less than they should be, few weights of 8 bits
    that they owe it to have 16 instead (`wider_weights`), and of fewer bits up to 8 (`finer_weights`), if that brings
    them nearer. In a `.ms` channels share grids, and the bytes go to weights that cost the outputs most (`spare_bits`).

    Args:
        samples: a tenth of them, which nothing is fitted to, judge the outputs; all that are left where there is a
            scoring, which is of all samples.
        progress: wraps the iteration over layers, with a label.
        size_of: bytes of the file that holds a graph; float_bytes: of an element in it that stays float.
        correct_biases: let each layer's bias take up the mean of what is left, of float layers, too.
    Returns:
        One row per weight, in graph order, and what is left of the outputs; None where none of them is float.
    Raises:
        UsageError: keep_float or layer_bits names nothing in the graph.
    """
    fitted, held = parted(graph, len(samples), scored=scoring is not None)
    judge = judge_of(graph, samples, held, scoring, workers.threads)
    rounded = RoundingByOutput(graph.copy(), Chosen(samples, fitted), workers, progress, correct_biases=correct_biases)
    spare = spare_bits(rounded.source, settings, Chosen(samples, fitted), workers.threads, size_of, float_bytes)
    form, layers = rounded(replace(settings, chosen={**settings.chosen, **spare}))
    fidelity = judge.fidelity(form, held_back=held != fitted)
    wide = fidelity is not None and fidelity.worst.sqnr < GOOD and may_be_wider(settings)
    missing = 0.0 if fidelity is None else lacking(settings, fidelity)
    if missing < 0 and held != fitted:  # few samples; and none are better than those that codes are fitted to
        known = [fitted[k] for k in spread(len(fitted), kept_samples(graph, _COMPARED, _MEASURED))]
        again = judge_of(graph, samples, known, None, workers.threads).fidelity(form, held_back=False)
        missing = missing if again is None else max(missing, lacking(settings, again))
    if fidelity is not None and (wide or missing > 0):
        count = _JUDGED if wide else kept_samples(graph, _JUDGED, _MEASURED)
        picked = list(samples.only([fitted[k] for k in spread(len(fitted), count)]))
        bits = (
            wider_weights(rounded.source, settings, picked, workers.threads)
            if wide
            else finer_weights(rounded.source, settings, picked, workers.threads)
        )
        if bits:
            bits |= {name: max(b, bits.get(name, 0)) for name, b in spare.items()}
            other, rows = rounded(replace(settings, chosen={**settings.chosen, **bits}))
            better = judge.fidelity(other, held_back=held != fitted)
            if better is not None and (
                better.worst.sqnr >= fidelity.worst.sqnr + _LEAST_GAIN
                if wide
                else _improves(rounded.source, other, form, samples, workers.threads)
            ):
                form, layers, fidelity = other, rows, better
    graph.nodes, graph.inputs, graph.outputs = form.nodes, form.inputs, form.outputs
    return layers, fidelity


def _improves(source: Graph, new: Graph, old: Graph, samples: Samples, threads: int) -> bool:
    """Whether a form of the graph is better than another on so many samples that few undecided ones do not say it."""
    picked = list(samples.only(spread(len(samples), _COMPARED)))
    judge = Reference(source, picked, threads, scores_of(source))
    return improves(judge.outputs_by_scores(new), judge.outputs_by_scores(old), len(picked))


class RoundingByOutput:
    """Forms of a float graph, which stays as it is, rounded on samples; what all forms share is found once.

    progress, correct_biases: as above.
    """

    def __init__(
        self,
        source: Graph,
        samples: Chosen,
        workers: Workforce,
        progress: Progress = no_progress,
        *,
        correct_biases: bool = True,
    ) -> None:
        self.source, self._samples, self._workers, self._progress = source, samples, workers, progress
        self._correct_biases = correct_biases
        self._means: ChannelMeans | None = None
        self._rows: RowCounts | None = None
        self._left = before_logarithms(source)

    def __call__(self, settings: WeightSettings) -> tuple[Graph, list[WeightRow]]:
        """The form, and a row per weight. Raises UsageError: keep_float or layer_bits names nothing in the graph."""
        graph = self.source.copy()
        layers = quantize_graph_weights(graph, settings)
        if self._rows is None:
            self._rows = count_rows(self.source, self._samples, self._workers)
        fit_tables(self.source, graph, self._rows)
        shared = shares_grids(settings)

        def improve(prefix: QuantizedPrefixRunner, node: Node) -> None:
            if node in self._left:
                return
            refine(prefix, node, refits=REFITS, upstream=True, shared=shared)
            if self._correct_biases:
                correct(prefix, node, rounds=1)

        self._means = _walk(
            self.source, graph, self._samples, self._workers, self._progress, improve, True, self._means
        )
        return graph, layers


def _walk(
    source: Graph,
    graph: Graph,
    samples: Chosen,
    workers: Workforce,
    progress: Progress,
    improve: Callable[[QuantizedPrefixRunner, Node], None],
    upstream: bool = False,
    means: ChannelMeans | None = None,
) -> ChannelMeans | None:
    """Calls `improve` for each layer of the float graph once the quantized one's values are there that it reads, with
    `upstream` the float one's, too, of layers that look at them.

    means: of the layers' float outputs, where they are known. Returns them.
    """
    quantized = beside(source, graph)
    note_stored(quantized, every=True)
    if not quantized.stored:
        return means
    floats = [node for node, layer in quantized.stored.items() if upstream and reads_float(node, layer)]
    runner = QuantizedPrefixRunner(source, quantized, samples, workers, floats=floats, means=means)
    steps = iter(progress(range(len(quantized.stored)), "rounding weights"))

    def one(prefix: QuantizedPrefixRunner, node: Node) -> None:
        next(steps, None)
        improve(prefix, node)

    runner.run(one)
    next(steps, None)
    return runner.means


def parted(graph: Graph, samples: int, *, scored: bool = False) -> tuple[list[int], list[int]]:
    """(samples to fit to, samples to judge by), of so many."""
    return hold_back(samples, most_samples(graph, SAMPLES), scored=scored)
