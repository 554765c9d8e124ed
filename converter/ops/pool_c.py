"""Pools in C: MaxPool and AveragePool of one or two spatial axes."""

from __future__ import annotations

from typing import Any

from ..ir import Node
from ..schema.op import writes
from ..schema.writing import Writing
from ._support.c_steps import (
    bounds,
    codes,
    float_step,
    is_f32,
    is_s8,
    ratio,
    refuse_types,
    same_codes,
    scale,
    window,
    zero,
)
from .pool import own_pads


def _c_pool(w: Writing, node: Node) -> tuple[dict[str, Any], dict[str, Any]]:
    """bitlite_window of a pool, and what its windows count."""
    a = own_pads(node.attrs)
    win = window(w, node, a["kernel"])
    ends = [win["in_h"], win["in_w"]]
    for axis, pad in zip((-2, -1), (0, *a["pad"][1::2])[-2:]):
        ends[axis] += pad
    counted = {"include_pad": int(a.get("count_include_pad", False)), "counted_h": ends[0], "counted_w": ends[1]}
    return win, counted


@writes("c", "MaxPool")
def write_c_max_pool(w: Writing, node: Node) -> None:
    x, y = node.required(0), node.outputs[0]
    win, counted = _c_pool(w, node)
    if is_s8(x, y):
        fields = {"x_zero": zero(x), "same": int(same_codes(x, y)), "scale": ratio(x, y), "out": codes(w, node)}
        w.node("max_pool_s8", node, [x], fields={"window": win} | fields)
    elif is_f32(x, y):
        float_step(w, node, "max_pool_f32", [x], {"window": win} | counted | bounds(node))
    else:
        refuse_types(w, node)


@writes("c", "AveragePool")
def write_c_average_pool(w: Writing, node: Node) -> None:
    x, y = node.required(0), node.outputs[0]
    win, counted = _c_pool(w, node)
    if is_s8(x, y):
        fields = {"x_zero": zero(x), "same": int(same_codes(x, y)), "x_scale": scale(x), "y_scale": scale(y)}
        fields["out"] = codes(w, node)
        w.node("average_pool_s8", node, [x], fields={"window": win} | counted | fields)
    elif is_f32(x, y):
        float_step(w, node, "average_pool_f32", [x], {"window": win} | counted | bounds(node))
    else:
        refuse_types(w, node)
