"""Equalization of activation channels: every channel of an int8 tensor uses the whole range of its codes.

Scaling channel c of an activation by s_c multiplies the producer's weights and bias of that output channel by s_c
(free: weights have a scale per output channel) and divides the consumers' weights of that input channel. A depthwise
consumer pays nothing either; for others the weights of one output channel spread wider, so s_c = (R / r_c)^alpha, r_c
the channel's largest magnitude, R the tensor's, with alpha chosen per tensor by the noise that both roundings give at
the consumers' outputs. What passes channels on (Add, pools, Concat, Relu …) ties their factors together.

The network's function stays the same. A ReLU6 is left alone: scaled, it would clip a channel at what calibration saw of
it, which costs more on other data than the finer codes bring (0.7 dB on MobileNetV2). For the same reason a channel
that only few samples make active counts as one that may go much further.
(After Nagel et al. 2019, "Data-free quantization through weight equalization", on activations; SmoothQuant's
trade-off.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...converter.ir import Graph, Node, Tensor
from ...converter.schema.op import quant_spec
from .placement import weight_index

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
MAX_FACTOR = 256.0
HEADROOM = 1.25


@dataclass
class Channels:
    """Which channels must be scaled alike: `of[t]` names a class per channel of the tensor; pinned ones keep 1."""

    of: dict[Tensor, np.ndarray]
    blocks: dict[Tensor, int]
    pinned: np.ndarray


def equalize(
    graph: Graph, seen: Mapping[Tensor, np.ndarray], integer: set[Node], alpha: float | None = None
) -> dict[str, np.ndarray]:
    """Scales the graph's weights in place.

    Args:
        seen: of the tensors that exist as codes, float[samples, channels]: how far each channel of the last axis goes
            in the samples where it goes furthest, from the largest down (`ChannelReach`).
        integer: the nodes that compute on codes; only what lies between them is scaled.
        alpha: the exponent for every tensor instead of the best of ALPHAS.
    Returns: tensor name → factors, of the tensors that were scaled.
    """
    channels = link_channels(graph, integer)
    factors = np.ones(len(channels.pinned))
    reach, expected = _reaches(channels, seen)
    by_block: dict[int, list[Tensor]] = {}
    for t, block in channels.blocks.items():
        by_block.setdefault(block, []).append(t)
    for tensors in by_block.values():
        ids = np.unique(np.concatenate([channels.of[t] for t in tensors]))
        if channels.pinned[ids].any() or not reach[ids].any():
            continue
        full = reach[ids].max()
        wish = np.clip(full / np.maximum(expected[ids], full / MAX_FACTOR), 1.0, MAX_FACTOR)
        best = _best_alpha(graph, channels, tensors, ids, wish, reach) if alpha is None else alpha
        factors[ids] = _coarse(wish**best)
    _apply(graph, channels, factors)
    return {t.name: factors[ids] for t, ids in channels.of.items() if (factors[ids] != 1).any()}


def _reaches(channels: Channels, seen: Mapping[Tensor, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Each class's largest magnitude, and what other samples are expected to have: as much more as the largest is over
    the least of those that `seen` has. A channel that few samples made active may go anywhere: infinity."""
    rows = max((len(a) for a in seen.values()), default=1)
    largest = np.zeros((rows, len(channels.pinned)))
    for t, ids in channels.of.items():
        for row, values in zip(largest, seen.get(t, ())):
            np.maximum.at(row, ids, values.astype(np.float64))
    reach, least = largest[0], largest[-1]
    squares = np.divide(reach * reach, least, out=np.full_like(reach, np.inf), where=least > 0)
    return reach, np.maximum(squares, reach * HEADROOM)


def scalable(graph: Graph, integer: set[Node]) -> set[Tensor]:
    """The tensors whose channels `equalize` may scale: it needs the extremes of no others."""
    channels = link_channels(graph, integer)
    fixed = {block for t, block in channels.blocks.items() if channels.pinned[channels.of[t]].any()}
    return {t for t, block in channels.blocks.items() if block not in fixed}


def scale_channels(graph: Graph, integer: set[Node], factors: Mapping[str, np.ndarray]) -> None:
    """Scales the graph's weights in place by factors that `equalize` returned for the same model."""
    channels = link_channels(graph, integer)
    of_class = np.ones(len(channels.pinned))
    for t, ids in channels.of.items():
        if t.name in factors and len(factors[t.name]) == len(ids):
            of_class[ids] = factors[t.name]
    _apply(graph, channels, of_class)


def _coarse(x: np.ndarray) -> np.ndarray:
    """Rounded to 8 significant bits, which no difference between two libraries' pow survives in practice."""
    fraction, exponent = np.frexp(x)
    return np.ldexp(np.rint(fraction * 256), exponent - 8)


def mixes(node: Node) -> str:
    """ "full" for a layer that mixes all channels, "each" for a depthwise one, "" for what cannot be scaled."""
    index, cell = weight_index(node), quant_spec(node)
    x, y = node.inputs[0], node.outputs[0]
    if index != 1 or x is None or not x.shape or not y.shape or x.shape[-1] is None or y.shape[-1] is None:
        return ""
    return cell.mixes_channels(node) if cell.mixes_channels is not None else ""


def link_channels(graph: Graph, integer: set[Node], *, order: bool = False) -> Channels:
    """The classes of channels of every tensor that int8 nodes exchange.

    order: for permuting channels and not for scaling them: a depthwise layer ties both, and activations may clamp.
    """
    of: dict[Tensor, np.ndarray] = {}
    parent: list[int] = []
    block_parent: dict[Tensor, Tensor] = {}
    pins: list[np.ndarray] = []
    for t in graph.tensors():
        if not t.is_const and t.shape and t.shape[-1] is not None and t.dtype.kind == "f":
            of[t] = np.arange(len(parent), len(parent) + t.shape[-1])
            parent.extend(range(len(parent), len(parent) + t.shape[-1]))
            block_parent[t] = t

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def block(t: Tensor) -> Tensor:
        while block_parent[t] is not t:
            t = block_parent[t]
        return t

    def link(a: Tensor, b: Tensor, first: int = 0) -> None:
        """Ties channel i of a to channel first + i of b."""
        for i, j in zip(of[a].tolist(), of[b][first : first + len(of[a])].tolist()):
            parent[root(i)] = root(j)
        block_parent[block(a)] = block(b)

    def pin(t: Tensor | None) -> None:
        if t is not None and t in of:
            pins.append(of[t])

    for t in (*graph.inputs, *graph.outputs):
        pin(t)
    tied = {t for t, users in graph.consumers().items() if t.is_const and len(users) > 1}
    for node in graph.nodes:
        x, y = node.inputs[0] if node.inputs else None, node.outputs[0] if node.outputs else None
        known = node in integer and x is not None and x in of and y is not None and y in of
        homogeneous = order or node.attrs.get("act", "none") in ("none", "relu")
        if known and mixes(node) and not any(t in tied for t in node.inputs):
            if order and mixes(node) == "each":
                link(node.required(0), node.outputs[0])
            if not homogeneous:
                pin(y)
        elif known and homogeneous and (starts := _passes_channels(node)) is not None:
            y = node.outputs[0]
            for t, first in zip(node.inputs, starts):
                if t is None or t.dtype.kind != "f":
                    continue
                if t not in of:
                    pin(y)
                elif first + len(of[t]) <= len(of[y]):
                    link(t, y, first)
                else:
                    pin(t)
                    pin(y)
        else:
            for t in (*node.inputs, *node.outputs):
                pin(t)
    classes = np.array([root(i) for i in range(len(parent))], np.int64)
    pinned = np.zeros(len(parent), bool)
    for ids in pins:
        pinned[classes[ids]] = True
    places = {t: k for k, t in enumerate(of)}
    return Channels({t: classes[ids] for t, ids in of.items()}, {t: places[block(t)] for t in of}, pinned)


def _passes_channels(node: Node) -> Sequence[int] | None:
    cell = quant_spec(node)
    return None if cell.passes_channels is None else cell.passes_channels(node)


def by_input(node: Node) -> np.ndarray:
    """The layer's weight as [O, taps, I], float64."""
    w, x = node.required(1), node.required(0)
    channels = x.size(-1)
    return w.value.astype(np.float64).reshape(w.value.shape[0], -1, channels)


def _best_alpha(
    graph: Graph, channels: Channels, tensors: list[Tensor], ids: np.ndarray, wish: np.ndarray, reach: np.ndarray
) -> float:
    """The exponent with the least noise at the consumers' outputs, relative to their weights' energy.

    Noise of activations: a uniform step of R / 255 over s_i, through w. Noise of weights: a step per output channel of
    max |w / s| / 127, times the activation's energy s² x², x² taken as (r / 3)².
    """
    inside = set(tensors)
    at = np.zeros(len(channels.pinned), np.int64)
    at[ids] = np.arange(len(ids))
    users = [n for n in graph.nodes if n.inputs and n.inputs[0] in inside and mixes(n) == "full"]
    if not users:
        return 1.0
    costs = []
    for a in ALPHAS:
        s, cost = wish**a, 0.0
        top = float((reach[ids] * s).max())
        for node in users:
            where = at[channels.of[node.required(0)]]
            w, si, r = by_input(node), s[where], reach[ids][where]
            energy = np.square(w).sum(axis=(0, 1))
            signal = float((energy * np.square(r / 3)).sum())
            noise = float((energy / np.square(si)).sum()) * (top / 255) ** 2 / 12
            step = (np.abs(w) / si).max(axis=(1, 2)) / 127
            noise += float(np.square(step).sum()) / 12 * w.shape[1] * float(np.square(si * r / 3).sum())
            cost += noise / max(signal, 1e-300)
        costs.append(cost)
    best = min(costs)
    return next(a for a, c in zip(ALPHAS, costs) if c <= best * (1 + 1e-6))


def _apply(graph: Graph, channels: Channels, factors: np.ndarray) -> None:
    for node in graph.nodes:
        kind = mixes(node)
        x, y = node.inputs[0] if node.inputs else None, node.outputs[0] if node.outputs else None
        if not kind or x is None or y is None or x not in channels.of or y not in channels.of:
            continue
        into, out = factors[channels.of[x]], factors[channels.of[y]]
        if (into == 1).all() and (out == 1).all():
            continue
        w, cell = node.required(1), quant_spec(node)
        if kind == "full":
            data = by_input(node) / into * out[:, None, None]
        else:
            data = w.value.astype(np.float64).reshape(len(out), -1) * (out / into)[:, None]
        node.inputs[1] = like(w, data)
        if cell.bias is not None and (b := node.input(cell.bias)) is not None and b.data is not None:
            node.inputs[cell.bias] = like(b, b.data.astype(np.float64) * out)


def like(t: Tensor, data: np.ndarray) -> Tensor:
    data = data.astype(np.float32).reshape(t.static_shape)
    return Tensor(t.name, data.dtype, data.shape, data)
