"""Recurrent layers as products and gates of each step, where a container has no operator for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ..ir import Graph, Node, Tensor
from ..ops.recurrent.ms import ms_lacks
from ..ops.recurrent.ms_loop import why_no_loop
from ..ops.recurrent.rnn import Gate, gates_of
from ..ops.recurrent.tflite import tflite_lacks
from ..ops.recurrent.unrolled import copies_fit, why_not_unrolled
from .edit import Edit
from .record import Change, Record, Refusal


def unroll_recurrent(graph: Graph) -> Iterator[Record]:
    """Lstm, Gru, Rnn ⇒ FullyConnected of all steps → Split → per step FullyConnected → gates → Concat.

    The input's products of all steps are one; each step adds the product with the state before it. Sequence lengths
    become factors of 0 and 1: h = m·h' + (1 - m)·h; a sequence that is read backwards is reversed before and after.
    Weights quantized by rows stay so, and layers that quantize while running do it at the same places.

    TFLite's own LSTM is kept where it is the same; one that goes backwards, or both ways, is one or two of these, with
    its steps reversed before and after.

    Not for a number of steps that is not known, or more than 512 of them.
    """
    yield from _unroll(graph, "unroll_recurrent", lambda node: tflite_lacks(node, graph), _forward)


def unroll_recurrent_for_ms(graph: Graph) -> Iterator[Record]:
    """Lstm, Gru, Rnn ⇒ FullyConnected of all steps → Split → per step FullyConnected → gates → Concat, for a .ms.

    As for TFLite. MindSpore Lite's LSTM and GRU are kept where they give the right answer. A batch of no more sequences
    than steps, and than 64, is a Gru for each of them where that lacks nothing else. Another Gru or Rnn of 8 steps or
    more stays, once for each direction: the file holds it as a loop. Not with sequence lengths, gates of other
    functions or computed weights.

    Not for a number of steps that is not known, or more than 512 of them.
    """
    yield from _unroll(graph, "unroll_recurrent_for_ms", ms_lacks, _one_by_one)


def unroll_recurrent_for_onnx(graph: Graph) -> Iterator[Record]:
    """Lstm whose cell state is bounded ⇒ FullyConnected → Split → per step FullyConnected → gates → Concat, for ONNX.

    As for TFLite, which has this form; the clip of ONNX bounds what its gates get.

    Not for a number of steps that is not known, or more than 512 of them.
    """
    yield from _unroll(graph, "unroll_recurrent_for_onnx", _onnx_lacks, lambda graph, node, why: "")


def _onnx_lacks(node: Node) -> str:
    return "ONNX has no bound of the cell state" if node.attrs.get("cell_clip", 0.0) > 0 else ""


def _unroll(
    graph: Graph, name: str, lacks: Callable[[Node], str], otherwise: Callable[[Graph, Node, bool], str]
) -> Iterator[Record]:
    edit = Edit(graph)
    for node in edit.nodes():
        if node.op not in _CELLS or not (reason := lacks(node)):
            continue
        why = why_not_unrolled(node)
        how = otherwise(graph, node, bool(why))
        if how == _STAYS:
            continue
        if how:
            getattr(_Layer(edit, node), how)()
            edit.drop(node)
            yield Change(name, node.name, f"{how} of its own: {reason}")
            continue
        if why:
            yield Refusal(name, node.name, why)
            continue
        _Layer(edit, node).emit()
        edit.drop(node)
        yield Change(name, node.name, f"step by step: {reason}", grows=True)
    edit.finish()


def _one_by_one(graph: Graph, node: Node, however_many: bool) -> str:
    """Names `_Layer.sequences` where a batch is better, or only, written as layers of one sequence each, `_Layer.ways`
    for both directions of a loop, `_STAYS` for one."""
    x = node.inputs[0]
    loop = "" if why_no_loop(node) else "ways" if node.attrs["direction"] == "bidirectional" else _STAYS
    if node.op != "Gru" or x is None or x.shape is None or ms_lacks(node, one_by_one=True):
        return loop
    steps, batch = x.shape[:2]
    if not isinstance(batch, int) or not 1 < batch <= _MOST_SEQUENCES or not copies_fit(node.inputs[2], batch):
        return loop
    return "sequences" if however_many or batch <= steps else loop  # pyright: ignore[reportOperatorIssue]


def _forward(graph: Graph, node: Node, _: bool) -> str:
    """Names `_Layer.directions` where layers that go forward are the node's."""
    return "" if tflite_lacks(node, graph, any_way=True) else "directions"


_MOST_SEQUENCES = 64
_STAYS = "stays"
_FUNCTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "sigmoid": ("Sigmoid", ()),
    "tanh": ("Tanh", ()),
    "relu": ("Relu", ()),
    "leakyrelu": ("LeakyRelu", ("alpha",)),
    "thresholdedrelu": ("ThresholdedRelu", ("alpha",)),
    "hardsigmoid": ("HardSigmoid", ("alpha", "beta")),
    "elu": ("Elu", ("alpha",)),
    "softsign": ("Softsign", ()),
    "softplus": ("Softplus", ()),
}
_MANY = {"Lstm": 4, "Gru": 3, "Rnn": 1}
# Factors [1, N, 1] of the sequences that go on and of those that have ended; None where all go on.
_Mask = tuple[Tensor, Tensor] | None


class _Layer:
    """One recurrent node on its way to the nodes of its steps."""

    def __init__(self, edit: Edit, node: Node) -> None:
        self.edit, self.node, self.hidden = edit, node, node.attrs["hidden_size"]
        self.origin = node.origin or (node.name,)
        self.many = _MANY[node.op]
        self.place = node.name  # what the names of new nodes begin with

    def make(self, op: str, *inputs: Tensor | None, **attrs: object) -> Tensor:
        return self.all(op, *inputs, **attrs)[0]

    def all(self, op: str, *inputs: Tensor | None, **attrs: object) -> list[Tensor]:
        name = self.edit.name(f"{self.place}/{op}")
        return self.edit.emit(op, inputs, attrs, at=self.node, name=name, origin=self.origin).outputs

    def constant(self, data: object, name: str, dtype: object = np.float32) -> Tensor:
        return self.edit.constant(np.asarray(data, dtype), f"{self.node.name}/{name}")  # pyright: ignore

    def part(self, t: Tensor, d: int, begin: int = 0, end: int | None = None) -> Tensor:
        """t[d, begin:end] of a weight [D, rows, …] or a bias [D, rows]."""
        if t.data is not None:
            whole = begin == 0 and end in (None, t.data.shape[1])
            q = t.quant
            if q is not None and q.axis is not None:
                rows = {
                    f: v[begin:end]
                    for f in ("scale", "zero_point", "var_corr", "mean_corr")
                    if (v := getattr(q, f)) is not None
                }
                q = dataclasses.replace(q, axis=0, **rows)
            name = t.name if whole and t.data.shape[0] == 1 else f"{t.name}/{d}" if whole else f"{t.name}/{d}_{begin}"
            return self.edit.constant(t.data[d, begin:end], name, q)
        assert t.shape is not None
        end = t.shape[1] if end is None else end  # pyright: ignore[reportAssignmentType]
        bounds = (self.constant(v, k, np.int64) for v, k in (([d, begin], "begin"), ([d + 1, end], "end")))
        return self.make("Squeeze", self.make("Slice", t, *bounds, self.constant([0, 1], "axes", np.int64)), axes=[0])

    def state(self, index: int, d: int, directions: int) -> Tensor | None:
        """The first state [1, N, H] of a direction; None for zeros."""
        t = self.node.input(index)
        if t is None or (t.data is not None and not t.data.any()):
            return None
        if directions == 1:
            return t
        if t.data is not None:
            return self.edit.constant(t.data[d : d + 1], f"{t.name}/{d}")
        bounds = (self.constant([v], k, np.int64) for v, k in ((d, "begin"), (d + 1, "end"), (0, "axes")))
        return self.make("Slice", t, *bounds)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if weight.is_const:
            return self.make("FullyConnected", x, weight, bias, dynamic=self.node.attrs["dynamic"])
        y = self.make("MatMul", x, weight, transpose_b=True)
        return y if bias is None else self.make("Add", y, bias)

    def split(self, x: Tensor, axis: int, sizes: Sequence[int]) -> list[Tensor]:
        return [x] if len(sizes) == 1 else self.all("Split", x, axis=axis, sizes=list(sizes))

    def bounded(self, x: Tensor, clip: float) -> Tensor:
        return self.make("Clip", x, min=-clip, max=clip) if clip > 0 else x

    def gate(self, x: Tensor, gate: Gate) -> Tensor:
        """The function of a gate, of its input bounded by `clip`."""
        return self.function(self.bounded(x, self.node.attrs["clip"]), gate)

    def function(self, x: Tensor, gate: Gate) -> Tensor:
        name, a, b = gate
        if name in ("affine", "scaledtanh"):
            x = self.make("Mul", x, self.constant(b if name == "scaledtanh" else a, "factor"))
            if name == "affine":
                return self.make("Add", x, self.constant(b, "term"))
            return self.make("Mul", self.make("Tanh", x), self.constant(a, "factor"))
        op, attrs = _FUNCTIONS[name]
        return self.make(op, x, **dict(zip(attrs, (a, b))))

    def sum(self, *terms: Tensor | None) -> Tensor:
        given = [t for t in terms if t is not None]
        total = given[0]
        for t in given[1:]:
            total = self.make("Add", total, t)
        return total

    def emit(self) -> None:
        node = self.node
        x, w = node.inputs[0], node.inputs[1]
        assert x is not None and x.shape is not None and w is not None and w.shape is not None
        directions, steps = w.shape[0], x.shape[0]
        assert isinstance(directions, int) and isinstance(steps, int)
        gates, masks = gates_of(node.op, node.attrs, directions), self.masks(steps)
        told: list[tuple[Tensor, list[Tensor]]] = []
        for d in range(directions):
            backwards = node.attrs["direction"] == "reverse" or d == 1
            told.append(self.direction(d, x, backwards, gates[d], masks))
        self.place = node.name
        if self.used(node.outputs[0]):
            ys = [self.make("ExpandDims", y, axes=[1]) for y, _ in told]
            self.end(0, ys, 1)
        for k in range(1, len(node.outputs)):
            if self.used(node.outputs[k]):
                self.end(k, [states[k - 1] for _, states in told], 0)

    def sequences(self) -> None:
        """A layer for each sequence of the batch."""
        node = self.node
        x, start, rest = node.inputs[0], node.input(5), node.inputs[1:4]
        assert x is not None and x.shape is not None
        batch = x.shape[1]
        assert isinstance(batch, int)
        starts: list[Tensor | None] = [None] * batch
        if start is not None and start.data is not None:
            starts = [self.edit.constant(start.data[:, k : k + 1], f"{start.name}/{k}") for k in range(batch)]
        elif start is not None:
            starts = list(self.split(start, 1, [1] * batch))
        xs = self.split(x, 1, [1] * batch)
        made = [self.all(node.op, xs[k], *rest, None, starts[k], **node.attrs) for k in range(batch)]
        for k, (axis, y) in enumerate(zip((2, 1), node.outputs)):
            if self.used(y):
                self.end(k, [outputs[k] for outputs in made], axis)

    def directions(self) -> None:
        """A layer that goes forward for each direction."""
        self._apart(turned=True)

    def ways(self) -> None:
        """A layer for each direction."""
        self._apart(turned=False)

    def _apart(self, turned: bool) -> None:
        node = self.node
        x, w = node.inputs[0], node.inputs[1]
        assert x is not None and w is not None and w.data is not None
        made: list[list[Tensor]] = []
        many, both = len(w.data), node.attrs["direction"] == "bidirectional"
        attrs = dict(node.attrs)
        if attrs["activations"]:
            attrs["activations"] = attrs["activations"][: len(attrs["activations"]) // many]
        for d in range(many):
            backwards = d == 1 or not both
            attrs |= {"direction": "reverse" if backwards and not turned else "forward"}
            source = self.make("Reverse", x, axes=[0]) if backwards and turned else x
            inputs = [t if i not in (5, 6) else self.state(i, d, many) for i, t in enumerate(node.inputs[1:], 1)]
            parts = [self.one(t, d) for t in inputs]
            y, *states = self.all(node.op, source, *parts, **attrs)
            made.append([self.make("Reverse", y, axes=[0]) if backwards and turned else y, *states])
        for k, (axis, y) in enumerate(zip((1, 0), node.outputs)):
            if self.used(y):
                self.end(k, [outputs[k] for outputs in made], axis)

    def one(self, t: Tensor | None, d: int) -> Tensor | None:
        """t[d : d + 1] of a constant."""
        if t is None or t.data is None or len(t.data) == 1:
            return t
        return self.edit.constant(t.data[d : d + 1], f"{t.name}/{d}", t.quant)

    def used(self, t: Tensor) -> bool:
        return self.edit.is_output(t) or bool(self.edit.readers(t))

    def end(self, k: int, parts: list[Tensor], axis: int) -> None:
        """Parts become the layer's output k."""
        op, attrs = ("Concat", {"axis": axis}) if len(parts) > 1 else ("Identity", {})
        y, name = self.node.outputs[k], self.edit.name(f"{self.node.name}/{k}")
        self.edit.emit(op, parts, attrs, at=self.node, name=name, outputs=[y], origin=self.origin)

    def masks(self, steps: int) -> list[_Mask]:
        """Per step the factors [1, N, 1] of sequences that go on and of those that have ended; None of all and none."""
        t = self.node.input(4)
        if t is None:
            return [None] * steps
        if t.data is None:
            at = self.constant(np.arange(steps)[:, None], "at", t.dtype)
            on = self.make("Cast", self.make("Less", at, t), dtype="float32")
            on = self.make("ExpandDims", on, axes=[2])
            off = self.make("Sub", self.constant(1.0, "one"), on)
            return list(zip(self.split(on, 0, [1] * steps), self.split(off, 0, [1] * steps)))
        made: list[_Mask] = []
        for k in range(steps):
            on = (k < t.data).astype(np.float32)[None, :, None]
            same = made and made[-1] is not None and np.array_equal(made[-1][0].data, on)  # pyright: ignore
            mask = made[-1] if same else (self.constant(on, f"on_{k}"), self.constant(1 - on, f"off_{k}"))
            made.append(None if on.all() else mask)
        return made

    def direction(
        self, d: int, x: Tensor, backwards: bool, gates: list[Gate], masks: list[_Mask]
    ) -> tuple[Tensor, list[Tensor]]:
        """One direction over x [T, N, I]: outputs [T, N, H], and the last states [1, N, H]."""
        self.place, lengths = f"{self.node.name}/{d}", self.node.input(4)
        ended = any(m is not None for m in masks)
        if backwards and ended:
            x = self.make("ReverseSequence", x, lengths, time_axis=0, batch_axis=1)
        cell = _CELLS[self.node.op](self, d, gates)
        w = self.node.inputs[1]
        assert w is not None
        steps = self.split(self.product(x, self.part(w, d), cell.input_bias), 0, [1] * len(masks))
        count = 2 if self.node.op == "Lstm" else 1
        directions = w.shape[0]  # pyright: ignore[reportOptionalSubscript]
        states = [self.state(5 + k, d, directions) for k in range(count)]  # pyright: ignore[reportArgumentType]
        order = list(range(len(masks)))
        if backwards and not ended:
            order.reverse()
        ys: dict[int, Tensor] = {}
        for k in order:
            self.place = f"{self.node.name}/{d}_{k}"
            fresh, mask = list(cell.step(steps[k], *states)), masks[k]
            if mask is not None:
                on, off = mask
                kept = [None if old is None else self.make("Mul", old, off) for old in states]
                alive = [self.make("Mul", new, on) for new in fresh]
                ys[k] = alive[0]
                fresh = [self.sum(a, old) for a, old in zip(alive, kept)]
            else:
                ys[k] = fresh[0]
            states = fresh
        self.place = f"{self.node.name}/{d}"
        parts = [ys[k] for k in range(len(masks))]
        y = parts[0] if len(parts) == 1 else self.make("Concat", *parts, axis=0)
        if backwards and ended:
            y = self.make("ReverseSequence", y, lengths, time_axis=0, batch_axis=1)
        return y, states  # pyright: ignore[reportReturnType]


class _Cell:
    """What a step of one direction computes.

    Attributes:
        input_bias: [gates·H], added to the input's products.
    """

    def __init__(self, layer: _Layer, d: int, gates: list[Gate]) -> None:
        self.layer, self.d, self.gates, self.hidden = layer, d, gates, layer.hidden
        r = layer.node.inputs[2]
        assert r is not None
        self.r = r
        self.input_bias, self.state_bias = self._bias()

    def _bias(self) -> tuple[Tensor | None, Tensor | None]:
        """The bias of the input's product and that of the state's; here both are one."""
        b, rows = self.layer.node.input(3), self.layer.many * self.hidden
        if b is None:
            return None, None
        if b.data is not None:
            data = b.real()[self.d].astype(np.float32)
            return self.layer.constant(data[:rows] + data[rows:], f"bias_{self.d}"), None
        return self.layer.sum(*(self.layer.part(b, self.d, k * rows, (k + 1) * rows) for k in range(2))), None

    def step(self, x: Tensor, *states: Tensor | None) -> tuple[Tensor, ...]:
        """x [1, N, gates·H] and the states before → the states after; the first is the output."""
        raise NotImplementedError


class _Rnn(_Cell):
    def __init__(self, layer: _Layer, d: int, gates: list[Gate]) -> None:
        super().__init__(layer, d, gates)
        self.weight = layer.part(self.r, d)

    def step(self, x: Tensor, h: Tensor | None) -> tuple[Tensor, ...]:
        u = self.layer
        return (u.gate(u.sum(x, None if h is None else u.product(h, self.weight)), self.gates[0]),)


class _Gru(_Cell):
    """Gates z r h: h' = (1 - z)·n + z·h = n + z·(h - n)."""

    def __init__(self, layer: _Layer, d: int, gates: list[Gate]) -> None:
        super().__init__(layer, d, gates)
        n = self.hidden
        if layer.node.attrs["linear_before_reset"]:
            self.weight = layer.part(self.r, d)
        else:
            self.weight, self.candidate = layer.part(self.r, d, 0, 2 * n), layer.part(self.r, d, 2 * n, 3 * n)

    def _bias(self) -> tuple[Tensor | None, Tensor | None]:
        """The reset gate works on the candidate's bias where it works on its product."""
        if not self.layer.node.attrs["linear_before_reset"]:
            return super()._bias()
        b, rows = self.layer.node.input(3), 3 * self.hidden
        if b is None:
            return None, None
        return self.layer.part(b, self.d, 0, rows), self.layer.part(b, self.d, rows, 2 * rows)

    def step(self, x: Tensor, h: Tensor | None) -> tuple[Tensor, ...]:
        u, n, (f, g) = self.layer, self.hidden, self.gates
        after = u.node.attrs["linear_before_reset"]
        told = None if h is None else u.product(h, self.weight, self.state_bias)
        gates, fresh = u.split(x, 2, [2 * n, n])
        inner = None
        if told is not None:
            both, inner = u.split(told, 2, [2 * n, n]) if after else (told, None)
            gates = u.sum(gates, both)
        elif after and self.state_bias is not None:
            begin, end, axes = (u.constant([v], k, np.int64) for v, k in ((0, "begin"), (2 * n, "end"), (0, "axes")))
            bias = self.state_bias
            if bias.data is not None:
                both, inner = u.constant(bias.data[: 2 * n], "bias_zr"), u.constant(bias.data[2 * n :], "bias_h")
            else:
                both = u.make("Slice", bias, begin, end, axes)
                inner = u.make("Slice", bias, end, u.constant([3 * n], "stop", np.int64), axes)
            gates = u.sum(gates, both)
        z, r = u.split(u.gate(gates, f), 2, [n, n])
        if inner is not None:
            inner = u.make("Mul", r, inner)
        elif not after and h is not None:
            inner = u.product(u.make("Mul", r, h), self.candidate)
        made = u.gate(u.sum(fresh, inner), g)
        if h is None:
            return (u.make("Sub", made, u.make("Mul", z, made)),)
        return (u.make("Add", made, u.make("Mul", z, u.make("Sub", h, made))),)


class _Lstm(_Cell):
    """Gates i o f c."""

    def __init__(self, layer: _Layer, d: int, gates: list[Gate]) -> None:
        super().__init__(layer, d, gates)
        self.weight, p, n = layer.part(self.r, d), layer.node.input(7), self.hidden
        self.peep = (None,) * 3 if p is None else tuple(layer.part(p, d, k * n, (k + 1) * n) for k in range(3))

    def step(self, x: Tensor, h: Tensor | None, c: Tensor | None) -> tuple[Tensor, ...]:
        u, n, attrs, (f, g, last) = self.layer, self.hidden, self.layer.node.attrs, self.gates
        total = u.sum(x, None if h is None else u.product(h, self.weight))
        if self.peep[0] is None and not attrs["input_forget"]:
            together, fresh = u.split(total, 2, [3 * n, n])
            i, o, forget = u.split(u.gate(together, f), 2, [n, n, n])
        else:
            i, o, forget, fresh = u.split(total, 2, [n] * 4)
            i = u.gate(self.peeped(i, 0, c), f)
            one = u.constant(1.0, "one")
            forget = u.make("Sub", one, i) if attrs["input_forget"] else u.gate(self.peeped(forget, 2, c), f)
        added = u.make("Mul", i, u.gate(fresh, g))
        c = u.sum(added, None if c is None else u.make("Mul", forget, c))
        c = u.bounded(c, attrs["cell_clip"])
        if self.peep[0] is not None or attrs["input_forget"]:
            o = u.gate(self.peeped(o, 1, c), f)
        return u.make("Mul", o, u.function(c, last)), c

    def peeped(self, x: Tensor, k: int, c: Tensor | None) -> Tensor:
        u, p = self.layer, self.peep[k]
        return x if p is None or c is None else u.sum(x, u.make("Mul", c, p))


_CELLS: dict[str, type[_Cell]] = {"Lstm": _Lstm, "Gru": _Gru, "Rnn": _Rnn}
