"""Gives a clamp to the operator before it."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Graph
from ..numeric.qparams import ACT_BOUNDS, Bounds, foldable
from ..ops import row
from ..ops._support.acts import CLAMPS
from ..schema.node import own_attrs
from .affine import absorb
from .edit import Edit, is_float_node
from .match import clamp_of, narrowed
from .record import Change, Record, Refusal

_NAME = "fuse_activation"
_TAKE = ("Conv", "ConvTranspose", "FullyConnected", "MatMul", "Add", "Sub", "Mul", "Div", "MaxPool", "AveragePool")


def fuse_activation(graph: Graph) -> Iterator[Record]:
    """Conv → Relu ⇒ Conv(act=relu), and so for Relu6, Clip and for linear layers, arithmetic and pools.

    Clip(0, 6) is relu6, Clip(-1, 1) relu_n1_to_1, Clip(0, ∞) relu; a clamp behind a fused one is the clamp to the
    tighter bounds of both.

    Not when the value in between has other readers or is a graph output, when no act has these bounds, and not in an
    integer graph, where the bounds belong to the ranges of the codes.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        bounds = clamp_of(node)
        source = edit.producer(node.inputs[0]) if bounds is not None else None
        if bounds is None or source is None or source.op not in _TAKE or "act" not in row(source.op).attrs:
            continue
        x = node.required(0)
        if not is_float_node(node) or not all(t.quant is None and t.dtype.kind == "f" for t in source.outputs):
            continue
        act = _act(source.attrs["act"], bounds)
        if act is None:
            yield Refusal(_NAME, node.name, f"no fused activation clamps to {_text(bounds)}")
        elif edit.is_output(x):
            yield Refusal(_NAME, node.name, f"{x.name!r} is a graph output")
        elif edit.only_reader(x) is None:
            others = ", ".join(repr(n.name) for n in edit.readers(x) if n is not node)
            yield Refusal(_NAME, node.name, f"{x.name!r} before it is also read by {others}")
        else:
            source.attrs = own_attrs(source.attrs) | {"act": act}
            absorb(edit, source, node, source.inputs)
            yield Change(_NAME, source.name, f"took in {node.op} {node.name!r} as {act}")
    edit.finish()


def _act(present: str, bounds: Bounds) -> str | None:
    """The act that clamps to what is there and to `bounds`."""
    if not foldable(present):
        return None
    joint = narrowed(ACT_BOUNDS[present], bounds)
    return next((name for name in CLAMPS if ACT_BOUNDS[name] == joint), None)


def _text(bounds: Bounds) -> str:
    low, high = (f"{b:g}" if b is not None else "∞" for b in bounds)
    return f"[{'-' if bounds[0] is None else ''}{low}, {high}]"
