"""Places for the nodes of a directed acyclic graph: layers from top to bottom, few crossings, straight edges.

Sugiyama's method: a layer per longest path from the inputs, a dummy where an edge crosses a layer, orders by
barycentres, and in each layer the positions nearest to what the neighbours want that keep their distance (isotonic
regression).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDE, HIGH = 168.0, 34.0
_GAP, _DUMMY, _RISE = 18.0, 10.0, 26.0
_DUMMIES = 100_000  # beyond so many an edge that crosses layers is drawn straight
_ORDER_SWEEPS, _PLACE_SWEEPS = 6, 8


@dataclass(frozen=True)
class Layout:
    """at: the centre of each node. edges: (from, to) → points that it runs through, ends included."""

    width: float
    height: float
    at: list[tuple[float, float]]
    edges: dict[tuple[int, int], list[tuple[float, float]]]


def layered(inputs: Sequence[Sequence[int]]) -> Layout:
    """Lays out nodes in topological order. inputs: for each node those that it reads, numbers below its own."""
    count = len(inputs)
    if not count:
        return Layout(0.0, 0.0, [], {})
    layer = _layers(inputs)
    above: list[list[int]] = [[] for _ in inputs]
    chains: dict[tuple[int, int], list[int]] = {}
    for node, sources in enumerate(inputs):
        for source in dict.fromkeys(sources):
            chain = [source]
            between = range(layer[source] + 1, layer[node])
            if len(layer) + len(between) <= count + _DUMMIES:
                for y in between:
                    layer.append(y)
                    above.append([chain[-1]])
                    chain.append(len(layer) - 1)
            above[node].append(chain[-1])
            chains[source, node] = [*chain, node]
    below: list[list[int]] = [[] for _ in layer]
    for node, sources in enumerate(above):
        for source in sources:
            below[source].append(node)
    rows: list[list[int]] = [[] for _ in range(max(layer) + 1)]
    for node in range(len(layer)):
        rows[layer[node]].append(node)
    _order(rows, above, below)
    x = _positions(rows, above, below, [WIDE if node < count else _DUMMY for node in range(len(layer))])
    left = min(x[n] - WIDE / 2 for n in range(len(layer)))
    points = [(round(x[n] - left, 1), round(layer[n] * (HIGH + _RISE) + HIGH / 2, 1)) for n in range(len(layer))]
    edges = {key: [points[n] for n in chain] for key, chain in chains.items()}
    width = max(p[0] for p in points) + WIDE / 2
    return Layout(width, len(rows) * (HIGH + _RISE) - _RISE, points[:count], edges)


def _layers(inputs: Sequence[Sequence[int]]) -> list[int]:
    """The longest path from an input; what nothing comes before moves down to the layer above its first reader."""
    layer = [0] * len(inputs)
    for node, sources in enumerate(inputs):
        layer[node] = max((layer[s] + 1 for s in sources), default=0)
    first = {}
    for node, sources in enumerate(inputs):
        for source in sources:
            first[source] = min(first.get(source, layer[node]), layer[node])
    for node, sources in enumerate(inputs):
        if not sources and node in first:
            layer[node] = first[node] - 1
    return layer


def _order(rows: list[list[int]], above: list[list[int]], below: list[list[int]]) -> None:
    place: dict[int, float] = {}
    for row in rows:
        place.update((node, float(k)) for k, node in enumerate(row))
    for sweep in range(_ORDER_SWEEPS):
        near, order = (above, rows) if sweep % 2 == 0 else (below, rows[::-1])
        for row in order:
            wish = {n: sum(place[m] for m in near[n]) / len(near[n]) if near[n] else place[n] for n in row}
            row.sort(key=lambda n: (wish[n], place[n]))
            place.update((node, float(k)) for k, node in enumerate(row))


def _positions(
    rows: list[list[int]], above: list[list[int]], below: list[list[int]], widths: list[float]
) -> list[float]:
    x = [0.0] * len(widths)
    for row in rows:
        at = 0.0
        for node in row:
            x[node] = at + widths[node] / 2
            at += widths[node] + _GAP
        for node in row:
            x[node] -= (at - _GAP) / 2
    for sweep in range(_PLACE_SWEEPS):
        last = sweep >= _PLACE_SWEEPS - 2
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            near = [above[n] + below[n] if last else (above[n] if sweep % 2 == 0 else below[n]) or [n] for n in row]
            wishes = [sum(x[m] for m in ms) / len(ms) if ms else x[n] for n, ms in zip(row, near)]
            for node, at in zip(row, _apart(wishes, [widths[n] for n in row])):
                x[node] = at
    return x


def _apart(wishes: list[float], widths: list[float]) -> list[float]:
    """The positions nearest to the wishes, by squares, in their order and without overlaps."""
    starts, offset = [], 0.0
    for k, wide in enumerate(widths):
        offset += wide / 2 if k else 0.0
        starts.append(offset)
        offset += wide / 2 + _GAP
    blocks: list[tuple[float, int]] = []
    for wish, start in zip(wishes, starts):
        value, size = wish - start, 1
        while blocks and blocks[-1][0] > value:
            other, many = blocks.pop()
            value, size = (value * size + other * many) / (size + many), size + many
        blocks.append((value, size))
    flat = [value for value, size in blocks for _ in range(size)]
    return [value + start for value, start in zip(flat, starts)]
