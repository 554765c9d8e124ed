"""Codes of weights of layers on codes, before anything is fitted to data: the same for all integer forms of a graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ...converter.ir import Graph, Node
from ...converter.numeric.packing import storage_dtype
from ...converter.numeric.qparams import QuantParam, dequantize, quantize
from ...converter.schema.op import quant_spec
from ..weights.error_bits import fewest, weight_error
from ..weights.symmetric_weights import symmetric
from .paired_weights import costly_pairs, noises, paired_codes, paired_scales, searched_scales, without_pairs
from .placement import weight_index
from .settings import Settings

WIDE_BITS = 12  # sums of a hundred products and more are within 32 bits
_FEW = 9  # weights of a channel
SMALL = 0.05  # of all weights
_WIDTHS = range(2, 9)


def bits_within(graph: Graph, limit: float, *, per_channel: bool) -> dict[Node, int]:
    """The fewest bits of each layer's weight with which it is off no more than `limit` (`weights.error_bits`)."""
    found: dict[Node, int] = {}
    for node in graph.nodes:
        index = weight_index(node)
        if index is None:
            continue
        w, axis = node.required(index).value, quant_spec(node).channel_axis(node) if per_channel else None
        if w.ndim < 2 or has_few(w, axis) or not np.isfinite(w).all():
            continue

        def error(bits: int, w: np.ndarray = w, axis: int | None = axis) -> float:
            quant = symmetric(w, axis, bits)
            return weight_error(w, quantize(w, quant, narrow=True), quant)

        found[node] = fewest(_WIDTHS, error, limit)
    return found


def smallest(sizes: Mapping[Node, int]) -> frozenset[Node]:
    """The smallest layers, within the share that `finest` have: mostly the first ones, whose errors all others take
    on."""
    return finest(sizes, sorted(sizes, key=sizes.__getitem__))


def finest(sizes: Mapping[Node, int], order: Iterable[Node]) -> frozenset[Node]:
    """The layers that come first and hold together no more than a share of the elements of all weights; what is too
    large is passed over."""
    left, chosen = SMALL * sum(sizes.values()), set[Node]()
    for node in order:
        if sizes[node] <= left:
            left -= sizes[node]
            chosen.add(node)
    return frozenset(chosen)


def has_few(w: np.ndarray, axis: int | None) -> bool:
    """Whether channels hold so little, as in 3×3 depthwise layers, that hardly a byte is saved below 8 bits."""
    return w.size <= _FEW * (1 if axis is None else w.shape[axis])


@dataclass(frozen=True)
class WideWeights:
    """codes: layers whose weights have WIDE_BITS. reals: layers in float whose weights have float16. layers: that had
    a choice. elements: of the chosen weights. before: the share of the worst output's energy that all weights of 8
    bits are foreseen to cost."""

    codes: frozenset[Node] = frozenset()
    reals: frozenset[Node] = frozenset()
    layers: int = 0
    elements: int = 0
    before: float = 0.0

    @property
    def more_bytes(self) -> int:
        """What the chosen weights take more than with 8 bits, packed."""
        wide = sum(node.required(weight_index(node) or 0).value.size for node in self.codes)
        return wide * (WIDE_BITS - 8) // 8 + self.elements - wide


class WeightCodes:
    """Parameters and codes of each layer's weight, computed once.

    searched: layers that hold pairs whatever that costs, and lose enough by it to look for other scales by what they
    give.
    """

    def __init__(self, settings: Settings, layers: Iterable[Node], wide: Collection[Node] = ()) -> None:
        """layers: those on codes, in their order, of which with `settings.pairs` some hold none. wide: those on codes
        of 16 bits, whose weights may have more than 8."""
        self.settings, self.wide = settings, wide
        weights = [(node, weight_index(node)) for node in layers] if settings.pairs or settings.bits < 8 else []
        given = [(node, node.required(i).value) for node, i in weights if i is not None]
        fine = settings.fine
        if fine is None:
            fine = smallest({node: w.size for node, w in given}) if settings.bits < 8 else frozenset()
        self._fine: frozenset[Node] = fine
        plain = {node: self._plain(node, w, quant_spec(node).channel_axis(node)) for node, w in given if settings.pairs}
        held = {node: paired_scales(node, w, plain[node]) for node, w in given if settings.pairs}
        cost = noises((node, w, plain[node], held[node]) for node, w in given if settings.pairs)
        own = settings.pairs == "own"
        self._without_pairs = costly_pairs(cost) if own else without_pairs(cost, plain)
        self.searched = frozenset() if own else searched_scales(cost) - self._without_pairs
        self._params: dict[Node, QuantParam] = {node: q for node, q in held.items() if self._paired(node)}
        self._codes: dict[tuple[Node, QuantParam], np.ndarray] = {}

    def params(self, node: Node, w: np.ndarray, axis: int | None) -> QuantParam:
        """The parameters of the node's weight, whose output channels are its dimension `axis`."""
        if node not in self._params:
            quant = self._plain(node, w, axis)
            self._params[node] = paired_scales(node, w, quant) if self._paired(node) else quant
        return self._params[node]

    def _bits(self, node: Node, w: np.ndarray, axis: int | None) -> int:
        """The width of the weight; at least 8 bits where a channel has few or the layer is fine, unless it is named."""
        settings = self.settings
        fine = has_few(w, axis) or node in self._fine
        bits = settings.layer_bits.get(node, max(settings.bits, 8) if fine else settings.bits)
        return bits if node in self.wide else min(bits, 8)

    def codes(self, node: Node, w: np.ndarray, quant: QuantParam) -> np.ndarray:
        """The codes, int16 of more than 8 bits; the same array for all forms: whoever wants others replaces it."""
        if (node, quant) not in self._codes:
            self._codes[node, quant] = (
                paired_codes(node, w, quant)
                if self._paired(node)
                else quantize(w, quant, storage_dtype(quant.bits), narrow=True)
            )
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

    def _paired(self, node: Node) -> bool:
        return bool(self.settings.pairs) and node not in self._without_pairs and node not in self.wide

    def _plain(self, node: Node, w: np.ndarray, axis: int | None) -> QuantParam:
        settings = self.settings
        return symmetric(w, axis if settings.per_channel else None, self._bits(node, w, axis))
