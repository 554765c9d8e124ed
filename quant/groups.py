"""Tensors that must share scale and zero point, as union-find.

A row whose output keeps its input's parameters (concat, pool, reshape, pad, max …) ties its tensors together. A fixed
range (softmax) is the range of its whole group; where it would clip what else is in the group, the fixed tensor stays
out and an explicit requantization is inserted on the edge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..converter.ir import Graph, Node, Tensor
from .placement import Placement, cell_of, data_inputs, moves, tensors_in_codes


@dataclass
class Group:
    """Tensors of one scale, in graph order. sources: whose values decide the range. fixed: (scale, zero_point)."""

    members: list[Tensor]
    sources: list[Tensor]
    fixed: tuple[float, int] | None = None

    @property
    def name(self) -> str:
        return self.members[0].name


@dataclass
class Groups:
    """All groups; `of` finds a tensor's. requantize: (node, input index) pairs with an explicit requantization."""

    groups: list[Group]
    requantize: dict[tuple[Node, int], Tensor] = field(default_factory=dict)
    of: dict[Tensor, Group] = field(default_factory=dict)


def make_groups(graph: Graph, plan: Placement, seen: Callable[[Tensor], tuple[float, float]]) -> Groups:
    """Groups the tensors that exist as codes. seen: a tensor's observed (low, high)."""
    fixed = {
        node.outputs[0]: cell_of(node).fixed for node in graph.nodes if node in plan.integer and cell_of(node).fixed
    }
    parent: dict[Tensor, Tensor] = {t: t for t in tensors_in_codes(graph, plan)}

    def root(t: Tensor) -> Tensor:
        while parent[t] is not t:
            parent[t] = parent[parent[t]]
            t = parent[t]
        return t

    apart: dict[tuple[Node, int], Tensor] = {}
    for node in graph.nodes:
        if node not in plan.integer or not moves(node):
            continue
        inputs = [(i, node.inputs[i]) for i in data_inputs(node)]
        ends = [t for _, t in inputs if t is not None and t not in fixed] + list(node.outputs)
        lone = len({t for _, t in inputs}) == 1
        for i, t in inputs:
            if t is None or t not in fixed:
                continue
            low, high = _bounds(fixed[t])  # pyright: ignore[reportArgumentType]
            inside = all(low <= seen(x)[0] and seen(x)[1] <= high for x in ends)
            if lone or inside:
                ends.append(t)
            else:
                apart[node, i] = t
        for t in ends[1:]:
            a, b = root(ends[0]), root(t)
            if a is not b:
                parent[b] = a
    members: dict[Tensor, list[Tensor]] = {}
    for t in parent:
        members.setdefault(root(t), []).append(t)
    made_by = {t: n for n in graph.nodes for t in n.outputs}
    result = Groups([], apart)
    for tensors in members.values():
        kinds = [fixed[t] for t in tensors if t in fixed]
        sources = [t for t in tensors if t not in made_by or made_by[t] not in plan.integer or not moves(made_by[t])]
        group = Group(tensors, sources or tensors[:1], kinds[0] if kinds else None)
        result.groups.append(group)
        result.of.update(dict.fromkeys(tensors, group))
    return result


def _bounds(fixed: tuple[float, int]) -> tuple[float, float]:
    scale, zero = fixed
    return (-128 - zero) * scale - scale / 2, (127 - zero) * scale + scale / 2
