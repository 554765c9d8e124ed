"""Recurrent layers that a container has no operator for are written step by step, up to a limit."""

from __future__ import annotations

import math

from ..ir import Node

MOST_STEPS = 512
"""Each step is a dozen operators."""
MOST_BYTES = 512 << 20
"""Of recurrent weights in all steps: runtimes keep a rearranged float copy of its weights for every operator."""


def copies_fit(node: Node, copies: int) -> bool:
    """Whether so many float copies of the recurrent weights are within `MOST_BYTES`."""
    r = node.inputs[2]
    return r is not None and r.is_static and 4 * copies * math.prod(r.shape) <= MOST_BYTES  # pyright: ignore


def why_not_unrolled(node: Node) -> str:
    """Why the steps of a recurrent node cannot be written one by one, "" where they can."""
    x, w, r = node.inputs[0], node.inputs[1], node.inputs[2]
    assert x is not None
    steps = None if x.shape is None else x.shape[0]
    if not isinstance(steps, int):
        return f"the steps of {x.name!r} are not known, and each would be written"
    if not 0 < steps <= MOST_STEPS:
        return f"its {steps} steps are outside 1..{MOST_STEPS}, where each is written"
    if any(t is None or not t.is_static for t in (w, r)):
        return "the sizes of its weights are not known"
    if not copies_fit(node, steps):
        return f"its recurrent weights {list(r.shape)} of {steps} steps exceed {MOST_BYTES >> 20} MB"  # pyright: ignore
    return ""
