"""Reads a QDQ graph as what it means: operators on codes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from ..ir import Graph, Node, Tensor, is_quantized
from ..numeric.qparams import foldable, quantize, quantize_bias
from ..ops import row
from ..schema.op import quant_spec
from .edit import Edit
from .match import made_by
from .record import Change, Record, Refusal

_NAME = "fuse_quantize"


def fuse_quantize(graph: Graph) -> Iterator[Record]:
    """Dequantize → Op → Quantize ⇒ Op on int8 codes.

    The operator's integer meaning is the one that the three together approximate: exact sums of codes, one rounding. A
    float bias becomes int32 at s_x · s_w. An operator that keeps its input's scale and whose output has another one
    is followed by a requantization; the operands of one that joins several are brought to its output's scale first.
    uint8 codes inside the graph, and uint8 weights, are shifted to int8 first.

    Not for operators without an integer meaning, when a weight or operand is no codes, when the float result has other
    readers, when the activation is not a clamp, and not for the last layer of a float output.
    """
    edit = Edit(graph)
    yield from _signed(edit)
    yield from _signed_weights(edit)
    yield from _sunk(edit)
    edit.finish()
    edit = Edit(graph)
    for node in edit.nodes():
        cell = row(node.op).quant
        if node.op in ("Quantize", "Dequantize") or cell is None or not cell.int8 or len(node.outputs) != 1:
            continue
        y = node.outputs[0]
        cast = edit.only_reader(y)
        if cast is None or cast.op != "Quantize" or cast.outputs[0].quant is None or is_quantized(y):
            continue
        reason = _refusal(edit, node, cast.outputs[0])
        if reason:
            yield Refusal(_NAME, node.name, reason)
            continue
        _fuse(edit, node, cast)
        yield Change(_NAME, node.name, "computes on codes")
    edit.finish()


def _signed(edit: Edit) -> Iterator[Record]:
    """uint8 → int8: the same reals with a zero point half a range lower, for what Dequantizes alone read."""
    for node in edit.nodes():
        y = node.outputs[0]
        if node.op != "Quantize" or y.dtype != np.uint8 or y.quant is None or edit.is_output(y):
            continue
        codes = None if is_quantized(node.inputs[0]) else _moved(edit, y)
        if codes is None:
            continue
        for t in codes:
            half = 1 << (min(t.qparams.bits, 8) - 1)
            t.dtype, t.quant = np.dtype(np.int8), dataclasses.replace(t.qparams, zero_point=t.qparams.zero_point - half)
        node.attrs = {**node.attrs, "dtype": "int8"}
        yield Change(_NAME, node.name, "uint8 codes shifted to int8")


def _signed_weights(edit: Edit) -> Iterator[Record]:
    for node in edit.nodes():
        cell = row(node.op).quant
        for i in () if cell is None else cell.weights:
            w = node.input(i)
            if w is None or w.data is None or w.quant is None or w.dtype != np.uint8:
                continue
            half = 1 << (min(w.quant.bits, 8) - 1)
            codes = (w.data.astype(np.int16) - half).astype(np.int8)
            quant = dataclasses.replace(w.quant, zero_point=w.quant.zero_point - half)
            edit.set_inputs(node, [edit.constant(codes, w.name, quant) if t is w else t for t in node.inputs])
            yield Change(_NAME, node.name, "uint8 weights shifted to int8")


def _moved(edit: Edit, t: Tensor) -> list[Tensor] | None:
    """t and all that only moves its elements up to the Dequantizes; None when something else reads the codes."""
    tensors, waiting = [], [t]
    while waiting:
        t = waiting.pop()
        if edit.is_output(t) or t.quant is None or not edit.readers(t):
            return None
        tensors.append(t)
        for reader in edit.readers(t):
            if reader.op == "Dequantize":
                continue
            if not moves(reader):
                return None
            waiting += reader.outputs
    return tensors


def moves(node: Node) -> bool:
    """Whether the node keeps the codes of its one operand, in other places."""
    cell = row(node.op).quant
    operands = [i for i, t in enumerate(node.inputs) if t is not None and i not in row(node.op).const_inputs]
    return cell is not None and cell.output == "same" and operands == [0] and node.attrs.get("act", "none") == "none"


def _sunk(edit: Edit) -> Iterator[Record]:
    """Dequantize → Op that only moves elements ⇒ Op → Dequantize, so that what follows finds codes."""
    for node in edit.nodes():
        x = _source(edit, node.inputs[0]) if node.inputs else None
        if x is None or not moves(node) or is_quantized(node.outputs[0]) or len(node.outputs) != 1:
            continue
        y = node.outputs[0]
        cast = edit.only_reader(y)
        if cast is not None and cast.op == "Quantize":
            continue
        codes = Tensor(edit.name(f"{y.name}/codes"), x.dtype, y.shape, None, x.quant)
        edit.set_inputs(node, [x, *node.inputs[1:]])
        edit.take_outputs(node, [codes])
        edit.emit("Dequantize", [codes], after=node, outputs=[y], origin=node.origin)
        yield Change(_NAME, node.name, "moves codes")


def _source(edit: Edit, t: Tensor | None) -> Tensor | None:
    """The int8 codes behind a Dequantize."""
    cast = edit.producer(t)
    if cast is None or cast.op != "Dequantize":
        return None
    x = cast.inputs[0]
    return x if x is not None and x.dtype == np.int8 and x.quant is not None and x.quant.axis is None else None


def _refusal(edit: Edit, node: Node, y: Tensor) -> str:
    cell = quant_spec(node)
    if y.dtype != np.int8:
        return f"its codes are {y.dtype}"
    if not foldable(node.attrs.get("act", "none")):
        return f"its activation {node.attrs['act']} is not a clamp"
    parameters = row(node.op).const_inputs
    for i, t in enumerate(node.inputs):
        if t is None or i in parameters:
            continue
        if i in cell.weights and t.is_const:
            if not is_quantized(t) or t.dtype != np.int8 or t.quant is None:
                return f"its weight {t.name!r} is no int8"
            if t.quant.mean_corr is not None or t.quant.var_corr is not None:
                return f"its weight {t.name!r} has a correction"
            continue
        bias = i == cell.bias and bool(cell.weights) and t.is_const
        operand = t.is_const and is_quantized(t) and t.dtype == np.int8 and t.quant is not None and t.quant.axis is None
        if not (bias or operand) and t.dtype.kind == "f" and _source(edit, t) is None:
            return f"its operand {t.name!r} is computed in float"
    return ""


def _fuse(edit: Edit, node: Node, cast: Node) -> None:
    cell = quant_spec(node)
    inputs = [_source(edit, t) or t for t in node.inputs]
    x, y = inputs[0] or node.required(0), cast.outputs[0]
    at = cell.bias if cell.bias is not None and cell.bias < len(inputs) else None
    b = None if at is None else inputs[at]
    w = inputs[cell.weights[0]] if b is not None and cell.weights else None
    if (
        at is not None
        and b is not None
        and b.data is not None
        and w is not None
        and w.quant is not None
        and not _fits(b, x, w)
    ):
        codes, quant = quantize_bias(b.real(), float(x.qparams.scale[0]), w.quant.scale)
        inputs[at] = edit.constant(codes, b.name, quant)
    origin = node.origin or (node.name,)
    operands = {i: t for i, t in enumerate(inputs) if t is not None and i not in row(node.op).const_inputs}
    if cell.output == "same" and len(operands) > 1:
        # What joins several operands has its output's scale; any other scale would cut off some of them.
        for i, t in operands.items():
            inputs[i] = _requantized(edit, t, y, node)
        edit.set_inputs(node, inputs)
        edit.take_outputs(node, [y])
    elif cell.output == "same" and y.qparams != x.qparams:
        own = Tensor(edit.name(f"{node.name}/codes"), y.dtype, y.shape, None, x.qparams)
        edit.set_inputs(node, inputs)
        edit.take_outputs(node, [own])
        edit.emit("Quantize", [own], {"dtype": "int8"}, after=node, outputs=[y], origin=origin)
    else:
        edit.set_inputs(node, inputs)
        edit.take_outputs(node, [y])
    edit.drop(cast)


def _requantized(edit: Edit, t: Tensor, like: Tensor, at: Node) -> Tensor:
    """The codes t with the parameters of `like`."""
    if not is_quantized(t) or like.quant is None or (t.quant == like.quant and t.dtype == like.dtype):
        return t
    if t.is_const:
        return edit.constant(quantize(t.real(), like.quant, like.dtype), t.name, like.quant)
    return edit.emit("Quantize", [t], {"dtype": like.dtype.name}, at=at, like=like).outputs[0]


def _fits(b: Tensor, x: Tensor, w: Tensor) -> bool:
    """Whether the bias is int32 at s_x · s_w, as near as exporters compute it in float32."""
    if b.dtype != np.int32 or b.quant is None or x.quant is None or w.quant is None or b.quant.zero_point.any():
        return False
    scale = x.quant.scale[0] * w.quant.scale
    return len(b.quant.scale) in (1, len(scale)) and np.allclose(b.quant.scale, scale, rtol=1e-5, atol=0)


def split_quantize(graph: Graph) -> Iterator[Record]:
    """Op on int8 codes ⇒ Dequantize → Op → Quantize, for containers that say integers this way.

    Weights stay codes (a weight-only quantized constant of the float operator), and so does an int32 bias.

    Not for Quantize and Dequantize themselves.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        if node.op not in ("Quantize", "Dequantize") and any(is_quantized(t) for t in node.outputs):
            _split(edit, node)
            yield Change("split_quantize", node.name, "set between Dequantize and Quantize")
    edit.finish()


def split_asymmetric_weights(graph: Graph) -> Iterator[Record]:
    """Op with a weight in codes whose zero point is not 0 ⇒ Dequantize → Op on the real weight → Quantize.

    For containers whose integer layers have symmetric weights alone. Not for float layers on stored weights, which are
    decoded in front of them.
    """
    yield from _real_weights(graph, "split_asymmetric_weights", lambda zero, on_codes: on_codes and bool(zero.any()))


def split_uneven_weights(graph: Graph) -> Iterator[Record]:
    """Op on codes with weights of several zero points ⇒ Dequantize → Op on the real weight → Quantize.

    onnxruntime's integer convolutions take the first channel's zero point for all.

    Not for float layers on stored weights, which are no integer products.
    """
    yield from _real_weights(
        graph, "split_uneven_weights", lambda zero, on_codes: on_codes and bool((zero != zero.flat[0]).any())
    )


def _real_weights(graph: Graph, name: str, odd: Callable[[np.ndarray, bool], bool]) -> Iterator[Record]:
    edit = Edit(graph)
    for node in edit.nodes():
        cell = row(node.op).quant
        weights = [node.input(i) for i in (() if cell is None else cell.weights)]
        whole = any(is_quantized(t) for t in node.outputs)
        on_codes = whole or made_by(edit, node.input(0), "Dequantize", private=False) is not None
        stored = [w for w in weights if w is not None and w.is_const and w.quant and odd(w.quant.zero_point, on_codes)]
        if not stored:
            continue
        if whole:
            _split(edit, node)
        bias = None if cell is None or cell.bias is None else node.input(cell.bias)
        stored += [bias] if bias is not None and is_quantized(bias) and bias.is_const else []
        edit.set_inputs(node, [edit.constant(t.real(), t.name) if t in stored else t for t in node.inputs])
        yield Change(name, node.name, "computes in float")
    edit.finish()


def _split(edit: Edit, node: Node) -> None:
    cell = row(node.op).quant
    inputs = list(node.inputs)
    for i, t in enumerate(inputs):
        if t is None or not is_quantized(t) or (t.is_const and cell is not None and i in (*cell.weights, cell.bias)):
            continue
        real = edit.emit("Dequantize", [t], at=node).outputs[0]
        real.quant, real.dtype = None, np.dtype(np.float32)
        inputs[i] = real
    edit.set_inputs(node, inputs)
    for y in list(node.outputs):
        if not is_quantized(y):
            continue
        real = Tensor(edit.name(f"{y.name}/real"), np.dtype(np.float32), y.shape)
        edit.take_outputs(node, [real if t is y else t for t in node.outputs])
        edit.emit("Quantize", [real], {"dtype": y.dtype.name}, after=node, outputs=[y])
