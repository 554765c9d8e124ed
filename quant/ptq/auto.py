"""AUTO: for each group of tensors, the range with the least measured error at the output of the layers that read it.

The float graph runs node by node on a few samples. Whenever a layer reads a tensor, it also runs on the tensor
quantized by each candidate range; what its float output loses, relative to that output's energy, is the candidate's
error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...converter.ir import Graph
from ..calibrate.observe import Sample
from ..calibrate.ranges import parameters
from ..calibrate.thresholds import Range
from .float_walk import in_codes, walk
from .groups import Groups
from .placement import Placement, data_inputs, preserves_qparams


def best_ranges(
    graph: Graph,
    plan: Placement,
    groups: Groups,
    ranges: Mapping[str, Mapping[str, Range]],
    samples: Sequence[Sample],
    threads: int,
) -> dict[str, str]:
    """Group name → the best method. ranges: group name → method → its range; the first method wins ties."""
    errors: dict[str, dict[Range, float]] = {name: dict.fromkeys(r.values(), 0.0) for name, r in ranges.items()}
    readers = {n for n in plan.int8_nodes if not (n in plan.integer and preserves_qparams(n))}
    for stop in walk(graph, samples, readers, threads):
        for t in dict.fromkeys(stop.node.required(i) for i in data_inputs(stop.node)):
            group = groups.of.get(t)
            if t.is_const or group is None or len(errors.get(group.name, ())) < 2:
                continue
            candidates = [in_codes(parameters(group, bounds)) for bounds in errors[group.name]]
            for bounds, lost in zip(errors[group.name], stop.lost(t, candidates, steady=True)):
                errors[group.name][bounds] += lost
    return {name: _best(ranges[name], errors[name]) for name in ranges}


def _best(ranges: Mapping[str, Range], errors: Mapping[Range, float]) -> str:
    least = min(errors[r] for r in ranges.values())
    return next(m for m, r in ranges.items() if errors[r] <= least * (1 + 1e-9))
