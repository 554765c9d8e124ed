"""PostTraining: a float graph and calibration samples in, an integer graph out.

The way of a graph, a room for each stage:

    prepare           operators get a form that codes can have (`prepare`)
    place             where integers may be, and why not elsewhere (`placement`, `masks`)
    calibrate         channels made alike, statistics of all samples (`calibration`, `equalize`)
    emit              a range per group of tensors, codes of weights, the rewrite (`integer_forms`, `emit`)
    round, correct    weight codes and biases that keep each layer's output (`layer_correction`)
    judge             the outputs on samples held back (`fidelity`)

Where the outputs are poor, whole runs choose what had better be in float (`trials`), and that form goes the way from
emitting on once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...converter.ir import Graph, Tensor
from ...converter.passes import Record
from ..calibrate.observe import ChannelMeans, Kept, MeansAside
from ..calibrate.spread import Chosen
from ..progress import Progress, no_progress
from ..selection import REQUESTED
from ..weights.weight_quant import CHOSEN, WeightSettings, quantize_graph_weights, store_float16
from .calibration import calibration_statistics
from .fidelity import POOR, Fidelity, Reference, float_outputs, hold_back, judge_of, scores_of, spread
from .fine_weights import with_fine_weights
from .integer_forms import IntegerForms, placement
from .islands import NONE, Islands
from .layer_correction import correct_layers
from .placement import LOSSY, weight_index
from .prefix_runner import bytes_foreseen, bytes_given, most_samples, subset_size
from .prepare import prepare
from .quantized_graph import QuantizedGraph, note_stored
from .result import Result
from .settings import Samples, Settings
from .trials import choose_islands, improves, methods_of
from .wide_weights import widened

JUDGES = 64  # samples that islands must be better on than none
_KEPT = 16 << 20  # bytes of float outputs that are kept for judging


def quantize_graph(
    graph: Graph, samples: Samples | None, settings: Settings, progress: Progress = no_progress
) -> Result:
    """Quantizes a float graph; its own weights are rescaled on the way, so it is used up.

    Args:
        samples: None only with saved statistics; then nothing is corrected.
        progress: wraps the iteration over samples, with a label.

    Raises:
        DataError: the statistics are of another model, or a sample makes a tensor NaN or infinite.
    """
    forms, prepared = open_forms(graph, samples, settings, progress)
    result = best_form(forms, samples, progress)
    result.prepared = prepared
    return result


def quantized_once(graph: Graph, samples: Samples, settings: Settings) -> Result:
    """As `quantize_graph`, without a judgement and what follows from it."""
    forms, _ = open_forms(graph, samples, settings, no_progress)
    return corrected_form(forms, samples, no_progress)


def open_forms(
    graph: Graph, samples: Samples | None, settings: Settings, progress: Progress = no_progress
) -> tuple[IntegerForms, list[Record]]:
    """The integer forms of the graph, which is used up, and what was rewritten before. Raises as `quantize_graph`."""
    prepared = prepare(graph, settings.kept)
    graph.meta["rounding"] = "gemmlowp" if settings.target == "mslite" else "rne_f32"
    plan = placement(graph, settings)
    kept = Kept(float_outputs(graph), _KEPT)
    layers = [n.outputs[0] for n in graph.nodes if n in plan.int8_nodes and weight_index(n) is not None]
    fitted, _ = _shares(graph, settings, len(samples), bytes_foreseen(graph, plan)) if samples is not None else ([], [])
    means = MeansAside(layers, fitted)
    statistics = calibration_statistics(graph, plan, samples, settings, progress, (kept, means))
    forms = IntegerForms(graph, samples, settings, statistics)
    if samples is not None and settings.bits < 8 and settings.fine is None:
        forms = with_fine_weights(forms, samples)
    forms.outputs, forms.means = kept.values, means
    return forms, prepared


def best_form(forms: IntegerForms, samples: Samples | None, progress: Progress = no_progress) -> Result:
    """The integer graph, judged, with what had better be in float there."""
    wide = None
    if samples is not None and forms.settings.wide_weights:
        forms, wide = widened(forms, samples)
    result = replace(corrected_form(forms, samples, progress), wide_weights=wide)
    if samples is not None:
        result.fidelity = _fidelity(forms, samples, result.quantized, result.graph)
        result = _form_with_islands(forms, samples, progress, result)
        if result.fidelity is not None and result.fidelity.worst.sqnr < POOR:
            result.weights_only = _weights_only(forms, samples, result.quantized)
    return result


def requantized(result: Result, samples: Samples, settings: Settings, *, same_methods: bool) -> Result:
    """Another form of what `result` was made of, corrected on `samples`: its statistics, islands and fine weights;
    other settings, whose nodes are those of `result.source`. same_methods: each range is by its method there."""
    forms = IntegerForms(result.source, samples, replace(settings, fine=result.fine), result.statistics)
    lossy = frozenset(node for node, why in result.plan.why.items() if why == LOSSY)
    islands = replace(NONE, kept=lossy, weights=(result.islands or NONE).weights)
    return corrected_form(forms, samples, no_progress, islands, methods_of(result) if same_methods else None)


def corrected_form(
    forms: IntegerForms,
    samples: Samples | None,
    progress: Progress,
    islands: Islands = NONE,
    known: Mapping[str, str] | None = None,
) -> Result:
    """The integer graph with islands of float, corrected where there are samples. known: tensor → method of its
    range."""
    settings = forms.settings
    result = forms.form(forms.placement(islands.kept), known)
    if settings.float_weights is not None:
        forms_of = result.quantized.node
        wider = {n for n in islands.kept if settings.layer_bits.get(n, settings.bits) > 8}
        half = islands.weights | settings.float16_weights | wider
        reasons = dict.fromkeys(half, CHOSEN) | dict.fromkeys(settings.kept, REQUESTED)
        kept = {forms_of[node]: why for node, why in reasons.items() if node in forms_of}
        result.stored = quantize_graph_weights(result.graph, settings.float_weights, kept)
        wide = (forms_of[n].inputs[weight_index(n) or 0] for n in half if n in forms_of)
        store_float16(result.graph, set(wide), result.stored)
        note_stored(result.quantized, every=bool(islands.kept))
    if samples is None:
        return result
    fitted, _ = _shares(forms.graph, settings, len(samples), bytes_given(result.graph))
    layers = result.quantized.weighted_layers or result.quantized.stored
    if layers and (settings.bias_correction != "off" or settings.measure):
        means = _means(forms, [node.outputs[0] for node in layers], fitted)
        correct_layers(result, Chosen(samples, fitted), settings, progress, means, forms.weights.searched)
    return result


def _means(forms: IntegerForms, tensors: Sequence[Tensor], fitted: Sequence[int]) -> ChannelMeans | None:
    """The means of tensors over the samples that layers are fitted to, where calibration has taken them."""
    seen = forms.means
    if seen is None or seen.taken < len(fitted) or seen.rows != list(fitted) or not set(tensors) <= set(seen.tensors):
        return None
    return seen.means


def _form_with_islands(forms: IntegerForms, samples: Samples, progress: Progress, first: Result) -> Result:
    """The result with what had better be in float there, if that holds on more samples once all is corrected."""
    search = choose_islands(forms, samples, first)
    if search is None or not search.islands.kept:
        return replace(first, islands=search and search.islands)

    def made(islands: Islands) -> Result:
        other = corrected_form(forms, samples, progress, islands, methods_of(first))
        fidelity = _fidelity(forms, samples, other.quantized, other.graph)
        return replace(
            other, wide_weights=first.wide_weights, fidelity=fidelity, islands=islands, without_islands=first.fidelity
        )

    picked = list(samples.only(spread(len(samples), JUDGES)))
    judge = Reference(forms.graph, picked, forms.settings.threads, scores_of(forms.graph))
    best, before = first, judge.outputs_by_scores(first.graph)
    islands = search.islands
    for _ in range(2):
        other = made(islands)
        after = judge.outputs_by_scores(other.graph)
        if not improves(after, before, len(picked), islands.share):
            break
        best, before = other, after
        lost = 10 ** (-other.fidelity.worst.sqnr / 10) if other.fidelity is not None else 0.0
        if lost <= search.limits.floor or search.limits.most <= islands.share:
            break
        islands = search.further(lost)
    none = replace(NONE, before=islands.before, after=islands.before, trials=islands.trials)
    return replace(first, islands=none) if best is first else best


def _weights_only(forms: IntegerForms, samples: Samples, quantized: QuantizedGraph) -> Fidelity | None:
    """What the outputs would be with int8 weights in a float graph."""
    trial = forms.graph.copy()
    quantize_graph_weights(trial, WeightSettings(correction=False))
    return _fidelity(forms, samples, quantized, trial)


def _fidelity(forms: IntegerForms, samples: Samples, quantized: QuantizedGraph, graph: Graph) -> Fidelity | None:
    """How near a form of the graph comes on the samples that `quantized` is not fitted to."""
    fitted, held = _shares(forms.graph, forms.settings, len(samples), bytes_given(quantized.graph))
    judge = judge_of(forms.graph, samples, held, forms.settings.scoring, forms.settings.threads, forms.outputs)
    return judge.fidelity(graph, held_back=held != fitted)


def _shares(graph: Graph, settings: Settings, samples: int, others: int) -> tuple[Sequence[int], Sequence[int]]:
    """The samples to fit layers to, and those to judge by; others: bytes of the integer graph's activations."""
    if settings.shares is not None:
        return settings.shares
    few = min([settings.bits, *settings.layer_bits.values()]) < 8  # of which codes are felt, and so is what they fit to
    fitted = most_samples(graph, settings.subset_of_few_bits) if few else subset_size(graph, others, settings.subset)
    return hold_back(samples, fitted, scored=settings.scoring is not None)
