"""The types that LiteRT's kernels take: wider integers narrowed, everything else refused by name.

Measured operator by operator in LiteRT (`benchmarks/tflite_audit.py`, whose table is in docs/operators.md). A file
whose operator has no kernel for its type loads, and fails while it runs.
"""

from __future__ import annotations

import numpy as np

from ..errors import UnsupportedError
from ..ir import Tensor
from ..schema.writing import Emitted, Writing
from . import tflite_schema

_INT32, _INT64 = np.dtype(np.int32), np.dtype(np.int64)
_NUMBERS = tflite_schema.SCHEMA.enums["TensorType"]
_PLAIN = {np.dtype(t) for t in ("float32", "float64", "int32", "int64", "bool", "uint32")}

# The plain types of the first input (of codes each kernel knows its own) that operators have kernels for.
_GROUPS = (
    (
        ("float32",),
        "ATAN2 AVERAGE_POOL_2D BATCH_MATMUL CEIL CONV_2D CONV_3D COS DEPTHWISE_CONV_2D ELU EXP FLOOR FULLY_CONNECTED"
        " GELU HARD_SWISH L2_NORMALIZATION LEAKY_RELU LOCAL_RESPONSE_NORMALIZATION LOG LOGISTIC LOG_SOFTMAX MAX_POOL_2D"
        " NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 PRELU RELU RELU6 RELU_N1_TO_1 RESIZE_BILINEAR"
        " RESIZE_NEAREST_NEIGHBOR ROUND RSQRT SIN SOFTMAX SQRT SQUARE SVDF TANH UNIDIRECTIONAL_SEQUENCE_LSTM",
    ),
    (("float32", "int32"), "ABS ADD_N DIV FLOOR_DIV POW SQUARED_DIFFERENCE"),
    (("float32", "int32", "bool"), "ARG_MAX ARG_MIN UNPACK"),
    (
        ("float32", "int32", "int64"),
        "ADD CUMSUM DEPTH_TO_SPACE FLOOR_MOD GREATER GREATER_EQUAL LESS LESS_EQUAL MAXIMUM MEAN MINIMUM MUL NEG PACK"
        " RANGE REDUCE_MAX REDUCE_MIN REDUCE_PROD REVERSE_SEQUENCE SPACE_TO_DEPTH SPLIT_V SUB SUM TOPK_V2 UNIQUE",
    ),
    (("bool",), "LOGICAL_AND LOGICAL_NOT LOGICAL_OR REDUCE_ALL REDUCE_ANY"),
)
_TYPES = {op: types for types, operators in _GROUPS for op in operators.split()}


def misfits(writing: Writing) -> dict[str, UnsupportedError]:
    """Makes what was emitted something that the runtime's kernels compute: int64 as int32 between casts, where only
    that is there. Returns IR operator → why one of its nodes has no kernel, in the graph's order."""
    emitted: list[Emitted] = []
    errors: dict[str, UnsupportedError] = {}
    for operator in writing.emitted:
        x = next((t for t in operator.inputs if t is not None), None)
        allowed = _TYPES.get(operator.op)
        if x is None or allowed is None or x.quant is not None or x.dtype not in _PLAIN or x.dtype.name in allowed:
            emitted.append(operator)
        elif x.dtype == _INT64 and "int32" in allowed:
            emitted += _narrowed(writing, operator)
        else:
            emitted.append(operator)
            line = f"{operator.source.name} ({operator.source.op}): its {operator.op} has no kernel for {x.dtype}"
            errors.setdefault(operator.source.op, UnsupportedError(f"{line}; cannot be written to tflite"))
    writing.emitted = emitted
    return errors


def _narrowed(writing: Writing, operator: Emitted) -> list[Emitted]:
    """The operator on int32, between casts."""
    before, after = [], []

    def cast(x: Tensor, y: Tensor) -> Emitted:
        fields = {f"{end}_data_type": _NUMBERS[t.dtype.name.upper()] for end, t in (("in", x), ("out", y))}
        return Emitted("CAST", writing.name(f"{y.name}/CAST"), [x], [y], fields, operator.source)

    for i, t in enumerate(operator.inputs):
        if t is None or t.dtype != _INT64 or t.quant is not None:
            continue
        if t.data is not None:
            operator.inputs[i] = writing.constant(t.data, _INT32, f"{t.name}/int32")
            continue
        small = operator.inputs[i] = Tensor(writing.name(f"{t.name}/int32"), _INT32, t.shape)
        before.append(cast(t, small))
    for i, t in enumerate(operator.outputs):
        if t.dtype == _INT64 and t.quant is None and not operator.op.startswith("ARG_"):
            operator.outputs[i] = Tensor(writing.name(f"{t.name}/int32"), _INT32, t.shape)
            after.append(cast(operator.outputs[i], t))
    return [*before, operator, *after]
