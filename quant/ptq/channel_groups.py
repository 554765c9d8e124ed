"""Channels of an activation in groups of like ranges, each with a scale of its own: Sophgo's conv_group.

A → B, two convolutions between which nothing else reads, become A₁ → B₁ and A₂ → B₂, whose sum is what B gave: A's
output channels are parted by their ranges, B's input channels alike. It helps where small channels weigh much in B and
evening them out (`equalize`) cannot, as behind a ReLU6.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...converter.ir import Graph, NameScope, Node, Tensor
from ...converter.passes.edit import trail
from ...converter.schema.node import make_node
from ...native.session import Session

SAMPLES = 8
"""On which ranges are looked at: they only choose what is tried."""
_GAIN = 0.5  # of the noise of codes that must go for a pair to be tried


def group_channels(graph: Graph, samples: Iterable[Mapping[str, np.ndarray]], threads: int = 1) -> list[str]:
    """Groups, in place, where the noise of 8-bit codes at B's output becomes half of what it was or less.

    Returns:
        The names of the convolutions B that became two.
    """
    pairs = _pairs(graph)
    reach = _reach(graph, {t for a, b in pairs for t in (a.outputs[0], b.outputs[0])}, samples, threads)
    names = NameScope(item.name for group in (graph.tensors(), graph.nodes) for item in group)
    grouped, used = [], set[Node]()
    for a, b in pairs:
        if used & {a, b} or a.outputs[0] not in reach:
            continue
        small = _small_channels(reach[a.outputs[0]], b.required(1).value, float(reach[b.outputs[0]].max()))
        if small is not None:
            _part(graph, a, b, small, names)
            used |= {a, b}
            grouped.append(b.name)
    return grouped


def _pairs(graph: Graph) -> list[tuple[Node, Node]]:
    consumers = graph.consumers()
    found = []
    for a in graph.nodes:
        readers = consumers.get(a.outputs[0], []) if len(a.outputs) == 1 else []
        alone = len(readers) == 1 and a.outputs[0] not in graph.outputs
        if alone and all(map(_plain_conv, (a, readers[0]))) and readers[0].inputs[0] is a.outputs[0]:
            found.append((a, readers[0]))
    return found


def _plain_conv(node: Node) -> bool:
    """A convolution of all channels, with float weights and bias that are constants."""
    if node.op != "Conv" or node.attrs["group"] != 1:
        return False
    stored = [t for t in node.inputs[1:] if t is not None]
    return all(t.is_const and t.dtype.kind == "f" for t in stored) and node.required(0).dtype.kind == "f"


def _reach(
    graph: Graph, tensors: set[Tensor], samples: Iterable[Mapping[str, np.ndarray]], threads: int
) -> dict[Tensor, np.ndarray]:
    """The largest magnitude per channel."""
    ordered = [t for t in graph.tensors() if t in tensors]
    if not ordered:
        return {}
    twin = graph.copy()
    by_name = {t.name: t for t in twin.tensors()}
    twin.outputs = [by_name[t.name] for t in ordered]
    session, reach = Session(twin, threads), dict[Tensor, np.ndarray]()
    for sample in samples:
        run = session.run(dict(sample))
        for t in ordered:
            most = np.abs(run[t.name]).reshape(-1, run[t.name].shape[-1]).max(0)
            reach[t] = np.maximum(reach[t], most) if t in reach else most
    return reach


def _small_channels(reach: np.ndarray, weight: np.ndarray, out_reach: float) -> np.ndarray | None:
    """A mask of the channels that get a scale of their own; None where that is not worth it.

    The noise of one code of a tensor is its step squared, at B's output times the squares of the weights that read the
    channel. Two results and their sum are rounded instead of one.
    """
    gain = np.square(weight, dtype=np.float64).reshape(-1, weight.shape[-1]).sum(0)
    order = np.argsort(reach, kind="stable")
    squares, weights = np.square(reach[order], dtype=np.float64), gain[order]
    before = squares[-1] * weights.sum()
    below = np.cumsum(weights)[:-1]
    after = squares[:-1] * below + squares[-1] * (weights.sum() - below)
    after += 2 * weight.shape[0] * float(out_reach) ** 2
    best = int(after.argmin()) if len(after) else 0
    if not len(after) or after[best] > _GAIN * before:
        return None
    mask = np.zeros(len(reach), bool)
    mask[order[: best + 1]] = True
    return mask


def _part(graph: Graph, a: Node, b: Node, small: np.ndarray, names: NameScope) -> None:
    parts: list[Node] = []

    def constant(name: str, data: np.ndarray) -> Tensor:
        data = np.ascontiguousarray(data)
        return Tensor(names.take(name), data.dtype, data.shape, data)

    def conv(node: Node, x: Tensor, w: np.ndarray, bias: np.ndarray | None, k: int, attrs: dict[str, Any]) -> Tensor:
        y = node.outputs[0]
        shape = None if y.shape is None else (*y.shape[:-1], len(w))
        out = Tensor(names.take(f"{y.name}/group{k}"), y.dtype, shape)
        stored = [constant(f"{node.name}/group{k}/w", w)]
        if bias is not None:
            stored.append(constant(f"{node.name}/group{k}/b", bias))
        name = names.take(f"{node.name}/group{k}")
        parts.append(make_node("Conv", [x, *stored], attrs, name=name, outputs=[out], origin=trail(node)))
        return out

    wa, wb = a.required(1).value, b.required(1).value
    ba, bb = (t.value if t is not None else None for t in (a.input(2), b.input(2)))
    sums = []
    for k, mask in enumerate((small, ~small)):
        inner = conv(a, a.required(0), wa[mask], None if ba is None else ba[mask], k, a.attrs)
        sums.append(conv(b, inner, wb[..., mask], bb if k == 0 else None, k, b.attrs | {"act": "none"}))
    total = make_node(
        "Add", sums, {"act": b.attrs["act"]}, name=names.take(f"{b.name}/sum"), outputs=b.outputs, origin=trail(b)
    )
    place = graph.nodes.index(b)
    graph.nodes[place : place + 1] = [*parts, total]
    graph.nodes.remove(a)
