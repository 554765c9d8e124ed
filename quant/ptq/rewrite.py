"""What PostTraining rewrites a graph by, and the rewriting itself: which nodes, ranges and codes, nothing fitted yet.

Several forms of one graph are rewritten after another while whole runs choose between them (`trials`), so what does not
depend on the form is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ...converter.ir import Graph, Node, Tensor
from ...converter.numeric.qparams import QuantParam, quantize
from ...converter.passes import Record
from ..calibrate.histogram import DEFAULT_BINS, Histogram
from ..calibrate.ranges import (
    WIDENED,
    by_hand,
    candidates,
    expanded_range,
    extent,
    group_range,
    parameters,
    steady_means,
)
from ..calibrate.statistics import Statistics
from ..calibrate.thresholds import Range
from ..weights.symmetric_weights import symmetric
from ..weights.weight_quant import WeightRow, WeightSettings
from .auto import best_ranges
from .emit import QuantizedGraph, emit
from .fidelity import Fidelity, spread
from .groups import Group, Groups, make_groups
from .islands import Islands
from .paired_weights import paired_codes, paired_scales
from .placement import Placement, place, tensors_in_codes, weight_index

AUTO_SAMPLES = 8
Progress = Callable[[Iterable[Any], str], Iterable[Any]]


class Samples(Protocol):
    """Calibration data, iterated as often as needed; `data.Dataset` is one."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[dict[str, np.ndarray]]: ...
    def only(self, rows: Collection[int]) -> Iterator[dict[str, np.ndarray]]: ...


@dataclass(frozen=True)
class Settings:
    """What `quantize_graph` is asked for; the fields are those of `ConvertOptions`.

    bits, layer_bits: of weights; activations are always int8. kept: nodes that stay float. subset: the most samples
    that the corrections on the quantized prefix take. statistics: saved ones, instead of running the model for them.
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
    better off in float, None where nothing was looked for; without_islands: the outputs without them. weights_only:
    the outputs of int8 weights in float, where those of int8 are poor. prepared: what was rewritten before placing, and
    what was refused.
    """

    quantized: QuantizedGraph
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
    prepared: list[Record] = field(default_factory=list)
    weights_only: Fidelity | None = None

    @property
    def graph(self) -> Graph:
        return self.quantized.graph

    def weight_rows(self) -> list[WeightRow]:
        """One row per weight, as WeightQuant gives them."""
        rows: dict[str, list[WeightRow]] = {}
        for row in self.stored:
            rows.setdefault(row.layer, []).append(row)
        for node in self.source.nodes:
            index = weight_index(node)
            if index is None or node.name in rows:
                continue
            layer, w = self.quantized.weighted_layers.get(node), node.required(index)
            stored, bits = (w, 32) if layer is None else (layer.weight, layer.weight.qparams.bits)
            why = "" if layer is not None else self.plan.why.get(node, "in float")
            rows[node.name] = [WeightRow(node.name, node.op, stored.name, w.value.shape, bits, w.value.nbytes, why)]
        return [row for node in self.source.nodes for row in rows.get(node.name, ())]


@dataclass(frozen=True)
class Task:
    """What a graph, its own weights scaled already, is quantized with; and what each form of it asks for again."""

    graph: Graph
    samples: Samples | None
    settings: Settings
    statistics: Statistics
    progress: Progress
    _ranges: dict[tuple[Any, ...], Range] = field(default_factory=dict)
    _params: dict[Node, QuantParam] = field(default_factory=dict)
    _codes: dict[tuple[Node, QuantParam], np.ndarray] = field(default_factory=dict)

    def range(self, group: Group, seen: Mapping[Tensor, Histogram], method: str) -> Range:
        """The group's range, by what has been seen of its tensors."""
        key = method, tuple(group.members), tuple(group.sources)
        if key not in self._ranges:
            self._ranges[key] = group_range(group, seen, method)
        return self._ranges[key]

    def weight_param(self, node: Node, w: np.ndarray, axis: int | None) -> QuantParam:
        if node not in self._params:
            settings = self.settings
            quant = symmetric(w, axis if settings.per_channel else None, settings.layer_bits.get(node, settings.bits))
            self._params[node] = paired_scales(node, w, quant) if settings.pairs else quant
        return self._params[node]

    def weight_codes(self, node: Node, w: np.ndarray, quant: QuantParam) -> np.ndarray:
        """The same array for all forms: whoever wants other codes replaces it."""
        if (node, quant) not in self._codes:
            pairs = self.settings.pairs
            codes = paired_codes(node, w, quant) if pairs else quantize(w, quant, narrow=quant.bits > 1)
            self._codes[node, quant] = codes
        return self._codes[node, quant]


def place_nodes(graph: Graph, settings: Settings, lossy: frozenset[Node] = frozenset()) -> Placement:
    integer_output = settings.output_type in ("INT8", "UINT8")
    return place(graph, settings.kept, lossy, target=settings.target, integer_output=integer_output)


def rewritten(
    task: Task, lossy: frozenset[Node] = frozenset(), known: Mapping[str, str] | None = None
) -> Result | None:
    """The integer graph as it comes, with `lossy` nodes in float. known: tensor → method of its range, instead of
    choosing one. None: the statistics lack a tensor that it has in codes."""
    graph, settings, stats = task.graph, task.settings, task.statistics
    plan = place_nodes(graph, settings, lossy)
    tensors = [t for t in tensors_in_codes(graph, plan) if not t.is_const]
    if any(t.name not in stats.histograms for t in tensors):
        return None
    seen = {t: stats.histograms[t.name] for t in tensors}
    groups = make_groups(graph, plan, lambda t: extent(t) if t.is_const else (seen[t].low, seen[t].high))
    params, methods = _choose(task, plan, groups, seen, known)
    quantized = emit(
        graph,
        plan,
        groups,
        params,
        task.weight_param,
        task.weight_codes,
        input_type=settings.input_type,
        output_type=settings.output_type,
    )
    return Result(quantized, plan, groups, graph, stats, methods)


def _choose(
    task: Task,
    plan: Placement,
    groups: Groups,
    seen: Mapping[Tensor, Histogram],
    known: Mapping[str, str] | None,
) -> tuple[dict[Tensor, QuantParam], dict[str, str]]:
    """Each tensor's parameters, and each group's method."""
    graph, settings = task.graph, task.settings
    names = candidates(settings.methods)
    fed = {groups.of[t].name for t in graph.inputs if t in groups.of}
    free = [g for g in groups.groups if g.fixed is None]
    asked = {g.name: names if known is None else (known.get(g.name, names[0]),) for g in free}
    asked = {name: tuple(m if m in (*names, WIDENED) else names[0] for m in given) for name, given in asked.items()}
    set_by_hand = {g.name for g in groups.groups if by_hand(g, seen) is not None}
    ranges: dict[str, dict[str, Range]] = {}
    for g in free:
        ranges[g.name] = {m: _range(task, g, seen, m) for m in asked[g.name]}
        if known is None and "AUTO" in settings.methods and g.name in fed - set_by_hand:
            ranges[g.name][WIDENED] = _range(task, g, seen, WIDENED)
    if len(names) > 1 and known is None and task.samples is not None:
        judges = list(task.samples.only(spread(len(task.samples), AUTO_SAMPLES)))
        chosen = best_ranges(graph, plan, groups, ranges, judges, settings.threads)
    else:
        chosen = {name: next(iter(by_method)) for name, by_method in ranges.items()}
    params: dict[Tensor, QuantParam] = {}
    for group in groups.groups:
        bounds = ranges[group.name][chosen[group.name]] if group.fixed is None else (0.0, 0.0)
        params.update(dict.fromkeys(group.members, parameters(group, bounds)))
    movable = (n for n in graph.nodes if n in plan.integer and not any(seen[t].fixed for t in n.outputs if t in seen))
    steady_means(movable, groups, params)
    chosen |= dict.fromkeys(set_by_hand, "by hand")
    return params, chosen | {g.name: "fixed" for g in groups.groups if g.fixed is not None}


def _range(task: Task, group: Group, seen: Mapping[Tensor, Histogram], method: str) -> Range:
    return expanded_range(task.range(group, seen, "MAX_MIN")) if method == WIDENED else task.range(group, seen, method)
