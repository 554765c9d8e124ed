"""TFLite files: the writer. Operator versions follow TensorFlow's tools/versioning/op_version.cc."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import Setting, UnsupportedError
from ..ir import Graph, Tensor, is_quantized
from ..schema.loops import LOOP, Loop
from ..schema.writing import Emitted, Writing, Written
from . import dynamic_layers, tflite_schema
from .flat import Record
from .flat import write as write_flat
from .operators import write_operators
from .outputs import write_atomic
from .tflite_variables import with_variables

_SCHEMA = tflite_schema.SCHEMA
_TYPES = _SCHEMA.enums["TensorType"]
_BUILTINS = _SCHEMA.enums["BuiltinOperator"]
_NUMBERS = {
    "float32": "FLOAT32", "float16": "FLOAT16", "float64": "FLOAT64", "int8": "INT8", "int16": "INT16",
    "int32": "INT32", "int64": "INT64", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "bool": "BOOL", "complex64": "COMPLEX64",
}  # fmt: skip
# Versions beyond the first: operator → {condition: version}; what holds last wins.
_VERSIONS: dict[str, dict[str, int]] = {
    "CONV_2D": {"hybrid": 2, "hybrid_channels": 5, "int8": 3, "int16": 4},
    "DEPTHWISE_CONV_2D": {"dilated": 2, "hybrid": 4, "hybrid_channels": 6, "int8": 3, "int16": 5},
    "FULLY_CONNECTED": {"hybrid": 3, "int8": 4, "int16": 7, "keep_dims": 5, "no_bias": 6, "int8_channels": 12},
    "TRANSPOSE_CONV": {"int8": 2, "bias": 3},
    "DEQUANTIZE": {"int8": 2, "float16": 3, "per_channel": 5},
    "RESIZE_BILINEAR": {"int8": 2, "half_pixel": 3},
    "RESIZE_NEAREST_NEIGHBOR": {"int8": 2, "half_pixel": 3},
}
_SAME_IN_INT8 = {
    "RESHAPE", "QUANTIZE", "HARD_SWISH", "PRELU", "EXPAND_DIMS", "SQUEEZE", "SHAPE", "CAST", "GELU", "ELU",
    "RELU_0_TO_1",
}  # fmt: skip


def write(graph: Graph, path: str) -> Written:
    """Writes the graph as a .tflite file.

    Raises:
        UnsupportedError: an operator or type has no form in TFLite (before anything is written).
        OutputError: the file cannot be written.
    """
    record, stored = to_record(graph)
    with write_atomic(path) as out:
        write_flat(out, record, _SCHEMA)
        return Written(out.tell(), stored)


def to_record(graph: Graph) -> tuple[Record, dict[str, tuple[str, int]]]:
    """The graph as a `Model` record, and what each constant takes in it."""
    for t in graph.inputs:
        if t in graph.outputs and t.layout == "NCHW":
            raise UnsupportedError(
                f"input {t.name!r} is an output, too, and cannot be in both layouts; cannot be written to tflite"
            )
    writing = write_operators(graph, "tflite")
    file = _File(graph.name)
    main, numbers = file.add(graph.inputs, writing, graph.outputs)
    codes, buffers, stored, subgraphs = file.codes, file.buffers, file.stored, file.subgraphs
    if graph.states:

        def constant(t: Tensor, value: np.ndarray) -> dict[str, Any]:
            buffers.append({"data": np.ascontiguousarray(value)})
            return _tensor(t) | {"name": f"{t.name}/first", "buffer": len(buffers) - 1}

        subgraphs[0], first = with_variables(graph, main, numbers, file.code, constant, len(subgraphs))
        subgraphs.append(first)
    by_name = {tensor["name"]: i for i, tensor in enumerate(main["tensors"])}
    noted = graph.meta.get("tflite", {})
    metadata = []
    kept = {name: data for name, data in noted.get("metadata", {}).items() if name != dynamic_layers.KEY}
    if dynamic := dynamic_layers.note(graph):
        kept[dynamic_layers.KEY] = dynamic
    for name, data in kept.items():
        metadata.append({"name": name, "buffer": len(buffers)})
        buffers.append({"data": np.frombuffer(data, np.uint8)})
    record = Record(
        "Model",
        version=3,
        operator_codes=[_code(op, version) for op, version in codes],
        subgraphs=subgraphs,
        description=f"bitlite {graph.meta['bitlite']}" if "bitlite" in graph.meta else noted.get("description", ""),
        buffers=buffers,
        metadata=metadata or None,
        signature_defs=_signatures(noted.get("signatures") or _default(graph), by_name) or None,
    )
    return record, stored


class _File:
    """What the subgraphs of a file share.

    Attributes:
        codes: (operator, version) → its number. stored: constant → the form it took and its bytes.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.codes: dict[tuple[str, int], int] = {}
        self.buffers: list[dict[str, Any]] = [{}]
        self.stored: dict[str, tuple[str, int]] = {}
        self.subgraphs: list[dict[str, Any]] = []
        self._buffers: dict[tuple[Tensor, bool], tuple[int, str]] = {}

    def code(self, op: str, version: int = 1) -> int:
        return self.codes.setdefault((op, version), len(self.codes))

    def add(
        self, inputs: Sequence[Tensor], writing: Writing, outputs: Sequence[Tensor], name: str = ""
    ) -> tuple[dict[str, Any], Callable[[Tensor | None], int]]:
        """Appends a subgraph of what was emitted. Returns it, and a tensor's index in it."""
        packed = _with_real_constants(writing)
        _fit_wide_operators(writing)
        numbers: dict[Tensor, int] = {}
        tensors: list[dict[str, Any]] = []
        operators: list[dict[str, Any]] = []
        variables = {t for emitted in writing.emitted for t in emitted.extra.get("variables", ())}
        # Weight → its scales and the inputs of a block.
        blocks = {t: form for emitted in writing.emitted for t, form in emitted.extra.get("blocks", {}).items()}
        packed |= blocks.keys()

        def number(t: Tensor | None) -> int:
            if t is None:
                return -1
            if t not in numbers:
                numbers[t] = len(tensors)
                fields = _tensor(t)
                if t in variables:
                    fields["is_variable"] = True
                elif t.data is not None:
                    buffer, kind = self._stored(t, t in packed)
                    fields |= {"buffer": buffer, "type": _TYPES[kind]}
                tensors.append(fields)
                if t in blocks:
                    scales, size = blocks[t]
                    details = {"scales": number(scales), "zero_points": -1, "block_size": size}
                    fields["quantization"] = {"details": ("BlockwiseQuantization", details)}
            return numbers[t]

        subgraph = {"name": name or self.name, "tensors": tensors, "inputs": [number(t) for t in inputs]}
        self.subgraphs.append(subgraph)
        for emitted in writing.emitted:
            if emitted.op == LOOP:
                emitted = self._while(emitted, writing)
            code = self.code(emitted.op, emitted.version or _version(emitted))
            ends = ([number(t) for t in side] for side in (emitted.inputs, emitted.outputs))
            operators.append(_operator(emitted, code, *ends))
            if inside := emitted.extra.get("intermediates"):
                operators[-1]["intermediates"] = [number(t) for t in inside]
        subgraph.update(outputs=[number(t) for t in outputs], operators=operators)
        return subgraph, number

    def _stored(self, t: Tensor, packed: bool) -> tuple[int, str]:
        """The buffer of a constant, one for all subgraphs, and its TensorType."""
        if (t, packed) not in self._buffers:
            kind, data = _value(t, packed)
            self._buffers[t, packed] = len(self.buffers), kind
            self.buffers.append({"data": data})
            self.stored[t.name] = ("packed" if kind == "INT4" else "plain", data.nbytes)
        return self._buffers[t, packed]

    def _while(self, emitted: Emitted, writing: Writing) -> Emitted:
        """The operator of a loop, whose two subgraphs are appended: whether a round follows, and the round."""
        loop: Loop = emitted.extra["loop"]
        params = [writing.between(t, name=f"{t.name}/test") for t in loop.params]
        inside = dict(zip(loop.params, params))
        test, body = writing.within(writing.graph), writing.within(writing.graph)
        goes_on = Tensor(writing.name(f"{emitted.name}/goes_on"), np.dtype(bool), (1,))
        test.node("LESS", emitted.source, [inside.get(t, t) for t in loop.test], [goes_on])
        body.emitted = list(loop.body)
        at = len(self.subgraphs)
        self.add(params, test, [goes_on], f"{emitted.name}/test")
        self.add(loop.params, body, loop.after, f"{emitted.name}/round")
        fields = {"cond_subgraph_index": at, "body_subgraph_index": at + 1}
        return Emitted("WHILE", emitted.name, emitted.inputs, emitted.outputs, fields, emitted.source)


# The operators whose float kernels take int8 weights; XNNPACK runs them so, quantizing activations as they come, which
# leaves nothing of quiet parts in front of a logarithm.
_HYBRID = {"CONV_2D", "FULLY_CONNECTED"}


def _with_real_constants(writing: Writing) -> set[Tensor]:
    """Puts a DEQUANTIZE between stored constants and float operators that do not read these (once per tensor).

    Returns the 4-bit constants that their readers take packed, two codes a byte.
    """
    first: list[Emitted] = []
    reals: dict[Tensor, Tensor] = {}
    wide: dict[Tensor, Tensor] = {}
    packed, codes = set[Tensor](), set[Emitted]()
    # Inputs in 8 bits would undo what other layers have 16 for.
    wide_codes = any(t.dtype == np.int16 and is_quantized(t) and not t.is_const for t in writing.graph.tensors())
    for item in writing.emitted:
        in_float = any(t.dtype == np.float32 for t in item.outputs) and item.op not in ("DEQUANTIZE", "CAST")
        for i, t in enumerate(item.inputs):
            if t is None or not t.is_const or not in_float or not (is_quantized(t) or t.dtype == np.float16):
                continue
            if i == 1 and not (wide_codes or writing.reaches_logarithm(item.source)) and _reads_codes(item, t):
                if t.quant is not None and t.quant.bits == 4:
                    packed.add(_dense(item))
                codes.add(item)
                continue
            if item in codes and t.dtype == np.float16:
                # XNNPACK takes such a layer, and then refuses the file where its bias is not stored as it is read.
                if t not in wide:
                    wide[t] = Tensor(t.name, np.dtype(np.float32), t.shape, t.value.astype(np.float32))
                item.inputs[i] = wide[t]
                continue
            if t not in reals:
                reals[t] = Tensor(writing.constant(0, name=f"{t.name}/real").name, np.dtype(np.float32), t.shape)
                first.append(Emitted("DEQUANTIZE", f"{t.name}/dequantize", [t], [reals[t]], {}, item.source))
            item.inputs[i] = reals[t]
    # In front, so that those which XNNPACK leaves alone do not part what it takes.
    writing.emitted = first + writing.emitted
    return packed


def _fit_wide_operators(writing: Writing) -> None:
    """On codes of 16 bits LiteRT's layers take biases of 64 bits, and sums say that scales are no powers of two."""
    wide: dict[Tensor, Tensor] = {}
    for item in writing.emitted:
        x = item.inputs[0] if item.inputs else None
        if x is None or x.dtype != np.int16 or not is_quantized(x):
            continue
        if item.op in ("ADD", "SUB"):
            item.fields["pot_scale_int16"] = False
        for i, t in enumerate(item.inputs):
            if t is not None and t.is_const and t.dtype == np.int32 and is_quantized(t):
                if t not in wide:
                    wide[t] = Tensor(t.name, np.dtype(np.int64), t.shape, t.value.astype(np.int64), t.quant)
                item.inputs[i] = wide[t]


def _dense(item: Emitted) -> Tensor:
    """The 4-bit weight of the operator, which turns from a 1x1 convolution into the FULLY_CONNECTED that it is: XNNPACK
    has a kernel for 4-bit weights of that one alone."""
    w, fields = item.required(1), item.fields
    strides = (fields.get("stride_h", 1), fields.get("stride_w", 1))
    if item.op != "CONV_2D" or w.value.shape[1:3] != (1, 1) or strides != (1, 1):
        return w
    axis = None if w.qparams.axis is None else 0
    flat = w.value.reshape(w.value.shape[0], -1)
    rows = Tensor(w.name, w.dtype, flat.shape, flat, dataclasses.replace(w.qparams, axis=axis))
    item.inputs[1], item.op = rows, "FULLY_CONNECTED"
    key = "fused_activation_function"
    item.fields = {"keep_num_dims": True} | ({key: fields[key]} if key in fields else {})
    return rows


def _reads_codes(item: Emitted, w: Tensor) -> bool:
    """Whether the operator has a hybrid kernel for the weight: int8, symmetric, one group."""
    x = item.inputs[0]
    if item.op not in _HYBRID or w.dtype != np.int8 or w.quant is None or w.quant.zero_point.any() or x is None:
        return False
    return x.dtype == np.float32 and (item.op == "FULLY_CONNECTED" or (x.shape or (None,))[-1] == (w.shape or (0,))[-1])


def _code(op: str, version: int) -> dict[str, Any]:
    if op not in _BUILTINS:
        return {
            "deprecated_builtin_code": _BUILTINS["CUSTOM"],
            "builtin_code": _BUILTINS["CUSTOM"],
            "custom_code": op,
            "version": version,
        }
    number = _BUILTINS[op]
    return {"deprecated_builtin_code": min(number, 127), "builtin_code": number, "version": version}


def _operator(emitted: Emitted, code: int, inputs: list[int], outputs: list[int]) -> dict[str, Any]:
    fields = {"opcode_index": code, "inputs": inputs, "outputs": outputs}
    if emitted.op not in _BUILTINS:
        custom = emitted.fields.get("custom_options")
        return fields | ({"custom_options": custom} if custom is not None else {})
    table = tflite_schema.options_table(emitted.op)
    if table is not None:
        slot = "builtin_options" if table in _SCHEMA.unions["BuiltinOptions"] else "builtin_options_2"
        fields[slot] = (table, {k: v for k, v in emitted.fields.items() if v is not None})
    return fields


def _tensor(t: Tensor) -> dict[str, Any]:
    if t.shape is None:
        raise UnsupportedError(
            f"{t.name}: a tensor of unknown rank cannot be written to tflite", hint=Setting("input_shape")
        )
    if t.dtype.name not in _NUMBERS:
        raise UnsupportedError(f"{t.name}: type {t.dtype} is not in TFLite")
    fields: dict[str, Any] = {
        "name": t.name,
        "shape": [1 if d is None else d for d in t.shape],
        "type": _TYPES[_NUMBERS[t.dtype.name]],
    }
    if None in t.shape:
        fields["shape_signature"] = [-1 if d is None else d for d in t.shape]
    q = t.quant
    if q is not None and t.dtype.kind in "iu":
        if q.var_corr is not None or q.mean_corr is not None:
            raise UnsupportedError(
                f"{t.name}: weights with a mean correction cannot be written to tflite",
                hint=Setting("weight_correction", False),
            )
        quantization = {"scale": q.scale.astype(np.float32), "zero_point": q.zero_point.astype(np.int64)}
        fields["quantization"] = quantization | ({"quantized_dimension": q.axis} if q.axis else {})
    return fields


def _value(t: Tensor, packed: bool) -> tuple[str, np.ndarray]:
    """The stored form of a constant: its TensorType and what holds its bytes, a view still where it is one."""
    kind = _NUMBERS[t.dtype.name]
    if packed:
        codes = np.ascontiguousarray(t.value).reshape(-1).view(np.uint8) & 15
        codes = np.append(codes, np.zeros(codes.size % 2, np.uint8))
        return "INT4", codes[0::2] | (codes[1::2] << 4)
    return kind, t.value


def _version(emitted: Emitted) -> int:
    """The operator version whose runtime has what is used here."""
    x = emitted.inputs[0] if emitted.inputs else None
    w = emitted.inputs[1] if len(emitted.inputs) > 1 else None
    kinds = {t.dtype.name for t in (*emitted.inputs[:1], *emitted.outputs[:1]) if t is not None}
    by_weight = w is not None and w.quant is not None and w.data is not None and w.dtype == np.int8
    hybrid = by_weight and x is not None and x.dtype == np.float32
    channels = by_weight and w is not None and w.quant is not None and w.quant.axis is not None
    integer = "int8" in kinds and not hybrid
    holds = {
        "int8": integer,
        "int16": "int16" in kinds,
        "float16": "float16" in kinds,
        "hybrid": hybrid,
        "hybrid_channels": hybrid and channels,
        "per_channel": x is not None and x.quant is not None and x.quant.axis is not None,
        "int8_channels": integer and channels,
        "dilated": max(emitted.fields.get("dilation_w_factor", 1), emitted.fields.get("dilation_h_factor", 1)) > 1,
        "keep_dims": bool(emitted.fields.get("keep_num_dims")),
        "no_bias": len(emitted.inputs) < 3 or emitted.inputs[2] is None,
        "bias": len(emitted.inputs) > 3 and emitted.inputs[3] is not None,
        "half_pixel": bool(emitted.fields.get("half_pixel_centers")),
    }
    table = _VERSIONS.get(emitted.op)
    if table is None:
        return 2 if integer and emitted.op not in _SAME_IN_INT8 else 1
    return max([1, *(version for condition, version in table.items() if holds[condition])])


def _default(graph: Graph) -> dict[str, Any]:
    """The signature of a source without one, for runtimes and tools that run models by signatures."""
    kept = {t for pair in graph.state_pairs for t in pair}
    inputs, outputs = ({t.name: t.name for t in side if t not in kept} for side in (graph.inputs, graph.outputs))
    return {"serving_default": {"inputs": inputs, "outputs": outputs}}


def _signatures(noted: dict[str, Any], numbers: dict[str, int]) -> list[dict[str, Any]]:
    """The source's signatures, where their tensors are still inputs and outputs."""
    signatures = []
    for key, sides in noted.items():
        if all(name in numbers for side in sides.values() for name in side.values()):
            maps = {
                side: [{"name": alias, "tensor_index": numbers[name]} for alias, name in names.items()]
                for side, names in sides.items()
            }
            signatures.append({"signature_key": key, "subgraph_index": 0, **maps})
    return signatures
