"""Operators that move elements by parameters that a run brings: AtRunTime, where they are attributes elsewhere, and
StridedSliceAtRunTime, whose bounds come with masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..execute import execute
from ..ir import Node
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, row, writes
from ..schema.writing import Writing
from ._support.integer import same_codes
from ._support.params import write_cast
from ._support.types import fail, length, value_dtype

_MOVES = {
    "Transpose": "TRANSPOSE",
    "SpaceToBatchND": "SPACE_TO_BATCH_ND",
    "BatchToSpaceND": "BATCH_TO_SPACE_ND",
}


def _infer(node: Node) -> Inferred:
    x, keys = node.required(0), node.attrs["keys"]
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
        Case(((2, 3, 4), np.array([2, 0, 1], np.int32)), {"of": "Transpose", "keys": ["perm"]}),
        Case(
            ((4, 2, 3), np.array([2], np.int32), np.array([[0, 1]], np.int32)),
            {"of": "BatchToSpaceND", "keys": ["block", "crops"]},
        ),
    ],
)
def at_run_time(x: np.ndarray, *params: np.ndarray, of: str, keys: list[str]) -> np.ndarray:
    """The operator `of` on x, its attributes `keys` given by the other inputs."""
    return row(of).reference(x, **_lists(keys, params))


@writes("tflite", "AtRunTime")
def write_tflite_at_run_time(w: Writing, node: Node) -> None:
    params = [write_cast(w, node, t, np.dtype(np.int32), "parameter") for t in node.inputs[1:] if t is not None]
    w.node(_MOVES[node.attrs["of"]], node, [node.inputs[0], *params])


_MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")


def _infer_strided(node: Node) -> Inferred:
    x, count = node.required(0), None
    for t, what in zip(node.inputs[1:], ("the begins", "the ends", "the strides")):
        bounds = length(node, t, what)
        if None not in (count, bounds) and count != bounds:
            fail(node, f"{count} and {bounds} bounds")
        count = bounds if count is None else count
    if x.shape is None or count is None:
        return [(value_dtype(x), None)]
    masks = {k: node.attrs[k] & ((1 << count) - 1) for k in _MASKS}
    one, new = masks["ellipsis_mask"], masks["new_axis_mask"] & ~masks["ellipsis_mask"]
    shrunk = masks["shrink_axis_mask"] & ~one & ~new
    used = count - one.bit_count() - new.bit_count()
    if one.bit_count() > 1 or used > len(x.shape):
        fail(node, f"{count} bounds and masks {masks} for a tensor of rank {len(x.shape)}")
    return [(value_dtype(x), (None,) * (len(x.shape) + new.bit_count() - shrunk.bit_count()))]


def _strided(x: np.ndarray, begin: np.ndarray, end: np.ndarray, step: np.ndarray, **masks: int) -> np.ndarray:
    bounds = [np.reshape(v, -1).tolist() for v in (begin, end, step)]
    if 0 in bounds[2]:
        raise ValueError("a stride is 0")
    index: list[Any] = []
    for i, (low, high, by) in enumerate(zip(*bounds)):
        bit = {k: masks[k] >> i & 1 for k in _MASKS}
        if bit["ellipsis_mask"]:
            index.append(Ellipsis)
        elif bit["new_axis_mask"]:
            index.append(np.newaxis)
        elif bit["shrink_axis_mask"]:
            index.append(0 if bit["begin_mask"] else low)
        else:
            index.append(slice(None if bit["begin_mask"] else low, None if bit["end_mask"] else high, by))
    return np.asarray(x[tuple(index)])


@op(
    "StridedSliceAtRunTime",
    attrs=dict.fromkeys(_MASKS, 0),
    infer=_infer_strided,
    arity=4,
    quant=Quant(output="same"),
    integer=same_codes(_strided),
    foldable=False,
    cases=[
        Case(((3, 4), np.array([2, 0], np.int32), np.array([0, 3], np.int32), np.array([-1, 2], np.int32))),
        Case(
            ((3, 4, 2), np.array([0, 0, 1], np.int32), np.array([0, 0, 2], np.int32), np.array([1, 1, 1], np.int32)),
            {"ellipsis_mask": 1, "new_axis_mask": 2},
        ),
        Case(
            ((3, 4), np.array([-1, 1], np.int32), np.array([0, 9], np.int32), np.array([1, 1], np.int32)),
            {"shrink_axis_mask": 1, "end_mask": 2},
        ),
    ],
)
def strided_slice_at_run_time(
    x: np.ndarray, begin: np.ndarray, end: np.ndarray, step: np.ndarray, **masks: int
) -> np.ndarray:
    """TFLite's STRIDED_SLICE: numpy's slices; mask bits open a bound, insert or take an axis, or skip several."""
    return _strided(x, begin, end, step, **masks)


@writes("tflite", "StridedSliceAtRunTime")
def write_tflite_strided_slice(w: Writing, node: Node) -> None:
    bounds = [write_cast(w, node, t, np.dtype(np.int32), "bounds") for t in node.inputs[1:] if t is not None]
    w.node("STRIDED_SLICE", node, [node.inputs[0], *bounds], fields=node.attrs)
