"""AtRunTime: an operator that moves elements, by parameters (its attributes elsewhere) that a run brings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..execute import execute
from ..ir import Node
from ..opdef import REQUIRED, Case, Inferred, Quant, op, row
from .types import fail, value_dtype

_MOVES = ("Transpose", "SpaceToBatchND", "BatchToSpaceND")


def _infer(node: Node) -> Inferred:
    x, keys = node.inputs[0], node.attrs["keys"]
    assert x is not None
    if node.attrs["of"] not in _MOVES or len(keys) != len(node.inputs) - 1:
        fail(node, f"{node.attrs['of']} by {len(node.inputs) - 1} parameters {keys}")
    if any(t is None or t.dtype.kind not in "iu" for t in node.inputs[1:]):
        fail(node, "its parameters must be integers")
    return [(value_dtype(x), None if x.shape is None else (None,) * len(x.shape))]


def _lists(keys: Sequence[str], params: Sequence[Any]) -> dict[str, list[int]]:
    return {k: [int(v) for v in np.reshape(p, -1)] for k, p in zip(keys, params)}


def _inner(node: Node, arrays: Sequence[Any]) -> Any:
    """What the operator computes, with its own checks and its own meaning of codes."""
    attrs = _lists(node.attrs["keys"], arrays[1:])
    inner = Node(node.attrs["of"], node.name, [node.inputs[0]], node.outputs, attrs)
    row(inner.op).infer(inner)
    return execute(inner, arrays[:1])


@op(
    "AtRunTime",
    attrs={"of": REQUIRED, "keys": REQUIRED},
    infer=_infer,
    arity=(2, None),
    quant=Quant(output="same"),
    integer=_inner,
    foldable=False,
    cases=[
        Case(((2, 3, 4), np.int32([2, 0, 1])), {"of": "Transpose", "keys": ["perm"]}),
        Case(((4, 2, 3), np.int32([2]), np.int32([0, 1])), {"of": "BatchToSpaceND", "keys": ["block", "crops"]}),
    ],
)
def at_run_time(x: np.ndarray, *params: np.ndarray, of: str, keys: list[str]) -> np.ndarray:
    """The operator `of` on x, its attributes `keys` given by the other inputs."""
    return row(of).reference(x, **_lists(keys, params))
