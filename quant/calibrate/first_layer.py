"""What a graph does first with each of its inputs: the facts by which calibration data are judged."""

from __future__ import annotations

import numpy as np

from ...converter.ir import Graph, Node, Tensor
from .data_lint import FirstLayer
from .fit import InputSpec

# Values pass these unchanged, so what stands behind them still speaks of the graph's input.
_PASSED = frozenset(
    {"Identity", "Transpose", "Pad", "Reshape", "Squeeze", "ExpandDims", "Cast", "Quantize", "Dequantize"}
)
_MAX_STEPS = 16


def input_specs(graph: Graph, data_layout: str = "") -> list[InputSpec]:
    """Returns the inputs as calibration data sees them.

    Args:
        graph: the model.
        data_layout: "NHWC" or "NCHW" when 4-D samples come in that layout whatever the graph has (as with `.ms`).
    """
    specs = []
    for tensor in graph.inputs:
        spec = InputSpec(tensor.name, tensor.shape or (), tensor.dtype, tensor.layout)
        if data_layout and tensor.layout and data_layout != tensor.layout and len(spec.shape) == 4:
            turned = InputSpec(spec.name, spec.shape, spec.dtype, spec.layout, data_layout).own()
            spec = InputSpec(spec.name, turned.shape, spec.dtype, data_layout, tensor.layout)
        specs.append(spec)
    return specs


def first_layers(graph: Graph) -> dict[str, FirstLayer]:
    """Returns input name → facts, for the inputs of which something is known.

    Known are: the range of a quantized input, the statistics of a BatchNorm that comes first, and weight and bias of a
    first convolution or fully connected layer. An input that is scaled inside the graph gives none.
    """
    consumers = graph.consumers()
    by_input = {tensor.name: _facts(tensor, consumers) for tensor in graph.inputs}
    return {name: facts for name, facts in by_input.items() if facts is not None}


def _facts(tensor: Tensor, consumers: dict[Tensor, list[Node]]) -> FirstLayer | None:
    for _ in range(_MAX_STEPS):
        if tensor.quant is not None and tensor.quant.axis is None and tensor.dtype.kind in "iu":
            return _stored_range(tensor)
        nodes = consumers.get(tensor, [])
        if len(nodes) != 1 or not nodes[0].inputs or nodes[0].inputs[0] is not tensor:
            return None
        node = nodes[0]
        if node.op not in _PASSED:
            return _layer(node)
        tensor = node.outputs[0]
    return None


def _stored_range(tensor: Tensor) -> FirstLayer:
    quant = tensor.qparams
    limits = np.iinfo(tensor.dtype)
    low, high = ((q - int(quant.zero_point[0])) * float(quant.scale[0]) for q in (limits.min, limits.max))
    return FirstLayer(low=low, high=high)


def _layer(node: Node) -> FirstLayer | None:
    values = [t.real() if t is not None and t.is_const else None for t in node.inputs[1:]]
    if node.op == "BatchNorm" and len(values) == 4 and values[2] is not None and values[3] is not None:
        spread = np.sqrt(np.maximum(values[3].astype(np.float64), 0) + node.attrs.get("epsilon", 0))
        return FirstLayer(mean=values[2].astype(np.float64), std=spread)
    plain = node.op == "FullyConnected" or (node.op == "Conv" and node.attrs.get("group", 1) == 1)
    if plain and len(values) >= 2 and values[0] is not None and values[1] is not None:
        return FirstLayer(weight=values[0], bias=values[1])
    return None
