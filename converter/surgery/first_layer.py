"""What a first convolution takes over of preprocessing, where its results are the same with weights of its own."""

from __future__ import annotations

import numpy as np

from ..ir import Graph, Node, Tensor

# What hands channels through, last axis or not: between an input and the convolution that is looked for.
_BETWEEN = frozenset({"Transpose", "Quantize", "Dequantize", "Identity"})


def fold_affine(graph: Graph, x: Tensor, mean: np.ndarray, std: np.ndarray) -> bool:
    """(x - mean) / std in front of a convolution ⇒ weights / std, and a bias less what the mean adds.

    mean, std: float32, one value or one per channel. Not where the convolution pads, since zeros would become means;
    nor in front of codes, whose scale is that of (x - mean) / std; nor for stored integer weights.

    Returns:
        Whether nothing is left to do.
    """
    if not mean.any() and (std == 1).all():
        return True
    node = _first_conv(graph, x)
    if node is None or node.attrs["group"] != 1 or any(node.attrs["pad"]) or node.attrs["pad_mode"] != "explicit":
        return False
    w, b = node.required(1), node.input(2)
    real = [t for t in (x, node.required(0), w, b) if t is not None]
    if any(t.dtype.kind != "f" or t.quant is not None for t in real) or (b is not None and not b.is_const):
        return False
    if w.dtype.itemsize < 4:  # which products would round
        return False
    weight = w.value.astype(np.float64) / np.broadcast_to(std.astype(np.float64), w.size(-1))
    shift = weight.reshape(w.size(0), -1, w.size(-1)).sum(1) @ np.broadcast_to(mean.astype(np.float64), w.size(-1))
    bias = (0.0 if b is None else b.value.astype(np.float64)) - shift
    names = f"{w.name}/pixels", f"{node.name if b is None else b.name}/pixels_bias"
    weights = Tensor(names[0], w.dtype, w.shape, weight.astype(w.dtype))
    biases = Tensor(names[1], w.dtype, (w.size(0),), bias.astype(w.dtype))
    if not (np.isfinite(weights.value).all() and np.isfinite(biases.value).all()):
        return False
    node.inputs = [node.inputs[0], weights, biases, *node.inputs[3:]]
    graph.uniquify()
    return True


def fold_swap(graph: Graph, x: Tensor) -> bool:
    """Red and blue of x turned round in front of a convolution ⇒ its weights' input channels turned round.

    Exact for floats and codes alike, padded or not: only where the other channels keep their places.
    """
    node = _first_conv(graph, x)
    if node is None or node.attrs["group"] != 1 or node.required(1).size(-1) != 3:
        return False
    w = node.required(1)
    if w.quant is not None and w.quant.axis == w.known_rank - 1:
        return False
    turned = Tensor(f"{w.name}/turned", w.dtype, w.shape, np.ascontiguousarray(w.value[..., ::-1]), w.quant, w.layout)
    node.inputs = [turned if t is w else t for t in node.inputs]
    graph.uniquify()
    return True


def _first_conv(graph: Graph, x: Tensor) -> Node | None:
    """The convolution with constant weights that alone reads x, perhaps in another order of axes or as codes."""
    consumers = graph.consumers()
    while x not in graph.outputs:
        nodes = consumers.get(x, [])
        if len(nodes) != 1 or nodes[0].inputs[0] is not x:
            return None
        if nodes[0].op == "Conv":
            return nodes[0] if nodes[0].required(1).is_const else None
        x = nodes[0].outputs[0]
        if nodes[0].op not in _BETWEEN or (x.quant is not None and x.quant.axis is not None):
            return None
    return None
