"""The types that MindSpore Lite's kernels take: wider integers narrowed, everything else refused by name.

Measured operator by operator in the 2.0.0 runtime (`benchmarks/ms_operators.py`). It computes int64 in almost no
operator, and where it takes another type than its kernel expects it may answer wrongly without a word.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from ..errors import Hint, Setting, UnsupportedError
from ..ir import Graph, Node, Tensor, is_quantized
from ..schema.writing import Emitted, Writing
from .ms_layouts import turn_images
from .ms_tensors import NUMBERS

_BOOL, _INT32, _INT64, _FLOAT = (np.dtype(t) for t in ("bool", "int32", "int64", "float32"))

# Operators whose kernels take more than float32 as their data (the first input).
_INT32_TOO = {
    "Abs", "AddFusion", "ArgMaxFusion", "ArgMinFusion", "BroadcastTo", "Concat", "CumSum", "Equal",
    "ExpandDims", "Fill", "Gather", "GatherD", "GatherNd", "Greater", "GreaterEqual", "Less",
    "LessEqual", "Maximum", "Minimum", "MulFusion", "Neg", "NotEqual", "OneHot", "Range", "Rank",
    "ReduceFusion", "Reshape", "ReverseV2", "ScatterNdUpdate", "Shape", "Size", "Split", "Squeeze",
    "StridedSlice", "SubFusion", "TensorScatterAdd", "TileFusion", "TopKFusion", "Transpose", "Tril", "Triu",
    "Unsqueeze",
}  # fmt: skip
_BOOL_TOO = {
    "BroadcastTo", "Concat", "ExpandDims", "Gather", "GatherNd", "LogicalAnd", "LogicalNot", "LogicalOr",
    "Rank", "Reshape", "Shape", "Size", "Squeeze", "TileFusion", "Transpose", "Tril", "Triu", "Unsqueeze",
    "Where",
}  # fmt: skip
_REDUCES_INT32 = (0, 1, 2, 3, 4)  # mean, max, min, prod, sum
_REDUCES_BOOL = (7,)  # all
# Cast: from → to. Others go through float32 or int32 where that loses nothing.
_CASTS = {
    "float32": ("float32", "int32", "int64", "bool"),
    "int32": ("int32", "float32", "int64"),
    "int64": ("int64", "float32", "int32"),
    "bool": ("bool", "float32", "int32"),
    "uint8": ("uint8", "float32"),
    "int8": ("int8",),
}
_THROUGH = {("int32", "bool"): _FLOAT, ("int64", "bool"): _FLOAT, ("bool", "int64"): _INT32, ("uint8", "int32"): _FLOAT}


def fit_types(graph: Graph, writing: Writing) -> None:
    """Makes what was emitted something that the runtime's kernels compute: int64 as int32 between a Cast behind each
    int64 input and one in front of each int64 output; other casts in two steps where there is no direct one.

    Raises:
        UnsupportedError: an operator has no kernel for the types it is given; names the node. An output is empty.
    """
    for t in graph.outputs:
        if t.is_const and 0 in (t.shape or ()):
            reason = f"is empty, of shape {t.shape}, which the runtime does not survive; cannot be written to ms"
            raise UnsupportedError(f"output {t.name!r} {reason}", hint=Setting("output_format", ("TFLITE", "ONNX")))
    for error in misfits(graph, writing).values():
        raise error


def misfits(graph: Graph, writing: Writing) -> dict[str, UnsupportedError]:
    """Does what `fit_types` does; returns IR operator → why one of its nodes has no kernel, in the graph's order."""
    _narrow(graph, writing)
    turn_images(graph, writing)
    _keep_apart(writing)
    emitted: list[Emitted] = []
    errors: dict[str, UnsupportedError] = {}
    for operator in writing.emitted:
        try:
            parts = _cast_in_steps(writing, operator) if operator.op == "Cast" else [operator]
            for part in parts:
                _check_sizes(part)
                _check(part)
            emitted += parts
        except UnsupportedError as error:
            errors.setdefault(operator.source.op, error)
    writing.emitted = emitted
    return errors


def _check_sizes(operator: Emitted) -> None:
    for t in (*operator.inputs, *operator.outputs):
        if t is not None and t.shape is not None and 0 in t.shape and not t.is_const:
            _refuse(operator, f"{t.name!r} of shape {t.shape} is empty, which the runtime does not survive")


def _narrow(graph: Graph, writing: Writing) -> None:
    """int64 values as int32."""
    small: dict[Tensor, Tensor] = {}
    first: list[Emitted] = []
    last: list[Emitted] = []
    anchor = writing.emitted[0].source if writing.emitted else None

    def cast(x: Tensor, y: Tensor, node: Node) -> Emitted:
        to = writing.constant([NUMBERS[y.dtype.newbyteorder("<")]], np.int32, f"{x.name}/dtype")
        return Emitted("Cast", writing.name(f"{y.name}/Cast"), [x, to], [y], {}, node)

    def narrowed(t: Tensor) -> Tensor:
        if t not in small:
            small[t] = Tensor(writing.name(f"{t.name}/int32"), _INT32, t.shape)
        return small[t]

    reads = {t for operator in writing.emitted for t in operator.inputs if t is not None}
    for t in graph.inputs:
        if anchor is not None and t.dtype == _INT64 and t.quant is None and t in reads:
            first.append(cast(t, narrowed(t), anchor))
    kept: list[Emitted] = []
    for operator in writing.emitted:
        operator.inputs = [t if t is None or t.is_const or t.dtype != _INT64 else narrowed(t) for t in operator.inputs]
        if operator.op == "Cast" and operator.outputs[0].dtype == _INT64:
            x, y = operator.inputs[0], operator.outputs[0]
            if x is not None and x.dtype == _INT32:
                # The cast to int64 is nothing; an output still gets one.
                if y in graph.outputs:
                    last.append(cast(x, y, operator.source))
                small.setdefault(y, x)
                continue
            operator.inputs[1] = writing.constant([NUMBERS[_INT32]], np.int32, f"{operator.name}/dtype")
        outputs = []
        for t in operator.outputs:
            if t.dtype == _INT64 and t.quant is None:
                if t in graph.outputs:
                    last.append(cast(narrowed(t), t, operator.source))
                t = narrowed(t)
            outputs.append(t)
        operator.outputs = outputs
        kept.append(operator)
    writing.emitted = first + kept + last


def _keep_apart(writing: Writing) -> None:
    """Something between a Transpose that keeps the shape and a Reshape, which there takes the values from before it."""
    turned = {
        operator.outputs[0]
        for operator in writing.emitted
        if operator.op == "Transpose"
        and operator.inputs[0] is not None
        and operator.inputs[0].shape == operator.outputs[0].shape
    }
    emitted: list[Emitted] = []
    for operator in writing.emitted:
        x = operator.inputs[0] if operator.inputs else None
        if operator.op == "Reshape" and x in turned and x is not None and x.shape is not None:
            between = Tensor(writing.name(f"{x.name}/apart"), x.dtype, (1, *x.shape), None, x.quant)
            name = writing.name(f"{operator.name}/Unsqueeze")
            emitted.append(Emitted("Unsqueeze", name, [x], [between], {"axis": [0]}, operator.source))
            operator.inputs[0] = between
        emitted.append(operator)
    writing.emitted = emitted


def _cast_in_steps(writing: Writing, operator: Emitted) -> list[Emitted]:
    x, y = operator.required(0), operator.outputs[0]
    pair = (_stored(x).name, y.dtype.name)
    if pair[1] in _CASTS.get(pair[0], ()):
        return [operator]
    middle = _THROUGH.get(pair)
    if middle is None:
        _refuse(operator, f"there is no cast from {pair[0]} to {pair[1]}")
    between = Tensor(writing.name(f"{y.name}/{middle}"), middle, y.shape)
    to = writing.constant([NUMBERS[middle]], np.int32, f"{operator.name}/dtype")
    step = Emitted("Cast", writing.name(f"{operator.name}/{middle}"), [x, to], [between], {}, operator.source)
    operator.inputs = [between, operator.inputs[1]]
    return [step, operator]


def _check(operator: Emitted) -> None:
    if (
        operator.op in ("Cast", "QuantDTypeCast")
        or operator.extra.get("dynamic")
        or any(t is not None and is_quantized(t) for t in operator.inputs)
    ):
        return  # codes have rules of their own
    if any(is_quantized(t) for t in operator.outputs):
        return
    data = next((t for t in operator.inputs if t is not None), operator.outputs[0])
    allowed = {_FLOAT}
    if operator.op in _INT32_TOO:
        allowed.add(_INT32)
    if operator.op in _BOOL_TOO:
        allowed.add(_BOOL)
    if operator.op == "ReduceFusion":
        mode = operator.fields["mode"]
        allowed = {t for t, modes in ((_INT32, _REDUCES_INT32), (_BOOL, _REDUCES_BOOL)) if mode in modes} | {_FLOAT}
    if operator.op == "Where":
        for t in operator.inputs[1:2]:
            if t is not None:
                _check_type(operator, t, {_FLOAT, _INT32})
        allowed = {_BOOL}
    dtype = _check_type(operator, data, allowed)
    if dtype != _FLOAT and operator.fields.get("activation_type") and operator.op != "MulFusion":
        _refuse(operator, f"its {operator.op} has no fused activation for {data.dtype}")
    for t in (*operator.inputs, *operator.outputs):
        if t is not None and _stored(t) not in (_FLOAT, _INT32, _BOOL):
            _refuse(operator, f"its {operator.op} has no kernel for {t.dtype} ({t.name!r})")


def _check_type(operator: Emitted, t: Tensor, allowed: set[np.dtype]) -> np.dtype:
    dtype = _stored(t)
    if dtype not in allowed:
        declared = operator.op == "Transpose" and t.layout  # only ends of the graph say their layout
        _refuse(
            operator,
            f"its {operator.op} has no kernel for {t.dtype}",
            Setting("input_data_format", "NCHW") if declared else "",
        )
    return dtype


def _stored(t: Tensor) -> np.dtype:
    """The type in the file: int64 constants are int32 there, float16 ones become float32 at load."""
    if t.data is not None:
        return _INT32 if t.dtype == _INT64 else _FLOAT if t.dtype == np.float16 else t.dtype
    return t.dtype


def _refuse(operator: Emitted, reason: str, hint: Hint = "") -> NoReturn:
    raise UnsupportedError(
        f"{operator.source.name} ({operator.source.op}): {reason}; cannot be written to ms", hint=hint
    )
