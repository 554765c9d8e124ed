"""What the standard says of operators: the kinds of their attributes, and of which others some are functions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..ir import Tensor


@dataclass(frozen=True)
class Body:
    """A function's formal names, its nodes with the attributes filled in, and the opsets that these are of."""

    inputs: list[str]
    outputs: list[str]
    nodes: list[Any]
    opsets: dict[str, int]


@functools.lru_cache(1024)
def attribute_kinds(op: str, domain: str, version: int) -> dict[str, int]:
    """Attribute → AttributeProto.type of an operator; empty where the standard does not have it."""
    import onnx

    try:
        schema = onnx.defs.get_schema(op, version, domain)
    except onnx.defs.SchemaError:
        return {}
    # An enumeration of pybind11, which the stubs take for a plain one.
    return {name: int(attribute.type.value) for name, attribute in schema.attributes.items()}  # pyright: ignore[reportAttributeAccessIssue]


def body_of(node: Any, opsets: dict[str, int], inputs: Sequence[Tensor | None]) -> Body | None:
    """The function of a NodeProto for inputs of these types; None where the standard has none that applies."""
    import onnx

    domain = "" if node.domain == "ai.onnx" else node.domain
    version = opsets.get(domain or "ai.onnx", 0)
    try:
        schema = onnx.defs.get_schema(node.op_type, version, domain)
    except onnx.defs.SchemaError:
        return None
    stored = _stored(schema, node, version, inputs)
    if not stored:
        return None
    function = onnx.FunctionProto.FromString(stored)
    given = {a.name: a for a in node.attribute}
    for name, attribute in schema.attributes.items():
        if name not in given and attribute.default_value.name:
            given[name] = attribute.default_value
    for attribute in function.attribute_proto:
        given.setdefault(attribute.name, attribute)
    nodes = [_filled(n, given) for n in function.node]
    own = {o.domain or "ai.onnx": o.version for o in function.opset_import}
    return Body(list(function.input), list(function.output), nodes, {**opsets, **own})


def _stored(schema: Any, node: Any, version: int, inputs: Sequence[Tensor | None]) -> bytes:
    """The function's bytes for the newest opset that is not newer than the model's."""
    known = [v for v in schema.function_opset_versions if v <= version]
    if schema.has_function and known:
        return schema.get_function_with_opset_version(max(known))
    known = [v for v in schema.context_dependent_function_opset_versions if v <= version]
    if schema.has_context_dependent_function and known:
        types = [_type(t) for t in inputs]
        return schema.get_context_dependent_function_with_opset_version(max(known), node.SerializeToString(), types)
    return b""


def _type(t: Tensor | None) -> bytes:
    """The TypeProto of a tensor, serialized; an absent input has none."""
    from onnx import TypeProto, helper

    if t is None:
        return TypeProto().SerializeToString()
    shape = None if t.shape is None else [f"d{i}" if n is None else n for i, n in enumerate(t.shape)]
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(t.dtype), shape).SerializeToString()


def _filled(node: Any, given: dict[str, Any]) -> Any:
    """A copy of a body's node with the caller's attributes in place of references; an absent one is left out."""
    import onnx

    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    del copy.attribute[:]
    for a in node.attribute:
        if a.ref_attr_name:
            if a.ref_attr_name in given:
                copy.attribute.add().CopyFrom(given[a.ref_attr_name])
                copy.attribute[-1].name = a.name
            continue
        copy.attribute.add().CopyFrom(a)
        for graph in [copy.attribute[-1].g] if a.HasField("g") else copy.attribute[-1].graphs:
            inner = [_filled(n, given) for n in graph.node]
            del graph.node[:]
            graph.node.extend(inner)
    return copy
