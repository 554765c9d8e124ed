"""The integer graph before training: which of its tensors share a learned scale, and what its constants are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from ..converter.ir import Graph, Node, Tensor
from ..converter.numeric.qparams import code_range
from ..quant.ptq.placement import weight_index
from ..quant.ptq.result import Result
from .sources import Fixed, Moved, Norm, NormedBias, Source, norm_of


@dataclass
class Bias:
    """A bias: the float constant it is made of ("" for none), the codes that its layer reads, and its weight, None
    where it stays float."""

    source: str
    input: Tensor
    weight: Tensor | None


@dataclass
class Weight:
    """A weight in codes: the float constant it is made of, its channel axis, bits, and the biases that its scale must
    leave room for."""

    source: str
    axis: int | None
    bits: int
    scale: np.ndarray
    elements: int
    biases: list[Bias] = field(default_factory=list)

    @property
    def range(self) -> tuple[int, int]:
        return code_range(self.bits, narrow=self.bits > 1)

    def initial(self) -> tuple[torch.Tensor, list[int], list[int]]:
        count = len(self.scale)
        return torch.from_numpy(self.scale.astype(np.float32)), [self.elements] * count, [self.range[1]] * count


@dataclass
class Skeleton:
    """The graph and, by its tensors, what training decides.

    slots: tensor in codes → its place among the learned scales; initial, zero_points, bits, elements, fixed: by place.
    operands: constant in codes → the float constant. weights, biases: constants of layers. last: float layers whose
    input is in codes → the layer on codes. norms: layer → the BatchNorm that its weight has taken in; plain_bias: its
    own bias before. sources: float constant → where its values come from. free: those that are parameters of their own.
    order: the nodes, each with the tensors that nothing reads after it. plain: the float graph; plain_of: tensor in
    codes → its tensor there.
    """

    graph: Graph
    plain: Graph
    sources: dict[str, Source]
    free: dict[str, np.ndarray]
    slots: dict[Tensor, int] = field(default_factory=dict)
    initial: list[float] = field(default_factory=list)
    zero_points: list[int] = field(default_factory=list)
    bits: list[int] = field(default_factory=list)
    elements: list[int] = field(default_factory=list)
    fixed: list[bool] = field(default_factory=list)
    operands: dict[Tensor, str] = field(default_factory=dict)
    weights: dict[Tensor, Weight] = field(default_factory=dict)
    biases: dict[Tensor, Bias] = field(default_factory=dict)
    last: dict[Node, Node] = field(default_factory=dict)
    norms: dict[Node, Norm] = field(default_factory=dict)
    plain_bias: dict[Node, Source] = field(default_factory=dict)
    order: list[tuple[Node, list[Tensor]]] = field(default_factory=list)
    plain_of: dict[Tensor, Tensor] = field(default_factory=dict)

    @property
    def free_place(self) -> dict[str, int]:
        return {name: k for k, name in enumerate(self.free)}

    def activation_scales(self) -> tuple[torch.Tensor, list[int], list[int], list[bool]]:
        most = [code_range(bits)[1] for bits in self.bits]
        return torch.tensor(self.initial, dtype=torch.float32), self.elements, most, self.fixed


def skeleton_of(result: Result, sources: Mapping[str, Source], free: Mapping[str, np.ndarray]) -> Skeleton:
    """What training decides in the graph that PostTraining has made."""
    made = Skeleton(result.graph, result.source, dict(sources), dict(free))
    _activations(made, result)
    _layers(made, result)
    _stored(made)
    made.order = _order(result.graph, made.last)
    return made


def begin_fitted(made: Skeleton, result: Result) -> None:
    """Lets weights and biases that are parameters of their own begin at the codes that PostTraining has fitted."""
    stored = {layer.bias: Bias("", layer.bias, None) for layer in result.quantized.stored.values()}
    for w, slot in made.weights.items():
        made.free[slot.source] = w.real()
    for t, bias in (made.biases | stored).items():
        # Of its own: layers that shared a bias may need different ones on codes.
        bias.source = t.name
        made.sources.setdefault(t.name, Fixed(t.real()))
        made.free[t.name] = t.real()


def _activations(made: Skeleton, result: Result) -> None:
    places: dict[int, int] = {}
    fixed = {id(result.quantized.quantized_of[t].quant) for g in result.groups.groups if g.fixed is not None
             for t in g.members if t in result.quantized.quantized_of}  # fmt: skip
    operands = {id(t.quant) for t in result.quantized.quantized_of.values()}
    for t in result.graph.tensors():
        q = t.quant
        if q is None or t.dtype not in (np.int8, np.int16) or (t.is_const and id(q) not in operands):
            continue
        if id(q) not in places:
            places[id(q)] = len(made.initial)
            made.initial.append(float(q.scale[0]))
            made.zero_points.append(int(q.zero_point[0]))
            made.bits.append(q.bits)
            made.elements.append(math.prod(n or 1 for n in (t.shape or ())[1:]))
            made.fixed.append(id(q) in fixed)
        made.slots[t] = places[id(q)]
    by_codes = {codes: t for t, codes in result.quantized.quantized_of.items()}
    made.plain_of = {t: by_codes[t] for t in made.slots if t in by_codes}
    made.operands = {t: by_codes[t].name for t in made.slots if t.is_const}


def _layers(made: Skeleton, result: Result) -> None:
    makers = result.graph.producers()
    for source, layer in result.quantized.weighted_layers.items():
        node, index = layer.node, weight_index(source)
        if index is None or node not in set(result.graph.nodes):
            continue
        w, q = source.required(index), layer.weight.qparams
        x = node.required(0)
        if layer.last and x not in made.slots:
            x = makers[x].required(0)
            twin = Node(node.op, node.name, [x, *node.inputs[1:]], node.outputs, node.attrs)
            made.last[node] = twin
        given = source.input(2)
        bias = Bias(f"{source.name}/no bias" if given is None else given.name, x, None if layer.last else layer.weight)
        if given is None:
            made.sources.setdefault(bias.source, Fixed(np.zeros(layer.bias.static_shape, np.float32)))
        made.biases[layer.bias] = bias
        slot = made.weights.get(layer.weight)
        if slot is None:
            slot = Weight(w.name, q.axis, q.bits, q.scale, w.value.size // len(q.scale))
            made.weights[layer.weight] = slot
        if not layer.last:
            slot.biases.append(bias)
        norm = norm_of(made.sources[w.name]) if w.name in made.sources else None
        if norm is not None:
            made.norms[node] = norm
            if (plain := _plain_bias(made.sources.get(bias.source))) is not None:
                made.plain_bias[node] = plain


def _plain_bias(source: Source | None) -> Source | None:
    if isinstance(source, Moved) and len(source.parts) == 1:
        source = source.parts[0]
    return source.bias if isinstance(source, NormedBias) else None


def _stored(made: Skeleton) -> None:
    """Weights in codes that layers in float read."""
    for t in made.graph.constants():
        if t.quant is not None and t.dtype.kind == "i" and t not in made.slots and t not in made.weights:
            if t in made.biases or t.name not in made.sources:
                continue
            q = t.quant
            made.weights[t] = Weight(t.name, q.axis, q.bits, q.scale, t.value.size // len(q.scale))
    for node in made.graph.nodes:
        w = node.input(1)
        if node in made.norms or w is None or w.name not in made.sources or w in made.slots:
            continue
        norm = norm_of(made.sources[w.name])
        if norm is not None and len(node.inputs) > 2 and node.inputs[2] is not None:
            made.norms[node] = norm
            if (plain := _plain_bias(made.sources.get(node.inputs[2].name))) is not None:
                made.plain_bias[node] = plain


def _order(graph: Graph, layers: Mapping[Node, Node]) -> list[tuple[Node, list[Tensor]]]:
    last: dict[Tensor, Node] = {}
    for node in graph.nodes:
        ends = (*node.inputs, *node.outputs, *(layers[node].inputs if node in layers else ()))
        last.update(dict.fromkeys((t for t in ends if t is not None and not t.is_const), node))
    held = {*graph.outputs, *graph.inputs}
    done: dict[Node, list[Tensor]] = {}
    for t, node in last.items():
        if t not in held:
            done.setdefault(node, []).append(t)
    return [(node, done.get(node, [])) for node in graph.nodes]
