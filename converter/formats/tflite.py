"""TFLite files (`TFL3` flatbuffers): the reader. Facts: the schema of LiteRT, see `tflite_schema`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ModelError, UnsupportedError
from ..ir import Graph, Tensor
from ..ir.limits import check_rank, size_of
from ..numeric.packing import from_unsigned
from ..numeric.qparams import QuantParam
from ..ops import reader, unread
from ..schema.builder import Builder
from ..schema.reading import InputShapes, Reading, name_outputs, read_operator, undefined
from ..schema.variables import close_variables
from . import tflite_schema
from .dynamic_layers import KEY, mark_dynamic
from .files import map_file
from .flat import Record, decode, file_slice
from .tflite_sparse import densify, places
from .tflite_write import write

__all__ = ["DTYPES", "read", "write"]

_SCHEMA = tflite_schema.SCHEMA
_TYPES = _SCHEMA.enums["TensorType"]
_BUILTINS = _SCHEMA.enums["BuiltinOperator"]
DTYPES: dict[str, str] = {
    "FLOAT32": "<f4", "FLOAT16": "<f2", "FLOAT64": "<f8", "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "BOOL": "?", "INT4": "i1", "UINT4": "u1",
    "INT2": "i1", "COMPLEX64": "<c8", "RESOURCE": "<i4",
}  # fmt: skip
"""Storage of each TensorType in the IR; sub-byte integers are unpacked to a byte each."""
_SUB_BYTE = {"INT4": 4, "UINT4": 4, "INT2": 2}


def read(path: str, shapes: Mapping[str | int, Sequence[int]] | None = None) -> Graph:
    """Reads a .tflite file.

    Args:
        shapes: sizes to take for inputs by name or position, instead of the file's own.
    Raises:
        ModelError: damaged or inconsistent. UnsupportedError: an operator or a form that is not read.
    """
    buffer = map_file(path)
    model = decode(buffer, _SCHEMA, file=path)
    if not model.subgraphs:
        raise ModelError("it holds no subgraph", file=path)
    return _Subgraphs(model, buffer, path, InputShapes(shapes, path)).read(0)


class _Subgraphs:
    def __init__(self, model: Record, buffer: Any, path: str, shapes: InputShapes) -> None:
        self.model, self.buffer, self.path, self.shapes = model, buffer, path, shapes
        self.codes = [self._code(c) for c in model.operator_codes or []]
        self.open: list[int] = []
        self.variables: dict[str, Any] = {}

    def _code(self, code: Record) -> tuple[str, int]:
        number = max(code.deprecated_builtin_code, code.builtin_code)
        if number == _BUILTINS["CUSTOM"]:
            return code.custom_code or "CUSTOM", code.version
        return _BUILTINS.name(number), code.version

    def read(self, index: int) -> Graph:
        """The subgraph `index` as a graph of its own."""
        if not 0 <= index < len(self.model.subgraphs) or index in self.open:
            raise ModelError(f"subgraph {index} does not exist or contains itself", file=self.path)
        self.open.append(index)
        source = self.model.subgraphs[index]
        graph = Graph(source.name or "main", meta=self._meta() if index == 0 else {})
        build = Builder(graph)
        build.variables = self.variables
        tensors = source.tensors or []
        build.reserve(t.name for t in tensors if t.name)
        values: list[Tensor | None] = [None] * len(tensors)
        declared: list[Tensor | None] = [None] * len(tensors)

        def declare(i: int) -> Tensor:
            if not 0 <= i < len(tensors):
                raise ModelError(
                    f"tensor index {i} of subgraph {index} is outside 0..{len(tensors) - 1}", file=self.path
                )
            t = declared[i]
            if t is None:
                t = declared[i] = self._tensor(tensors[i], i)
            return t

        for i in _ints(source.inputs):
            t = declare(i)
            t.shape = self.shapes.take(t.name, t.shape) if index == 0 else t.shape
            t.layout = "NHWC" if t.rank == 4 else ""
            values[i] = t
            graph.inputs.append(t)
        if index == 0:
            self.shapes.finish()

        def value(i: int) -> Tensor:
            t = declare(i)
            known = values[i]
            if known is not None:
                return known
            # A constant without elements has no bytes either.
            if t.data is None and t.is_static and (0 in t.static_shape or tensors[i].is_variable):
                # A state starts as zeros, of int8 codes as those that stand for it.
                start = t.quant.zero_point[0] if t.quant is not None and t.dtype == np.int8 else 0
                t.data = np.full(t.static_shape, start, t.dtype)
            if t.data is None:
                raise undefined(t.name, self.path)
            values[i] = t
            return t

        for position, operator in enumerate(source.operators or []):
            if not 0 <= operator.opcode_index < len(self.codes):
                raise ModelError(f"operator {position} has opcode {operator.opcode_index}", file=self.path)
            op, version = self.codes[operator.opcode_index]
            outputs = [declare(i) for i in _ints(operator.outputs) if i != -1]
            name = outputs[0].name if outputs else f"{op}_{position}"
            function = reader("tflite", op)
            if function is None:
                raise unread(f"operator {op}", file=self.path, node=name)
            options = _options(operator)
            if operator.intermediates is not None:
                options["intermediates"] = [declare(i).quant for i in _ints(operator.intermediates)]
            reading = Reading(
                op, name, [None if i == -1 else value(i) for i in _ints(operator.inputs)], outputs, options, build,
                file=self.path, version=version, subgraph=self.read,
            )  # fmt: skip
            results = read_operator(reading, function)
            for i, tensor in zip((i for i in _ints(operator.outputs) if i != -1), results):
                values[i] = tensor
        ends = [(declare(i).name, value(i)) for i in _ints(source.outputs)]
        graph.outputs = name_outputs(build, ends)
        for t in graph.outputs:
            t.layout = t.layout or ("NHWC" if t.rank == 4 else "")
        if index == 0:
            close_variables(build, self.path)
        graph.prune()
        if index == 0:
            graph.meta["float16"] = any(t is not None and t.is_const and t.dtype == np.float16 for t in declared)
            mark_dynamic(graph, graph.meta["tflite"]["metadata"].get(KEY))
        graph.uniquify()
        self.open.pop()
        return graph

    def _meta(self) -> dict[str, Any]:
        m = self.model
        return {
            "source": "tflite",
            "description": m.description or "",
            "tflite": {
                "signatures": self._signatures(m),
                "metadata": self._metadata(m),
                "description": m.description or "",
            },
        }

    def _signatures(self, m: Record) -> dict[str, dict[str, dict[str, str]]]:
        """Signature key → {"inputs", "outputs"} → the signature's own name → tensor name."""
        tensors = m.subgraphs[0].tensors or []

        def names(maps: Any) -> dict[str, str]:
            return {
                e.name or "": tensors[e.tensor_index].name or "" for e in maps or [] if e.tensor_index < len(tensors)
            }

        return {
            s.signature_key or "": {"inputs": names(s.inputs), "outputs": names(s.outputs)}
            for s in m.signature_defs or []
            if s.subgraph_index == 0
        }

    def _metadata(self, m: Record) -> dict[str, bytes]:
        entries = {}
        for entry in m.metadata or []:
            data = self._bytes(entry.buffer)
            entries[entry.name or ""] = b"" if data is None else bytes(data)
        return entries

    def _bytes(self, index: int) -> np.ndarray | None:
        buffers = self.model.buffers or []
        if not 0 <= index < len(buffers):
            raise ModelError(f"buffer {index} is outside 0..{len(buffers) - 1}", file=self.path)
        data = buffers[index].data
        if (data is None or not len(data)) and buffers[index].offset > 1:
            return file_slice(self.buffer, buffers[index].offset, buffers[index].size, file=self.path)
        return data

    def _tensor(self, source: Record, index: int) -> Tensor:
        name = source.name or f"tensor_{index}"
        kind = _TYPES.name(source.type)
        if kind not in DTYPES:
            raise UnsupportedError(f"tensor type {kind} is not read", file=self.path, node=name)
        dtype, shape = np.dtype(DTYPES[kind]), tuple(_ints(source.shape))
        check_rank(shape, self.path, name)
        if any(d < 0 for d in shape):
            raise ModelError(f"shape {list(shape)} has a negative size", file=self.path, node=name)
        data = self._data(source, name, kind, dtype, shape)
        quant = self._quant(source.quantization, name, _SUB_BYTE.get(kind, dtype.itemsize * 8), shape)
        return Tensor(name, dtype, shape, data, quant)

    def _data(self, source: Record, name: str, kind: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray | None:
        raw = self._bytes(source.buffer) if source.buffer else None
        if raw is None or not len(raw):
            if source.sparsity is None:
                return None
            raw = np.zeros(0, np.uint8)
        bits = _SUB_BYTE.get(kind)
        at = self._places(source.sparsity, len(raw) * 8 // (bits or dtype.itemsize * 8), name, shape)
        count = size_of(shape, 1) if at is None else len(at)
        expected = -(-count * bits // 8) if bits else count * dtype.itemsize
        if len(raw) != expected:
            raise ModelError(
                f"holds {len(raw)} bytes where {kind} {list(shape)} needs {expected}", file=self.path, node=name
            )
        signed = dtype.kind == "i"
        values = _unpack(np.asarray(raw), count, bits, signed=signed) if bits else np.frombuffer(raw, dtype)
        return values.reshape(shape) if at is None else densify(values, at, shape)

    def _places(self, sparsity: Record | None, stored: int, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """Where the stored values of a sparse constant stand; None where it is dense."""
        if sparsity is None:
            return None
        try:
            return places(sparsity, shape, stored)
        except ModelError as error:
            raise ModelError(str(error), file=self.path, node=name) from error

    def _quant(self, q: Record | None, name: str, bits: int, shape: tuple[int, ...]) -> QuantParam | None:
        if q is None or q.scale is None or not len(q.scale):
            return None
        if q.get("details") is not None and getattr(q.details, "table", "") not in ("", "NONE"):
            raise UnsupportedError(f"quantization {q.details.table} is not read", file=self.path, node=name)
        scale = np.asarray(q.scale, np.float64)
        zero = (
            np.zeros(1, np.int64)
            if q.zero_point is None or not len(q.zero_point)
            else np.asarray(q.zero_point, np.int64)
        )
        axis = None if len(scale) == 1 else int(q.quantized_dimension)
        fits = axis is None or (0 <= axis < len(shape) and shape[axis] == len(scale))
        if (
            not fits
            or len(zero) not in (1, len(scale))
            or not np.isfinite(scale).all()
            or (abs(zero) > 2**31 - 1).any()
        ):
            raise ModelError(
                f"{len(scale)} scales and {len(zero)} zero points on axis {q.quantized_dimension} "
                f"do not fit shape {list(shape)}",
                file=self.path,
                node=name,
            )
        return QuantParam(scale, zero.astype(np.int32), axis, bits)


def _unpack(raw: np.ndarray, count: int, bits: int, *, signed: bool) -> np.ndarray:
    """Sub-byte integers, lowest bits first, to a byte each (TFLite's own order)."""
    per = 8 // bits
    codes = ((raw[:, None] >> (np.arange(per, dtype=np.uint8) * bits)) & ((1 << bits) - 1)).reshape(-1)[:count]
    if not signed:
        return codes.astype(np.uint8)
    half = 1 << (bits - 1)
    return from_unsigned((codes ^ half).astype(np.uint16), bits).astype(np.int8)


def _ints(values: Any) -> list[int]:
    return [] if values is None else [int(v) for v in values]


def _options(operator: Record) -> dict[str, Any]:
    options = operator.builtin_options if operator.builtin_options is not None else operator.get("builtin_options_2")
    fields = dict(options.fields()) if options is not None else {}
    if operator.custom_options is not None:
        fields["custom_options"] = operator.custom_options
    return fields
