"""AUTO: for each group of tensors, the range with the least measured error at the output of the layers that read it.

The float graph runs node by node on a few samples. Whenever a layer reads a tensor, it also runs on the tensor
quantized by each candidate range; what its float output loses, relative to that output's energy, is the candidate's
error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...converter.ir import Graph, Node, Tensor
from ...converter.numeric.qparams import QuantParam, fake_quantize
from ..calibrate.observe import Sample, float_isa
from ..calibrate.ranges import parameters
from ..calibrate.thresholds import Range
from ..parallel import Workers
from .groups import Groups
from .placement import Placement, data_inputs, preserves_qparams
from .prefix_part import Single

_SMALL = 1e-30


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
    last_use = {t: k for k, n in enumerate(graph.nodes) for t in n.inputs if t is not None}
    wanted = max((k for k, n in enumerate(graph.nodes) if n in plan.int8_nodes), default=-1)
    values: dict[Tensor, list[np.ndarray]] = {
        t: [np.asarray(s[t.name], order="C") for s in samples] for t in graph.inputs
    }
    with Workers(min(threads, max(len(samples), 1))) as workers:
        for k, node in enumerate(graph.nodes[: wanted + 1]):
            run = Single([node], max(1, threads // max(len(samples), 1)), isa=float_isa())
            outputs = list(workers.each(lambda i, run=run: run(_reader(values, i)), range(len(samples))))
            if node in plan.int8_nodes and not (node in plan.integer and preserves_qparams(node)):
                _judge(node, run, groups, errors, values, outputs, workers)
            for i, t in enumerate(node.outputs):
                values[t] = [o[i] for o in outputs]
            for t in [t for t in values if last_use.get(t, -1) <= k]:
                del values[t]
    return {name: _best(ranges[name], errors[name]) for name in ranges}


def _reader(
    values: Mapping[Tensor, list[np.ndarray]],
    sample: int,
    other: Tensor | None = None,
    instead: np.ndarray | None = None,
) -> Callable[[Tensor], np.ndarray]:
    """Values of one sample, with another array in place of one tensor's."""
    return lambda t: instead if t is other and instead is not None else values[t][sample]


def _best(ranges: Mapping[str, Range], errors: Mapping[Range, float]) -> str:
    least = min(errors[r] for r in ranges.values())
    return next(m for m, r in ranges.items() if errors[r] <= least * (1 + 1e-9))


def _judge(node: Node, run: Single, groups: Groups, errors: dict[str, dict[Range, float]],
           values: Mapping[Tensor, list[np.ndarray]], outputs: list[list[np.ndarray]],
           workers: Workers) -> None:  # fmt: skip
    energy = sum(workers.each(lambda o: float(np.square(o[0], dtype=np.float64).sum()), outputs)) + _SMALL
    for t in dict.fromkeys(node.required(i) for i in data_inputs(node)):
        group = groups.of.get(t)
        if t.is_const or group is None or len(errors.get(group.name, ())) < 2:
            continue
        candidates = {bounds: parameters(group, bounds) for bounds in errors[group.name]}

        def look(i: int, t: Tensor = t, candidates: dict[Range, QuantParam] = candidates) -> list[float]:
            return [_lost(run, values, i, t, q, outputs[i][0]) for q in candidates.values()]

        for bounds, lost in zip(candidates, zip(*workers.each(look, range(len(outputs))))):
            errors[group.name][bounds] += sum(lost) / energy


def _lost(run: Single, values: Mapping[Tensor, list[np.ndarray]], sample: int, t: Tensor, q: QuantParam,
          clean: np.ndarray) -> float:  # fmt: skip
    """What a layer's output loses in squared error when it reads one tensor through these codes."""
    y = run(_reader(values, sample, t, fake_quantize(values[t][sample], q)))[0]
    return float(np.square(y - clean, dtype=np.float64).sum())
