"""Pools as a target can say them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..ir import Graph
from ..schema.node import own_attrs
from .edit import Edit
from .record import Change, Record, Refusal


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
