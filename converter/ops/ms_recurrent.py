"""Recurrent layers in `.ms`: where MindSpore Lite's LSTM and GRU give the right answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..formats.reading import Reading
from ..formats.writing import Writing
from ..ir import Node, Tensor
from ..opdef import reads, writes
from .rnn import plain_gates

_MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
_LANES = 8  # for a single sequence its kernel is right only when the hidden size is a multiple of this


@reads("ms", "LSTM")
def read_ms_lstm(r: Reading) -> list[Tensor]:
    """Inputs: x, w, r, b, h0, c0; one layer."""
    for key, allowed in (
        ("num_layers", (0, 1)),
        ("proj_size", (0,)),
        ("zoneout_cell", (0.0,)),
        ("zoneout_hidden", (0.0,)),
    ):
        if r.attr(key, 0) not in allowed:
            r.refuse(f"{key}={r.attr(key)} is not read")
    if len(r.inputs) > 6:
        r.refuse("a projection layer is not read")
    x, w, u, b = r.input(0), r.input(1), r.input(2), r.optional(3)
    direction = "bidirectional" if r.attr("bidirectional", False) else "forward"
    inputs = [x, w, u, b, None, r.optional(4), r.optional(5)]
    shape = u.shape
    if not shape or shape[-1] is None:
        r.refuse("its hidden size is not known")
    return r.emit_many("Lstm", inputs, hidden_size=shape[-1], direction=direction)


@writes("ms", "Lstm")
def write_ms_lstm(w: Writing, node: Node) -> None:
    a, x = node.attrs, node.inputs[0]
    assert x is not None
    if a["direction"] == "reverse" or not plain_gates(node) or a["clip"] > 0 or a["cell_clip"] > 0 or a["input_forget"]:
        w.refuse(node, "MindSpore Lite has the plain LSTM only: forward or both ways, sigmoid and tanh, no clip")
    if node.input(4) is not None or node.input(7) is not None:
        w.refuse(node, "sequence lengths and peepholes are not in MindSpore Lite")
    weight, u, b = node.inputs[1], node.inputs[2], node.input(3)
    assert weight is not None and u is not None and weight.shape is not None
    d, hidden, batch = weight.shape[0], a["hidden_size"], None if x.shape is None else x.shape[1]
    if batch is None and (node.input(5) is None or node.input(6) is None):
        w.refuse(node, "its batch is not known, the states need it", hint="--inputShape")
    b = b or w.constant(np.zeros((d, 8 * hidden)), np.float32, f"{node.name}/b")
    states = [
        t if t is not None else w.constant(np.zeros((d, batch, hidden)), np.float32, f"{node.name}/{name}")  # pyright: ignore
        for t, name in ((node.input(5), "h0"), (node.input(6), "c0"))
    ]
    ins, outputs, more = [weight, u, b, *states], list(node.outputs), -hidden % _LANES
    if more and (batch is None or batch == 1):
        ins = _widened(w, node, ins, more)
        outputs = [w.between(y, (*y.shape[:-1], hidden + more), f"{y.name}/wide") for y in outputs if y.shape]
        hidden += more
    fields = {"bidirectional": d == 2, "has_bias": True, "input_size": weight.shape[2], "hidden_size": hidden}
    w.node("LSTM", node, [x, *ins], outputs, fields=fields | {"num_layers": 1, "num_directions": d})
    for wide, y in zip(outputs, node.outputs):
        if wide is not y:
            bounds = ((0, "begin"), (node.attrs["hidden_size"], "end"), (len(y.shape or ()) - 1, "axis"), (1, "step"))
            ints = [w.constant([v], np.int32, f"{node.name}/{name}") for v, name in bounds]
            w.node("StridedSlice", node, [wide, *ints], [y], fields=dict.fromkeys(_MASKS, 0))


def _widened(w: Writing, node: Node, ins: Sequence[Tensor], more: int) -> list[Tensor]:
    """Weights, bias and states of an LSTM with units whose weights are 0: their cells and outputs stay 0."""
    weight, u, b, *states = ins
    if any(t.data is None or t.data.dtype.kind != "f" for t in (weight, u, b)):
        w.refuse(node, f"one sequence needs a hidden size that is a multiple of {_LANES}, or "
                 "weights that are float constants", hint="--inputShape")  # fmt: skip
    hidden = u.data.shape[-1]  # pyright: ignore[reportOptionalMemberAccess]

    def padded(t: Tensor, *axes: int) -> Tensor:
        data = np.asarray(t.data)
        split = data.reshape(data.shape[0], -1, hidden, *data.shape[2:])
        wide = np.pad(split, [(0, more if i in axes else 0) for i in range(split.ndim)])
        return w.constant(wide.reshape(data.shape[0], -1, *wide.shape[3:]), data.dtype, f"{t.name}/wide")

    made = [padded(weight, 2), padded(u, 2, 3), padded(b, 2)]
    pads = [(0, 0), (0, 0), (0, more)]
    for t in states:
        if t.data is not None:
            made.append(w.constant(np.pad(t.data, pads), t.dtype, f"{t.name}/wide"))
            continue
        wide = w.between(t, (*t.shape[:-1], hidden + more) if t.shape else None, f"{t.name}/wide")
        fields = {"padding_mode": 0, "constant_value": 0.0}
        w.node("PadFusion", node, [t, w.constant(np.ravel(pads), np.int32, f"{node.name}/pads")], [wide], fields=fields)
        made.append(wide)
    return made


@reads("ms", "GRU")
def read_ms_gru(r: Reading) -> list[Tensor]:
    """Inputs: x, w, r, b, h0; the reset gate works on the state before its product."""
    shape = r.input(2).shape
    if not shape or shape[-1] is None:
        r.refuse("its hidden size is not known")
    direction = "bidirectional" if r.attr("bidirectional", False) else "forward"
    inputs = [r.input(0), r.input(1), r.input(2), r.optional(3), None, r.optional(4)]
    if len(r.inputs) > 5:
        r.refuse("sequence lengths are not read")
    return r.emit_many("Gru", inputs, hidden_size=shape[-1], direction=direction)


@writes("ms", "Gru")
def write_ms_gru(w: Writing, node: Node) -> None:
    a, x = node.attrs, node.inputs[0]
    assert x is not None
    if a["direction"] == "reverse" or not plain_gates(node) or a["clip"] > 0:
        w.refuse(node, "MindSpore Lite has the plain GRU only: forward or both ways, sigmoid and tanh, no clip")
    if a["linear_before_reset"]:
        w.refuse(node, "MindSpore Lite's GRU resets the state before its product, not after (linear_before_reset=1)")
    if x.shape is None or x.shape[1] != 1:
        # Its kernel mixes up the sequences of a batch.
        w.refuse(node, f"MindSpore Lite's GRU takes one sequence at a time, not {x.shape}", hint="--inputShape")
    if node.input(4) is not None:
        w.refuse(node, "sequence lengths are not in MindSpore Lite")
    weight, u, b = node.inputs[1], node.inputs[2], node.input(3)
    assert weight is not None and u is not None and weight.shape is not None
    if any(t is not None and not t.is_const for t in (weight, u, b)):
        w.refuse(node, "its weights must be constants")
    d, hidden = weight.shape[0], a["hidden_size"]
    b = b or w.constant(np.zeros((d, 6 * hidden)), np.float32, f"{node.name}/b")
    start = node.input(5) or w.constant(np.zeros((d, 1, hidden)), np.float32, f"{node.name}/h0")
    w.node("GRU", node, [x, weight, u, b, start], fields={"bidirectional": d == 2})
