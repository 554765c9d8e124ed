"""Which operators a file holds, counted without understanding them, for models that cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ..errors import ModelError
from ..ops import reader
from ..schema.loops import LOOP
from .files import map_file, sniff
from .flat import decode


def operators(path: str) -> tuple[str, Counter[str]]:
    """The container of a file, and its operators by the container's own names, subgraphs included.

    Raises:
        ModelError: missing, damaged, or none of the formats.
    """
    container = sniff(path)
    if container not in _NAMES:
        what = f"a {container} file" if container else f"none of {', '.join(_NAMES)}"
        raise ModelError(f"it is {what}", file=path)
    return container, Counter(_NAMES[container](path))


def is_read(container: str, name: str) -> bool:
    """Whether some row reads this operator."""
    return reader(container, name) is not None


def _tflite(path: str) -> Iterator[str]:
    from . import tflite_schema

    model = decode(map_file(path), tflite_schema.SCHEMA, file=path)
    builtins = tflite_schema.SCHEMA.enums["BuiltinOperator"]
    names = []
    for code in model.operator_codes or []:
        number = max(code.deprecated_builtin_code, code.builtin_code)
        names.append((code.custom_code or "CUSTOM") if number == builtins["CUSTOM"] else builtins.name(number))
    for subgraph in model.subgraphs or []:
        for operator in subgraph.operators or []:
            if not 0 <= operator.opcode_index < len(names):
                raise ModelError(f"an operator has opcode {operator.opcode_index}", file=path)
            yield names[operator.opcode_index]


def _ms(path: str) -> Iterator[str]:
    from . import ms_schema

    model = decode(map_file(path), ms_schema.SCHEMA, file=path)
    for node in model.nodes or []:
        primitive = node.primitive.value if node.primitive is not None else None
        name = primitive.table if primitive is not None else "NONE"
        if name not in ("PartialFusion", "Call"):  # what belongs to the Switch of a loop
            yield LOOP if name == "Switch" else name


def _onnx(path: str) -> Iterator[str]:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(bytes(map_file(path)))
    except (DecodeError, ValueError, RecursionError) as error:
        raise ModelError(f"truncated, damaged or not an ONNX file: {error}", file=path) from error
    own = {(f.domain, f.name) for f in model.functions}
    for body in (model.graph, *model.functions):
        yield from _nodes(body, own)


def _nodes(graph: Any, own: set[tuple[str, str]]) -> Iterator[str]:
    for node in graph.node:
        if (node.domain, node.op_type) not in own:
            yield node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner, own)


def _mindir(path: str) -> Iterator[str]:
    from .mindir import operator_names

    return operator_names(path)


def _caffe(path: str) -> Iterator[str]:
    from .caffe import operator_names

    return operator_names(path)


_NAMES = {"tflite": _tflite, "onnx": _onnx, "ms": _ms, "mindir": _mindir, "caffe": _caffe}
