"""What most writers do after choosing the operator: Transposes around NC… operators, activations that do not fuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import Setting
from ...ir import Node, Tensor
from ...schema.writing import Writing
from .acts import fused_number, write_act
from .layout import first_perm, last_perm, permuted_shape


def need_opset(w: Writing, node: Node, opset: int, what: str) -> None:
    """Refuses in ONNX files of an older opset."""
    if w.options.get("opset", opset) < opset:
        w.refuse(node, f"{what} needs opset {opset}", hint=Setting("opset", opset))


def need_constants(w: Writing, node: Node) -> None:
    """Refuses a weight or bias (inputs 1 and 2) that is computed at run time."""
    for t, what in zip(node.inputs[1:3], ("weight", "bias")):
        if t is not None and not t.is_const:
            w.refuse(node, f"its {what} {t.name!r} must be a constant")


def write_transposed(w: Writing, node: Node, x: Tensor, perm: Sequence[int]) -> Tensor:
    """x transposed by a Transpose of its own in the written ONNX file."""
    if list(perm) == list(range(len(perm))):
        return x
    y = w.between(x, permuted_shape(x.shape, perm), f"{x.name}/transposed")
    w.node("Transpose", node, [x], [y], fields={"perm": list(perm)})
    return y


def write_onnx(
    w: Writing,
    node: Node,
    op: str,
    inputs: Sequence[Tensor | None],
    fields: dict[str, Any] | None = None,
    *,
    spatial: bool = False,
    act: str | None = None,
    **more: Any,
) -> None:
    """One ONNX operator for a node with one output, then its fused activation.

    Args:
        inputs: the operator's inputs. spatial: input 0 is N…C and the operator works on NC…, as does its output.
        act: the activation, the node's own by default.
    """
    y, ins = node.outputs[0], list(inputs)
    function: str = node.attrs.get("act", "none") if act is None else act
    back: list[int] = []
    if spatial and y.shape is not None and len(y.shape) > 2 and ins[0] is not None:
        ins[0] = write_transposed(w, node, ins[0], first_perm(len(y.shape)))
        back = last_perm(len(y.shape))
    result = w.between(y, permuted_shape(y.shape, first_perm(len(back)))) if back else y
    if function == "none":
        w.node(op, node, ins, [result], fields=fields, **more)
    else:
        raw = w.between(result, name=f"{y.name}/{op}")
        w.node(op, node, ins, [raw], fields=fields, **more)
        write_act(w, node, raw, result, function)
    if back:
        w.node("Transpose", node, [result], [y], fields={"perm": back})


def write_fused(
    w: Writing,
    node: Node,
    op: str,
    inputs: Sequence[Tensor | None],
    fields: dict[str, Any] | None = None,
    *,
    key: str = "",
    **more: Any,
) -> None:
    """One TFLite or MindSpore Lite operator for a node with one output, its activation fused where it can be.

    Args:
        key: the container's field for a fused activation; "" where the operator has none.
    """
    y, fields = node.outputs[0], dict(fields or {})
    act = node.attrs.get("act", "none")
    number = fused_number(w.container, act) if key else None
    if key:
        fields[key] = number or 0
    if act == "none" or number is not None:
        w.node(op, node, inputs, fields=fields, **more)
        return
    raw = w.between(y, name=f"{y.name}/{op}")
    w.node(op, node, inputs, [raw], fields=fields, **more)
    write_act(w, node, raw, y, act)


def write_onnx_product(w: Writing, node: Node, a: Tensor, b: Tensor, bias: Tensor | None) -> None:
    """MatMul, and an Add where there is a bias."""
    if bias is None:
        write_onnx(w, node, "MatMul", [a, b])
        return
    y = node.outputs[0]
    product = w.between(y, name=f"{y.name}/product")
    w.node("MatMul", node, [a, b], [product])
    write_onnx(w, node, "Add", [product, bias])
