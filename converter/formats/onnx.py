"""ONNX files: the reader. Facts: onnx.proto and the operator documents of the ONNX standard, opset 7 and newer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ModelError, UnsupportedError
from ..ir import Graph, Tensor
from ..ir.limits import check_rank
from ..ops import reader, unread
from ..schema.builder import Builder
from ..schema.reading import InputShapes, Reading, name_outputs, read_operator, undefined
from .beside import Beside
from .dynamic_layers import KEY, mark_dynamic
from .ends import declare_ends
from .files import map_file
from .onnx_functions import attribute_kinds, body_of
from .onnx_parts import cut_initializers
from .onnx_write import write

__all__ = ["OLDEST_OPSET", "read", "write"]

OLDEST_OPSET = 7
_MAX_DEPTH = 32
# TensorProto.DataType → storage of raw_data; what numpy lacks is converted after.
_RAW = {
    1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8",
    12: "<u4", 13: "<u8", 14: "<c8", 15: "<c16", 16: "<u2", 21: "u1", 22: "u1", 25: "u1", 26: "u1",
}  # fmt: skip
_FLOAT16, _BFLOAT16 = 10, 16
_BITS = {21: 4, 22: 4, 25: 2, 26: 2}
"""Types of several codes a byte, the lowest bits first: uint4, int4, uint2, int2."""
_SIGNED = (22, 26)
_PORTS = frozenset(k for k in _RAW if k < 14)
"""What graph inputs and outputs may hold: the types that numpy itself has."""
# onnxruntime's weights in blocks of channels fit one kind of processor, and the file does not say which.
_NUMBERS = ({1, 2}, {6, 7})  # float and int, one or several: kinds of attributes that readers take for one another
_HINTS = {
    "com.microsoft.nchwc": "the file before onnxruntime's layout optimization (level EXTENDED), ",
    "org.openvinotoolkit": "NNCF's export with 8 bits, which has QuantizeLinear and DequantizeLinear, ",
}
_DTYPES = {**{k: v for k, v in _RAW.items() if k < 16}, _BFLOAT16: "<f4"}


def read(path: str, shapes: Mapping[str | int, Sequence[int]] | None = None) -> Graph:
    """Reads an .onnx file, external data included.

    Args:
        shapes: sizes to take for inputs by name or position, where the file leaves them open or others are wanted.
    Raises:
        ModelError: damaged or inconsistent. UnsupportedError: an operator or a form that is not read.
    """
    import onnx
    from google.protobuf.message import DecodeError

    buffer = map_file(path)
    data, constants = cut_initializers(buffer)
    try:
        model = onnx.ModelProto.FromString(data)
        if model.functions and constants:
            model, constants = onnx.ModelProto.FromString(bytes(buffer)), {}
    except (DecodeError, ValueError, RecursionError) as error:
        raise ModelError(f"truncated, damaged or not an ONNX file: {error}", file=path) from error
    if not model.HasField("graph") or not (model.graph.node or model.graph.input or model.graph.output):
        raise ModelError("truncated, damaged or not an ONNX file: it holds no graph", file=path)
    opsets = {o.domain or "ai.onnx": o.version for o in model.opset_import}
    opset = opsets.get("ai.onnx", 1 if not opsets else None)
    if opset is not None and opset < OLDEST_OPSET:
        raise UnsupportedError(f"opset {opset} is older than {OLDEST_OPSET}", file=path, hint="onnx.version_converter")
    if model.functions:
        from onnx import inliner

        try:
            model = inliner.inline_local_functions(model)
        except Exception as error:  # whatever the inliner trips over is the file's fault
            raise ModelError(f"its functions cannot be inlined: {error}", file=path) from error
    whole = np.frombuffer(buffer, np.uint8)
    apart = {k: whole[slice(*span)] for k, span in constants.items()}
    return _Reader(model, path, opsets, apart).read(InputShapes(shapes, path))


class _Reader:
    """Reads one model.

    Attributes:
        apart: initializer of the graph → its bytes, where the model has them no more.
    """

    def __init__(self, model: Any, path: str, opsets: dict[str, int], apart: dict[int, np.ndarray]) -> None:
        self.model, self.path, self.opsets, self.apart = model, path, opsets, apart
        noted: dict[str, Any] = {"doc": _utf8(model.doc_string), "graph_doc": _utf8(model.graph.doc_string)}
        noted["metadata"] = {_utf8(p.key): _utf8(p.value) for p in model.metadata_props}
        meta = {"source": "onnx", "opset": opsets.get("ai.onnx", 0), "onnx": noted}
        self.graph = Graph(_utf8(model.graph.name) or "main", meta=meta)
        self.build = Builder(self.graph)
        self.depth = 0
        self.beside = Beside(path)

    def read(self, shapes: InputShapes) -> Graph:
        source = self.model.graph
        self.build.reserve(name for node in source.node for name in node.output if name)
        scope: dict[str, Tensor] = self._initializers(source, self.apart)
        for info in source.input:
            if info.name not in scope:
                scope[info.name] = self._input(info, shapes)
        shapes.finish()
        self._nodes(source.node, scope)
        # A quantized output keeps its parameters instead of ending in a plain view.
        values = [self._value(o.name, scope) for o in source.output]
        # Of codes that an output shows as plain integers, the codes.
        ends = [(o.name, self.build.codes.get(t, t)) for o, t in zip(source.output, values)]
        self.graph.outputs = name_outputs(self.build, ends)
        declare_ends(self.graph)
        self.graph.prune()
        self.graph.meta["external"] = sorted(self.beside.files)
        mark_dynamic(self.graph, next((p.value for p in self.model.metadata_props if p.key == KEY), None))
        self.graph.uniquify()
        return self.graph

    def _input(self, info: Any, shapes: InputShapes) -> Tensor:
        self._text(info.name)
        kind = info.type.WhichOneof("value")
        if kind != "tensor_type" or info.type.tensor_type.elem_type not in _PORTS:
            what = kind if kind != "tensor_type" else f"tensor of type {info.type.tensor_type.elem_type}"
            raise UnsupportedError(f"input {info.name!r} is a {what}, which is not read", file=self.path)
        tensor = info.type.tensor_type
        shape, dims = None, ()
        if tensor.HasField("shape"):
            shape = tuple(
                d.dim_value if d.WhichOneof("value") == "dim_value" and d.dim_value >= 0 else None
                for d in tensor.shape.dim
            )
            dims = tuple(d.dim_param for d in tensor.shape.dim)
            check_rank(shape, self.path, info.name)
        shape = shapes.take(info.name, shape)
        return self.build.input(info.name, _DTYPES[tensor.elem_type], shape, dims=dims if any(dims) else ())

    def _initializers(self, source: Any, apart: Mapping[int, np.ndarray] | None = None) -> dict[str, Tensor]:
        if source.sparse_initializer:
            raise UnsupportedError(
                "sparse initializers are not read", file=self.path, node=source.sparse_initializer[0].values.name
            )
        scope = {}
        for k, proto in enumerate(source.initializer):
            self._text(proto.name)
            data = self.array(proto, apart.get(k) if apart else None)
            constant = scope[proto.name] = Tensor(self.build.name(proto.name), data.dtype, data.shape, data)
            if proto.data_type in _BITS:
                self.build.narrow[constant] = _BITS[proto.data_type]
        return scope

    def array(self, proto: Any, apart: np.ndarray | None = None) -> np.ndarray:
        """A TensorProto's value; raw and external bytes are views.

        Args:
            apart: its `raw_data`, where the message has it no more.
        """
        kind, dims, where = proto.data_type, tuple(proto.dims), proto.name
        check_rank(dims, self.path, where)
        if kind not in _RAW or any(d < 0 for d in dims):
            raise UnsupportedError(
                f"tensor of type {kind} and shape {list(dims)} is not read", file=self.path, node=where
            )
        if kind == _FLOAT16:
            self.graph.meta["float16"] = True
        count = int(np.prod(dims, dtype=object)) if dims else 1
        size = -(-count * _BITS[kind] // 8) if kind in _BITS else count * np.dtype(_RAW[kind]).itemsize
        external = proto.data_location == 1
        if external or apart is not None or proto.HasField("raw_data"):
            inside = apart if apart is not None else np.frombuffer(proto.raw_data, np.uint8)
            raw = self._external(proto, size) if external else inside
            if len(raw) != size:
                raise ModelError(f"holds {len(raw)} bytes where {list(dims)} needs {size}", file=self.path, node=where)
            values = raw.view(_RAW[kind])
            return _decode(values if values.flags.aligned else values.copy(), kind, count).reshape(dims)
        return self._typed(proto, kind, count, where).reshape(dims)

    def _typed(self, proto: Any, kind: int, count: int, where: str) -> np.ndarray:
        """Values that stand in float_data, int32_data, …"""
        names = {
            1: "float_data",
            14: "float_data",
            7: "int64_data",
            11: "double_data",
            15: "double_data",
            12: "uint64_data",
            13: "uint64_data",
        }
        values = getattr(proto, names.get(kind, "int32_data"))
        stored = np.array(
            values, {"float_data": "<f4", "double_data": "<f8", "uint64_data": "<u8"}.get(names.get(kind, ""), "<i8")
        )
        if kind in (14, 15):
            stored = stored.view(_RAW[kind])
        elif kind in _BITS:
            if len(stored) != -(-count * _BITS[kind] // 8):
                raise ModelError(
                    f"holds {len(stored)} bytes where its shape needs {count} codes", file=self.path, node=where
                )
            return _decode(stored.astype(np.uint8), kind, count)
        elif kind in (10, _BFLOAT16):
            stored = stored.astype(np.uint16).view(_RAW[kind])
        if len(stored) != count:
            raise ModelError(f"holds {len(stored)} values where its shape needs {count}", file=self.path, node=where)
        return _decode(stored.astype(_RAW[kind], copy=False), kind, count)

    def _external(self, proto: Any, size: int) -> np.ndarray:
        entries = {e.key: e.value for e in proto.external_data}
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
        except ValueError as error:
            raise ModelError(f"external data's offset or length: {error}", file=self.path, node=proto.name) from error
        return self.beside.part(entries.get("location", ""), offset, length, proto.name)

    def _text(self, *names: Any) -> None:
        """Names that are no UTF-8 come from protobuf as bytes."""
        wrong = next((n for n in names if not isinstance(n, str)), None)
        if wrong is not None:
            raise ModelError(f"the name {wrong!r} is not text in UTF-8", file=self.path)

    def _value(self, name: str, scope: dict[str, Tensor]) -> Tensor:
        value = scope.get(name)
        if value is None:
            raise undefined(name, self.path)
        return value

    def _nodes(self, nodes: Sequence[Any], scope: dict[str, Tensor]) -> None:
        for position, node in enumerate(nodes):
            self._text(
                node.op_type, node.domain, node.name, *node.input, *node.output, *(a.name for a in node.attribute)
            )
            domain = "" if node.domain in ("", "ai.onnx") else node.domain
            op = f"{domain}::{node.op_type}" if domain else node.op_type
            name = node.name or (node.output[0] if node.output else f"{node.op_type}_{position}")
            function = reader("onnx", op)
            inputs = [self._value(i, scope) if i else None for i in node.input]
            if function is None:
                if not self._expand(node, name, inputs, scope):
                    raise unread(f"operator {op}", file=self.path, node=name, hint=_HINTS.get(domain, ""))
                continue
            outputs = [Tensor(o, np.dtype("f4")) for o in node.output]
            while outputs and not outputs[-1].name:
                outputs.pop()
            reading = Reading(
                op, name, inputs, outputs, self._attributes(node, domain, name), self.build,
                file=self.path,
                version=self.opsets.get(domain or "ai.onnx", 1),
                subgraph=lambda proto, args=(), scope=scope: self._inline(proto, args, scope),
            )  # fmt: skip
            bits = next((_BITS[a.t.data_type] for a in node.attribute if a.type == 4 and a.t.data_type in _BITS), None)
            for declared, tensor in zip(outputs, read_operator(reading, function)):
                if bits is not None:
                    self.build.narrow[tensor] = bits
                if declared.name:
                    scope[declared.name] = tensor

    def _expand(self, node: Any, name: str, inputs: list[Tensor | None], scope: dict[str, Tensor]) -> bool:
        """Reads the function that defines an operator in the standard; False where there is none."""
        body = body_of(node, self.opsets, inputs)
        if body is None:
            return False
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise UnsupportedError(f"functions are nested more than {_MAX_DEPTH} deep", file=self.path, node=name)
        inner = {formal: t for formal, t in zip(body.inputs, inputs) if t is not None}
        for part in body.nodes:
            part.name = f"{name}/{part.name or part.op_type}"
            for i, given in enumerate(part.input):
                # An optional input of the function that was not given is absent in its body too.
                if given in body.inputs and given not in inner:
                    part.input[i] = ""
        outer, self.opsets = self.opsets, body.opsets
        try:
            self._nodes(body.nodes, inner)
        finally:
            self.opsets, self.depth = outer, self.depth - 1
        for formal, given in zip(body.outputs, node.output):
            if given:
                scope[given] = self._value(formal, inner)
        return True

    def _inline(self, proto: Any, args: Sequence[Tensor], outer: dict[str, Tensor]) -> list[Tensor]:
        """Reads a body (of If, Loop, Scan) into the graph with `args` as its inputs; returns its outputs."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise UnsupportedError(f"control flow is nested more than {_MAX_DEPTH} deep", file=self.path)
        scope = {**outer, **self._initializers(proto), **{info.name: t for info, t in zip(proto.input, args)}}
        try:
            self._nodes(proto.node, scope)
        finally:
            self.depth -= 1
        return [self._value(o.name, scope) for o in proto.output]

    def _attributes(self, node: Any, domain: str, name: str) -> dict[str, Any]:
        """Attribute → value, each of the kind that the standard gives it. Raises ModelError where it is another."""
        import onnx

        wanted = attribute_kinds(node.op_type, domain, self.opsets.get(domain or "ai.onnx", 1))
        for a in node.attribute:
            if wanted.get(a.name, a.type) != a.type and {wanted[a.name], a.type} not in _NUMBERS:
                kinds = [onnx.AttributeProto.AttributeType.Name(k) for k in (a.type, wanted[a.name])]
                raise ModelError(
                    f"attribute {a.name!r} is {kinds[0]} and must be {kinds[1]}",
                    file=self.path,
                    node=f"{name} ({node.op_type})",
                )
        return {a.name: self._attribute(a) for a in node.attribute}

    def _attribute(self, a: Any) -> Any:
        kind = a.type
        if kind == 3:
            return a.s.decode("utf-8", "replace")
        if kind == 4:
            return self.array(a.t)
        simple = {1: "f", 2: "i", 5: "g"}
        if kind in simple:
            return getattr(a, simple[kind])
        many = {6: "floats", 7: "ints", 10: "graphs"}
        if kind in many:
            return list(getattr(a, many[kind]))
        if kind == 8:
            return [s.decode("utf-8", "replace") for s in a.strings]
        raise UnsupportedError(f"attribute {a.name!r} of kind {kind} is not read", file=self.path)


def _utf8(text: str | bytes) -> str:
    """What nothing refers to may be any text: what is no UTF-8 comes from protobuf as bytes."""
    return text if isinstance(text, str) else text.decode("utf-8", "replace")


def _decode(stored: np.ndarray, kind: int, count: int) -> np.ndarray:
    """What numpy has no type for, in one that it has: bfloat16 → float32, integers of 2 and 4 bits → a byte each."""
    if kind == _BFLOAT16:
        return (stored.astype(np.uint32) << 16).view(np.float32)
    if kind in _BITS:
        bits = _BITS[kind]
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        codes = ((stored[:, None] >> shifts) & (2**bits - 1)).reshape(-1)[:count]
        top = 1 << (bits - 1)
        return ((codes ^ top).astype(np.int8) - np.int8(top)) if kind in _SIGNED else codes
    return stored
