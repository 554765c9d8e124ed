"""Reads what onnxruntime's dynamic quantization writes as layers that quantize their input while running."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..ir import Graph, Node, Tensor
from ..numeric.qparams import QuantParam
from .edit import Edit, trail
from .match import float_constant, single_user
from .record import Change, Record, Refusal

_NAME = "fuse_dynamic_quantize"
_LAYERS = {"MatMulInteger": "FullyConnected", "ConvInteger": "Conv"}
_MOVES = ("Transpose", "Reshape")  # a Reshape stands for a Transpose of axes of size 1


def fuse_dynamic_quantize(graph: Graph) -> Iterator[Record]:
    """DynamicQuantizeLinear → MatMulInteger → Cast → Mul(its scale · constant) ⇒ FullyConnected that is dynamic.

    And so ConvInteger ⇒ Conv. Both take the range of the input and 0, 256 codes, the same zero point; sums are
    exact integers and float32 factors are multiplied in the same order. Only where x / scale lies within a rounding
    error of the middle between two codes may the codes differ, by one: 0 of 1.2 million in random data. A deep network
    of such layers amplifies any rounding: the last bit of its input moves onnxruntime's own MobileNetV2 by 1.5 % of the
    range, and this pass by 1 %. Older files add their bias to the sums, in whole steps of them: it is added as it is.

    Not for weights that are computed or no matrix, for scales along another axis than the output channels, nor where a
    value in between has other readers.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        if node.op not in _LAYERS or node.inputs[0] is None:
            continue
        turn = edit.producer(node.inputs[0])
        turn = turn if turn is not None and turn.op in _MOVES else None
        source = edit.producer(node.inputs[0] if turn is None else turn.inputs[0])
        if source is None or source.op != "DynamicQuantizeLinear" or node.input(2) is not source.outputs[2]:
            continue
        tail = _tail(edit, node, source)
        if isinstance(tail, str):
            yield Refusal(_NAME, node.name, tail)
            continue
        last, back, scale, bias = tail
        weight = _weight(edit, node, scale)
        if isinstance(weight, str):
            yield Refusal(_NAME, node.name, weight)
            continue
        _replace(edit, node, (source, turn, back, last), [weight, *bias])
        yield Change(_NAME, node.name, "quantizes its input while running")
    edit.finish()


def _tail(edit: Edit, node: Node, source: Node) -> tuple[Node, Node | None, np.ndarray, list[Tensor]] | str:
    """(the Mul at the end, a Transpose on the way, the weight's scales, a bias or none), or why not."""
    step, back, steps = single_user(edit, node), None, None
    if step is not None and step.op in _MOVES:
        step, back = single_user(edit, step), step
    if step is not None and step.op == "Add":
        sums = node.outputs[0] if back is None else back.outputs[0]
        step, steps = single_user(edit, step), step.inputs[1 if step.inputs[0] is sums else 0]
    if step is None or step.op != "Cast" or step.attrs["dtype"] != "float32":
        return "its sums are not cast to float32 alone"
    last = single_user(edit, step)
    if last is None or last.op != "Mul" or last.attrs["act"] != "none":
        return "its sums are not multiplied by their scale"
    other = last.inputs[1] if last.inputs[0] is step.outputs[0] else last.inputs[0]
    product = edit.producer(other)
    if product is None or product.op != "Mul" or source.outputs[1] not in product.inputs:
        return "its sums are not multiplied by their scale"
    scale = float_constant(next((t for t in product.inputs if t is not source.outputs[1]), None))
    if scale is None:
        return "the scale of its weight is no constant"
    bias = [] if steps is None else _bias(edit, node, back, steps, product)
    return bias if isinstance(bias, str) else (last, back, scale, bias)


def _bias(edit: Edit, node: Node, back: Node | None, steps: Tensor, product: Node) -> list[Tensor] | str:
    """The constant of which `steps` are the whole steps of the sums: Cast(Floor(b / scale)), one per channel."""
    y, at = node.outputs[0], edit.producer(steps)
    if y.shape is None or steps.shape is None or (back is not None and back.op != "Transpose"):
        return "what is added to its sums is no bias"
    channels = y.shape[-1]
    axis = -1 if back is None else back.attrs["perm"].index(len(y.shape) - 1) - len(y.shape)
    if len(steps.shape) < -axis or steps.shape[axis] != channels:
        return "what is added to its sums is no bias"
    for op in ("Reshape", "Cast", ("Floor", "Round"), "Div"):
        if at is not None and at.op in op:
            if op == "Div":
                value = float_constant(at.inputs[0])
                ours = edit.producer(at.inputs[1])
                same = ours is not None and ours.op == "Mul" and set(ours.inputs) == set(product.inputs)
                if value is not None and same and value.size == channels:
                    return [edit.constant(value.reshape(-1), f"{node.name}/bias")]
                break
            at = edit.producer(at.inputs[0])
        elif op != "Reshape":
            break
    return "what is added to its sums is no bias in their steps"


def _weight(edit: Edit, node: Node, scale: np.ndarray) -> Tensor | str:
    """The weight as int8 codes with their scales, channels first; or why there is none."""
    w, zero = node.inputs[1], node.input(3)
    if w is None or w.data is None or w.quant is not None or w.data.dtype.itemsize != 1:
        return "its weight is computed or quantized otherwise"
    matrix = node.op == "MatMulInteger"
    if matrix and w.data.ndim != 2:
        return f"its weight of shape {w.data.shape} is no matrix"
    codes = np.ascontiguousarray(w.data.T if matrix else w.data)
    points = np.zeros(1, np.int32)
    if zero is not None:
        if zero.data is None:
            return "the zero point of its weight is computed"
        points = zero.data.reshape(-1).astype(np.int32)
    channels = codes.shape[0]
    for values, shape in ((scale, scale.shape), (points, () if zero is None else zero.shape)):
        fits = matrix and shape is not None and shape[-1:] == (channels,)
        if values.size != 1 and not (fits and values.size == channels):
            return f"scales or zero points of shape {shape} are not along its output channels"
    if not (scale > 0).all():
        return "a scale of its weight is not positive"
    if codes.dtype == np.uint8:
        codes, points = (codes.astype(np.int16) - 128).astype(np.int8), points - 128
    count = max(scale.size, points.size)
    spread = [np.broadcast_to(v.reshape(-1), count) for v in (scale.astype(np.float64), points)]
    quant = QuantParam(spread[0].copy(), spread[1].astype(np.int32), 0 if count > 1 else None, 8)
    return edit.constant(codes, w.name, quant)


def _replace(
    edit: Edit, node: Node, around: tuple[Node, Node | None, Node | None, Node], weights: list[Tensor]
) -> None:
    source, turn, back, last = around
    x, y = source.inputs[0], last.outputs[0]
    origin = trail(source, node, last)
    if turn is not None:
        x = edit.emit(turn.op, [x, *turn.inputs[1:]], dict(turn.attrs), at=last).outputs[0]
    attrs = dict(node.attrs) | {"dynamic": True}
    layer, name = _LAYERS[node.op], node.name
    edit.take_outputs(last, [])
    if back is None:
        edit.emit(layer, [x, *weights], attrs, at=last, name=name, outputs=[y], origin=origin)
    else:
        product = edit.emit(layer, [x, *weights], attrs, at=last, name=name, origin=origin)
        edit.emit(back.op, [*product.outputs, *back.inputs[1:]], dict(back.attrs), at=last, outputs=[y])
    edit.drop(last)
