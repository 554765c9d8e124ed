"""Gives a graph between casts the form that onnxruntime fuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from ..ir import Graph, Node, Tensor, is_quantized
from ..numeric.qparams import QuantParam, activation_range, code_range, quantize_bias
from ..ops import row
from ..ops._support.acts import clip_attrs
from .edit import Edit
from .record import Change, Record

_NAME = "quantize_for_onnx"
_MOST = 1 << 30


def quantize_for_onnx(graph: Graph) -> Iterator[Record]:
    """int8 codes between casts ⇒ uint8 codes; Op(act) → Quantize ⇒ Op → Quantize; float bias of a last layer ⇒ int32.

    onnxruntime fuses an operator with the casts around it when all its activations have one type (on x86 it turns some,
    but not all, int8 ones into uint8 of its own accord), when nothing stands between the operator and its Quantize, and
    a FullyConnected with a float result when its bias is int32 at s_x · s_w. An activation that cuts off more than
    Quantize does comes to stand behind it, between casts of its own: the codes are the same. A mean over all positions
    is fused as a pool, which keeps its axes.

    Not for integer inputs and outputs of the graph, which keep their type: they get a pair of casts.
    """
    edit = Edit(graph)
    yield from _unsigned(edit)
    edit.finish()
    edit = Edit(graph)
    yield from _cleared(edit)
    yield from _kept(edit)
    yield from _integer_bias(edit)
    yield from _bytes(edit)
    edit.finish()


def _unsigned(edit: Edit) -> Iterator[Record]:
    for node in edit.nodes():
        if node.op == "Quantize":
            y = node.outputs[0]
            if edit.is_output(y):
                yield from _output(edit, node, y)
            elif _is_int8(y) and all(n.op in ("Dequantize", "Quantize") for n in edit.readers(y)):
                y.quant, y.dtype = _raised(y), np.dtype(np.uint8)
                node.attrs = {**node.attrs, "dtype": "uint8"}
                yield Change(_NAME, node.name, "uint8 codes")
            if (x := node.inputs[0]) is not None and x.quant == y.quant and x.dtype == y.dtype:
                edit.bypass(node)
        elif node.op == "Dequantize":
            x = node.inputs[0]
            if x is None or not _is_int8(x):
                continue
            if x.data is not None:
                data = (x.data.astype(np.int16) + 128).astype(np.uint8)
                edit.set_inputs(node, [edit.constant(data, x.name, _raised(x))])
            elif edit.is_input(x) and all(n.op == "Dequantize" for n in edit.readers(x)):
                cast = edit.only_reader(node.outputs[0])
                if cast is not None and cast.op == "Quantize" and cast.outputs[0].quant == _raised(x):
                    continue  # has been done
                real = edit.emit("Dequantize", [x], at=node, name=edit.name(f"{x.name}/real")).outputs[0]
                codes = Tensor(edit.name(f"{x.name}/uint8"), np.dtype(np.uint8), x.shape, None, _raised(x))
                edit.emit("Quantize", [real], {"dtype": "uint8"}, at=node, outputs=[codes])
                edit.set_inputs(node, [codes])
                yield Change(_NAME, node.name, "reads uint8 codes")


def _output(edit: Edit, node: Node, y: Tensor) -> Iterator[Record]:
    """The codes that a graph gives: int8 ones come out of uint8 ones, for the operator that makes them."""
    x = node.inputs[0]
    if not _is_int8(y) or x is None or is_quantized(x):
        return
    source = edit.producer(x)
    t = source.inputs[0] if source is not None and source.op == "Dequantize" else None
    if t is not None and t.quant == _raised(y) and t.dtype == np.uint8:
        return  # has been done
    codes = Tensor(edit.name(f"{y.name}/uint8"), np.dtype(np.uint8), y.shape, None, _raised(y))
    first = edit.emit("Quantize", [x], {"dtype": "uint8"}, at=node, outputs=[codes])
    edit.set_inputs(node, [edit.emit("Dequantize", [codes], at=node).outputs[0]])
    yield Change(_NAME, first.name, "uint8 codes")


def _is_int8(t: Tensor) -> bool:
    return t.dtype == np.int8 and t.quant is not None and t.quant.bits == 8


def _raised(t: Tensor) -> QuantParam:
    """The parameters of the codes that are 128 higher."""
    return dataclasses.replace(t.qparams, zero_point=t.qparams.zero_point + 128)


def _cleared(edit: Edit) -> Iterator[Record]:
    for node in edit.nodes():
        act = node.attrs.get("act", "none")
        if act not in _CLAMPS or len(node.outputs) != 1:
            continue
        y = node.outputs[0]
        cast = edit.only_reader(y)
        if cast is None or cast.op != "Quantize":
            continue
        codes = cast.outputs[0]
        if codes.quant is None:
            continue
        node.attrs = {**node.attrs, "act": "none"}
        limits = code_range(codes.quant.bits, unsigned=codes.dtype.kind == "u")
        if activation_range(act, codes.quant, codes.dtype) != limits:
            whole = Tensor(edit.name(f"{codes.name}/whole"), codes.dtype, codes.shape, None, codes.quant)
            edit.emit("Quantize", [y], {"dtype": codes.dtype.name}, at=cast, outputs=[whole])
            real = edit.emit("Dequantize", [whole], at=cast).outputs[0]
            op, attrs = _CLAMPS[act]
            edit.set_inputs(cast, [edit.emit(op, [real], attrs, at=cast).outputs[0]])
        yield Change(_NAME, node.name, f"{act} is what its codes can hold")


_CLAMPS: dict[str, tuple[str, dict[str, float | None]]] = {
    "relu": ("Relu", {}),
    "relu6": ("Relu6", {}),
    "relu_n1_to_1": ("Clip", clip_attrs("relu_n1_to_1")),
}


def _kept(edit: Edit) -> Iterator[Record]:
    """Mean without the axes of all positions ⇒ mean that keeps them → Squeeze: a pool, and a move of codes."""
    for node in edit.nodes():
        x, y = node.inputs[0] if node.inputs else None, node.outputs[0]
        if node.op != "Reduce" or node.attrs["mode"] != "mean" or node.attrs["keep_dims"] or x is None or not x.shape:
            continue
        cast, rank, axes = edit.only_reader(y), len(x.shape), node.attrs["axes"]
        if cast is None or cast.op != "Quantize" or len(node.inputs) > 1 or rank < 3 or not axes:
            continue
        if sorted(a % rank for a in axes) != list(range(1, rank - 1)):
            continue
        node.attrs = {**node.attrs, "keep_dims": True}
        wide = tuple(1 if 0 < i < rank - 1 else n for i, n in enumerate(x.shape))
        mean, like = Tensor(edit.name(f"{y.name}/kept"), y.dtype, wide), cast.outputs[0]
        edit.take_outputs(node, [mean])
        codes = Tensor(edit.name(f"{like.name}/kept"), like.dtype, wide, None, like.quant)
        edit.emit("Quantize", [mean], {"dtype": like.dtype.name}, at=cast, outputs=[codes])
        real = edit.emit("Dequantize", [codes], at=cast).outputs[0]
        edit.emit("Squeeze", [real], {"axes": list(range(1, rank - 1))}, at=cast, outputs=[y])
        yield Change(_NAME, node.name, "a pool and a Squeeze")


def _bytes(edit: Edit) -> Iterator[Record]:
    """Weights of fewer bits beside dequantized codes become int8 of the same codes: the integer kernels read bytes."""
    for node in edit.nodes():
        cell, source = row(node.op).quant, edit.producer(node.inputs[0]) if node.inputs else None
        if cell is None or source is None or source.op != "Dequantize":
            continue
        for w in (node.input(i) for i in cell.weights):
            if w is not None and w.is_const and w.quant is not None and w.dtype == np.int8 and w.quant.bits < 8:
                w.quant = dataclasses.replace(w.quant, bits=8)
                yield Change(_NAME, node.name, "its weight's codes take a byte each")


def _integer_bias(edit: Edit) -> Iterator[Record]:
    for node in edit.nodes():
        cell = row(node.op).quant
        if node.op != "FullyConnected" or cell is None or cell.bias is None:
            continue
        source, w, b = edit.producer(node.inputs[0]), node.inputs[1], node.input(cell.bias)
        x = source.inputs[0] if source is not None and source.op == "Dequantize" else None
        if x is None or x.quant is None or w is None or w.quant is None or b is None or b.data is None:
            continue
        if w.dtype != np.int8 or b.dtype != np.float32 or not w.quant.scale.all():
            continue
        scale = x.quant.scale[0] * w.quant.scale
        if not (np.abs(b.data.reshape(-1)) < _MOST * scale).all():
            continue
        codes, quant = quantize_bias(b.data, float(x.quant.scale[0]), w.quant.scale)
        inputs = list(node.inputs)
        inputs[cell.bias] = edit.constant(codes, b.name, quant)
        edit.set_inputs(node, inputs)
        yield Change(_NAME, node.name, "int32 bias")
