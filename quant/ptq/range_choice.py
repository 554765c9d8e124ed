"""The range of each group of tensors: by the method named, or the one of several that loses least at the layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...converter.ir import Graph, Tensor
from ...converter.numeric.qparams import QuantParam
from ..calibrate.histogram import Histogram
from ..calibrate.ranges import (
    ACTIVATION_BITS,
    WIDE_BITS,
    WIDENED,
    by_hand,
    candidates,
    expanded_range,
    group_range,
    parameters,
    steady_means,
)
from ..calibrate.thresholds import Range
from .auto import best_ranges
from .fidelity import spread
from .groups import Group, Groups
from .placement import Placement, preserves_qparams
from .settings import Samples, Settings

AUTO_SAMPLES = 8
_ALL, _CROSSING = "MAX_MIN", "MSE"


class RangeChoice:
    """Chooses ranges for the integer forms of one graph; a range that several forms ask for is computed once."""

    def __init__(self, graph: Graph, samples: Samples | None, settings: Settings) -> None:
        self.graph, self.samples, self.settings = graph, samples, settings
        self.names = candidates(settings.methods)
        self._ranges: dict[tuple[Any, ...], Range] = {}

    def params(
        self, plan: Placement, groups: Groups, seen: Mapping[Tensor, Histogram], known: Mapping[str, str] | None
    ) -> tuple[dict[Tensor, QuantParam], dict[str, str]]:
        """Each tensor's parameters, and each group's method.

        seen: the statistics of activations. known: tensor → method, instead of choosing one.
        """
        free = [g for g in groups.groups if g.fixed is None]
        set_by_hand = {g.name for g in groups.groups if by_hand(g, seen) is not None}
        fed = {groups.of[t].name for t in self.graph.inputs if t in groups.of} - set_by_hand
        ranges = {
            g.name: {m: self._range(g, seen, m) for m in self._candidates(g, known, fed=g.name in fed)} for g in free
        }
        methods = self._methods(plan, groups, ranges, known)
        params: dict[Tensor, QuantParam] = {}
        for group in groups.groups:
            bounds = ranges[group.name][methods[group.name]] if group.fixed is None else (0.0, 0.0)
            params.update(dict.fromkeys(group.members, parameters(group, bounds)))
        movable = (
            n for n in self.graph.nodes if n in plan.integer and not any(seen[t].fixed for t in n.outputs if t in seen)
        )
        steady_means(movable, groups, params)
        methods |= dict.fromkeys(set_by_hand, "by hand")
        return params, methods | {g.name: "fixed" for g in groups.groups if g.fixed is not None}

    def crossings(self, plan: Placement, groups: Groups, seen: Mapping[Tensor, Histogram]) -> dict[Tensor, QuantParam]:
        """Of tensors that a node of the other width reads: the parameters of codes of that width."""
        readers = {t: node for (node, _), t in groups.requantize.items() if not preserves_qparams(node)}
        params: dict[Tensor, QuantParam] = {}
        for t, node in readers.items():
            wide = node in plan.wide
            group = replace(groups.of[t], bits=WIDE_BITS if wide else ACTIVATION_BITS, fixed=None)
            params[t] = parameters(group, self._range(group, seen, _ALL if wide else _CROSSING))
        return params

    def _candidates(self, group: Group, known: Mapping[str, str] | None, *, fed: bool) -> tuple[str, ...]:
        """The methods among which the group's is. fed: a graph input is in it."""
        if group.bits == WIDE_BITS:
            return (_ALL,)
        if known is None:
            return (*self.names, WIDENED) if fed and "AUTO" in self.settings.methods else self.names
        method = known.get(group.name, self.names[0])
        return (method if method in (*self.names, WIDENED) else self.names[0],)

    def _methods(
        self,
        plan: Placement,
        groups: Groups,
        ranges: Mapping[str, Mapping[str, Range]],
        known: Mapping[str, str] | None,
    ) -> dict[str, str]:
        if len(self.names) == 1 or known is not None or self.samples is None:
            return {name: next(iter(by_method)) for name, by_method in ranges.items()}
        judges = list(self.samples.only(spread(len(self.samples), AUTO_SAMPLES)))
        return best_ranges(self.graph, plan, groups, ranges, judges, self.settings.threads)

    def _range(self, group: Group, seen: Mapping[Tensor, Histogram], method: str) -> Range:
        if method == WIDENED:
            return expanded_range(self._range(group, seen, "MAX_MIN"))
        key = method, tuple(group.members), tuple(group.sources)
        if key not in self._ranges:
            self._ranges[key] = group_range(group, seen, method)
        return self._ranges[key]
