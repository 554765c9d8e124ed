"""Integer forms of one float graph, as they come: nodes placed, ranges and codes chosen, nothing fitted yet.

Several forms are made one after another while whole runs choose between them (`trials`); what does not depend on the
form is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ...converter.ir import Graph, Node
from ..calibrate.observe import MeansAside
from ..calibrate.ranges import WIDE_BITS, extent
from ..calibrate.statistics import Statistics
from ..selection import select
from ..selectors import parse_selector
from .emit import emit
from .groups import make_groups
from .placement import Placement, place, tensors_in_codes
from .range_choice import RangeChoice
from .result import Result
from .settings import Samples, Settings
from .weight_codes import WeightCodes


def placement(graph: Graph, settings: Settings, lossy: frozenset[Node] = frozenset()) -> Placement:
    """Where integers may be, with `lossy` nodes in float."""
    integer_output = settings.output_type in ("INT8", "UINT8")
    wide = wide_nodes(graph, settings.activation_bits)
    return place(graph, settings.kept, lossy, wide=wide, target=settings.target, integer_output=integer_output)


def wide_nodes(graph: Graph, bits: Mapping[str | int, int]) -> set[Node]:
    """The nodes whose activations have 16 bits. bits: selector → 8 or 16; a number in place of a selector: all nodes.

    Raises UsageError where a selector names nothing.
    """
    wide: set[Node] = set()
    for key, wanted in bits.items():
        meant = select(graph, (parse_selector(key),)) if isinstance(key, str) else set(graph.nodes)
        wide = wide | meant if wanted == WIDE_BITS else wide - meant
    return wide


class IntegerForms:
    """The forms of `graph`, whose own weights are scaled already.

    samples: what AUTO judges ranges by.

    Attributes:
        outputs: what `graph` gives, its `float_outputs`, by the number of the sample, where that is known.
        means: of what its layers give, where they are known.
    """

    def __init__(self, graph: Graph, samples: Samples | None, settings: Settings, statistics: Statistics) -> None:
        self.graph, self.samples, self.settings, self.statistics = graph, samples, settings, statistics
        self.outputs: Mapping[int, list[np.ndarray]] = {}
        self.means: MeansAside | None = None
        plan = self.placement()
        self.ranges = RangeChoice(graph, samples, settings)
        self.weights = WeightCodes(settings, (node for node in graph.nodes if node in plan.int8_nodes), plan.wide)

    def varied(self, bits: Mapping[str, int], methods: tuple[str, ...] = ()) -> IntegerForms:
        """The forms with other bits of weights, by node name, where layer_bits says nothing; or by other methods."""
        settings = self.settings
        chosen = {n: bits[n.name] for n in self.graph.nodes if n.name in bits}
        settings = replace(settings, layer_bits=chosen | dict(settings.layer_bits), methods=methods or settings.methods)
        return IntegerForms(self.graph, self.samples, settings, self.statistics)

    def placement(self, lossy: frozenset[Node] = frozenset()) -> Placement:
        return placement(self.graph, self.settings, lossy)

    def covered(self, plan: Placement) -> bool:
        """Whether the statistics have all tensors that the plan puts in codes."""
        tensors = tensors_in_codes(self.graph, plan)
        return all(t.is_const or t.name in self.statistics.histograms for t in tensors)

    def form(self, plan: Placement, known: Mapping[str, str] | None = None) -> Result:
        """The integer graph by a plan that the statistics cover.

        known: tensor → method of its range, instead of choosing one.
        """
        graph, settings, histograms = self.graph, self.settings, self.statistics.histograms
        seen = {t: histograms[t.name] for t in tensors_in_codes(graph, plan) if not t.is_const}
        groups = make_groups(graph, plan, lambda t: extent(t) if t.is_const else (seen[t].low, seen[t].high))
        params, methods = self.ranges.params(plan, groups, seen, known)
        crossings = self.ranges.crossings(plan, groups, seen)
        ends = {"input_type": settings.input_type, "output_type": settings.output_type}
        quantized = emit(graph, plan, groups, params, self.weights, crossings=crossings, **ends)
        return Result(quantized, plan, groups, graph, self.statistics, methods, fine=settings.fine)
