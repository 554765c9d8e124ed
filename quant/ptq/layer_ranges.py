"""Ranges that single layers ask for, in place of those that the threshold methods would choose for their outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...converter.ir import Graph
from ..calibrate.histogram import Histogram
from ..calibrate.thresholds import choose


@dataclass(frozen=True)
class LayerRange:
    """What a layer asks for. method: the threshold method of its output, "" for that of all. scale: a factor of the
    range. threshold: the largest magnitude, in place of a method, before the factor; None without. most: what no end of
    the range is beyond; a range within it is left to the methods of all."""

    method: str = ""
    scale: float = 1.0
    threshold: float | None = None
    most: float = math.inf


def fix_ranges(
    graph: Graph, of: Mapping[str, Histogram], asked: Mapping[str, LayerRange], methods: Sequence[str]
) -> None:
    """Sets the ranges of the outputs of nodes that come from the layers named, as ranges by hand.

    Of layers that became one node the last one's word counts. A range stays on the side of 0 where all values are.
    """
    common = next((name for name in methods if name != "AUTO"), "MSE")
    for node in graph.nodes:
        rule = next((asked[name] for name in reversed((node.name, *node.origin)) if name in asked), None)
        histogram = of.get(node.outputs[0].name) if node.outputs else None
        if rule is None or histogram is None or histogram.fixed is not None or not len(histogram.counts):
            continue
        if rule == LayerRange(most=rule.most) and -rule.most <= histogram.low and histogram.high <= rule.most:
            continue
        if rule.threshold is not None:
            low, high = (-rule.threshold if histogram.low < 0 else 0.0), (rule.threshold if histogram.high > 0 else 0.0)
        else:
            low, high = choose(rule.method or common, histogram)
        low, high = (min(max(end * rule.scale, -rule.most), rule.most) for end in (low, high))
        histogram.fixed = (low, high)
