"""Gives a Pad to the window behind it."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import GraphError
from ..ir import Graph, Node
from ..ops import infer
from ..schema.node import own_attrs
from .edit import Edit, trail
from .match import int_list, output_bounds, scalar
from .record import Change, Record, Refusal

_NAME = "fuse_pad"
_WINDOWS = ("Conv", "MaxPool")
_NOT_NEGATIVE = ("Square", "Exp", "Softplus")


def fuse_pad(graph: Graph) -> Iterator[Record]:
    """Pad(0) → Conv ⇒ Conv with more padding, and so for MaxPool.

    The pads add up. MaxPool never lets padding win, which equals zeros only where no element is negative.

    Not when the Pad reaches the batch or the channels, crops, mirrors, or fills with another value; not when the window
    pads by "same", which depends on the size; nor when the pool rounds up. AveragePool does not take the Pad in: only
    ONNX can count padding.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        x = node.inputs[0] if node.inputs else None
        pad = edit.producer(x)
        if node.op not in _WINDOWS or pad is None or pad.op != "Pad" or pad.inputs[0] is None:
            continue
        reason = _reason(edit, pad, node)
        if not reason:
            reason = _fuse(edit, pad, node)
        if reason:
            yield Refusal(_NAME, node.name, reason)
        else:
            yield Change(_NAME, node.name, f"took in Pad {pad.name!r}")
    edit.finish()


def _reason(edit: Edit, pad: Node, node: Node) -> str:
    """Why the Pad's fill does not equal the window's padding."""
    pads, fill, (x, y) = int_list(pad.input(1)), pad.attrs["value"], (pad.inputs[0], pad.outputs[0])
    if pad.input(2) is not None:
        fill = scalar(pad.input(2))
    if pads is None or fill is None or not pads:
        return f"the pads of {pad.name!r} are computed at run time"
    if pad.attrs["mode"] != "constant":
        return f"{pad.name!r} pads by {pad.attrs['mode']}"
    if any(pads[:2]) or any(pads[-2:]):
        return f"{pad.name!r} pads more than the spatial axes"
    if min(pads) < 0:
        return f"{pad.name!r} crops"
    if x is None or x.quant != y.quant or x.dtype != y.dtype:
        return f"{pad.name!r} requantizes"
    if node.attrs["pad_mode"].startswith("same"):
        return f"{node.name!r} pads by {node.attrs['pad_mode']}, which depends on the padded size"
    if node.attrs.get("ceil_mode"):
        return f"{node.name!r} rounds its output size up"
    if node.op == "MaxPool" and fill == float("-inf"):
        return ""
    if fill != 0:
        return f"{pad.name!r} fills with {fill:g}"
    if node.op == "MaxPool" and not _not_negative(edit, pad):
        return f"{node.name!r} is a maximum, and what {pad.name!r} pads may be negative"
    return ""


def _not_negative(edit: Edit, pad: Node) -> bool:
    source = edit.producer(pad.inputs[0])
    if source is None:
        return False
    if source.op in _NOT_NEGATIVE:
        return True
    bounds = output_bounds(source)
    low = bounds[0] if bounds is not None else None
    return low is not None and low >= 0


def _fuse(edit: Edit, pad: Node, node: Node) -> str:
    pads = int_list(pad.input(1)) or []
    own = node.attrs["pad"] if node.attrs["pad_mode"] == "explicit" else [0] * (len(pads) - 4)
    attrs = own_attrs(node.attrs)
    attrs |= {"pad": [a + b for a, b in zip(own, pads[2:-2])], "pad_mode": "explicit"}
    if node.op == "MaxPool" and any(p >= k for k, lo_hi in zip(attrs["kernel"], _pairs(attrs["pad"])) for p in lo_hi):
        return f"{node.name!r} would have windows in the padding alone"
    inputs = [pad.inputs[0], *node.inputs[1:]]
    try:
        infer(Node(node.op, node.name, inputs, [], own_attrs(attrs)))
    except GraphError as error:
        return f"{node.name!r} would not take these pads: {error}"
    node.attrs, node.origin = attrs, trail(pad, node)
    edit.set_inputs(node, inputs)
    return ""


def _pairs(pads: list[int]) -> list[tuple[int, int]]:
    return list(zip(pads[0::2], pads[1::2]))
