"""MindSpore Lite files (`MSL2` flatbuffers): reader and writer. The stored tensors are in `ms_tensors`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import Error, ModelError, UnsupportedError
from ..ir import Graph, NameScope, Node, Tensor, is_quantized
from ..ir.limits import FreeCodes
from ..numeric.qparams import QuantParam
from ..ops import reader, row, unread
from ..schema.builder import Builder
from ..schema.loops import LOOP, Found
from ..schema.reading import InputShapes, Reading, name_outputs, read_operator, undefined
from ..schema.writing import Emitted, Written
from . import ms_schema
from .dynamic_layers import dynamic_weights, mark_dynamic
from .files import map_file
from .flat import Record, decode
from .flat import write as write_flat
from .ms_layouts import NHWC, layouts
from .ms_loops import find_loop, lay_out
from .ms_tensors import holds_correction, read_tensor, write_tensor
from .operators import write_operators
from .outputs import write_atomic

_SCHEMA = ms_schema.SCHEMA
# Readers of a file take the meaning of its quantization axes from this; see the runtime's CheckVersion.
_VERSION = "MindSpore Lite 2.0.0"
_FRAMEWORKS = {"tf": 0, "caffe": 1, "onnx": 2, "ms": 3, "tflite": 4}
_FORMS = {1: "indexing", 2: "sparse", 4: "packed"}
_QUANT_NONE, _QUANT_WEIGHT, _QUANT_ALL, _QUANT_DYNAMIC = 0, 4, 5, 6


def read(path: str, shapes: Mapping[str | int, Sequence[int]] | None = None) -> Graph:
    """Reads a .ms file: float, weight-quantized (packed, INDEXING, SPARSE) or fully quantized.

    Raises:
        ModelError: damaged or inconsistent. UnsupportedError: an operator or a form that is not read.
    """
    record = decode(map_file(path), _SCHEMA, file=path)
    wanted = InputShapes(shapes, path)
    tensors, nodes = record.allTensors or [], record.nodes or []
    top = record.subGraph[0] if record.subGraph else record
    order = _indices(top.nodeIndices, len(nodes), "node", path) if record.subGraph else list(range(len(nodes)))
    graph = Graph(record.name or "main", meta=_meta(record))
    build = Builder(graph)
    build.reserve(t.name for t in tensors if t.name)
    free = FreeCodes(path)
    declared: list[Tensor | None] = [None] * len(tensors)
    values: list[Tensor | None] = [None] * len(tensors)

    def declare(i: int) -> Tensor:
        t = declared[i]
        if t is None:
            t = declared[i] = read_tensor(tensors[i], tensors[i].name or f"tensor_{i}", path, free)
        return t

    def value(i: int) -> Tensor:
        t = values[i]
        if t is None:
            t = values[i] = declare(i)
            if t.data is None and t.is_static and 0 in t.static_shape:
                t.data = np.empty(t.static_shape, t.dtype)  # a constant of no elements
            if t.data is None:
                raise undefined(t.name, path)
        return t

    for i in _indices(record.inputIndex, len(tensors), "tensor", path):
        t = declare(i)
        t.data, t.shape = None, wanted.take(t.name, t.shape)
        t.layout = "" if t.rank != 4 else "NHWC" if tensors[i].format == NHWC else "NCHW"
        values[i] = t
        graph.inputs.append(t)
    wanted.finish()

    def operands(source: Record) -> tuple[list[int], list[int]]:
        ends = (_indices(v, len(tensors), "tensor", path) for v in (source.inputIndex, source.outputIndex))
        return next(ends), next(ends)

    def read_node(position: int) -> None:
        source = nodes[position]
        primitive = source.primitive.value if source.primitive is not None else None
        ins, outs = operands(source)
        name = source.name or (declare(outs[0]).name if outs else f"node_{position}")
        op = primitive.table if primitive is not None else "NONE"
        become(op, name, ins, outs, primitive.fields() if primitive is not None else {})

    def become(op: str, name: str, ins: Sequence[int], outs: Sequence[int], options: dict[str, Any]) -> None:
        function = reader("ms", op)
        if function is None:
            raise unread(f"operator {op}", file=path, node=name)
        reading = Reading(op, name, [value(i) for i in ins], [declare(i) for i in outs], options, build, file=path)
        first = len(graph.nodes)
        for i, tensor in zip(outs, read_operator(reading, function)):
            values[i] = tensor
        for node in graph.nodes[first:]:
            _settle(node, path)

    def read_loop(loop: Found) -> None:
        def inside(k: int) -> tuple[str, list[int], list[int], dict[str, Any]]:
            primitive = nodes[k].primitive.value if nodes[k].primitive is not None else None
            return (
                ("NONE", [], [], {})
                if primitive is None
                else (primitive.table, *operands(nodes[k]), primitive.fields())
            )

        def constant(i: int) -> Tensor | None:
            return value(i) if declare(i).data is not None else None

        results = {i: k for i, k in loop.results.items() if loop.after[k] != loop.params[k]}
        options = {"loop": loop, "nodes": [inside(k) for k in loop.body], "constants": constant}
        become(LOOP, loop.name, loop.start, list(results), options | {"results": list(results.values())})
        for i, k in loop.results.items():
            if i not in results:
                values[i] = value(loop.start[k])

    seen, loop = {0}, None
    while True:
        loop = find_loop(record, order, seen, path) if record.subGraph else None
        for position in order if loop is None else order[:-2]:
            read_node(position)
        if loop is None:
            break
        read_loop(loop)
        order = loop.rest
    ends = [(declare(i).name, value(i)) for i in _indices(record.outputIndex, len(tensors), "tensor", path)]
    graph.outputs = name_outputs(build, ends)
    for i, t in zip(_indices(record.outputIndex, len(tensors), "tensor", path), graph.outputs):
        t.layout = "" if t.rank != 4 else "NHWC" if tensors[i].format == NHWC else "NCHW"
    graph.prune()
    graph.meta["float16"] = any(t is not None and t.is_const and t.dtype == np.float16 for t in declared)
    mark_dynamic(graph, graph.meta.pop("dynamic", None))
    graph.uniquify()
    if not {"bitlite", "rounding"} & set(graph.meta) and any(is_quantized(t) for n in graph.nodes for t in n.outputs):
        # What MindSpore Lite itself wrote was calibrated for its kernels' rounding.
        graph.meta["rounding"] = "gemmlowp"
    return graph


def _indices(values: Any, limit: int, what: str, path: str) -> list[int]:
    indices = [] if values is None else [int(v) for v in values]
    for i in indices:
        if not 0 <= i < limit:
            raise ModelError(f"{what} index {i} is outside 0..{limit - 1}", file=path)
    return indices


def _settle(node: Node, path: str) -> None:
    """Gives per-channel weights the axis that their operator means, and an int32 bias the scale that follows."""
    cell = row(node.op).quant
    if cell is None or not cell.weights:
        return
    axis = cell.channel_axis(node)
    for index in cell.weights:
        w = node.input(index)
        if w is None or w.quant is None or w.data is None or w.quant.axis in (None, axis) or axis is None:
            continue
        q = w.quant
        if w.data.ndim <= axis or w.data.shape[axis] != len(q.scale):
            raise ModelError(
                f"{len(q.scale)} scales do not fit axis {axis} of weight {list(w.data.shape)}",
                file=path,
                node=node.name,
            )
        w.quant = replace(q, axis=axis)
    w = node.input(cell.weights[0])
    if w is None or w.quant is None:
        return
    x, b = node.inputs[0], node.input(cell.bias) if cell.bias is not None else None
    if (
        b is not None
        and b.dtype == np.int32
        and b.quant is None
        and x is not None
        and is_quantized(x)
        and x.quant is not None
    ):
        scale = x.quant.scale[0] * w.quant.scale
        b.quant = QuantParam(scale, np.zeros(len(scale), np.int32), 0 if len(scale) > 1 else None, 32)


def _meta(record: Record) -> dict[str, Any]:
    meta: dict[str, Any] = {"source": "ms", "version": record.version or "", "framework": record.fmkType}
    if record.obfMetaData is not None and not record.obfuscate:
        try:
            noted = json.loads(bytes(record.obfMetaData).decode("utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError):
            noted = None
        if isinstance(noted, dict):
            meta |= noted
    return meta


def write(graph: Graph, path: str) -> Written:
    """Writes the graph as a .ms file.

    Raises:
        UnsupportedError: an operator or type has no form in MindSpore Lite (before anything is written).
        OutputError: the file cannot be written.
    """
    record = to_record(graph)
    with write_atomic(path) as out:
        write_flat(out, record, _SCHEMA)
        size = out.tell()
    stored = {
        t["name"]: (_FORMS.get(t.get("weightQuantCompressType", 0), "plain"), _nbytes(t["data"]))
        for t in record.allTensors
        if "data" in t
    }
    return Written(size, stored)


def _nbytes(data: Any) -> int:
    return data.nbytes if isinstance(data, np.ndarray) else len(data)


def _constants_computed(graph: Graph) -> Graph:
    """The graph with an Identity for each output that is an int64 constant: the file has those as int32, and what an
    operator gives can be cast back."""
    wide = [t for t in graph.outputs if t.is_const and t.dtype == np.int64 and t.quant is None]
    if not wide:
        return graph
    scope = NameScope(t.name for t in graph.tensors())
    stored = {t: replace(t, name=scope.take(f"{t.name}/value"), layout="") for t in wide}
    ends = {t: Tensor(t.name, t.dtype, t.shape, layout=t.layout) for t in wide}
    nodes = [replace(n, inputs=[None if t is None else stored.get(t, t) for t in n.inputs]) for n in graph.nodes]
    nodes += [Node("Identity", t.name, [stored[t]], [ends[t]]) for t in wide]
    return replace(graph, nodes=nodes, outputs=[ends.get(t, t) for t in graph.outputs])


def to_record(graph: Graph) -> Record:
    """The graph as a `MetaGraph` record."""
    graph = _constants_computed(graph)
    writing = write_operators(graph, "ms")
    tags = layouts(graph, writing)
    subgraphs, stands = lay_out(graph, writing)
    tags |= {other: tags[t] for t, other in stands.items() if t in tags}
    names = {stands[t]: t.name for t in graph.outputs if t in stands}
    names |= {t: writing.name(f"{t.name}/before") for t in graph.outputs if t in stands and t not in graph.inputs}
    numbers: dict[Tensor, int] = {}
    weight_only: set[Tensor] = set()
    for operator in (operator for sub in subgraphs for operator in sub.nodes):
        if _quant_type(operator) == _QUANT_WEIGHT:
            weight_only.update(t for t in operator.inputs if t is not None and t.is_const and is_quantized(t))
    tensors: list[dict[str, Any]] = []
    packs = graph.meta.get("encode", True)

    def number(t: Tensor) -> int:
        if t not in numbers:
            numbers[t] = len(tensors)
            stored, coded = t if t not in names else replace(t, name=names[t]), t in weight_only
            # Wider than any weight: a bias.
            if coded and t.quant is not None and (t.quant.bits > 16 or not holds_correction(t.quant)):
                stored, coded = Tensor(t.name, np.dtype(np.float32), t.shape, t.real()), False
            try:
                tensors.append(write_tensor(stored, tags.get(t, NHWC), packs and coded, packs))
            except UnsupportedError as error:
                raise Error(error.message, hint=error.hint) from error
        return numbers[t]

    def indices(given: Sequence[Tensor]) -> np.ndarray:
        return np.array([number(t) for t in given], np.uint32)

    inputs = indices(graph.inputs)
    nodes: list[dict[str, Any]] = []
    bodies: list[dict[str, Any]] = []
    for sub in subgraphs:
        first, own = len(nodes), {}
        for operator in sub.nodes:
            ins = list(operator.inputs)
            while ins and ins[-1] is None:
                ins.pop()
            if None in ins:
                raise UnsupportedError(
                    f"{operator.name} ({operator.op}): an absent input before a present one cannot be written to ms"
                )
            fields = {k: v for k, v in operator.fields.items() if v is not None}
            node = {
                "name": operator.name,
                "primitive": {"value": (operator.op, fields)},
                "inputIndex": indices([t for t in ins if t is not None]),
                "outputIndex": indices(operator.outputs),
            }
            own |= dict.fromkeys((*node["inputIndex"].tolist(), *node["outputIndex"].tolist()))
            kind = _quant_type(operator)
            if kind:
                node["quantType"] = kind
            nodes.append(node)
        body = {"name": sub.name, "inputIndices": indices(sub.inputs), "outputIndices": indices(sub.outputs)}
        own |= dict.fromkeys((*body["inputIndices"].tolist(), *body["outputIndices"].tolist()))
        body["nodeIndices"] = np.arange(first, len(nodes), dtype=np.uint32)
        body["tensorIndices"] = np.array(sorted(own), np.uint32)
        bodies.append(body)
    noted = {k: graph.meta[k] for k in ("bitlite", "options", "rounding") if k in graph.meta}
    if named := dynamic_weights(graph):
        noted["dynamic"] = named
    return Record(
        "MetaGraph",
        name=graph.name,
        version=_VERSION,
        fmkType=_FRAMEWORKS.get(str(graph.meta.get("source")), 3),
        inputIndex=inputs,
        outputIndex=bodies[-1]["outputIndices"],
        nodes=nodes,
        allTensors=tensors,
        subGraph=bodies,
        obfMetaData=np.frombuffer(json.dumps(noted, sort_keys=True).encode(), np.uint8) if noted else None,
    )


def _quant_type(operator: Emitted) -> int:
    """How the runtime takes a node: integers throughout, or weights that it turns back into floats at load."""
    if operator.op == "QuantDTypeCast":
        return _QUANT_NONE
    if operator.extra.get("dynamic"):
        return _QUANT_DYNAMIC
    if any(is_quantized(t) for t in operator.outputs):
        return _QUANT_ALL
    return (
        _QUANT_WEIGHT if any(t is not None and t.is_const and is_quantized(t) for t in operator.inputs) else _QUANT_NONE
    )
