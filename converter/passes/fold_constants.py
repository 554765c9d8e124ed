"""Computes while converting what depends on constants only."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from ..execute import execute
from ..ir import Graph, Node, Tensor
from ..numeric.qparams import QuantParam
from ..ops import infer, row
from ..schema.op import computing
from .edit import Edit
from .record import Change, Record, Refusal

# A constant that grows on folding (Tile, Expand, ConstantOfShape) costs the file more than computing it costs a run.
_MAY_GROW_TO = 1 << 20
_GROWTH = 2.0
# While reading their parameters are not complete; here they are.
_CODES = ("Quantize", "Dequantize")


def fold_constants(graph: Graph) -> Iterator[Record]:
    """Op(constants) ⇒ constant.

    The value is the row's reference on the constants, float16 weights cast to float32 included. Axis moves are views of
    the same data. A result whose sizes say that it is empty needs no values. Integers with quantization stay what they
    are: Dequantize(codes) becomes the codes themselves, a weight-only quantized constant for each float node that reads
    them, and Transpose and Reshape of such a constant rearrange the codes. Integers times constant zeros are zeros.
    Shapes that follow from what became constant are filled in.

    Not for random operators, nor when the result is far larger than its inputs.
    """
    edit = Edit(graph)
    learned: set[Tensor] = set()
    for node in edit.nodes():
        if learned and any(t in learned for t in node.inputs):
            learned.update(_learn(node))
        if not row(node.op).foldable and node.op not in _CODES:
            continue
        values = _known(node)
        if values is None:
            if not node.inputs or any(t is not None and not t.is_const for t in node.inputs):
                continue
            codes = None if any(edit.is_output(t) for t in node.outputs) else _fold_codes(node)
            if codes is not None:
                values = [codes]
            else:
                reason = _too_large(node)
                if reason:
                    yield Refusal("fold_constants", node.name, reason)
                    continue
                arrays = execute(node, [None if t is None else t.data for t in node.inputs])
                values = [(a, t.quant) for a, t in zip(arrays, node.outputs)]
        for t, (array, quant) in zip(node.outputs, values):
            t.data, t.dtype, t.shape, t.quant = array, array.dtype, array.shape, quant
            learned.add(t)
        edit.drop(node)
        yield Change("fold_constants", node.name, f"{node.op} of constants computed")
    edit.finish()


def _learn(node: Node) -> Iterator[Tensor]:
    """Outputs whose shape became better known, now that more is constant or known of the inputs."""
    if all(t.is_static for t in node.outputs):
        return
    for t, (_, shape) in zip(node.outputs, infer(node)):
        if shape is None or shape == t.shape:
            continue
        known = shape if t.shape is None else tuple(new if old is None else old for old, new in zip(t.shape, shape))
        if known != t.shape:
            t.shape = known
            yield t


Value = tuple[np.ndarray, "QuantParam | None"]


def _known(node: Node) -> list[Value] | None:
    """What types alone decide, as Shape of a static tensor, and every empty one; and integers times zero."""
    sizes = [tuple(n for n in t.shape or () if n is not None) for t in node.outputs if t.is_static and t.quant is None]
    if sizes and len(sizes) == len(node.outputs) and all(0 in shape for shape in sizes):
        return [(np.zeros(shape, t.dtype), None) for shape, t in zip(sizes, node.outputs)]
    if _is_zero(node):
        return [(np.zeros(node.outputs[0].static_shape, node.outputs[0].dtype), None)]
    function = row(node.op).known_value
    with computing(node):
        arrays = function(node) if function is not None else None
    return None if arrays is None else [(np.asarray(a), None) for a in arrays]


def _is_zero(node: Node) -> bool:
    """A product of integers with a constant of zeros; one of floats may be NaN."""
    y = node.outputs[0]
    if node.op != "Mul" or y.dtype.kind not in "iu" or y.quant is not None or not y.is_static:
        return False
    return any(t is not None and t.data is not None and t.quant is None and not t.data.any() for t in node.inputs)


def _too_large(node: Node) -> str:
    given = sum(t.nbytes for t in node.inputs if t is not None)
    size = sum(t.nbytes for t in node.outputs)
    if size > max(_MAY_GROW_TO, _GROWTH * given):
        return f"computing it makes {size} bytes of {given}"
    return ""


def _fold_codes(node: Node) -> Value | None:
    """A node on one quantized constant whose result is the same codes, possibly rearranged."""
    x, y = node.inputs[0], node.outputs[0]
    if x is None or x.data is None or x.quant is None or x.data.dtype.kind not in "iu":
        return None
    if node.op == "Dequantize":
        return (x.data, x.quant) if _is_weight_like(x) else None
    if y.quant is not None and y.quant != x.quant and node.op in ("Transpose", "Reshape"):
        return None
    if node.op == "Transpose":
        perm = list(node.attrs["perm"])
        quant = x.quant
        if quant.axis is not None:
            quant = dataclasses.replace(quant, axis=perm.index(quant.axis % len(perm)))
        return x.data.transpose(perm), quant
    if node.op in ("Reshape", "Squeeze", "ExpandDims", "Identity") and y.is_static and y.shape is not None:
        axis = _axis_after_reshape(x, y)
        if x.quant.axis is not None and axis is None:
            return None
        shape = tuple(int(n) for n in y.shape if n is not None)
        return x.data.reshape(shape), dataclasses.replace(x.quant, axis=axis)
    return None


def _is_weight_like(x: Tensor) -> bool:
    """Codes of at most 16 bits; an int32 bias is cheaper as the float it stands for."""
    return x.data is not None and x.data.dtype.itemsize <= 2


def _axis_after_reshape(x: Tensor, y: Tensor) -> int | None:
    """Where the channel axis of x is in y; None when it was split or merged."""
    axis = x.qparams.axis
    if axis is None:
        return None
    before = math.prod(x.sizes(0, axis))
    lead = 1
    for k, n in enumerate(y.known_shape):
        if lead == before and n == x.known_shape[axis]:
            return k
        lead *= int(n or 1)
    return None
