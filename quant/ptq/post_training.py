"""PostTraining: a float graph and calibration samples in, an integer graph out.

In order: which nodes compute on codes (`placement`), channels made alike (`equalize`), statistics of one streaming
pass (`observe`), for a .onnx an order of channels (`pair_channels`), a range per group of tensors that share one
(`groups`, `ranges`, `auto`), the rewrite (`emit`), and,
running the quantized prefix layer by layer (`prefix_runner`), weight codes and biases that keep each layer's output
(`rounding`, `bias_correction`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from ...converter.ir import Graph, Node
from ..calibrate.observe import ChannelExtremes, Histograms, observe
from ..calibrate.statistics import Statistics, check_statistics
from ..weights.weight_quant import WeightSettings, quantize_graph_weights
from .bias_correction import correct, correct_lockstep
from .emit import note_stored
from .equalize import equalize, scalable, scale_channels
from .fidelity import POOR, Fidelity, Reference, hold_back, spread
from .pair_channels import pair_channels
from .placement import Placement, tensors_in_codes
from .prefix_runner import QuantizedPrefixRunner, subset_size
from .prepare import prepare
from .quality import measure
from .rewrite import Progress, Result, Samples, Settings, Task, place_nodes, rewritten
from .rounding import refine
from .trials import choose_islands, improves, methods_of

JUDGES = 64  # samples that islands must be better on than none


def quantize_graph(
    graph: Graph, samples: Samples | None, settings: Settings, progress: Progress = lambda items, label: items
) -> Result:
    """Quantizes a float graph; its own weights are rescaled on the way, so it is used up.

    Args:
        samples: None only with saved statistics; then nothing is corrected.
        progress: wraps the iteration over samples, with a label.
    """
    prepared = prepare(graph, settings.kept)
    graph.meta["rounding"] = "gemmlowp" if settings.target == "mslite" else "rne_f32"
    plan = place_nodes(graph, settings)
    stats = _statistics(graph, plan, samples, settings, progress)
    if settings.pairs:
        pair_channels(graph, plan.int8_nodes)
    task = Task(graph, samples, settings, stats, progress)
    result = _with_islands(task, _quantized(task))
    result.prepared = prepared
    if samples is not None and result.fidelity is not None and result.fidelity.worst.sqnr < POOR:
        result.weights_only = _weights_only(task, result)
    return result


def _quantized(task: Task, lossy: frozenset[Node] = frozenset(), known: Mapping[str, str] | None = None) -> Result:
    """The integer graph, corrected and judged; `lossy` and `known` as in `rewritten`."""
    result, samples, settings = rewritten(task, lossy, known), task.samples, task.settings
    assert result is not None
    if settings.float_weights is not None:
        kept = {result.quantized.node[node] for node in settings.kept if node in result.quantized.node}
        result.stored = quantize_graph_weights(result.graph, settings.float_weights, kept)
        note_stored(result.quantized)
    if samples is None:
        return result
    fitted, held = hold_back(len(samples), subset_size(task.graph, result.quantized, settings.subset))
    layers = result.quantized.weighted_layers or result.quantized.stored
    if layers and (settings.bias_correction != "off" or settings.measure):
        _correct(result, samples, fitted, settings, task.progress)
    judge = Reference(task.graph, _rows(samples, held), settings.threads)
    result.fidelity = judge.fidelity(result.graph, held_back=held != fitted)
    return result


def _with_islands(task: Task, first: Result) -> Result:
    """The result with what had better be in float there, if that holds on more samples once all is corrected."""
    islands, samples = choose_islands(task, first), task.samples
    if islands is None or samples is None or not islands.kept:
        return replace(first, islands=islands)
    other = _quantized(task, islands.kept, methods_of(first))
    picked = _rows(samples, spread(len(samples), JUDGES))
    judge = Reference(task.graph, picked, task.settings.threads)
    if improves(judge.outputs_of(other.graph), judge.outputs_of(first.graph), len(picked)):
        return replace(other, islands=islands, without_islands=first.fidelity)
    return replace(first, islands=replace(islands, kept=frozenset(), after=islands.before, share=0.0))


def _weights_only(task: Task, result: Result) -> Fidelity | None:
    """What the outputs would be with int8 weights in a float graph."""
    assert task.samples is not None
    fitted, held = hold_back(len(task.samples), subset_size(task.graph, result.quantized, task.settings.subset))
    trial = task.graph.copy()
    quantize_graph_weights(trial, WeightSettings(correction=False))
    judge = Reference(task.graph, _rows(task.samples, held), task.settings.threads)
    return judge.fidelity(trial, held_back=held != fitted)


def _statistics(
    graph: Graph, plan: Placement, samples: Samples | None, settings: Settings, progress: Progress
) -> Statistics:
    tensors = [t for t in tensors_in_codes(graph, plan) if not t.is_const]
    if settings.statistics is not None:
        sizes = {t.name: t.shape[-1] if t.shape else None for t in tensors}
        check_statistics(settings.statistics, sizes)
        scale_channels(graph, plan.int8_nodes, settings.statistics.factors)
        return settings.statistics
    assert samples is not None
    factors: dict[str, np.ndarray] = {}
    if settings.equalize:
        extremes, asked = ChannelExtremes(), scalable(graph, plan.int8_nodes)
        asked = [t for t in tensors if t in asked]
        if asked:
            observe(graph, progress(samples, "looking at channels"), asked, extremes, settings.threads)
        factors = equalize(graph, extremes.low, extremes.high, plan.int8_nodes)
    seen = Histograms(settings.bins)
    observe(graph, progress(samples, "collecting statistics"), tensors, seen, settings.threads)
    return Statistics({t.name: seen.of[t] for t in tensors}, factors)


def _rows(samples: Samples, rows: Collection[int]) -> list[dict[str, np.ndarray]]:
    return list(samples.only(rows))


def _correct(result: Result, samples: Samples, fitted: Collection[int], settings: Settings, progress: Progress) -> None:
    picked = _rows(samples, fitted)
    floats = settings.measure or settings.bias_correction == "lockstep"
    runner = QuantizedPrefixRunner(result.source, result.quantized, picked, settings.threads, floats=floats)
    result.samples = len(picked)
    steps = iter(progress(range(len(runner.layers)), "correcting layers"))

    def improve(runner: QuantizedPrefixRunner, node: Node) -> None:
        next(steps, None)
        if settings.bias_correction == "sequential":
            if settings.round_by_output:
                refine(runner, node, pairs=settings.pairs and node in runner.quantized.weighted_layers)
            correct(runner, node)
        elif settings.bias_correction == "lockstep":
            correct_lockstep(runner, node)
        if settings.measure and node in runner.quantized.weighted_layers:
            result.rows.append(measure(runner, node, lambda t: result.methods[result.groups.of[t].name]))

    runner.run(improve)
    next(steps, None)
    result.corrected = 0 if settings.bias_correction == "off" else len(result.quantized.weighted_layers)
