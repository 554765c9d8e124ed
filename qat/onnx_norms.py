"""BatchNorms of an exported ONNX model: taken into the layer before them, or made layers of their own.

Each becomes initializers that `sources` computes from the parameters at every step, so that gradients reach gamma, beta
and the weight alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .sources import Fixed, Norm, NormedBias, NormedWeight, Source, Values

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_LAYERS = ("Conv", "ConvTranspose", "Gemm")


def fold_norms(model: ModelProto, sources: dict[str, Source], given: Values) -> None:
    """Rewrites `model` in place; `sources`, by initializer name, get the new ones. given: the parameters."""
    made = {name: node for node in model.graph.node for name in node.output}
    ranks = _ranks(model)
    outputs = {o.name for o in model.graph.output}
    readers: dict[str, int] = {}
    for node in model.graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    kept: list[NodeProto] = []
    for node in model.graph.node:
        if node.op_type != "BatchNormalization" or not all(name in sources for name in node.input[1:5]):
            kept.append(node)
            continue
        norm, layer = _norm(node, sources), made.get(node.input[0])
        lone = layer is not None and readers[node.input[0]] == 1 and node.input[0] not in outputs
        if layer is not None and lone and _takes(layer, sources):
            _into(layer, node, norm, sources)
        else:
            channels = norm.scale.value(given).numel()
            kept.append(_alone(node, norm, channels, sources, ranks.get(node.input[0], 0)))
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _norm(node: NodeProto, sources: dict[str, Source]) -> Norm:
    from onnx.helper import get_attribute_value

    found = {a.name: get_attribute_value(a) for a in node.attribute}
    scale, offset, mean, variance = (sources[name] for name in node.input[1:5])
    return Norm(node.input[3].rpartition(".")[0], scale, offset, mean, variance, float(found.get("epsilon", 1e-5)))


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((int(a.i or a.f) for a in node.attribute if a.name == name), default)


def _takes(layer: NodeProto, sources: dict[str, Source]) -> bool:
    if layer.op_type not in _LAYERS or not all(name in sources for name in layer.input[1:] if name):
        return False
    plain = all(_attribute(layer, name, 1) == 1 for name in ("alpha", "beta"))
    return layer.op_type != "Gemm" or (plain and _attribute(layer, "transB", 0) == 1)


def _into(layer: NodeProto, node: NodeProto, norm: Norm, sources: dict[str, Source]) -> None:
    axis, groups = (1, _attribute(layer, "group", 1)) if layer.op_type == "ConvTranspose" else (0, 1)
    weight = f"{layer.input[1]}/{norm.name}"
    bias = f"{norm.name}/bias/{layer.name}"
    given = sources[layer.input[2]] if len(layer.input) > 2 and layer.input[2] else None
    sources[weight] = NormedWeight(sources[layer.input[1]], norm, axis, groups)
    sources[bias] = NormedBias(given, norm)
    del layer.input[1:]
    layer.input.extend([weight, bias])
    layer.output[0] = node.output[0]


def _alone(node: NodeProto, norm: Norm, channels: int, sources: dict[str, Source], rank: int) -> NodeProto:
    """A depthwise 1×1 convolution, which has a scale per channel; the node itself where there is no window."""
    from onnx import helper

    if rank < 3:
        return node
    weight, bias = f"{norm.name}/factor/{node.name}", f"{norm.name}/bias/{node.name}"
    ones = np.ones((channels, *[1] * (rank - 1)), np.float32)
    sources[weight], sources[bias] = NormedWeight(Fixed(ones), norm), NormedBias(None, norm)
    return helper.make_node("Conv", [node.input[0], weight, bias], list(node.output), name=node.name, group=channels)


def _ranks(model: ModelProto) -> dict[str, int]:
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model)
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    return {v.name: len(v.type.tensor_type.shape.dim) for v in values if v.type.tensor_type.HasField("shape")}
