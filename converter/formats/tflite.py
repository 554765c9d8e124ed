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
from ..ops.fourier import by_parts
from ..schema.builder import Builder
from ..schema.loops import Held
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
        source = self._opened(index)
        graph = Graph(source.name or "main", meta=self._meta() if index == 0 else {})
        build = Builder(graph)
        build.variables = self.variables
        build.reserve(t.name for t in source.tensors or [] if t.name)
        scope = _Scope(self, index, build)
        for i in _ints(source.inputs):
            t = scope.declare(i)
            t.shape = self.shapes.take(t.name, t.shape) if index == 0 else t.shape
            t.layout = "NHWC" if t.rank == 4 else ""
            scope.values[i] = t
            graph.inputs.append(t)
        if index == 0:
            self.shapes.finish()
        scope.run()
        ends = [(scope.declare(i).name, scope.value(i)) for i in _ints(source.outputs)]
        graph.outputs = name_outputs(build, ends)
        for t in graph.outputs:
            t.layout = t.layout or ("NHWC" if t.rank == 4 else "")
        for t in graph.outputs:
            if t in build.complex:
                raise UnsupportedError(f"output {t.name!r} is complex; its parts or magnitude are read", file=self.path)
        if index == 0:
            close_variables(build, self.path)
        graph.prune()
        if index == 0:
            graph.meta["float16"] = any(t.is_const and t.dtype == np.float16 for t in scope.declared.values())
            mark_dynamic(graph, graph.meta["tflite"]["metadata"].get(KEY))
        graph.uniquify()
        self.open.pop()
        return graph

    def inline(self, index: int, build: Builder, given: Sequence[Tensor]) -> list[Tensor]:
        """What the subgraph `index` gives for these inputs, its operators read into another graph."""
        source = self._opened(index)
        try:
            scope, inputs = _Scope(self, index, build), _ints(source.inputs)
            if len(inputs) != len(given):
                raise ModelError(f"subgraph {index} has {len(inputs)} inputs and is given {len(given)}", file=self.path)
            scope.values.update(zip(inputs, given))
            scope.run()
            return [scope.value(i) for i in _ints(source.outputs)]
        finally:
            self.open.pop()

    def held(self, index: int) -> Held:
        """The subgraph `index` as the file has it."""
        source = self._opened(index)
        self.open.pop()
        scope, nodes = _Scope(self, index, Builder(Graph(""))), []
        for position, operator in enumerate(source.operators or []):
            ends = _ints(operator.inputs), _ints(operator.outputs)
            nodes.append((self.operator(position, operator)[0], *ends, _options(operator)))
        return Held(_ints(source.inputs), _ints(source.outputs), nodes, scope.constant)

    def _opened(self, index: int) -> Record:
        if not 0 <= index < len(self.model.subgraphs) or index in self.open:
            raise ModelError(f"subgraph {index} does not exist or contains itself", file=self.path)
        self.open.append(index)
        return self.model.subgraphs[index]

    def operator(self, position: int, operator: Record) -> tuple[str, int]:
        """Name and version of an operator."""
        if not 0 <= operator.opcode_index < len(self.codes):
            raise ModelError(f"operator {position} has opcode {operator.opcode_index}", file=self.path)
        return self.codes[operator.opcode_index]

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

    def tensor(self, source: Record, index: int) -> Tensor:
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
        if q is None or _in_blocks(q):
            return None
        if q.scale is None or not len(q.scale):
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


class _Scope:
    """The tensors of a subgraph while its operators are read.

    Attributes:
        declared: index → tensor as the file declares it. values: index → what stands for it.
    """

    def __init__(self, file: _Subgraphs, index: int, build: Builder) -> None:
        self.file, self.index, self.build = file, index, build
        self.source = file.model.subgraphs[index]
        self.tensors = self.source.tensors or []
        self.declared: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}

    def declare(self, i: int) -> Tensor:
        if i not in self.declared:
            if not 0 <= i < len(self.tensors):
                raise ModelError(
                    f"tensor index {i} of subgraph {self.index} is outside 0..{len(self.tensors) - 1}",
                    file=self.file.path,
                )
            self.declared[i] = self.file.tensor(self.tensors[i], i)
        return self.declared[i]

    def constant(self, i: int) -> Tensor | None:
        t = self.declare(i)
        # A constant without elements has no bytes either.
        if t.data is None and t.is_static and (0 in t.static_shape or self.tensors[i].is_variable):
            # A state starts as zeros, of int8 codes as those that stand for it.
            start = t.quant.zero_point[0] if t.quant is not None and t.dtype == np.int8 else 0
            t.data = np.full(t.static_shape, start, t.dtype)
        return t if t.data is not None else None

    def value(self, i: int) -> Tensor:
        known = self.values.get(i)
        if known is not None:
            return known
        t = self.constant(i)
        if t is None:
            raise undefined(self.declare(i).name, self.file.path)
        self.values[i] = t
        return t

    def run(self) -> None:
        """Reads the operators."""
        for position, operator in enumerate(self.source.operators or []):
            op, version = self.file.operator(position, operator)
            ends = [i for i in _ints(operator.outputs) if i != -1]
            outputs = [self.declare(i) for i in ends]
            name = outputs[0].name if outputs else f"{op}_{position}"
            function = reader("tflite", op)
            if function is None:
                raise unread(f"operator {op}", file=self.file.path, node=name)
            options = _options(operator)
            if (blocks := self._blocks(op, name, operator)) is not None:
                options["blocks"] = blocks
            if operator.intermediates is not None:
                options["intermediates"] = [self.declare(i).quant for i in _ints(operator.intermediates)]
            reading = Reading(
                op, name, [None if i == -1 else self.value(i) for i in _ints(operator.inputs)], outputs, options,
                self.build, file=self.file.path, version=version, subgraph=self._subgraph,
            )  # fmt: skip
            self.values.update(zip(ends, read_operator(reading, by_parts(function))))

    def _blocks(self, op: str, name: str, operator: Record) -> tuple[Tensor, np.ndarray | None, int, int] | None:
        """Of a weight with scales per block: them, its zero points, how many codes a block has, and their bits."""
        found = None
        for k, i in enumerate(_ints(operator.inputs)):
            q = self.tensors[i].quantization if 0 <= i < len(self.tensors) else None
            if q is None or not _in_blocks(q):
                continue
            if (op, k) != ("FULLY_CONNECTED", 1):
                raise UnsupportedError(f"{op} of codes in blocks is not read", file=self.file.path, node=name)
            scales = self.value(q.details.scales)
            # 0 and -1 are none: an absent field is 0, and tensor 0 an input.
            at = q.details.zero_points
            zero = self.declare(at).data if at > 0 else None
            kind = _TYPES.name(self.tensors[i].type)
            bits = _SUB_BYTE.get(kind, self.declare(i).dtype.itemsize * 8)
            found = scales, zero, int(q.details.block_size), bits
        return found

    def _subgraph(self, index: int, given: Sequence[Tensor] | None = None, *, held: bool = False) -> Any:
        """A subgraph that an operator names: as a graph, what it gives for inputs, or as the file has it."""
        if held:
            return self.file.held(index)
        return self.file.read(index) if given is None else self.file.inline(index, self.build, given)


def _unpack(raw: np.ndarray, count: int, bits: int, *, signed: bool) -> np.ndarray:
    """Sub-byte integers, lowest bits first, to a byte each (TFLite's own order)."""
    per = 8 // bits
    codes = ((raw[:, None] >> (np.arange(per, dtype=np.uint8) * bits)) & ((1 << bits) - 1)).reshape(-1)[:count]
    if not signed:
        return codes.astype(np.uint8)
    half = 1 << (bits - 1)
    return from_unsigned((codes ^ half).astype(np.uint16), bits).astype(np.int8)


def _in_blocks(quantization: Record) -> bool:
    return getattr(quantization.get("details"), "table", "") == "BlockwiseQuantization"


def _ints(values: Any) -> list[int]:
    return [] if values is None else [int(v) for v in values]


def _options(operator: Record) -> dict[str, Any]:
    options = operator.builtin_options if operator.builtin_options is not None else operator.get("builtin_options_2")
    fields = dict(options.fields()) if options is not None else {}
    if operator.custom_options is not None:
        fields["custom_options"] = operator.custom_options
    return fields
