"""Which channels stand side by side: an order in which fewer neighbouring weights exceed what 16 bits hold in pairs.

Channels of an activation may stand in any order: the layers that give it permute their outputs, those that take it
their inputs, and what passes channels on stays as it is. The function is the same, and `paired_weights` widens scales
less. Channels are matched by the squares of what their weights exceed `pairs.MOST` by together, and exchanged
while that lessens the sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ... import _native
from ...converter.ir import Graph, Node, Tensor
from ...converter.numeric.pairs import MOST
from ...converter.schema.op import quant_spec
from .equalize import Channels, by_input, like, link_channels, mixes

_MOST_SUMS = 1 << 29  # of two weights; a larger matrix keeps its order
_SWEEPS = 8


def pair_channels(graph: Graph, integer: set[Node]) -> None:
    """Permutes the weights of the layers in `integer` in place, where the channels between them may be permuted."""
    channels = link_channels(graph, integer, order=True)
    layers = [(n, kind) for n in graph.nodes if (kind := mixes(n))]
    strands = _strands(layers, channels)
    starts = _starts(channels, {int(strand[0]) for strand in strands})
    for strand in strands:
        at = starts[int(strand[0])]
        users = list(_users(layers, at, len(strand)))
        cost = _costs(users, len(strand))
        if cost is None or not cost.any():
            continue
        _permute(layers, at, _native.match_pairs(cost, _SWEEPS))


Layers = Sequence[tuple[Node, str]]
"""The layers with what `mixes` says of them."""


def _strands(layers: Layers, channels: Channels) -> list[np.ndarray]:
    """The classes of channels that layers give, in their order, where nothing splits, overlaps or pins them."""
    vectors = {channels.of[n.outputs[0]].tobytes(): channels.of[n.outputs[0]] for n, kind in layers
               if kind == "full" and n.outputs[0] in channels.of and len(channels.of[n.outputs[0]])}  # fmt: skip
    owners: dict[int, bytes] = {}
    broken = {key for key, ids in vectors.items() if channels.pinned[ids].any() or len(np.unique(ids)) < len(ids)}
    for key, ids in vectors.items():
        for i in ids.tolist():
            if owners.setdefault(i, key) != key:
                broken |= {key, owners[i]}
    for ids in channels.of.values():
        at = 0
        while at < len(ids):
            key = owners.get(int(ids[at]))
            whole = key is not None and np.array_equal(ids[at : at + len(vectors[key])], vectors[key])
            if key is not None and not whole:
                broken.add(key)
            at += len(vectors[key]) if key is not None and whole else 1
    return [ids for key, ids in vectors.items() if key not in broken]


def _starts(channels: Channels, firsts: set[int]) -> dict[int, dict[Tensor, list[int]]]:
    """Of each strand, by its first class, where it begins among the channels of tensors."""
    found: dict[int, dict[Tensor, list[int]]] = {first: {} for first in firsts}
    begins = np.zeros(len(channels.pinned), bool)
    begins[list(firsts)] = True
    for t, ids in channels.of.items():
        for k in np.flatnonzero(begins[ids]).tolist():
            found[int(ids[k])].setdefault(t, []).append(k)
    return found


def _users(layers: Layers, at: Mapping[Tensor, list[int]], size: int) -> Iterator[np.ndarray]:
    """Magnitudes of codes, uint8 [rows, channels], of the layers that add the strand's channels in pairs."""
    for node, kind in layers:
        if kind != "full" or not (places := at.get(node.required(0))):
            continue
        w = by_input(node)
        unit = np.abs(w).max(axis=(1, 2), keepdims=True) / 127
        w = np.rint(np.abs(w) / np.where(unit > 0, unit, 1.0)).astype(np.uint8)
        if w.shape[2] % 2 == 0:
            yield from (w[:, :, k : k + size].reshape(-1, size) for k in places if k % 2 == 0)


def _costs(users: list[np.ndarray], n: int) -> np.ndarray | None:
    """[n, n]: the squares of what each two channels' weights exceed MOST by together."""
    if not users or sum(len(w) for w in users) * n * n > _MOST_SUMS:
        return None
    cost = np.zeros((n, n))
    for w in users:
        _native.add_excess(np.ascontiguousarray(w), MOST, cost)
    return cost


def _permute(layers: Layers, at: Mapping[Tensor, list[int]], order: np.ndarray) -> None:
    """Has the strand's channels in another order in all layers that give or take them."""
    for node, kind in layers:
        w = node.required(1)
        into = _order(node.required(0), at, order) if kind == "full" else None
        out = _order(node.outputs[0], at, order)
        if into is None and out is None:
            continue
        data = w.value.reshape(w.value.shape[0], -1, node.required(0).size(-1) if kind == "full" else w.value[0].size)
        data = data if into is None else data[:, :, into]
        node.inputs[1] = like(w, data if out is None else data[out])
        cell = quant_spec(node)
        b = node.input(cell.bias) if cell.bias is not None else None
        if out is not None and cell.bias is not None and b is not None and b.data is not None:
            node.inputs[cell.bias] = like(b, b.data.reshape(-1)[out])


def _order(t: Tensor, at: Mapping[Tensor, list[int]], order: np.ndarray) -> np.ndarray | None:
    """The permutation of all of a tensor's channels, None where it has none of the strand."""
    if t not in at:
        return None
    whole = np.arange(t.size(-1))
    for k in at[t]:
        whole[k : k + len(order)] = k + order
    return whole
