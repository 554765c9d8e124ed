"""ONNX files: the writer. Channels-first, quantization as QuantizeLinear/DequantizeLinear."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..errors import OutputError, Setting, UnsupportedError
from ..ir import Graph, NameScope, Tensor, is_quantized
from ..schema.writing import Emitted, Writing, Written
from . import dynamic_layers
from .files import sweep
from .onnx_parts import write_joined
from .operators import write_operators
from .outputs import write_atomic

# The first opset in which everything that a graph holds can be said is taken.
_OPSETS = (18, 20, 21, 23)
_IR_VERSIONS = {18: 8, 20: 9, 21: 10, 23: 11}
_TYPES = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "bool": 9, "float16": 10,
    "float64": 11, "uint32": 12, "uint64": 13, "complex64": 14, "complex128": 15,
}  # fmt: skip
_INT4 = 22
# Protobuf ends at 2 GiB; past this the constants stand in a file of their own.
_EXTERNAL_ABOVE = 1 << 30
_ALIGN = 4096
# Shapes, axes and the like are read before external data are loaded: they stay in the file.
_INLINE = 1024


def write(graph: Graph, path: str, *, opset: int | None = None, blocks: str = "MatMulNBits") -> Written:
    """Writes the graph as an .onnx file (and, past 1 GiB, `path`.data beside it).

    Args:
        opset: the smallest sufficient one when None.
        blocks: how a product with a weight in blocks is said, "MatMulNBits" or "DequantizeLinear".
    Raises:
        UnsupportedError: an operator or type has no form in ONNX (before anything is written).
        OutputError: the file cannot be written.
    """
    emitted, opset = _emitted(graph, opset, blocks)
    emitted = _cancelled(emitted, graph)
    model, constants = _model(graph, emitted, opset)
    total = sum(t.data.nbytes for t in constants if t.data is not None)
    stored = {t.name: ("packed" if _packs(t) else "plain", _nbytes(t)) for t in constants}
    if total <= _EXTERNAL_ABOVE:
        with write_atomic(path) as out:
            write_joined(out, model, [(_nbytes(t), map(_raw, [t])) for t in constants])
            return Written(out.tell(), stored)
    beside = path + ".data"
    with write_atomic(beside) as out:
        for t, proto in sweep(list(zip(constants, model.graph.initializer)), lambda pair: pair[0].nbytes):
            raw = _raw(t)
            if raw.nbytes <= _INLINE:
                proto.raw_data = raw.tobytes()
                continue
            out.write(b"\0" * (-out.tell() % _ALIGN))
            _refer(proto, os.path.basename(beside), out.tell(), raw.nbytes)
            out.write(raw.data)
        size = out.tell()
    with write_atomic(path) as out:
        data = model.SerializeToString(deterministic=True)
        if len(data) >= 1 << 31:
            raise OutputError(f"{path}: the graph itself takes {len(data)} bytes, protobuf ends at 2 GiB")
        out.write(data)
        return Written(out.tell() + size, stored)


def _emitted(graph: Graph, opset: int | None, blocks: str) -> tuple[list[Emitted], int]:
    """The graph's operators in the smallest opset that has them all."""
    if opset is not None and not _OPSETS[0] <= opset <= _OPSETS[-1]:
        raise UnsupportedError(f"opset {opset} is not written", hint=f"{_OPSETS[0]} to {_OPSETS[-1]}")
    problem = UnsupportedError("no opset has all operators")
    for version in _OPSETS if opset is None else (opset,):
        try:
            if version < 21 and any(_packs(t) or t.dtype == np.int16 for t in graph.tensors() if is_quantized(t)):
                raise UnsupportedError("codes of 4 and 16 bits need opset 21", hint=Setting("opset", 21))
            writing = write_operators(graph, "onnx", opset=version, blocks=blocks)
            return _with_real_weights(writing), version
        except UnsupportedError as error:
            problem = error
    raise problem


def _with_real_weights(writing: Writing) -> list[Emitted]:
    """Quantized and float16 constants reach float operators through one DequantizeLinear or Cast each."""
    operators: list[Emitted] = []
    reals: dict[Tensor, Tensor] = {}
    for item in writing.emitted:
        for i, t in enumerate(item.inputs):
            if t is None or not t.is_const or item.op in ("QuantizeLinear", "DequantizeLinear", "Cast"):
                continue
            half = t.dtype == np.float16 and any(y.dtype == np.float32 for y in item.outputs)
            if not half and not is_quantized(t):
                continue
            if t not in reals:
                reals[t] = _widened(writing, t, item, operators) if half else _dequantized(writing, t, item, operators)
            item.inputs[i] = reals[t]
        operators.append(item)
    return operators


def _widened(writing: Writing, t: Tensor, user: Emitted, operators: list[Emitted]) -> Tensor:
    y = Tensor(writing.constant(0, name=f"{t.name}/real").name, np.dtype(np.float32), t.shape)
    operators.append(Emitted("Cast", f"{t.name}/cast", [t], [y], {"to": _TYPES["float32"]}, user.source))
    return y


def _dequantized(writing: Writing, t: Tensor, user: Emitted, operators: list[Emitted]) -> Tensor:
    q = t.qparams
    shape: tuple[int, ...] = () if q.axis is None else (len(q.scale),)
    corrected = q.mean_corr is not None or q.var_corr is not None
    scale = q.scale if q.var_corr is None else q.scale * q.var_corr.astype(np.float64)
    parts = [
        t,
        writing.constant(scale.astype(np.float32).reshape(shape), name=f"{t.name}/scale"),
        writing.constant(q.zero_point.astype(t.dtype).reshape(shape), name=f"{t.name}/zero_point"),
    ]
    if _packs(t):
        parts[2].quant = q
    y = Tensor(writing.constant(0, name=f"{t.name}/real").name, np.dtype(np.float32), t.shape)
    fields = {} if q.axis is None else {"axis": q.axis}
    operators.append(Emitted("DequantizeLinear", f"{t.name}/dequantize", list(parts), [y], fields, user.source))
    if not corrected or q.mean_corr is None or not q.mean_corr.any():
        return y
    wide = [1] * (t.rank or 0)
    if q.axis is not None:
        wide[q.axis] = len(q.scale)
    mean = writing.constant(q.mean_corr.reshape(wide), np.float32, f"{t.name}/mean")
    moved = Tensor(writing.constant(0, name=f"{t.name}/corrected").name, np.dtype(np.float32), t.shape)
    operators.append(Emitted("Add", f"{t.name}/correct", [y, mean], [moved], {}, user.source))
    return moved


def _cancelled(emitted: list[Emitted], graph: Graph) -> list[Emitted]:
    """Transpose → inverse Transpose, as writers of neighbouring channels-first operators leave them, ⇒ nothing."""
    producer = {t: e for e in emitted for t in e.outputs}
    alias: dict[Tensor, Tensor] = {}
    outputs = set(graph.outputs)
    for e in emitted:
        e.inputs = [alias.get(t, t) if t is not None else None for t in e.inputs]
        source = producer.get(e.inputs[0]) if e.inputs and e.inputs[0] is not None else None
        if e.op != "Transpose" or source is None or source.op != "Transpose" or source.inputs[0] is None:
            continue
        perm = [source.fields["perm"][p] for p in e.fields["perm"]]
        if perm == sorted(perm) and e.outputs[0] not in outputs:
            alias[e.outputs[0]] = source.inputs[0]
    needed, kept = set(outputs), []
    for e in reversed(emitted):
        if any(t in needed for t in e.outputs):
            needed.update(t for t in e.inputs if t is not None)
            kept.append(e)
    return kept[::-1]


def _model(graph: Graph, emitted: list[Emitted], opset: int) -> tuple[Any, list[Tensor]]:
    import onnx
    from onnx import helper

    constants = list(dict.fromkeys(t for e in emitted for t in e.inputs if t is not None and t.is_const))
    constants += [t for t in graph.outputs if t.is_const and t not in constants]
    names = {t: t.name for t in constants}
    taken: set[str] = set()
    for t in constants:
        while names[t] in taken:
            names[t] += "_"
        taken.add(names[t])
    nodes, node_names = [], NameScope()
    for e in emitted:
        ins = ["" if t is None else names.get(t, t.name) for t in e.inputs]
        while ins and not ins[-1]:
            ins.pop()
        fields = {k: _attribute(v) for k, v in e.fields.items() if v is not None}
        domain = e.extra.get("domain", "")
        name = node_names.take(e.name)
        nodes.append(helper.make_node(e.op, ins, [t.name for t in e.outputs], name, domain=domain, **fields))
    initializers = []
    for t in constants:
        kind = _INT4 if _packs(t) else _number(t)
        initializers.append(onnx.TensorProto(name=names[t], data_type=kind, dims=t.static_shape))
    body = helper.make_graph(
        nodes, graph.name or "main", [_info(t) for t in graph.inputs], [_info(t) for t in graph.outputs], initializers
    )
    domains = sorted({e.extra["domain"] for e in emitted if e.extra.get("domain")})
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    model = helper.make_model(
        body, opset_imports=opsets, producer_name="bitlite", producer_version=str(graph.meta.get("bitlite", ""))
    )
    noted = graph.meta.get("onnx", {})
    properties = {key: value for key, value in noted.get("metadata", {}).items() if key != dynamic_layers.KEY}
    if dynamic := dynamic_layers.note(graph):
        properties[dynamic_layers.KEY] = dynamic.decode()
    helper.set_model_props(model, properties)
    model.doc_string, model.graph.doc_string = noted.get("doc", ""), noted.get("graph_doc", "")
    model.ir_version = next(v for o, v in sorted(_IR_VERSIONS.items(), reverse=True) if opset >= o)
    return model, constants


def _attribute(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        from onnx import numpy_helper

        return numpy_helper.from_array(value)
    return value


def _info(t: Tensor) -> Any:
    from onnx import helper

    shape = None
    if t.shape is not None:
        named = t.dims or ("",) * len(t.shape)
        shape = [
            d if d is not None else (named[k] if k < len(named) and named[k] else f"{t.name}_{k}")
            for k, d in enumerate(t.shape)
        ]
    return helper.make_tensor_value_info(t.name, _number(t), shape)


def _number(t: Tensor) -> int:
    if t.dtype.name not in _TYPES:
        raise UnsupportedError(f"{t.name}: type {t.dtype} is not written to onnx")
    return _TYPES[t.dtype.name]


def _packs(t: Tensor) -> bool:
    return t.quant is not None and t.quant.bits == 4 and t.dtype == np.int8 and t.is_const


def _raw(t: Tensor) -> np.ndarray:
    data = np.ascontiguousarray(t.value)
    if not _packs(t):
        return data.reshape(-1)
    codes = data.reshape(-1).view(np.uint8) & 15
    codes = np.append(codes, np.zeros(codes.size % 2, np.uint8))
    return codes[0::2] | (codes[1::2] << 4)


def _nbytes(t: Tensor) -> int:
    return -(-t.value.size // 2) if _packs(t) else t.value.nbytes


def _refer(proto: Any, location: str, offset: int, length: int) -> None:
    proto.data_location = 1
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        entry = proto.external_data.add()
        entry.key, entry.value = key, value
