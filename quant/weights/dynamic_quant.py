"""DynamicQuant: int8 weights, and layers that quantize their inputs while running.

Needs no data. Weights are symmetric, one scale per output channel; activations have one range per tensor and run. What
such a layer computes is `converter/ops/_support/integer.py`: exact integer sums, float output.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ...converter.ir import Graph, Node, is_quantized
from ...converter.ops import row
from .weight_quant import WeightRow, WeightSettings, quantize_graph_weights

# A container name that asks for zero points of 0 and no correction: what integer kernels take.
_SYMMETRIC = "onnx"


@dataclass
class Dynamic:
    """What was quantized.

    Args:
        weights: a row per weight, as for WeightQuant. layers: names of the layers that compute on integers.
        why: name → why a layer with an int8 weight computes in float.
    """

    weights: list[WeightRow] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    why: dict[str, str] = field(default_factory=dict)

    def notes(self) -> list[str]:
        lines = [f"{len(self.layers)} layers quantize their inputs while running"]
        reasons: dict[str, list[str]] = {}
        for name, reason in self.why.items():
            reasons.setdefault(reason, []).append(name)
        for reason, names in reasons.items():
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            lines.append(f"only the weights are int8: {shown} ({reason})")
        return lines


def quantize_dynamic(graph: Graph, settings: WeightSettings) -> Dynamic:
    """Gives weights their int8 codes and marks the layers that then quantize their inputs, in place.

    Raises:
        UsageError: keep_float or layer_bits names nothing in the graph.
    """
    dynamic = Dynamic(quantize_graph_weights(graph, replace(settings, bits=8, container=_SYMMETRIC)))
    for node in graph.nodes:
        cell = row(node.op).quant
        weights = [node.input(i) for i in cell.weights] if cell is not None else []
        if not any(w is not None and w.is_const and is_quantized(w) for w in weights):
            continue
        reason = _obstacle(node)
        if reason:
            dynamic.why[node.name] = reason
        else:
            node.attrs["dynamic"] = True
            dynamic.layers.append(node.name)
    return dynamic


def _obstacle(node: Node) -> str:
    """Why the node computes in float though its weight is int8."""
    from ...converter.ops._support.integer import is_dynamic
    from ...converter.ops.recurrent.rnn import is_dynamic_recurrent

    if "dynamic" not in node.attrs:
        return f"{node.op} has no form with inputs quantized while running"
    if node.attrs.get("group", 1) > 1 and node.required(1).known_shape[-1] == 1:
        return "a depthwise convolution would not gain"
    if (node.required(0).rank or 0) < 2:
        return "its input is a vector"
    quant = row(node.op).quant
    recurrent = quant is not None and len(quant.weights) > 1
    axis = None if quant is None else quant.channel_axis(node)
    node.attrs["dynamic"] = True
    fits = is_dynamic_recurrent(node) if recurrent else axis is not None and is_dynamic(node, axis)
    node.attrs["dynamic"] = False
    return "" if fits else "its types or scales do not fit"
