"""Small rewrites that make a float graph easier to quantize; its values stay the same."""

from __future__ import annotations

from ..converter.execute import is_quantized
from ..converter.ir import Graph, Node, Tensor


def global_pools_to_means(graph: Graph) -> None:
    """AveragePool over the whole spatial extent ⇒ Reduce mean, in place.

    A pool shares its input's scale, which is far too coarse for the mean of a whole image; a mean has its own.
    """
    for node in graph.nodes:
        if node.op != "AveragePool" or node.attrs.get("act", "none") != "none":
            continue
        x = node.inputs[0]
        if not _covers_all(node, x):
            continue
        node.op = "Reduce"
        rank = x.rank  # pyright: ignore[reportOptionalMemberAccess]
        node.attrs = _reduce_attrs(list(range(1, rank - 1)))  # pyright: ignore[reportOptionalOperand]


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
    from ..converter.opdef import REQUIRED, row

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
