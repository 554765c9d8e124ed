"""Recurrent layers in TFLite: its LSTM goes forward, from states that are zeros; SVDF. The rest is a loop, or steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import Setting
from ...ir import Graph, Node, Tensor, is_quantized
from ...numeric.qparams import QuantParam
from ...schema.op import reads, writes
from ...schema.reading import Reading
from ...schema.writing import Writing
from .._support.acts import act_from, act_number, with_act
from .rnn import gates_of
from .sequence_lstm import read_sequence_lstm
from .svdf import read_integer_svdf
from .tflite_loop import why_no_tflite_loop, write_tflite_loop
from .unroll_limits import why_not_unrolled

_SLOTS, _H, _C = 24, 18, 19
_GATES = (0, 2, 3, 1)  # i f c o, of the order i o f c
_ACTS: dict[tuple[str, ...], str] = {("sigmoid", "tanh", "tanh"): "tanh", ("sigmoid", "relu", "relu"): "relu"}


def tflite_lacks(node: Node, graph: Graph, any_way: bool = False) -> str:
    """Why TFLite's own operator cannot be what the node is, "" where it can.

    Args:
        any_way: also reverse and both ways count as what it can be.
    """
    if node.op != "Lstm":
        return f"TFLite has no operator for {node.op}"
    a, x = node.attrs, node.required(0)
    directions = 2 if a["direction"] == "bidirectional" else 1
    acts = {tuple(name for name, *_ in gates) for gates in gates_of(node.op, a, directions)}
    if a["clip"] > 0 or a["input_forget"] or len(acts) > 1 or acts.pop() not in _ACTS:
        return "TFLite's LSTM has no clipped gates, none that are coupled so, and no other functions than tanh and relu"
    if a["direction"] != "forward" and not any_way:
        return f"TFLite's LSTM goes forward, not {a['direction']}"
    if node.input(4) is not None:
        return "sequence lengths are not in TFLite"
    if any(t is not None and (t.data is None or t.data.any()) for t in (node.input(5), node.input(6))):
        return "TFLite's LSTM starts from zeros"
    if x.shape is None or not isinstance(x.shape[1], int):
        return "its batch is not known, and TFLite stores its states"
    if any(t is not None and (not t.is_const or t.dtype != np.float32) for t in (*node.inputs[1:4], node.input(7))):
        return "TFLite's LSTM has float constants as weights"
    cell = node.outputs[2] if len(node.outputs) > 2 else None
    if cell is not None and (cell in graph.outputs or any(cell in n.inputs for n in graph.nodes)):
        return "TFLite's LSTM does not tell its last cell state"
    return ""


@writes("tflite", "Lstm", "Gru", "Rnn")
def write_lstm(w: Writing, node: Node) -> None:
    """x, four weights (i f c o), four of the state, peepholes (i f o), biases, then states that are variables."""
    if reason := tflite_lacks(node, w.graph):
        if node.attrs["direction"] == "forward" and not why_no_tflite_loop(node):
            return write_tflite_loop(w, node)
        more = why_not_unrolled(node)
        w.refuse(node, f"{reason}; {more}" if more else reason, hint=Setting("input_shape"))
    x, weight, state = node.operands(3)
    hidden = node.attrs["hidden_size"]
    inputs: list[Tensor | None] = [x, *[None] * (_SLOTS - 1)]

    def put(at: int, t: Tensor, parts: np.ndarray, order: Sequence[int]) -> None:
        for k, gate in enumerate(order):
            inputs[at + k] = w.constant(parts[gate], np.float32, f"{t.name}/{'ifco'[k]}")

    for at, t in ((1, weight), (5, state)):
        put(at, t, np.asarray(t.data)[0].reshape(4, hidden, -1), _GATES)
    b, p = node.input(3), node.input(7)
    sums = np.zeros(4 * hidden, np.float32) if b is None else np.asarray(b.data)[0].reshape(2, -1).sum(0)
    put(12, b or Tensor(f"{node.name}/b", np.dtype(np.float32), ()), sums.reshape(4, hidden), _GATES)
    if p is not None:
        put(9, p, np.asarray(p.data)[0].reshape(3, hidden), (0, 2, 1))
    start = _state if w.graph.meta.get("source") == "tflite" else _cleared
    inputs[_H], inputs[_C] = (start(w, node, (x.size(1), hidden), name) for name in "hc")
    act = _ACTS[tuple(name for name, *_ in gates_of(node.op, node.attrs, 1)[0])]
    y = node.outputs[0]
    told = Tensor(w.name(f"{y.name}/steps"), y.dtype, (x.known_shape[0], x.known_shape[1], hidden))
    _emit(w, node, inputs, [told], act, node.attrs["cell_clip"], 0.0, True)
    w.node("EXPAND_DIMS", node, [told, w.constant(1, np.int32, f"{node.name}/axis")], [y])
    last = node.outputs[1] if len(node.outputs) > 1 else None
    if last is not None and (last in w.graph.outputs or any(last in n.inputs for n in w.graph.nodes)):
        bounds = ([-1, 0, 0], [0, 0, 0], [1, 1, 1])
        at = [w.constant(v, np.int32, f"{node.name}/{k}") for k, v in zip(("begin", "end", "step"), bounds)]
        w.node("STRIDED_SLICE", node, [told, *at], [last], fields={"begin_mask": 6, "end_mask": 7})


@writes("tflite", "SequenceLstm")
def write_sequence_lstm(w: Writing, node: Node) -> None:
    a, x, y = node.attrs, node.required(0), node.outputs[0]
    inputs: list[Tensor | None] = [node.input(i) for i in range(_SLOTS)]
    projection, cells = inputs[16], node.required(2).size(0)
    size = cells if projection is None else projection.size(0)
    batch = None if x.shape is None else x.shape[1 if a["time_major"] else 0]
    for slot, columns, name in ((_H, size, "h"), (_C, cells, "c")):
        if inputs[slot] is None and batch is None:
            w.refuse(node, "its batch is not known, and TFLite stores its states", hint=Setting("input_shape"))
        # The sizes are those of a state that is not given.
        inputs[slot] = _state(w, node, (batch or 0, columns), name, inputs[slot])
    peepholes = [t for t in inputs[9:12] if t is not None]
    for slot in (9, 10, 11):  # all or none, but for the input gate that there is not
        if peepholes and inputs[slot] is None and (slot > 9 or inputs[1] is not None):
            like = peepholes[0]
            zeros = inputs[slot] = w.constant(np.zeros(cells), like.dtype, f"{node.name}/peephole")
            zeros.quant = like.quant
    inside: list[Tensor] = []
    if a["hidden"]:
        scales = [*((s, 0) for s in a["gates"]), tuple(a["hidden"])]
        for k, (scale, zero) in enumerate(scales):
            dtype = np.dtype(np.int8 if k == 4 else np.int16)
            quant = QuantParam(np.array([scale], np.float64), np.array([zero], np.int32), None, 8 * dtype.itemsize)
            inside.append(Tensor(w.name(f"{y.name}/inside_{k}"), dtype, (), None, quant))
    _emit(w, node, inputs, [y], a["act"], a["cell_clip"], a["proj_clip"], a["time_major"], inside)


@writes("tflite", "Svdf")
def write_svdf(w: Writing, node: Node) -> None:
    x, time = node.required(0), node.required(2)
    if x.shape is None or not isinstance(x.shape[0], int):
        w.refuse(node, "its batch is not known, and TFLite stores its state", hint=Setting("input_shape"))
    state = _state(w, node, (x.size(0), time.size(0) * time.size(1)), "state", node.input(4))
    fields = {"rank": node.attrs["rank"], "fused_activation_function": act_number("tflite", node.attrs["act"])}
    version = 3 if x.quant is not None else 1
    w.node("SVDF", node, [*node.inputs[:3], node.input(3), state], fields=fields, version=version, variables=[state])


def _state(w: Writing, node: Node, shape: tuple[int, ...], name: str, given: Tensor | None = None) -> Tensor:
    """What a variable starts from: zeros, or the codes of 0. The file says so without bytes."""
    if given is None:
        return w.constant(np.zeros(shape), np.float32, f"{node.name}/{name}")
    zero = given.quant.zero_point[0] if given.quant is not None and given.dtype == np.int8 else 0
    if given.data is None or (given.data != zero).any():
        w.refuse(node, f"its state {given.name!r} does not start as zeros")
    return Tensor(given.name, given.dtype, given.shape, given.data, given.quant)


def _cleared(w: Writing, node: Node, shape: tuple[int, ...], name: str) -> Tensor:
    """A variable that each run sets to zeros: TFLite would go on from the run before, as no other source means it."""
    zeros = w.constant(np.zeros(shape), np.float32, f"{node.name}/{name}/zeros")
    state = Tensor(w.name(f"{node.name}/{name}"), zeros.dtype, zeros.shape)
    w.node("ZEROS_LIKE", node, [zeros], [state])
    return state


def _emit(
    w: Writing, node: Node, inputs: list[Tensor | None], outputs: list[Tensor], act: str, cell_clip: float,
    proj_clip: float, time_major: bool, inside: Sequence[Tensor] = (),
) -> None:  # fmt: skip
    fields = {"fused_activation_function": act_number("tflite", act), "cell_clip": cell_clip, "proj_clip": proj_clip}
    w.node(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", node, inputs, outputs, fields=fields | {"time_major": time_major},
        variables=[inputs[_H], inputs[_C]], intermediates=list(inside),
    )  # fmt: skip


@reads("tflite", "UNIDIRECTIONAL_SEQUENCE_LSTM")
def read_tflite_lstm(r: Reading) -> Tensor:
    """24 inputs: x, four input weights (i f c o), four recurrent, three peepholes (i f o), four biases, projection,
    its bias, both states, four layer norm coefficients. Without input gate weights the gate is 1 - forget gate."""
    act, x = act_from("tflite", r.attr("fused_activation_function", 4), r), r.input(0)
    more = any(r.optional(i) is not None for i in (16, 17, 20, 21, 22, 23))
    if more or act not in ("tanh", "relu") or is_quantized(x):
        return read_sequence_lstm(r)

    def value(i: int, negative_of: int | None = None) -> np.ndarray | None:
        t = r.optional(i)
        if t is None:
            # sigmoid(-v) = 1 - sigmoid(v): the coupled input gate is the forget gate with the opposite sign.
            return None if negative_of is None or r.optional(negative_of) is None else -r.const(negative_of)
        return r.const(i)

    order = ((1, 2), (4, None), (2, None), (3, None))  # i o f c
    weights = [a for i, other in order if (a := value(i, other)) is not None]
    recurrent = [a for a in (value(5, 6), value(8), value(6), value(7)) if a is not None]
    if len(weights) + len(recurrent) < 8:
        r.refuse("a weight is missing")
    hidden = weights[1].shape[0]
    bias = [value(12, 13), value(15), value(13), value(14)]
    parts = [np.zeros(hidden, np.float32) if b is None else b for b in bias]
    peep = [value(9, 10), value(11), value(10)]
    p = None
    if any(v is not None for v in peep):
        p = np.concatenate([np.zeros(hidden, np.float32) if v is None else v for v in peep])[None]
    w = r.constant(np.concatenate(weights)[None].astype(np.float32), name=f"{r.name}/w")
    u = r.constant(np.concatenate(recurrent)[None].astype(np.float32), name=f"{r.name}/r")
    b = r.constant(np.concatenate([*parts, np.zeros(4 * hidden)])[None].astype(np.float32), name=f"{r.name}/b")
    states = [_tflite_state(r, i) for i in (18, 19)]
    time_major = bool(r.attr("time_major", False))
    steps = x if time_major else r.emit("Transpose", x, perm=[1, 0, 2])
    inputs = [
        steps,
        w,
        u,
        b,
        None,
        *states,
        None if p is None else r.constant(p.astype(np.float32), name=f"{r.name}/p"),
    ]
    attrs: dict[str, Any] = {"hidden_size": hidden, "cell_clip": float(r.attr("cell_clip", 0.0))}
    if act == "relu":
        attrs["activations"] = ["sigmoid", "relu", "relu"]
    y = r.emit_many("Lstm", inputs, **attrs)[0]
    y = r.emit("Squeeze", y, axes=[1])
    return y if time_major else r.emit("Transpose", y, perm=[1, 0, 2])


def _tflite_state(r: Reading, index: int) -> Tensor | None:
    """A state variable starts every run with its initial value; zeros are left out."""
    t = r.optional(index)
    if t is None or (t.is_const and not t.value.any()):
        return None
    return r.emit("ExpandDims", t, axes=[0])


@reads("tflite", "SVDF")
def read_tflite_svdf(r: Reading) -> Tensor:
    """Inputs: x [N,I], feature weights [F,I], time weights [F,M], bias [F/rank]?, state [N,M·F].

    Every run starts with the stored state, zeros in a file, so only the newest column of the time weights counts.
    """
    x, state = r.input(0), r.optional(4)
    act = act_from("tflite", r.attr("fused_activation_function", 0), r)
    if state is not None and not (state.is_const and not state.value.any()):
        r.refuse("its state is computed at run time")
    if is_quantized(x):
        return read_integer_svdf(r, act)
    features, time, rank = r.input(1), r.const(2), r.attr("rank", 1)
    if time.ndim != 2 or rank < 1 or time.shape[0] % rank:
        r.refuse(f"time weights of shape {time.shape} do not fit rank {rank}")
    y = r.emit("FullyConnected", x, features, None)
    y = r.emit("Mul", y, r.constant(np.ascontiguousarray(time[:, -1]), np.float32))
    y = r.emit("Reshape", y, r.constant([-1, time.shape[0] // rank, rank], np.int64))
    y = r.emit("Reduce", y, mode="sum", axes=[2])
    if r.optional(3) is not None:
        y = r.emit("Add", y, r.input(3))
    return with_act(r, y, act)
