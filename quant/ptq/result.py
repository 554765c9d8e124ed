"""What PostTraining gives: the integer graph, and how it came about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...converter.ir import Graph, Node
from ...converter.passes import Record
from ..calibrate.statistics import Statistics
from ..weights.weight_quant import WeightRow
from .fidelity import Fidelity
from .groups import Groups
from .islands import Islands
from .placement import Placement, weight_index
from .quantized_graph import QuantizedGraph
from .weight_codes import WideWeights


@dataclass
class Result:
    """The integer graph and how it came about.

    source: the float graph after equalization. methods: group name → the method that gave its range. samples: how many
    the layers were corrected on; corrected: the layers. rows: what each layer loses, where `Settings.measure` asks.
    fidelity: of the outputs, None without samples. stored: the weights of layers in float. islands: what was looked for
    and turned out to be better off in float, None where nothing was looked for; without_islands: the outputs without
    them. weights_only: the outputs of int8 weights in float, where those of int8 are poor. prepared: what was rewritten
    before placing, and what was refused. wide_weights: which have more than 8 bits, where that was looked for. fine: as
    `Settings` has it, where that was looked for.
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
    wide_weights: WideWeights | None = None
    fine: frozenset[Node] | None = None

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
