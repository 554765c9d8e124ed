"""PostTraining: a float graph and calibration samples in, an integer graph out.

In order: which nodes compute on codes (`placement`), channels made alike (`equalize`), statistics of one streaming
pass (`observe`), for a .onnx an order of channels (`pair_channels`), a range per group of tensors that share one
(`groups`, `ranges`, `auto`), the rewrite (`emit`), and,
walking the quantized prefix layer by layer (`walk`), weight codes and biases that keep each layer's output (`rounding`,
`bias_correction`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from ...converter.ir import Graph, Node, Tensor
from ...converter.numeric.qparams import QuantParam, along, choose_symmetric, code_range, quantize
from ...converter.passes.fuse_bias import fuse_bias
from ..calibrate.histogram import DEFAULT_BINS, Histogram
from ..calibrate.observe import ChannelExtremes, Histograms, observe
from ..calibrate.ranges import WIDENED, by_hand, candidates, extent, group_range, parameters, steady_means, widened
from ..calibrate.statistics import Statistics, check_statistics
from ..weights.weight_quant import WeightRow, WeightSettings, quantize_graph_weights
from .auto import best_ranges
from .bias_correction import correct, correct_lockstep
from .emit import Integer, emit
from .equalize import equalize, scalable, scale_channels
from .fidelity import GOOD, POOR, Fidelity, Reference, hold_back, scores_of, spread
from .groups import Groups, make_groups
from .islands import Islands, Limits, find_islands, work_of
from .pair_channels import pair_channels
from .paired_weights import paired_codes, paired_scales
from .placement import Placement, place, tensors_in_codes, weight_index
from .prepare import (
    casts_to_acts,
    global_pools_to_means,
    norms_to_layers,
    quotients_to_products,
    real_weights,
    weights_to_reals,
)
from .quality import measure
from .rounding import refine
from .walk import Walk, subset_size


class Samples(Protocol):
    """Calibration data, iterated as often as needed; `data.Dataset` is one."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[dict[str, np.ndarray]]: ...
    def only(self, rows: Collection[int]) -> Iterator[dict[str, np.ndarray]]: ...


@dataclass(frozen=True)
class Settings:
    """What `quantize_graph` is asked for; the fields are those of `ConvertOptions`.

    bits, layer_bits: of weights; activations are always int8. kept: nodes that stay float. subset: the most samples
    that the walk over the quantized prefix takes. statistics: saved ones, instead of running the model for them.
    measure: fill `Result.rows`. pairs: keep weights within what onnxruntime adds exactly on every CPU. float_weights:
    how weights of layers left in float, but for those of `kept`, become codes; None leaves them.
    """

    methods: tuple[str, ...] = ("AUTO",)
    bits: int = 8
    layer_bits: Mapping[Node, int] = field(default_factory=dict)
    kept: frozenset[Node] = frozenset()
    per_channel: bool = True
    bias_correction: str = "sequential"
    target: str = "bitlite"
    input_type: str = "DEFAULT"
    output_type: str = "DEFAULT"
    bins: int = DEFAULT_BINS
    threads: int = 1
    subset: int = 64
    equalize: bool = True
    round_by_output: bool = True
    statistics: Statistics | None = None
    measure: bool = False
    pairs: bool = False
    float_weights: WeightSettings | None = None


@dataclass
class Result:
    """The integer graph and how it came about.

    source: the float graph after equalization. methods: group name → the method that gave its range. fidelity: of the
    outputs, None without samples. stored: the weights of layers in float. islands: what was looked for and found to be
    better off in float, None where nothing was looked for; without_islands: the outputs without them. weights_only: the
    outputs of int8 weights in float, where those of int8 are poor.
    """

    made: Integer
    plan: Placement
    groups: Groups
    source: Graph
    statistics: Statistics
    methods: dict[str, str]
    samples: int = 0
    corrected: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    fidelity: Fidelity | None = None
    stored: list[WeightRow] = field(default_factory=list)
    islands: Islands | None = None
    without_islands: Fidelity | None = None
    weights_only: Fidelity | None = None

    @property
    def graph(self) -> Graph:
        return self.made.graph

    def weight_rows(self) -> list[WeightRow]:
        """One row per weight, as WeightQuant gives them."""
        rows: dict[str, list[WeightRow]] = {}
        for row in self.stored:
            rows.setdefault(row.layer, []).append(row)
        for node in self.source.nodes:
            index = weight_index(node)
            if index is None or node.name in rows:
                continue
            layer, w = self.made.layers.get(node), node.inputs[index]
            assert w is not None and w.data is not None
            stored, bits = (w, 32) if layer is None else (layer.weight, layer.weight.quant.bits)  # pyright: ignore
            why = "" if layer is not None else self.plan.why.get(node, "in float")
            rows[node.name] = [WeightRow(node.name, node.op, stored.name, w.data.shape, bits, w.data.nbytes, why)]
        return [row for node in self.source.nodes for row in rows.get(node.name, ())]


Progress = Callable[[Iterable[Any], str], Iterable[Any]]


def quantize_graph(
    graph: Graph, samples: Samples | None, settings: Settings, progress: Progress = lambda items, label: items
) -> Result:
    """Quantizes a float graph; its own weights are rescaled on the way, so it is used up.

    Args:
        samples: None only with saved statistics; then nothing is corrected.
        progress: wraps the iteration over samples, with a label.
    """
    weights_to_reals(graph)
    graph.prune()
    real_weights(graph)
    if any(node.op == "Quantize" for node in graph.nodes):
        casts_to_acts(graph)
        # A bias that was stored as integers beside a quantized weight.
        deque(fuse_bias(graph), 0)
    norms_to_layers(graph, settings.kept)
    quotients_to_products(graph, settings.kept)
    global_pools_to_means(graph)
    graph.meta["rounding"] = "gemmlowp" if settings.target == "mslite" else "rne_f32"
    plan = _place(graph, settings)
    stats = _statistics(graph, plan, samples, settings, progress)
    if settings.pairs:
        pair_channels(graph, plan.layers)
    task = _Task(graph, samples, settings, stats, progress)
    result = _with_islands(task, _quantized(task))
    if samples is not None and result.fidelity is not None and result.fidelity.worst.sqnr < POOR:
        result.weights_only = _weights_only(task, result)
    return result


@dataclass(frozen=True)
class _Task:
    """What a graph, its own weights scaled already, is quantized with."""

    graph: Graph
    samples: Samples | None
    settings: Settings
    statistics: Statistics
    progress: Progress


def _place(graph: Graph, settings: Settings, lossy: frozenset[Node] = frozenset()) -> Placement:
    integer_output = settings.output_type in ("INT8", "UINT8")
    return place(graph, settings.kept, lossy, target=settings.target, integer_output=integer_output)


def _rewritten(
    task: _Task, lossy: frozenset[Node] = frozenset(), known: Mapping[str, str] | None = None
) -> Result | None:
    """The integer graph as it comes, with `lossy` nodes in float. known: tensor → method of its range, instead of
    choosing one. None: the statistics lack a tensor that it has in codes."""
    graph, settings, stats = task.graph, task.settings, task.statistics
    plan = _place(graph, settings, lossy)
    tensors = [t for t in tensors_in_codes(graph, plan) if not t.is_const]
    if any(t.name not in stats.histograms for t in tensors):
        return None
    seen = {t: stats.histograms[t.name] for t in tensors}
    groups = make_groups(graph, plan, lambda t: extent(t) if t.is_const else (seen[t].low, seen[t].high))
    params, methods = _choose(graph, plan, groups, seen, task.samples, settings, known)

    def weight_param(node: Node, w: np.ndarray, axis: int | None) -> QuantParam:
        quant = symmetric(w, axis if settings.per_channel else None, settings.layer_bits.get(node, settings.bits))
        return paired_scales(node, w, quant) if settings.pairs else quant

    def weight_codes(node: Node, w: np.ndarray, quant: QuantParam) -> np.ndarray:
        return paired_codes(node, w, quant) if settings.pairs else quantize(w, quant, narrow=quant.bits > 1)

    made = emit(
        graph,
        plan,
        groups,
        params,
        weight_param,
        weight_codes,
        input_type=settings.input_type,
        output_type=settings.output_type,
    )
    return Result(made, plan, groups, graph, stats, methods)


def _quantized(task: _Task, lossy: frozenset[Node] = frozenset()) -> Result:
    """The integer graph, corrected and judged."""
    result, samples, settings = _rewritten(task, lossy), task.samples, task.settings
    assert result is not None
    if settings.float_weights is not None:
        kept = {result.made.node[node] for node in settings.kept if node in result.made.node}
        result.stored = quantize_graph_weights(result.graph, settings.float_weights, kept)
    if samples is None:
        return result
    fitted, held = hold_back(len(samples), subset_size(task.graph, result.made, settings.subset))
    if result.made.layers and (settings.bias_correction != "off" or settings.measure):
        _correct(result, samples, fitted, settings, task.progress)
    judge = Reference(task.graph, _rows(samples, held), settings.threads)
    result.fidelity = judge.fidelity(result.graph, held_back=held != fitted)
    return result


def _with_islands(task: _Task, first: Result) -> Result:
    """The result with what had better be in float there, if that helps samples that it was not chosen by."""
    found = _islands(task, first)
    if found is None or not found.kept or first.fidelity is None:
        return replace(first, islands=found)
    result = replace(_quantized(task, found.kept), islands=found, without_islands=first.fidelity)
    assert result.fidelity is not None
    if result.fidelity.worst.sqnr >= first.fidelity.worst.sqnr + _LEAST_GAIN:
        return result
    return replace(first, islands=replace(found, kept=frozenset(), after=found.before, share=0.0))


def _weights_only(task: _Task, result: Result) -> Fidelity | None:
    """What the outputs would be with int8 weights in a float graph."""
    assert task.samples is not None
    fitted, held = hold_back(len(task.samples), subset_size(task.graph, result.made, task.settings.subset))
    trial = task.graph.copy()
    quantize_graph_weights(trial, WeightSettings(correction=False))
    judge = Reference(task.graph, _rows(task.samples, held), task.settings.threads)
    return judge.fidelity(trial, held_back=held != fitted)


def _islands(task: _Task, first: Result) -> Islands | None:
    """What had better stay in float, where AUTO is to find that and the outputs ask for it.

    At 20 dB classes are mostly the same; of other outputs, and where looking costs little, the figures are wanted.
    """
    graph, samples, settings, found = task.graph, task.samples, task.settings, first.fidelity
    widths = {settings.bits, *settings.layer_bits.values()}
    if samples is None or found is None or "AUTO" not in settings.methods or min(widths) < 8:
        return None
    nodes = [n for n in graph.nodes if n in first.plan.layers]
    total = sum(map(work_of, nodes))
    poor = found.worst.sqnr < POOR
    wanted = [GOOD if o.same_class is None or total < _SMALL else POOR for o in found.outputs]
    if not nodes or all(o.sqnr >= least for o, least in zip(found.outputs, wanted)):
        return None
    known = {t.name: first.methods[g.name] for t, g in first.groups.of.items()}
    count = min(_MOST_SAMPLES, max(_LEAST_SAMPLES, int(_WORK / max(total, 1))))
    judge = Reference(graph, _rows(samples, spread(len(samples), count)), settings.threads, scores_of(graph))

    def noise(kept: frozenset[Node]) -> float:
        trial = _rewritten(task, kept, known)
        if trial is None:
            return math.inf
        named = {t.name: t for n in trial.graph.nodes for t in n.outputs}
        return judge.noise(trial.graph, [named.get(t.name) for t in judge.watched])

    limits = Limits(
        goal=10 ** (-(GOOD - 3) / 10),
        floor=10 ** (-(POOR + 2) / 10),
        share=max(0.1, min(0.5, _TINY / max(total, 1))),
        most=max(0.5, min(1.0, _FREE / max(total, 1))) if poor else 0.0,
        trials=48 if poor else 16,
    )
    return find_islands(nodes, noise, limits)


def _statistics(
    graph: Graph, plan: Placement, samples: Samples | None, settings: Settings, progress: Progress
) -> Statistics:
    tensors = [t for t in tensors_in_codes(graph, plan) if not t.is_const]
    if settings.statistics is not None:
        sizes = {t.name: t.shape[-1] if t.shape else None for t in tensors}
        check_statistics(settings.statistics, sizes)
        scale_channels(graph, plan.layers, settings.statistics.factors)
        return settings.statistics
    assert samples is not None
    factors: dict[str, np.ndarray] = {}
    if settings.equalize:
        extremes, asked = ChannelExtremes(), scalable(graph, plan.layers)
        asked = [t for t in tensors if t in asked]
        if asked:
            observe(graph, progress(samples, "looking at channels"), asked, extremes, settings.threads)
        factors = equalize(graph, extremes.low, extremes.high, plan.layers)
    seen = Histograms(settings.bins)
    observe(graph, progress(samples, "collecting statistics"), tensors, seen, settings.threads)
    return Statistics({t.name: seen.of[t] for t in tensors}, factors)


def _choose(
    graph: Graph,
    plan: Placement,
    groups: Groups,
    seen: Mapping[Tensor, Histogram],
    samples: Samples | None,
    settings: Settings,
    known: Mapping[str, str] | None = None,
) -> tuple[dict[Tensor, QuantParam], dict[str, str]]:
    names = candidates(settings.methods)
    set_by_hand = {g.name for g in groups.groups if by_hand(g, seen) is not None}
    ranges = {g.name: {m: group_range(g, seen, m) for m in names} for g in groups.groups if g.fixed is None}
    if "AUTO" in settings.methods:
        fed = {groups.of[t].name for t in graph.inputs if t in groups.of}
        for name in (fed & set(ranges)) - set_by_hand:
            ranges[name][WIDENED] = widened(ranges[name]["MAX_MIN"])
    chosen = dict.fromkeys(ranges, names[0])
    if known is not None:
        chosen |= {
            g.name: known[t.name]
            for g in groups.groups
            for t in g.members[:1]
            if known.get(t.name) in ranges.get(g.name, ())
        }
    elif len(names) > 1 and samples is not None:
        judges = _rows(samples, spread(len(samples), AUTO_SAMPLES))
        chosen = best_ranges(graph, plan, groups, ranges, judges, settings.threads)
    params: dict[Tensor, QuantParam] = {}
    for group in groups.groups:
        bounds = ranges[group.name][chosen[group.name]] if group.fixed is None else (0.0, 0.0)
        params.update(dict.fromkeys(group.members, parameters(group, bounds)))
    free = (n for n in graph.nodes if n in plan.integer and not any(seen[t].fixed for t in n.outputs if t in seen))
    steady_means(free, groups, params)
    chosen |= dict.fromkeys(set_by_hand, "by hand")
    return params, chosen | {g.name: "fixed" for g in groups.groups if g.fixed is not None}


AUTO_SAMPLES = 8
_LEAST_GAIN = 1.0  # dB that islands must bring on samples that they were not chosen by
_LEAST_SAMPLES, _MOST_SAMPLES, _WORK = 6, 12, 1e9  # samples of a trial: so many multiplications, roughly
_SMALL = 1e8  # multiplications of a network that is quickly tried
_TINY = 1e6  # multiplications of which half may be in float: next to nothing
_FREE = 1e7  # multiplications that may be in float whatever their share: a millisecond or less
_PARTS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.3, 0.25)


def _rows(samples: Samples, rows: Collection[int]) -> list[dict[str, np.ndarray]]:
    return list(samples.only(rows))


def _correct(result: Result, samples: Samples, fitted: Collection[int], settings: Settings, progress: Progress) -> None:
    picked = _rows(samples, fitted)
    floats = settings.measure or settings.bias_correction == "lockstep"
    walk = Walk(result.source, result.made, picked, settings.threads, floats=floats)
    result.samples = len(picked)
    steps = iter(progress(range(len(result.made.layers)), "correcting layers"))

    def improve(w: Walk, node: Node) -> None:
        next(steps, None)
        if settings.bias_correction == "sequential":
            if settings.round_by_output:
                refine(w, node, pairs=settings.pairs)
            correct(w, node)
        elif settings.bias_correction == "lockstep":
            correct_lockstep(w, node)
        if settings.measure:
            result.rows.append(measure(w, node, lambda t: result.methods[result.groups.of[t].name]))

    walk.run(improve)
    next(steps, None)
    result.corrected = 0 if settings.bias_correction == "off" else len(result.made.layers)


def symmetric(w: np.ndarray, axis: int | None, bits: int) -> QuantParam:
    """Parameters of a weight with zero point 0, per channel along `axis`: from the largest magnitude at 8 bits, below
    that from the part of it that gives the least squared error."""
    rest = tuple(i for i in range(w.ndim) if i != axis) if axis is not None else tuple(range(w.ndim))
    q = choose_symmetric(np.abs(w).max(axis=rest, initial=0.0), bits, axis)
    scale = q.scale.astype(np.float32).astype(np.float64)
    if bits < 8:
        scale = _least_squares(w, scale, axis, rest, bits)
    return QuantParam(scale, q.zero_point, axis, bits)


def _least_squares(w: np.ndarray, full: np.ndarray, axis: int | None, rest: tuple[int, ...], bits: int) -> np.ndarray:
    best, least = full, np.full(full.shape, np.inf)
    low, high = code_range(bits, narrow=bits > 1)
    for factor in _PARTS:
        scale = (full * factor).astype(np.float32).astype(np.float64)
        step = along(scale, axis, w.ndim)
        error = np.square(np.clip(np.rint(w / step), low, high) * step - w).sum(axis=rest).reshape(full.shape)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    return best
