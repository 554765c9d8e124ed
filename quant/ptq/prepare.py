"""Passes that make a float graph easier to quantize; its values stay the same.

They are passes as those of `converter/passes`, in the order of `PREPARE_PTQ`, which alone says it. `kept` are nodes
that stay in float: what gives a node its form on codes leaves them as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator

import numpy as np

from ...converter.ir import Graph, Node, Tensor, is_quantized
from ...converter.numeric.qparams import code_range
from ...converter.passes import Change, Record, Refusal, run_passes
from ...converter.passes.affine import absorb
from ...converter.passes.edit import Edit
from ...converter.passes.fuse_bias import fuse_bias
from ...converter.passes.pools_before_functions import pools_before_functions
from ...converter.schema.node import make_node


def prepare(graph: Graph, kept: Collection[Node] = ()) -> list[Record]:
    """Runs `PREPARE_PTQ` once, in place. Returns what was changed, and what was refused."""
    bound = [functools.update_wrapper(functools.partial(p, kept=kept), p) for p in PREPARE_PTQ]
    return run_passes(graph, bound, rounds=1)


def weights_to_reals(graph: Graph, kept: Collection[Node] = ()) -> Iterator[Record]:
    """A float operator's constant that is stored as codes ⇒ the float32 constant that it stands for.

    A dynamic-range file (int8 weights, float activations) is then quantized as any float model; the float layers of a
    partly quantized one are, too. Constants of operators that compute on codes stay as they are.
    """
    reals: dict[Tensor, Tensor] = {}
    for node in graph.nodes:
        if any(is_quantized(t) for t in node.outputs) or node.op == "Dequantize":
            continue
        for i, t in enumerate(node.inputs):
            if t is None or not t.is_const or not is_quantized(t):
                continue
            if t not in reals:
                data = t.real()
                reals[t] = Tensor(t.name, data.dtype, data.shape, data, None, t.layout)
            node.inputs[i] = reals[t]
            yield Change("weights_to_reals", node.name, f"reads {t.name!r} as floats")


def casts_to_acts(graph: Graph, kept: Collection[Node] = ()) -> Iterator[Record]:
    """Layer → Quantize whose lowest code is 0 ⇒ Layer(relu) → Quantize.

    Files for integer runtimes leave the clamp to the cast, and what is compared with the float layer must not be its
    negative part.
    """
    readers = graph.consumers()
    for node in graph.nodes:
        y = node.outputs[0] if node.outputs else None
        if node.attrs.get("act") != "none" or y is None or y.dtype != np.float32 or y in graph.outputs:
            continue
        casts = readers.get(y, [])
        if casts and all(n.op == "Quantize" and _from_zero(n.outputs[0]) for n in casts):
            node.attrs["act"] = "relu"
            yield Change("casts_to_acts", node.name, f"clamps as {casts[0].name!r} does")


def _from_zero(t: Tensor) -> bool:
    q = t.quant
    return (
        q is not None and q.axis is None and int(q.zero_point[0]) == code_range(q.bits, unsigned=t.dtype.kind == "u")[0]
    )


def fuse_decoded_bias(graph: Graph, kept: Collection[Node] = ()) -> Iterator[Record]:
    """Layer → Add(constant) ⇒ Layer with bias, in a partly quantized model.

    Its biases were stored as integers beside quantized weights, and are constants only since those are floats.
    """
    if any(node.op == "Quantize" for node in graph.nodes):
        yield from fuse_bias(graph)


def norms_to_layers(graph: Graph, kept: Collection[Node] = ()) -> Iterator[Record]:
    """BatchNorm that no layer could take in ⇒ depthwise 1×1 Conv, with a clamp behind it as its act.

    So it has a scale per channel, and the corrections of a layer. Without spatial axes: Mul → Add.

    Not where scale, offset, mean or variance is computed.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        if node.op != "BatchNorm" or node in kept:
            continue
        statistics = [t for t in node.inputs[1:] if t is not None and t.is_const]
        if len(statistics) != 4:
            yield Refusal("norms_to_layers", node.name, "its scale, offset, mean or variance is computed")
            continue
        x, y = node.inputs[0], node.outputs[0]
        if x is None or x.dtype != np.float32 or y.dtype != np.float32 or x.rank is None:
            continue
        scale, offset, mean, variance = (t.real().astype(np.float64) for t in statistics)
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
            layer = edit.emit("Conv", [x, weight, bias], window, at=node, name=node.name, outputs=[y], origin=origin)
            reader = edit.only_reader(y)
            if reader is not None and reader.op in ("Relu", "Relu6") and reader not in kept:
                layer.attrs["act"] = reader.op.lower()
                absorb(edit, layer, reader, layer.inputs)
        edit.drop(node)
        yield Change("norms_to_layers", node.name, "became a layer with a scale per channel")
    edit.finish()


def quotients_to_products(graph: Graph, kept: Collection[Node] = ()) -> Iterator[Record]:
    """x / constant ⇒ x · (1 / constant), which has a form on codes.

    Not where the constant holds a zero.
    """
    edit, inverses = Edit(graph), dict[Tensor, Tensor]()
    for node in graph.nodes:
        divisor = node.inputs[1] if node.op == "Div" else None
        if divisor is None or divisor.data is None or divisor.dtype != np.float32 or node in kept:
            continue
        if node.outputs[0].dtype != np.float32:
            continue
        if not np.all(divisor.data):
            yield Refusal("quotients_to_products", node.name, f"{divisor.name!r} holds a zero")
            continue
        if divisor not in inverses:
            inverse = np.asarray(1.0 / divisor.real().astype(np.float64), np.float32)
            inverses[divisor] = edit.constant(inverse, f"{divisor.name}/inverse")
        node.op = "Mul"
        node.inputs[1] = inverses[divisor]
        yield Change("quotients_to_products", node.name, f"multiplies by the inverse of {divisor.name!r}")


def global_pools_to_means(graph: Graph, kept: Collection[Node] = ()) -> Iterator[Record]:
    """AveragePool over the whole spatial extent ⇒ Reduce mean.

    A pool shares its input's scale, which is far too coarse for the mean of a whole image; a mean has its own.
    """
    for node in graph.nodes:
        if node.op != "AveragePool" or node.attrs.get("act", "none") != "none":
            continue
        axes = _covered_axes(node)
        if axes:
            node.op = "Reduce"
            mean = {"axes": axes, "mode": "mean", "keep_dims": True}
            node.attrs = make_node("Reduce", node.inputs, mean, name=node.name).attrs
            yield Change("global_pools_to_means", node.name, "has a scale of its own")


def _covered_axes(node: Node) -> list[int]:
    """The spatial axes of a pool with one window that covers them all; empty for any other."""
    x, y = node.inputs[0], node.outputs[0]
    if x is None or x.shape is None or y.shape is None:
        return []
    spatial = x.shape[1:-1]
    whole = None not in spatial and tuple(node.attrs["kernel"]) == spatial and not any(node.attrs["pad"])
    return list(range(1, len(x.shape) - 1)) if whole and all(d == 1 for d in y.shape[1:-1]) else []


PREPARE_PTQ: tuple[Callable[..., Iterator[Record]], ...] = (
    weights_to_reals,
    casts_to_acts,
    fuse_decoded_bias,
    norms_to_layers,
    quotients_to_products,
    global_pools_to_means,
    pools_before_functions,
)
"""What PostTraining rewrites before it places, in order; none enables one before it."""
