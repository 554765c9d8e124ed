"""Tensors that must share scale and zero point, as union-find.

A row whose output keeps its input's parameters (concat, pool, reshape, pad, max …) ties its tensors together. A fixed
range (softmax) is the range of its whole group; where it would clip what else is in the group, the fixed tensor stays
out and an explicit requantization is inserted on the edge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ...converter.ir import Graph, Node, Tensor
from ...converter.schema.op import quant_spec
from .placement import Placement, activation_bits, data_inputs, preserves_qparams


@dataclass
class Group:
    """Tensors of one scale, in graph order. sources: whose values decide the range. fixed: (scale, zero_point). bits:
    of their codes."""

    members: list[Tensor]
    sources: list[Tensor]
    fixed: tuple[float, int] | None = None
    bits: int = 8

    @property
    def name(self) -> str:
        return self.members[0].name


@dataclass
class Groups:
    """All groups; `of` finds a tensor's. requantize: (node, input index) pairs with an explicit requantization, to the
    output's parameters where these are the inputs', else to codes of another width."""

    groups: list[Group]
    requantize: dict[tuple[Node, int], Tensor] = field(default_factory=dict)
    of: dict[Tensor, Group] = field(default_factory=dict)


def make_groups(graph: Graph, plan: Placement, seen: Callable[[Tensor], tuple[float, float]]) -> Groups:
    """Groups the tensors that exist as codes. seen: a tensor's observed (low, high)."""
    bits = activation_bits(graph, plan)
    ties = _Ties(list(bits), seen, bits)
    for node in graph.nodes:
        if node in plan.integer - plan.wide and (kind := quant_spec(node).fixed) is not None:
            ties.kind[node.outputs[0]] = kind
    ties.kind.update((t, kind) for t, kind in known_codes(graph).items() if bits.get(t) == 8)
    apart: dict[tuple[Node, int], Tensor] = {}
    for node in graph.nodes:
        if node not in plan.integer:
            continue
        if not preserves_qparams(node):
            wanted = 16 if node in plan.wide else 8
            operands = ((i, node.required(i)) for i in data_inputs(node))
            apart |= {(node, i): t for i, t in operands if bits[t] != wanted}
            continue
        inputs = [(i, t) for i in data_inputs(node) if (t := node.inputs[i]) is not None]
        joined = list(node.outputs)
        lone = len({ties.root(t) for _, t in inputs}) == 1 and all(bits[t] == bits[joined[0]] for _, t in inputs)
        # What has no fixed range comes first: it is what the fixed ones must hold.
        for i, t in sorted(inputs, key=lambda item: ties.root(item[1]) in ties.kind):
            if lone or all(ties.fit(t, other) for other in joined):
                joined.append(t)
            else:
                apart[node, i] = t
        for t in joined[1:]:
            ties.join(joined[0], t)
    members: dict[Tensor, list[Tensor]] = {}
    for t in ties.parent:
        members.setdefault(ties.root(t), []).append(t)
    moved = {t for n in graph.nodes if n in plan.integer and preserves_qparams(n) for t in n.outputs}
    result = Groups([], apart)
    for tensors in members.values():
        sources = [t for t in tensors if t not in moved]
        group = Group(tensors, sources or tensors[:1], ties.kind.get(ties.root(tensors[0])), bits[tensors[0]])
        result.groups.append(group)
        result.of.update(dict.fromkeys(tensors, group))
    return result


def known_codes(graph: Graph) -> dict[Tensor, tuple[float, int]]:
    """(scale, zero point as int8) of the float tensors that a partly quantized model has as codes: what its own
    Dequantize gives, and what nothing but its own Quantize reads."""
    known: dict[Tensor, tuple[float, int]] = {}
    readers = graph.consumers()
    for node in graph.nodes:
        if node.op == "Dequantize" and (kind := _byte_kind(node.inputs[0])):
            known[node.outputs[0]] = kind
        elif node.op == "Quantize" and (kind := _byte_kind(node.outputs[0])) and (t := node.inputs[0]) is not None:
            alone = all(n.op == "Quantize" and _byte_kind(n.outputs[0]) == kind for n in readers[t])
            if alone and t.dtype.kind == "f" and t not in graph.outputs:
                known.setdefault(t, kind)
    return known


def _byte_kind(t: Tensor | None) -> tuple[float, int] | None:
    if t is None or t.is_const or t.quant is None or t.dtype.name not in ("int8", "uint8"):
        return None
    if t.quant.bits != 8 or len(t.quant.scale) != 1:
        return None
    return float(t.quant.scale[0]), int(t.quant.zero_point[0]) - (128 if t.dtype.name == "uint8" else 0)


class _Ties:
    """Union-find over tensors; a root knows what its class has been seen to hold, and its fixed range if it has one."""

    def __init__(
        self, tensors: list[Tensor], seen: Callable[[Tensor], tuple[float, float]], bits: Mapping[Tensor, int]
    ) -> None:
        self.bits = bits
        self.parent = {t: t for t in tensors}
        self.reach = {t: seen(t) for t in tensors}
        self.kind: dict[Tensor, tuple[float, int]] = {}

    def root(self, t: Tensor) -> Tensor:
        while self.parent[t] is not t:
            self.parent[t] = self.parent[self.parent[t]]
            t = self.parent[t]
        return t

    def fit(self, a: Tensor, b: Tensor) -> bool:
        """Whether one class of both would clip nothing."""
        a, b = self.root(a), self.root(b)
        if self.bits[a] != self.bits[b]:
            return False
        kinds = [self.kind[t] for t in (a, b) if t in self.kind]
        if not kinds or len(set(kinds)) > 1:
            return not kinds
        low, high = _bounds(kinds[0])
        return all(low <= self.reach[t][0] and self.reach[t][1] <= high for t in (a, b) if t not in self.kind)

    def join(self, a: Tensor, b: Tensor) -> None:
        a, b = self.root(a), self.root(b)
        if a is b:
            return
        self.parent[b] = a
        self.reach[a] = (min(self.reach[a][0], self.reach[b][0]), max(self.reach[a][1], self.reach[b][1]))
        if b in self.kind:
            self.kind.setdefault(a, self.kind[b])


def _bounds(fixed: tuple[float, int]) -> tuple[float, float]:
    scale, zero = fixed
    return (-128 - zero) * scale - scale / 2, (127 - zero) * scale + scale / 2
