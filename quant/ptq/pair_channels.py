"""Which channels stand side by side: an order in which fewer neighbouring weights exceed what 16 bits hold in pairs.

Channels of an activation may stand in any order: the layers that give it permute their outputs, those that take it
their inputs, and what passes channels on stays as it is. The function is the same, and `paired_weights` widens scales
less. Channels are matched by the squares of what their weights exceed `pairs.MOST` by together, and exchanged
while that lessens the sum.
"""

from __future__ import annotations

from collections.abc import Iterator

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
    for strand in _strands(graph, channels):
        users = list(_users(graph, channels, strand))
        cost = _costs(users, len(strand))
        if cost is None or not cost.any():
            continue
        _permute(graph, channels, strand, _native.match_pairs(cost, _SWEEPS))


def _strands(graph: Graph, channels: Channels) -> list[np.ndarray]:
    """The classes of channels that layers give, in their order, where nothing splits, overlaps or pins them."""
    vectors = {channels.of[n.outputs[0]].tobytes(): channels.of[n.outputs[0]] for n in graph.nodes
               if mixes(n) == "full" and n.outputs[0] in channels.of}  # fmt: skip
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


def _places(channels: Channels, t: Tensor | None, strand: np.ndarray) -> list[int]:
    """Where the strand begins among the channels of a tensor."""
    if t is None or t not in channels.of or not len(strand):
        return []
    return np.flatnonzero(channels.of[t] == strand[0]).tolist()


def _users(graph: Graph, channels: Channels, strand: np.ndarray) -> Iterator[np.ndarray]:
    """Magnitudes of codes, uint8 [rows, channels], of the layers that add the strand's channels in pairs."""
    for node in graph.nodes:
        if mixes(node) != "full" or not (at := _places(channels, node.inputs[0], strand)):
            continue
        w = by_input(node)
        unit = np.abs(w).max(axis=(1, 2), keepdims=True) / 127
        w = np.rint(np.abs(w) / np.where(unit > 0, unit, 1.0)).astype(np.uint8)
        if w.shape[2] % 2 == 0:
            yield from (w[:, :, k : k + len(strand)].reshape(-1, len(strand)) for k in at if k % 2 == 0)


def _costs(users: list[np.ndarray], n: int) -> np.ndarray | None:
    """[n, n]: the squares of what each two channels' weights exceed MOST by together."""
    if not users or sum(len(w) for w in users) * n * n > _MOST_SUMS:
        return None
    cost = np.zeros((n, n))
    for w in users:
        _native.add_excess(np.ascontiguousarray(w.T), MOST, cost)
    return cost


def _permute(graph: Graph, channels: Channels, strand: np.ndarray, order: np.ndarray) -> None:
    for node in graph.nodes:
        kind = mixes(node)
        x, y = node.inputs[0] if node.inputs else None, node.outputs[0] if node.outputs else None
        into = _order(channels, x, strand, order) if kind == "full" else None
        out = _order(channels, y, strand, order) if kind else None
        w = node.inputs[1] if kind else None
        if w is None or w.data is None or (into is None and out is None):
            continue
        data = by_input(node) if kind == "full" else w.data.reshape(len(w.data), -1)
        data = data if into is None else data[:, :, into]
        node.inputs[1] = like(w, data if out is None else data[out])
        cell = quant_spec(node)
        b = node.input(cell.bias) if cell.bias is not None else None
        if out is not None and cell.bias is not None and b is not None and b.data is not None:
            node.inputs[cell.bias] = like(b, b.data.reshape(-1)[out])


def _order(channels: Channels, t: Tensor | None, strand: np.ndarray, order: np.ndarray) -> np.ndarray | None:
    """The permutation of all of a tensor's channels, None where it has none of the strand."""
    at = _places(channels, t, strand)
    if not at or t is None:
        return None
    whole = np.arange(len(channels.of[t]))
    for k in at:
        whole[k : k + len(strand)] = k + order
    return whole
