"""MINDIR files: the reader. New files name primitives kept apart ("REF::Conv2D:4"), old ones the operator itself.

A value is a tensor, or what Python calls a number, a text, None or a list: attributes of primitives are inputs in new
files. Monads, which order side effects, are None, and so are values of kinds that no operator of inference reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ModelError, UnsupportedError
from ..ir import Graph, Tensor
from ..ir.limits import check_rank
from ..ops import reader, unread
from ..schema.builder import Builder
from ..schema.reading import InputShapes, Reading, name_outputs, read_operator, undefined
from . import mindir_schema as schema
from .beside import Beside
from .ends import declare_ends
from .files import map_file
from .protobuf import cut

_GRAPH, _PARAMETER, _RAW_DATA = 7, 3, 9
_MAX_DEPTH = 32
_EVERY = 1 << 30
_FOLD_LIMIT = 1 << 26
"""Elements: operators join the weights of a recurrent layer, which its reader takes as a constant."""
_LISTS = frozenset(("MakeTuple", "MakeList", "make_tuple", "make_list"))
_ITEMS = frozenset(("TupleGetItem", "ListGetItem", "tuple_getitem", "list_getitem"))
_FIRST = frozenset(("Load", "Depend", "Return", "return", "StopGradient", "stop_gradient"))
"""Operators that give their first input."""
_OWN = _LISTS | _ITEMS | _FIRST | {"UpdateState", "Constant"}


def read(path: str, shapes: Mapping[str | int, Sequence[int]] | None = None) -> Graph:
    """Reads a .mindir file, parameters in files beside it included.

    Args:
        shapes: sizes to take for inputs by name or position, where the file leaves them open or others are wanted.
    Raises:
        ModelError: damaged or inconsistent. UnsupportedError: encrypted, an operator or a form that is not read.
    """
    model, apart = _parsed(path)
    return _Reader(model, path, apart).read(InputShapes(shapes, path))


def operator_names(path: str) -> Iterator[str]:
    """The operators that a file holds, but for those that order others or bundle values. Raises as `read`."""
    model, _ = _parsed(path)
    reading = _Reader(model, path, {})
    for graph in (model.graph, *model.functions):
        for node in graph.node:
            op = reading.operator(node)[0]
            if op not in _OWN and op not in reading.functions:
                yield op


def _parsed(path: str) -> tuple[Any, dict[int, np.ndarray]]:
    """The file's message without the large parameters of its graph, and parameter → its bytes."""
    from google.protobuf.message import DecodeError

    buffer = map_file(path)
    cipher = schema.ENCRYPTED.get(int.from_bytes(buffer[:4], "little"))
    if cipher:
        raise UnsupportedError(
            f"is encrypted ({cipher}); bitlite holds no keys", file=path, hint="mindspore.export without enc_key"
        )
    data, apart = cut(buffer, (_GRAPH, _PARAMETER, _RAW_DATA), once=1)
    try:
        model = schema.model_proto().FromString(data)
    except (DecodeError, ValueError, RecursionError) as error:
        raise ModelError(f"truncated, damaged or not a MINDIR file: {error}", file=path) from error
    if not model.HasField("graph") or not model.graph.output:
        raise ModelError("truncated, damaged or not a MINDIR file: it holds no graph", file=path)
    whole = np.frombuffer(buffer, np.uint8)
    return model, {at[1]: whole[slice(*span)] for at, span in apart.items()}


class _Reader:
    """Reads one model.

    Attributes:
        apart: parameter of the graph → its bytes, where the model has them no more.
        swapped: whether stored numbers are big-endian.
    """

    def __init__(self, model: Any, path: str, apart: dict[int, np.ndarray]) -> None:
        self.model, self.path, self.apart = model, path, apart
        self.swapped = model.HasField("little_endian") and not model.little_endian
        self.primitives = {p.name: p for p in model.primitives}
        self.functions = {f.name: f for f in model.functions}
        self.graph = Graph("main", meta={"source": "mindir"})
        self.build = Builder(self.graph, _FOLD_LIMIT)
        self.beside = Beside(path)
        self.depth = 0
        self._check_texts()

    def read(self, shapes: InputShapes) -> Graph:
        source, scope = self.model.graph, dict[str, Any]()
        if source.map_parameter:
            raise UnsupportedError("a parameter that is a table of keys is not read", file=self.path)
        for k, proto in enumerate(source.parameter):
            name = self._plain(proto.name, source)
            data = self._array(proto, name, self.apart.get(k))
            scope[proto.name] = Tensor(self.build.name(name), data.dtype, data.shape, data)
        for info in source.input:
            scope[info.name] = self._input(info, self._plain(info.name, source), shapes)
        shapes.finish()
        self.build.reserve(self._plain(n.domain or n.output[0], source) for n in source.node if n.output)
        ends = self._tensors(self._nodes(source, scope))
        self.graph.outputs = name_outputs(self.build, [(t.name, t) for t in ends])
        declare_ends(self.graph)
        self.graph.prune()
        self.graph.meta["external"] = sorted(self.beside.files)
        self.graph.uniquify()
        return self.graph

    def _plain(self, name: str, graph: Any) -> str:
        """A name without that of the graph that the exporter puts before it."""
        return name.removeprefix(f"{graph.name}:")

    def _check_texts(self) -> None:
        """Raises ModelError where a name is no UTF-8: protobuf gives it as bytes."""
        for p in self.model.primitives:
            self._check_text(p.name, p.op_type, *(a.name for a in p.attribute))
        for graph in (self.model.graph, *self.model.functions):
            ends = (*graph.input, *graph.output, *graph.parameter)
            self._check_text(graph.name, *(t.name for t in ends))
            for node in graph.node:
                names = (a.name for a in node.attribute)
                self._check_text(node.op_type, node.domain, *node.input, *node.output, *names)

    def _check_text(self, *names: Any) -> None:
        wrong = next((n for n in names if not isinstance(n, str)), None)
        if wrong is not None:
            raise ModelError(f"the name {wrong!r} is not text in UTF-8", file=self.path)

    def _input(self, info: Any, name: str, shapes: InputShapes) -> Tensor:
        proto = info.tensor[0] if info.tensor else None
        if proto is None or proto.data_type not in schema.STORAGE:
            what = "no tensor" if proto is None else f"a tensor of type {proto.data_type}"
            raise UnsupportedError(f"input {name!r} is {what}, which is not read", file=self.path)
        check_rank(tuple(proto.dims), self.path, name)
        # A rank that is not known is the one dimension -2.
        shape = None if list(proto.dims) == [-2] else tuple(d if d >= 0 else None for d in proto.dims)
        return self.build.input(name, schema.DTYPES[proto.data_type], shapes.take(name, shape))

    def _array(self, proto: Any, where: str, apart: np.ndarray | None = None) -> np.ndarray:
        """A TensorProto's value; raw and external bytes are views.

        Args:
            apart: its `raw_data`, where the message has it no more.
        """
        kind, dims = proto.data_type, tuple(proto.dims)
        check_rank(dims, self.path, where)
        if kind not in schema.STORAGE or any(d < 0 for d in dims):
            raise UnsupportedError(
                f"tensor of type {kind} and shape {list(dims)} is not read", file=self.path, node=where
            )
        if proto.compression_type or proto.quant_params:
            raise UnsupportedError(
                "a compressed or quantized parameter is not read",
                file=self.path,
                node=where,
                hint="the float .mindir that mindspore.export writes",
            )
        if kind == 10:
            self.graph.meta["float16"] = True
        storage = np.dtype(schema.STORAGE[kind])
        size = int(np.prod(dims, dtype=object)) * storage.itemsize if dims else storage.itemsize
        if proto.HasField("external_data"):
            at = proto.external_data
            raw = self.beside.part(at.location, at.offset, at.length if at.HasField("length") else size, where)
        else:
            raw = apart if apart is not None else np.frombuffer(proto.raw_data, np.uint8)
        if len(raw) != size:
            raise ModelError(f"holds {len(raw)} bytes where {list(dims)} needs {size}", file=self.path, node=where)
        values = raw.view(storage.newbyteorder(">" if self.swapped else "<"))
        if not values.flags.aligned or self.swapped:
            values = values.astype(storage)
        if kind == schema.BFLOAT16:
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return values.reshape(dims)

    def _attribute(self, a: Any, where: str) -> Any:
        """What an attribute holds."""
        kind, form = a.type, a.ref_attr_name if isinstance(a.ref_attr_name, str) else ""
        if kind in (schema.TENSOR, schema.TENSORS):
            tensors = [self._constant(t, where) for t in ([a.t] if a.HasField("t") else a.tensors)]
            return tensors[0] if len(tensors) == 1 and "[" not in form else tensors
        if kind in (schema.TUPLE, schema.LIST):
            return [self._attribute(v, where) for v in a.values]
        if kind == schema.STRING:
            texts = [s.decode("utf-8", "replace") for s in ([a.s] if a.HasField("s") else a.strings)]
            return texts[0] if len(texts) == 1 and "[" not in form else texts
        single, several = {schema.FLOAT: ("f", "floats"), schema.DOUBLE: ("d", "doubles")}.get(kind, ("i", "ints"))
        if kind not in (schema.FLOAT, schema.DOUBLE, schema.BOOL) and kind not in schema.INTEGERS:
            return None
        numbers = [getattr(a, single)] if a.HasField(single) else list(getattr(a, several))
        if kind == schema.BOOL:
            numbers = list(map(bool, numbers))
        # Elements of a list stand in the repeated field, one each in new files; old ones say a list by its form.
        return numbers[0] if len(numbers) == 1 and "[" not in form else numbers

    def _constant(self, proto: Any, where: str) -> Any:
        """A tensor; the type where one is said by a tensor without contents."""
        if not proto.raw_data and 0 not in proto.dims and not proto.HasField("external_data"):
            return np.dtype(schema.DTYPES[proto.data_type]) if proto.data_type in schema.DTYPES else None
        data = self._array(proto, where)
        return Tensor(self.build.name(where), data.dtype, data.shape, data)

    def _nodes(self, graph: Any, scope: dict[str, Any]) -> list[Any]:
        """Reads a graph's nodes into `scope`; returns its outputs' values."""
        wanted = self._wanted(graph)
        for node in graph.node:
            if not node.output:
                raise ModelError("a node has no output", file=self.path, node=node.op_type)
            name = self._plain(node.domain or node.output[0], graph)
            if node.op_type == "Constant":
                held = next((a for a in node.attribute if a.name != "shape"), None)
                scope[node.output[0]] = None if held is None else self._attribute(held, name)
                continue
            inputs = [self._value(i, scope) for i in node.input]
            scope[node.output[0]] = self._node(node, name, inputs, scope, wanted.get(node.output[0], 1))
        return [self._value(o.name, scope) for o in graph.output]

    def _value(self, name: str, scope: dict[str, Any]) -> Any:
        if name not in scope:
            raise undefined(name, self.path)
        return scope[name]

    def operator(self, node: Any) -> tuple[str, Any]:
        """The operator's name, and where its attributes are."""
        key = node.op_type.removeprefix("REF::")
        primitive = self.primitives.get(key) if key != node.op_type else None
        return (key, node.attribute) if primitive is None else (primitive.op_type, primitive.attribute)

    def _wanted(self, graph: Any) -> dict[str, int]:
        """How many outputs of each node are read, counted from the first."""
        whole = {
            n.output[0]: n.attribute[0].i
            for n in graph.node
            if n.op_type == "Constant" and n.output and n.attribute and n.attribute[0].HasField("i")
        }
        counts = dict.fromkeys((o.name for o in graph.output), _EVERY)
        for node in graph.node:
            op = self.operator(node)[0]
            read = [] if op == "UpdateState" else node.input[:1] if op == "Depend" else node.input
            for k, name in enumerate(read):
                count = _EVERY
                if op in _ITEMS:
                    count = whole.get(node.input[1], _EVERY - 1) + 1 if k == 0 and len(node.input) > 1 else 1
                counts[name] = max(counts.get(name, 1), count)
        return counts

    def _node(self, node: Any, name: str, inputs: list[Any], scope: dict[str, Any], wanted: int) -> Any:
        """The value of a node."""
        op, attributes = self.operator(node)
        if op in self.functions:
            return self._call(self.functions[op], name, inputs, scope)
        if op == "UpdateState":
            return None
        if op in _LISTS:
            return inputs
        if op in _FIRST and inputs:
            return inputs[0]
        if op in _ITEMS:
            return self._item(name, inputs)
        function = reader("mindir", op)
        if function is None:
            raise unread(f"operator {op}", file=self.path, node=name)
        several, count = _declared(node)
        names = [name if k == 0 else f"{name}:{k}" for k in range(max(min(count, wanted), 1))]
        outputs = [Tensor(n, np.dtype("f4")) for n in names]
        options = {a.name: self._attribute(a, f"{name}/{a.name}") for a in attributes if a.name != "shape"}
        reading = Reading(
            op, name, [t if isinstance(t, Tensor) else None for t in inputs], outputs, options, self.build,
            file=self.path,
            numbers={k: v for k, v in enumerate(inputs) if not isinstance(v, Tensor)},
        )  # fmt: skip
        results = read_operator(reading, function)
        return results if several else results[0]

    def _item(self, name: str, inputs: list[Any]) -> Any:
        values, index = (inputs + [None, None])[:2]
        if not isinstance(values, list) or not isinstance(index, int) or not -len(values) <= index < len(values):
            many = f"{len(values)} values" if isinstance(values, list) else "no list"
            raise ModelError(f"takes item {index} of {many}", file=self.path, node=name)
        return values[index]

    def _call(self, function: Any, name: str, inputs: list[Any], scope: dict[str, Any]) -> Any:
        """Reads the graph that a node calls in its place."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise UnsupportedError(f"graphs call one another more than {_MAX_DEPTH} deep", file=self.path, node=name)
        if len(inputs) < len(function.input):
            raise ModelError(f"calls {function.name} with {len(inputs)} inputs", file=self.path, node=name)
        inner = {**scope, **{info.name: value for info, value in zip(function.input, inputs)}}
        try:
            values = self._nodes(function, inner)
        finally:
            self.depth -= 1
        return values[0] if len(values) == 1 else values

    def _tensors(self, values: Sequence[Any]) -> list[Tensor]:
        """The tensors among a graph's outputs, which may be lists of them. Raises where one is something else."""
        tensors: list[Tensor] = []
        for value in values:
            if isinstance(value, list):
                tensors += self._tensors(value)
            elif isinstance(value, Tensor):
                tensors.append(value)
            elif value is not None:
                raise UnsupportedError(f"its output {value!r} is no tensor", file=self.path)
        return tensors


def _declared(node: Any) -> tuple[bool, int]:
    """Whether a node's value is a list, and of how many, by the types that the exporter notes."""
    for a in node.attribute:
        if a.name == "shape" and (a.type in (schema.TUPLE, schema.LIST) or "uple[" in str(a.ref_attr_name)):
            return True, len(a.values) or len(a.tensors)
    return False, 1
