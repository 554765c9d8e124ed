"""PostTraining: a float graph and calibration samples in, an integer graph out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..converter.ir import Graph, Node, Tensor
from ..converter.numeric.qparams import QuantParam, choose_asymmetric, choose_symmetric
from .bias_correction import correct
from .emit import Integer, emit
from .equalize import equalize
from .groups import Group, Groups, make_groups
from .histogram import DEFAULT_BINS, Histogram
from .observe import ChannelExtremes, Histograms, observe
from .placement import Placement, place, tensors_in_codes
from .prepare import global_pools_to_means
from .rounding import refine
from .thresholds import choose
from .walk import Walk


class Samples(Protocol):
    """Calibration data: may be iterated as often as needed; `Dataset` is one."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Any: ...
    def pick(self, count: int) -> Any: ...


@dataclass(frozen=True)
class Settings:
    """What `quantize_graph` is asked for; the fields are those of `ConvertOptions`."""

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
    subset: int = 32
    refine: bool = True
    equalize: bool = True
    alpha: float | None = None
    threads: int = 1


def quantize_graph(graph: Graph, samples: Samples, settings: Settings) -> Integer:
    global_pools_to_means(graph)
    plan = place(graph, settings.kept, target=settings.target, integer_output=settings.output_type in ("INT8", "UINT8"))
    tensors = [t for t in tensors_in_codes(graph, plan) if not t.is_const]
    if settings.equalize:
        extremes = ChannelExtremes()
        observe(graph, samples, tensors, extremes, settings.threads)
        equalize(graph, extremes.low, extremes.high, plan.layers, settings.alpha)
    stats = Histograms(settings.bins)
    observe(graph, samples, tensors, stats, settings.threads)
    groups = make_groups(graph, plan, lambda t: (stats.of[t].low, stats.of[t].high) if t in stats.of else _extent(t))
    params = {}
    for group in groups.groups:
        q = group_param(group, stats.of, "MAX_MIN", settings.bits)
        params.update(dict.fromkeys(group.members, q))

    def weight_param(node: Node, w: np.ndarray, axis: int | None) -> QuantParam:
        return symmetric(w, axis if settings.per_channel else None, settings.layer_bits.get(node, settings.bits))

    made = emit(
        graph, plan, groups, params, weight_param, input_type=settings.input_type, output_type=settings.output_type
    )
    if settings.bias_correction == "sequential":
        walk = Walk(graph, made, list(samples.pick(settings.subset)), settings.threads)

        def improve(w: Walk, node: Node) -> None:
            if settings.refine:
                refine(w, node)
            correct(w, node)

        walk.run(improve)
    return made


def _extent(t: Tensor) -> tuple[float, float]:
    return float(t.data.min()), float(t.data.max())


def group_param(group: Group, stats, method, bits) -> QuantParam:
    if group.fixed:
        return QuantParam([group.fixed[0]], [group.fixed[1]], None, 8)
    lo = hi = 0.0
    for t in group.sources:
        a, b = _extent(t) if t.is_const else choose(method, stats[t], bits)
        lo, hi = min(lo, a), max(hi, b)
    q = choose_asymmetric(lo, hi, bits)
    return QuantParam(q.scale.astype(np.float32).astype(np.float64), q.zero_point, None, bits)


def symmetric(w: np.ndarray, axis: int | None, bits: int) -> QuantParam:
    a = np.abs(w)
    q = choose_symmetric(
        a.max() if axis is None else a.max(axis=tuple(i for i in range(w.ndim) if i != axis)), bits, axis
    )
    return QuantParam(q.scale.astype(np.float32).astype(np.float64), q.zero_point, axis, bits)
