"""Small rewrites that make a float graph easier to quantize; its values stay the same."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ...converter.execute import is_quantized
from ...converter.ir import Graph, Node, Tensor
from ...converter.numeric.qparams import code_range
from ...converter.passes.affine import absorb
from ...converter.passes.edit import Edit


def global_pools_to_means(graph: Graph) -> None:
    """AveragePool over the whole spatial extent ⇒ Reduce mean, in place.

    A pool shares its input's scale, which is far too coarse for the mean of a whole image; a mean has its own.
    """
    for node in graph.nodes:
        if node.op != "AveragePool" or node.attrs.get("act", "none") != "none":
            continue
        x = node.required(0)
        if not _covers_all(node, x):
            continue
        node.op = "Reduce"
        rank = x.known_rank
        node.attrs = _reduce_attrs(list(range(1, rank - 1)))


def norms_to_layers(graph: Graph, kept: Collection[Node] = ()) -> None:
    """BatchNorm that no layer could take in ⇒ depthwise 1×1 Conv, with a clamp behind it as its act, in place.

    So it has a scale per channel, and the corrections of a layer. Without spatial axes: Mul → Add. Not for nodes in
    `kept`, and not where scale, offset, mean or variance is computed.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        if node.op != "BatchNorm" or node in kept or any(t is None or t.data is None for t in node.inputs[1:]):
            continue
        x, y = node.inputs[0], node.outputs[0]
        if x is None or x.dtype != np.float32 or y.dtype != np.float32 or x.rank is None:
            continue
        scale, offset, mean, variance = (t.real().astype(np.float64) for t in node.operands()[1:])
        factor = scale / np.sqrt(variance + node.attrs["epsilon"])
        term = (offset - mean * factor).astype(np.float32)
        spatial, channels, origin = x.rank - 2, len(factor), node.origin or (node.name,)
        if spatial < 1:
            k, b = (edit.constant(v.astype(np.float32), f"{node.name}/{n}") for v, n in ((factor, "k"), (term, "b")))
            scaled = edit.emit("Mul", [x, k], at=node, origin=origin).outputs[0]
            edit.emit("Add", [scaled, b], at=node, name=node.name, outputs=[y], origin=origin)
        else:
            w = factor.astype(np.float32).reshape(channels, *[1] * spatial, 1)
            weight, bias = edit.constant(w, f"{node.name}/weight"), edit.constant(term, f"{node.name}/bias")
            window = {"stride": [1] * spatial, "dilation": [1] * spatial, "pad": [0] * 2 * spatial, "group": channels}
            made = edit.emit("Conv", [x, weight, bias], window, at=node, name=node.name, outputs=[y], origin=origin)
            reader = edit.only_reader(y)
            if reader is not None and reader.op in ("Relu", "Relu6") and reader not in kept:
                made.attrs["act"] = reader.op.lower()
                absorb(edit, made, reader, made.inputs)
        edit.drop(node)
    edit.finish()


def quotients_to_products(graph: Graph, kept: Collection[Node] = ()) -> None:
    """x / constant ⇒ x · (1 / constant), which has a form on codes, in place. Not for nodes in `kept`."""
    for node in graph.nodes:
        divisor = node.inputs[1] if node.op == "Div" else None
        if divisor is None or divisor.data is None or divisor.dtype != np.float32 or node in kept:
            continue
        if not np.all(divisor.data) or node.outputs[0].dtype != np.float32:
            continue
        data = np.asarray(1.0 / divisor.real().astype(np.float64), np.float32)
        node.op = "Mul"
        node.inputs[1] = Tensor(f"{divisor.name}/inverse", data.dtype, data.shape, data)


def casts_to_acts(graph: Graph) -> None:
    """Layer → Quantize whose lowest code is 0 ⇒ Layer(relu) → Quantize, in place: files for integer runtimes leave the
    clamp to the cast, and what is compared with the float layer must not be its negative part."""
    readers = graph.consumers()
    for node in graph.nodes:
        y = node.outputs[0] if node.outputs else None
        if node.attrs.get("act") != "none" or y is None or y.dtype != np.float32 or y in graph.outputs:
            continue
        casts = readers.get(y, [])
        if casts and all(n.op == "Quantize" and _from_zero(n.outputs[0]) for n in casts):
            node.attrs["act"] = "relu"


def _from_zero(t: Tensor) -> bool:
    q = t.quant
    return (
        q is not None and q.axis is None and int(q.zero_point[0]) == code_range(q.bits, unsigned=t.dtype.kind == "u")[0]
    )


def real_weights(graph: Graph) -> None:
    """A float layer's constant that is stored as integers ⇒ the float constant that it stands for, in place."""
    made: dict[Tensor, Tensor] = {}
    for node in graph.nodes:
        if any(is_quantized(t) for t in node.outputs):
            continue
        for i, t in enumerate(node.inputs):
            if t is None or not t.is_const or not is_quantized(t) or t.dtype.itemsize > 2:
                continue
            if t not in made:
                data = t.real()
                made[t] = Tensor(t.name, data.dtype, data.shape, data)
            node.inputs[i] = made[t]


def _covers_all(node: Node, x: Tensor | None) -> bool:
    if x is None or x.shape is None or node.outputs[0].shape is None:
        return False
    spatial = x.shape[1:-1]
    whole = None not in spatial and tuple(node.attrs["kernel"]) == spatial and not any(node.attrs["pad"])
    return whole and all(d == 1 for d in node.outputs[0].shape[1:-1])


def _reduce_attrs(axes: list[int]) -> dict[str, object]:
    from ...converter.ops import row
    from ...converter.schema.op import REQUIRED

    given = {"axes": axes, "mode": "mean", "keep_dims": True}
    return {k: v for k, v in row("Reduce").attrs.items() if v is not REQUIRED} | given


def weights_to_reals(graph: Graph) -> None:
    """Weight-only quantized constants of float operators ⇒ the float32 that they stand for, in place.

    A dynamic-range file (int8 weights, float activations) is then quantized as any float model. Constants of operators
    that compute on codes already stay as they are.
    """
    for node in graph.nodes:
        if any(is_quantized(t) for t in node.outputs) or node.op in ("Quantize", "Dequantize"):
            continue
        for t in node.inputs:
            if t is not None and t.is_const and is_quantized(t):
                t.data, t.quant = t.real(), None
                t.dtype = t.data.dtype
