"""The range of each group of tensors: by the method named, or the one of several that loses least at the layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...converter.ir import Graph, Node, Tensor
from ...converter.numeric.qparams import QuantParam
from ...converter.schema.op import quant_spec
from ..calibrate.histogram import Histogram
from ..calibrate.ranges import (
    ACTIVATION_BITS,
    AS_READ,
    WIDE_BITS,
    WIDENED,
    by_hand,
    candidates,
    expanded_range,
    group_range,
    parameters,
    read_range,
    steady_means,
)
from ..calibrate.thresholds import Range
from .auto import best_ranges
from .fidelity import spread
from .groups import Group, Groups
from .placement import Placement, data_inputs, preserves_qparams
from .settings import Samples, Settings

AUTO_SAMPLES = 8
_ALL, _CROSSING = "MAX_MIN", "MSE"


class RangeChoice:
    """Chooses ranges for the integer forms of one graph; a range that several forms ask for is computed once."""

    def __init__(self, graph: Graph, samples: Samples | None, settings: Settings) -> None:
        self.graph, self.samples, self.settings = graph, samples, settings
        self.names = candidates(settings.methods)
        self._ranges: dict[tuple[Any, ...], Range] = {}
        self._read_ranges: dict[tuple[Any, ...], Range | None] = {}

    def params(
        self, plan: Placement, groups: Groups, seen: Mapping[Tensor, Histogram], known: Mapping[str, str] | None
    ) -> tuple[dict[Tensor, QuantParam], dict[str, str]]:
        """Each tensor's parameters, and each group's method.

        seen: the statistics of activations. known: tensor → method, instead of choosing one.
        """
        free = [g for g in groups.groups if g.fixed is None]
        read = self._as_read(plan, groups, seen)
        set_by_hand = {g.name for g in groups.groups if by_hand(g, seen) is not None}
        fed = {groups.of[t].name for t in self.graph.inputs if t in groups.of} - set_by_hand
        ranges = {
            g.name: {
                m: read[g.name] if m == AS_READ else self._range(g, seen, m)
                for m in self._candidates(g, known, fed=g.name in fed, as_read=g.name in read)
            }
            for g in free
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

    def _candidates(
        self, group: Group, known: Mapping[str, str] | None, *, fed: bool, as_read: bool
    ) -> tuple[str, ...]:
        """The methods among which the group's is. fed: a graph input is in it. as_read: it has a range of that kind."""
        if group.bits == WIDE_BITS:
            return (_ALL,)
        more = (*([AS_READ] if as_read else []), *([WIDENED] if fed and "AUTO" in self.settings.methods else []))
        if known is None:
            return (*self.names, *more)
        method = known.get(group.name, self.names[0])
        return (method if method in (*self.names, WIDENED, *more) else self.names[0],)

    def _as_read(self, plan: Placement, groups: Groups, seen: Mapping[Tensor, Histogram]) -> dict[str, Range]:
        """Group name → its range by what layers read, where that is not what is made, or not all of it counts."""
        if "AUTO" not in self.settings.methods:
            return {}
        reads: dict[str, dict[Tensor, Node | None]] = {}
        for node in self.graph.nodes:
            if node not in plan.int8_nodes or (node in plan.integer and preserves_qparams(node)):
                continue
            for t in (node.required(i) for i in data_inputs(node)):
                if t.is_const or t not in groups.of:
                    continue
                group = reads.setdefault(groups.of[t].name, {})
                function = node if quant_spec(node).table else None
                same = t not in group or _same_function(group[t], function)
                group[t] = function if same else None
        found: dict[str, Range] = {}
        for group in groups.groups:
            read = reads.get(group.name, {})
            if group.fixed is not None or group.bits == WIDE_BITS or any(t.is_const for t in group.sources):
                continue
            plain = list(read) == group.sources and not any(read.values())
            if read and not plain and (bounds := self._read_range(read, seen)) is not None:
                found[group.name] = bounds
        return found

    def _read_range(self, read: Mapping[Tensor, Node | None], seen: Mapping[Tensor, Histogram]) -> Range | None:
        key = tuple(read.items())
        if key not in self._read_ranges:
            self._read_ranges[key] = read_range(read, seen)
        return self._read_ranges[key]

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


def _same_function(a: Node | None, b: Node | None) -> bool:
    return a is b or (a is not None and b is not None and a.op == b.op and a.attrs == b.attrs)
