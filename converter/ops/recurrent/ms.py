"""Recurrent layers in `.ms`: where MindSpore Lite's LSTM and GRU give the right answer; the rest is unrolled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import Setting
from ...ir import Node, Tensor
from ...schema.op import reads, writes
from ...schema.reading import Reading
from ...schema.writing import Writing
from .ms_loop import why_no_loop, write_loop
from .rnn import plain_gates
from .unroll_limits import why_not_unrolled

_MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
_LANES = 8  # for a single sequence its kernel is right only when the hidden size is a multiple of this


def ms_lacks(node: Node, one_by_one: bool = False) -> str:
    """Why MindSpore Lite's own operator cannot be what the node is, "" where it can.

    Args:
        one_by_one: each sequence of a batch has an operator of its own.
    """
    a, x, weights = node.attrs, node.required(0), (node.inputs[1], node.inputs[2], node.input(3))
    if node.op == "Rnn":
        return "MindSpore Lite has no plain RNN"
    name = node.op.upper()
    if node.op == "Lstm" and (a["cell_clip"] > 0 or a["input_forget"] or node.input(7) is not None):
        return "MindSpore Lite's LSTM has no clip, no coupled gates and no peepholes"
    if a["direction"] == "reverse" or not plain_gates(node) or a["clip"] > 0:
        return f"MindSpore Lite has the plain {name} only: forward or both ways, sigmoid and tanh, no clip"
    if node.input(4) is not None:
        return "sequence lengths are not in MindSpore Lite"
    if node.op == "Lstm":
        hidden, given = a["hidden_size"], all(node.input(i) is not None for i in (5, 6))
        batch = None if x.shape is None else x.shape[1]
        if batch is None and not given:
            return "its batch is not known, and MindSpore Lite needs its states"
        floats = all(t is None or (t.is_const and t.dtype.kind == "f") for t in weights)
        if hidden % _LANES and batch in (None, 1) and not floats:
            return (
                f"MindSpore Lite's LSTM takes one sequence with a hidden size that is a multiple of {_LANES}, or "
                "weights that are float constants"
            )
        return ""
    if a["linear_before_reset"]:
        return "MindSpore Lite's GRU resets the state before its product, not after (linear_before_reset=1)"
    if (x.shape is None or x.shape[1] != 1) and not one_by_one:
        # Its kernel mixes up the sequences of a batch.
        return f"MindSpore Lite's GRU takes one sequence at a time, not {x.shape}"
    if any(t is not None and (not t.is_const or _by_rows(t)) for t in weights):
        return "MindSpore Lite's GRU has constant weights, as floats or with one scale"
    return ""


def _by_rows(t: Tensor) -> bool:
    """Whether a weight [D, rows, columns] has scales along its second axis; the runtime looks for them along the
    first."""
    return t.is_const and t.quant is not None and t.quant.axis == 1 and len(t.quant.scale) > 1


def _as_loop(w: Writing, node: Node) -> bool:
    """Writes what MindSpore Lite has no operator for as a loop; refuses what cannot be one."""
    reason = ms_lacks(node)
    if reason and why_no_loop(node):
        more = why_not_unrolled(node)
        w.refuse(node, f"{reason}; {more}" if more else reason, hint=Setting("input_shape"))
    if reason:
        write_loop(w, node)
    return bool(reason)


@writes("ms", "Rnn")
def write_ms_rnn(w: Writing, node: Node) -> None:
    _as_loop(w, node)


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
    a, x = node.attrs, node.required(0)
    if _as_loop(w, node):
        return
    weight, u, b = node.required(1), node.required(2), node.input(3)
    d, hidden, batch = weight.size(0), a["hidden_size"], None if x.shape is None else x.shape[1]
    b = b or w.constant(np.zeros((d, 8 * hidden)), np.float32, f"{node.name}/b")
    states = [
        t if t is not None else w.constant(np.zeros((d, x.size(1), hidden)), np.float32, f"{node.name}/{name}")
        for t, name in ((node.input(5), "h0"), (node.input(6), "c0"))
    ]
    ins, outputs, more = (
        [*(_restored(w, node, t) for t in (weight, u)), b, *states],
        list(node.outputs),
        -hidden % _LANES,
    )
    if more and (batch is None or batch == 1):
        ins = _widened(w, node, ins, more)
        outputs = [w.between(y, (*y.shape[:-1], hidden + more), f"{y.name}/wide") for y in outputs if y.shape]
        hidden += more
    fields = {"bidirectional": d == 2, "has_bias": True, "input_size": weight.known_shape[2], "hidden_size": hidden}
    w.node("LSTM", node, [x, *ins], outputs, fields=fields | {"num_layers": 1, "num_directions": d})
    for wide, y in zip(outputs, node.outputs):
        if wide is not y:
            bounds = ((0, "begin"), (node.attrs["hidden_size"], "end"), (len(y.shape or ()) - 1, "axis"), (1, "step"))
            ints = [w.constant([v], np.int32, f"{node.name}/{name}") for v, name in bounds]
            w.node("StridedSlice", node, [wide, *ints], [y], fields=dict.fromkeys(_MASKS, 0))


def _restored(w: Writing, node: Node, t: Tensor) -> Tensor:
    """A weight quantized by rows, stored with these as its first axis and brought back by a Transpose."""
    if not _by_rows(t):
        return t
    real = Tensor(w.name(f"{t.name}/real"), np.dtype(np.float32), t.shape)
    perm = w.constant([1, 0, 2], np.int32, f"{node.name}/perm")
    w.node("Transpose", node, [w.permuted(t, [1, 0, 2]), perm], [real])
    return real


def _widened(w: Writing, node: Node, ins: Sequence[Tensor], more: int) -> list[Tensor]:
    """Weights, bias and states of an LSTM with units whose weights are 0: their cells and outputs stay 0."""
    weight, u, b, *states = ins
    hidden = u.value.shape[-1]

    def padded(t: Tensor, *axes: int) -> Tensor:
        data = np.asarray(t.data)
        split = data.reshape(data.shape[0], -1, hidden, *data.shape[2:])
        wide = np.pad(split, [(0, more if i in axes else 0) for i in range(split.ndim)])
        return w.constant(wide.reshape(data.shape[0], -1, *wide.shape[3:]), data.dtype, f"{t.name}/wide")

    parameters = [padded(weight, 2), padded(u, 2, 3), padded(b, 2)]
    pads = [(0, 0), (0, 0), (0, more)]
    for t in states:
        if t.data is not None:
            parameters.append(w.constant(np.pad(t.data, pads), t.dtype, f"{t.name}/wide"))
            continue
        wide = w.between(t, (*t.shape[:-1], hidden + more) if t.shape else None, f"{t.name}/wide")
        fields = {"padding_mode": 0, "constant_value": 0.0}
        w.node("PadFusion", node, [t, w.constant(np.ravel(pads), np.int32, f"{node.name}/pads")], [wide], fields=fields)
        parameters.append(wide)
    return parameters


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
    if _as_loop(w, node):
        return
    a, x = node.attrs, node.inputs[0]
    weight, u, b = node.required(1), node.required(2), node.input(3)
    d, hidden = weight.size(0), a["hidden_size"]
    b = b or w.constant(np.zeros((d, 6 * hidden)), np.float32, f"{node.name}/b")
    start = node.input(5) or w.constant(np.zeros((d, 1, hidden)), np.float32, f"{node.name}/h0")
    w.node("GRU", node, [x, weight, u, b, start], fields={"bidirectional": d == 2})
