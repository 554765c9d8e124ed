"""Pools as a target can say them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..ir import Graph, Node
from .edit import Edit, own_attrs
from .runner import Change, Record, Refusal


def split_counted_pads(graph: Graph) -> Iterator[Record]:
    """AveragePool that counts its padding ⇒ Pad(0) → AveragePool.

    TFLite and MindSpore Lite divide by the elements inside the input; zeros put there by a Pad are such elements.

    Not when the pads follow from a "same" that is not resolved yet.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        if node.op != "AveragePool" or not node.attrs["count_include_pad"]:
            continue
        a, x = node.attrs, node.inputs[0]
        pad = a["pad"] if a["pad_mode"] != "valid" else [0] * len(a["pad"])
        if not any(pad) or x is None or x.shape is None:
            continue
        if a["pad_mode"].startswith("same") and None in x.shape[1:-1]:
            yield Refusal("split_counted_pads", node.name, f"pads by {a['pad_mode']} of an unknown size")
            continue
        pads = edit.constant(np.asarray([0, 0, *pad, 0, 0], np.int64), f"{node.name}/pads")
        padded = edit.emit("Pad", [x, pads], at=node, name=edit.name(f"{node.name}/pad"), like=x)
        padded.origin = node.origin or (node.name,)
        node.attrs = own_attrs(a) | {"pad": [0] * len(pad), "pad_mode": "explicit", "count_include_pad": False}
        edit.set_inputs(node, [padded.outputs[0]])
        yield Change("split_counted_pads", node.name, f"its pads {pad} are a Pad of zeros")
    edit.finish()


def reduce_to_pool(graph: Graph) -> Iterator[Record]:
    """Reduce mean or max over the spatial axes ⇒ AveragePool or MaxPool of the whole input.

    The window is the input's size, so that a runtime with pool kernels only has one for it. A reduction that drops its
    axes gets a Reshape behind it.

    Not when a spatial size is not known, nor for other axes than all spatial ones of a 4-D input.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        window = _whole(node)
        if window is None:
            continue
        x, y = node.inputs[0], node.outputs[0]
        assert x is not None and x.shape is not None
        if None in window:
            yield Refusal("reduce_to_pool", node.name, f"the spatial size of {x.name!r} is not known")
            continue
        ones = [1] * len(window)
        attrs = {"kernel": window, "stride": ones, "dilation": ones, "pad": [0] * (2 * len(window))}
        op = "AveragePool" if node.attrs["mode"] == "mean" else "MaxPool"
        if node.attrs["keep_dims"]:
            made = edit.emit(op, [x], attrs, at=node, name=node.name, outputs=[y], origin=node.origin)
        else:
            made = edit.emit(op, [x], attrs, at=node, name=node.name, origin=node.origin, like=y)
            shape = edit.constant(np.asarray([-1, x.shape[-1] or -1], np.int64), f"{node.name}/shape")
            edit.emit("Reshape", [made.outputs[0], shape], after=made, outputs=[y], origin=node.origin or (node.name,))
        edit.drop(node)
        yield Change("reduce_to_pool", node.name, f"is the {op} of a window of {window}")
    edit.finish()


def _whole(node: Node) -> list[int | None] | None:
    """The spatial sizes when the node reduces them all and nothing else."""
    if node.op != "Reduce" or node.attrs["mode"] not in ("mean", "max") or node.input(1) is not None:
        return None
    x, axes = node.inputs[0], node.attrs["axes"]
    if x is None or x.shape is None or len(x.shape) != 4 or not axes or x.dtype.kind not in "fiu":
        return None
    if x.dtype.kind != "f" and x.quant is None:
        return None
    if sorted(a % 4 for a in axes) != [1, 2] or (not node.attrs["keep_dims"] and x.shape[-1] is None):
        return None
    return list(x.shape[1:3])
