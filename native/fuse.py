"""Steps that become one: the addition of a residual moves into the layer before it."""

from __future__ import annotations

from collections import Counter

from ..converter.execute import is_quantized
from ..converter.ir import Graph, Node, Tensor
from .lower import Step, refusal

_LAYERS = ("conv", "fully_connected", "matmul")
_RESIDUAL = 3  # the layers' input that is added to their result


def fuse_residuals(graph: Graph, steps: dict[Node, Step], isa: str = "") -> None:
    """conv → add ⇒ conv with a residual, bit for bit the same result; likewise fully connected and matmul.

    Only where the layer's result is read by the addition alone and the residual has its shape. The addition's node
    gets the new step; the layer's own is no longer needed.
    """
    readers = Counter(t for n in graph.nodes for t in n.inputs if t is not None)
    readers.update(graph.outputs)
    makers = {t: step for step in steps.values() for t in step.outputs}
    for node, step in list(steps.items()):
        if step.op != "add" or len(step.inputs) != 2:
            continue
        for layer_side in (1, 0):
            result, residual = step.inputs[layer_side], step.inputs[1 - layer_side]
            layer = makers.get(result) if result is not None else None
            if layer is None or result is None or residual is None or readers[result] != 1:
                continue
            fused = _fused(layer, result, residual, step)
            if fused is not None and refusal(fused, isa) is None:
                steps[node] = fused
                makers[fused.outputs[0]] = fused
                break


def _fused(layer: Step, result: Tensor, residual: Tensor, add: Step) -> Step | None:
    y = add.outputs[0]
    if layer.op not in _LAYERS or len(layer.inputs) > _RESIDUAL or residual.data is not None:
        return None
    if result.shape != y.shape or residual.shape != y.shape:
        return None
    attrs = dict(layer.attrs)
    if is_quantized(result):
        quant = result.quant
        if quant is None or len(quant.scale) != 1 or not (is_quantized(residual) and is_quantized(y)):
            return None
        attrs |= {
            "mid_scale": float(quant.scale[0]),
            "mid_zero_point": int(quant.zero_point[0]),
            "add_act": add.attrs.get("act", "none"),
        }
    elif attrs.get("act", "none") == "none" and not is_quantized(residual) and not is_quantized(y):
        attrs["act"] = add.attrs.get("act", "none")
    else:
        return None
    inputs = [*layer.inputs, *[None] * (_RESIDUAL - len(layer.inputs)), residual]
    return Step(layer.op, add.name, inputs, add.outputs, attrs, (*layer.nodes, *add.nodes))
