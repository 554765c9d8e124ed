"""Recurrent layers that a container has no operator for are written step by step, up to a limit."""

from __future__ import annotations

import math

from ...ir import Node, Tensor

MOST_STEPS = 512
"""Each step is a dozen operators."""
MOST_BYTES = 512 << 20
"""Of recurrent weights in all steps: runtimes keep a rearranged float copy of its weights for every operator."""


def copies_fit(weights: Tensor | None, copies: int) -> bool:
    """Whether so many float copies of the recurrent weights are within `MOST_BYTES`."""
    return weights is not None and weights.is_static and 4 * copies * math.prod(weights.static_shape) <= MOST_BYTES


def why_not_unrolled(node: Node) -> str:
    """Why the steps of a recurrent node cannot be written one by one, "" where they can."""
    x, w, r = node.required(0), node.required(1), node.required(2)
    return why_not_steps(x, 0) or ("" if w.is_static else "the sizes of its weights are not known") or _heavy(x, r)


def why_not_steps(x: Tensor, axis: int) -> str:
    """Why the steps of x along an axis cannot be written one by one, "" where they can."""
    steps = None if x.shape is None else x.shape[axis]
    if not isinstance(steps, int):
        return f"the steps of {x.name!r} are not known, and each would be written"
    if not 0 < steps <= MOST_STEPS:
        return f"its {steps} steps are outside 1..{MOST_STEPS}, where each is written"
    return ""


def _heavy(x: Tensor, r: Tensor) -> str:
    if not r.is_static:
        return "the sizes of its weights are not known"
    steps = x.size(0)
    if copies_fit(r, steps):
        return ""
    return f"its recurrent weights {list(r.shape or ())} of {steps} steps exceed {MOST_BYTES >> 20} MB"
