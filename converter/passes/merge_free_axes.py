"""A convolution of volumes whose kernel has an axis of one tap works on images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from ..ir import Graph, Node
from .edit import Edit, is_float_node
from .record import Change, Record, Refusal

_NAME = "merge_free_axes"


def merge_free_axes(graph: Graph) -> Iterator[Record]:
    """Conv [N, D, H, W, C] ⇒ Reshape [N·D, H, W, C] → Conv → Reshape, where along D the kernel has one tap, steps by
    one and pads nothing: each slice is an image. An axis of one value falls out, whichever it is.

    Images have kernels in every container, and quantized ones; volumes do not.

    Not when sizes are open or the weight is computed.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        x = node.inputs[0] if node.inputs else None
        if node.op != "Conv" or x is None or x.rank != 5:
            continue
        axis = _free_axis(node)
        if axis is None:
            yield Refusal(_NAME, node.name, "its kernel spans every axis, or a size or its weight is not known")
            continue
        _apply(edit, node, axis)
        yield Change(_NAME, node.name, f"axis {axis + 1} of its volume is one more of the batch")
    edit.finish()


def _free_axis(node: Node) -> int | None:
    """The spatial axis that goes; None where there is none."""
    x, w, a = node.required(0), node.required(1), node.attrs
    if w.shape is None or not w.is_const or not is_float_node(node) or a["pad_mode"] != "explicit":
        return None
    if (w.quant is not None and w.quant.axis not in (None, 0)) or None in x.known_shape:
        return None
    for k in range(3):
        plain = (w.shape[1 + k], a["stride"][k], *a["pad"][2 * k : 2 * k + 2]) == (1, 1, 0, 0)
        if plain and (k == 0 or x.known_shape[1 + k] == 1):
            return k
    return None


def _apply(edit: Edit, node: Node, axis: int) -> None:
    x, w, y = node.required(0), node.required(1), node.outputs[0]
    n, *sizes, channels = x.static_shape
    rows = n * sizes.pop(axis)
    attrs = node.attrs | {k: [v for i, v in enumerate(node.attrs[k]) if i != axis] for k in ("stride", "dilation")}
    attrs["pad"] = [v for i, v in enumerate(node.attrs["pad"]) if i // 2 != axis]
    flat = dataclasses.replace(w, shape=None, data=np.squeeze(w.value, 1 + axis), name=edit.name(f"{w.name}/image"))
    flat.shape = flat.value.shape
    origin = node.origin or (node.name,)
    shape = edit.constant(np.array([rows, *sizes, channels], np.int64), f"{node.name}/images")
    image = edit.emit("Reshape", [x, shape], at=node, name=f"{node.name}/in", origin=origin).outputs[0]
    given = edit.emit("Conv", [image, flat, *node.inputs[2:]], attrs, at=node, name=node.name, origin=origin).outputs[0]
    back = edit.constant(np.array(y.static_shape, np.int64), f"{node.name}/volume")
    edit.emit("Reshape", [given, back], at=node, name=f"{node.name}/out", outputs=[y], origin=origin)
    edit.drop(node)
