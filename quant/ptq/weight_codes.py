"""Codes of weights of layers on codes, before anything is fitted to data: the same for all integer forms of a graph."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ...converter.ir import Graph, Node
from ...converter.numeric.qparams import QuantParam, dequantize, quantize
from ...converter.schema.op import quant_spec
from ..weights.symmetric_weights import symmetric
from .paired_weights import paired_codes, paired_scales
from .placement import weight_index
from .settings import Settings


class WeightCodes:
    """Parameters and codes of each layer's weight, computed once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._params: dict[Node, QuantParam] = {}
        self._codes: dict[tuple[Node, QuantParam], np.ndarray] = {}

    def params(self, node: Node, w: np.ndarray, axis: int | None) -> QuantParam:
        """The parameters of the node's weight, whose output channels are its dimension `axis`."""
        if node not in self._params:
            settings = self.settings
            quant = symmetric(w, axis if settings.per_channel else None, settings.layer_bits.get(node, settings.bits))
            self._params[node] = paired_scales(node, w, quant) if settings.pairs else quant
        return self._params[node]

    def codes(self, node: Node, w: np.ndarray, quant: QuantParam) -> np.ndarray:
        """int8 codes; the same array for all forms: whoever wants other codes replaces it."""
        if (node, quant) not in self._codes:
            pairs = self.settings.pairs
            self._codes[node, quant] = paired_codes(node, w, quant) if pairs else quantize(w, quant, narrow=True)
        return self._codes[node, quant]

    def rounded(self, graph: Graph, nodes: Collection[Node]) -> dict[Node, np.ndarray]:
        """The reals that the codes of the weights of `nodes` stand for, float32, by node in the order of the graph."""
        found: dict[Node, np.ndarray] = {}
        for node in graph.nodes:
            index = weight_index(node) if node in nodes else None
            if index is not None:
                w = node.required(index).value
                quant = self.params(node, w, quant_spec(node).channel_axis(node))
                found[node] = dequantize(self.codes(node, w, quant), quant)
        return found
