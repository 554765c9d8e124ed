"""The graph as SVG: the file of `--graph`, and the part of the page whose nodes are coloured and clicked."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ...converter.text import one_line
from ..tables import cut
from .layout import HIGH, WIDE, layered
from .nodes import Row

STYLE = """
.node rect { fill: #e8edf4; stroke: #7d8ba0; }
.node.int8 rect { fill: #cfe3ff; stroke: #4a7fc1; } .node.codes rect { fill: #d5f0e3; stroke: #3f9673; }
.node text { font: 12px system-ui, sans-serif; fill: #14202e; text-anchor: middle; }
.node .shape { font-size: 10px; fill: #3c4a5c; }
.edge { fill: none; stroke: #8593a6; stroke-width: 1.2; }
.arrow { fill: #8593a6; }
"""
_MARGIN = 8.0
_LETTERS = 24


def svg(rows: Sequence[Row], *, title: str = "", alone: bool = True) -> str:
    """The picture. alone: a file of its own with its style, namespace and a box for what it is seen through."""
    inputs = [[i for i in row["inputs"] if i >= 0] for row in rows]
    layout = layered(inputs)
    width, height = layout.width + 2 * _MARGIN, layout.height + 2 * _MARGIN
    parts = [
        f'<svg{" xmlns=" + chr(34) + "http://www.w3.org/2000/svg" + chr(34) if alone else ""} class="graph"'
        f' width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">',
        f"<title>{escape(one_line(title))}</title>" if title else "",
        f"<style>{STYLE}</style>" if alone else "",
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="arrow" d="M0,0 8,4 0,8z"/></marker></defs>',
        f'<g transform="translate({_MARGIN:g},{_MARGIN:g})">',
    ]
    for points in layout.edges.values():
        parts.append(f'<path class="edge" marker-end="url(#arrow)" d="{_curve(points)}"/>')
    for k, (row, (x, y)) in enumerate(zip(rows, layout.at)):
        parts.append(_node(k, row, x, y))
    return "\n".join([*filter(None, parts), "</g></svg>"]) + "\n"


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """A line from the lower edge of one box to the upper edge of the other, upright at its points."""
    (x, y), *middle = points
    y += HIGH / 2
    words = [f"M{x:g},{y:g}"]
    for k, (nx, ny) in enumerate(middle):
        ny -= HIGH / 2 if k == len(middle) - 1 else 0
        half = (y + ny) / 2
        words.append(f"V{ny:g}" if nx == x else f"C{x:g},{half:g} {nx:g},{half:g} {nx:g},{ny:g}")
        x, y = nx, ny
    return " ".join(words)


def _node(k: int, row: Row, x: float, y: float) -> str:
    shape = "×".join("?" if d is None else str(d) for d in row["shape"] or ())
    name = one_line(row["name"]).partition(";")[0]
    shown = cut("/".join(name.split("/")[-2:]), _LETTERS + 3, middle=True)
    label = cut(one_line(row["op"]), _LETTERS, middle=False)
    return (
        f'<g class="node {row["computes"]}" data-node="{k}" transform="translate({x - WIDE / 2:g},{y - HIGH / 2:g})">'
        f"<title>{escape(name)}: {escape(one_line(row['op']))}, {row['dtype']} {shape}</title>"
        f'<rect width="{WIDE:g}" height="{HIGH:g}" rx="5"/><text x="{WIDE / 2:g}" y="14">{escape(label)}</text>'
        f'<text class="shape" x="{WIDE / 2:g}" y="27">{escape(shown)}</text></g>'
    )
