"""TFLite's recurrent layers as products and gates, for containers that have nothing of the kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..execute import is_quantized
from ..ir import Graph, Node, Tensor
from ..numeric.qparams import QuantParam
from ..ops.recurrent.sequence_lstm import why_not_parted
from .edit import Edit
from .record import Change, Record, Refusal

_GATES = "ifco"
_ACTS = {"tanh": "Tanh", "relu": "Relu", "relu6": "Relu6", "sigmoid": "Sigmoid"}


def unroll_sequence_lstm(graph: Graph) -> Iterator[Record]:
    """SequenceLstm ⇒ FullyConnected of all steps → Split → per step FullyConnected → gates → FullyConnected → Concat.

    Gates that are normalized have a LayerNorm before them.

    An integer layer computes on reals between casts: its 8-bit weights keep their codes, its 16-bit gates are floats.

    Not for a number of steps that is not known, or more than 512 of them, nor for an integer layer with peepholes and a
    projection, which TFLite computes in a way of its own.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        if node.op != "SequenceLstm":
            continue
        if why := why_not_parted(node):
            yield Refusal("unroll_sequence_lstm", node.name, why)
            continue
        _Layer(edit, node).emit()
        edit.drop(node)
        yield Change("unroll_sequence_lstm", node.name, "step by step", grows=True)
    edit.finish()


def split_svdf(graph: Graph) -> Iterator[Record]:
    """Svdf ⇒ FullyConnected → Mul → Reshape → Reduce(sum) → Add.

    Its state is empty before a run, so only the newest column of the time weights counts. Codes are cast to reals
    before, and back behind.

    Not for time weights or a bias that a run computes.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        if node.op != "Svdf":
            continue
        x, feature, time, bias = node.inputs[0], node.inputs[1], node.inputs[2], node.input(3)
        assert x is not None and feature is not None and time is not None
        if time.data is None or (bias is not None and bias.data is None):
            yield Refusal("split_svdf", node.name, "a weight is computed at run time")
            continue
        u = _Emitter(edit, node)
        newest = u.held(u.make("FullyConnected", u.reals(x), feature), node.input(4))
        y = u.make("Mul", newest, u.constant(time.real()[:, -1], "time"))
        rank = node.attrs["rank"]
        shape = u.constant([-1, len(time.data) // rank, rank], "shape", np.int64)
        y = u.make("Reduce", u.make("Reshape", y, shape), mode="sum", axes=[2])
        u.end(y if bias is None else u.make("Add", y, u.constant(bias.real(), "bias")), node.attrs["act"])
        edit.drop(node)
        yield Change("split_svdf", node.name, "is a product and a sum")
    edit.finish()


class _Emitter:
    """The parts of one node, on reals."""

    def __init__(self, edit: Edit, node: Node) -> None:
        self.edit, self.node, self.place = edit, node, node.name
        self.origin = node.origin or (node.name,)

    def make(self, op: str, *inputs: Tensor | None, **attrs: Any) -> Tensor:
        return self.all(op, *inputs, **attrs)[0]

    def all(self, op: str, *inputs: Tensor | None, **attrs: Any) -> list[Tensor]:
        name = self.edit.name(f"{self.place}/{op}")
        return self.edit.emit(op, inputs, attrs, at=self.node, name=name, origin=self.origin).outputs

    def constant(self, data: Any, name: str, dtype: Any = np.float32, quant: QuantParam | None = None) -> Tensor:
        return self.edit.constant(np.asarray(data, dtype), f"{self.node.name}/{name}", quant)

    def reals(self, x: Tensor) -> Tensor:
        return self.make("Dequantize", x) if is_quantized(x) else x

    def act(self, x: Tensor, act: str) -> Tensor:
        if act == "relu_n1_to_1":
            return self.make("Clip", x, min=-1.0, max=1.0)
        return x if act == "none" else self.make(_ACTS[act], x)

    def bounded(self, x: Tensor, clip: float) -> Tensor:
        return self.make("Clip", x, min=-clip, max=clip) if clip > 0 else x

    def held(self, x: Tensor, like: Tensor | None, clip: float = 0.0) -> Tensor:
        """x within what the codes of `like` can hold and within ±clip, which TFLite counts from code 0 whatever the
        zero point is."""
        if like is None or like.quant is None:
            return self.bounded(x, clip)
        info, scale, zero = np.iinfo(like.dtype), float(like.quant.scale[0]), int(like.quant.zero_point[0])
        most = min(int(clip / scale), info.max) if clip > 0 else info.max
        low = -most if clip > 0 else info.min
        return self.make("Clip", x, min=(low - zero) * scale, max=(most - zero) * scale)

    def end(self, x: Tensor, act: str = "none") -> None:
        """x becomes the node's output."""
        x, y = self.act(x, act), self.node.outputs[0]
        op, attrs = ("Quantize", {"dtype": y.dtype.name}) if is_quantized(y) else ("Identity", {})
        name = self.edit.name(f"{self.node.name}/end")
        self.edit.emit(op, [x], attrs, at=self.node, name=name, outputs=[y], origin=self.origin)


class _Layer(_Emitter):
    def __init__(self, edit: Edit, node: Node) -> None:
        super().__init__(edit, node)
        self.inputs = [node.input(i) for i in range(24)]
        self.coupled = self.inputs[1] is None
        self.gates = [k for k in range(4) if k or not self.coupled]
        self.cells: int = self.inputs[2].shape[0]  # pyright: ignore

    def joined(self, first: int, name: str) -> Tensor:
        """The weights of the gates as one; of 8 bits with a scale for each row."""
        parts = [self.inputs[first + k] for k in self.gates]
        if all(t is not None and t.dtype == np.int8 and t.quant is not None and t.quant.axis is None for t in parts):
            q = [t.quant for t in parts]  # pyright: ignore
            scale, zero = (np.repeat([getattr(p, key)[0] for p in q], self.cells) for key in ("scale", "zero_point"))
            data = np.concatenate([t.data for t in parts])  # pyright: ignore
            return self.constant(data, name, np.int8, QuantParam(scale, zero, 0, 8))
        return self.constant(np.concatenate([t.real() for t in parts]), name)  # pyright: ignore

    def vector(self, slot: int) -> Tensor | None:
        t = self.inputs[slot]
        return None if t is None else self.constant(t.real(), f"vector_{slot}")

    def emit(self) -> None:
        a, inputs = self.node.attrs, self.inputs
        x = self.reals(inputs[0])  # pyright: ignore[reportArgumentType]
        x = x if a["time_major"] else self.make("Transpose", x, perm=[1, 0, 2])
        self.norm = [self.vector(20 + k) for k in range(4)]
        self.peep = {k: self.vector(slot) for k, slot in ((0, 9), (1, 10), (3, 11))}
        self.bias = [self.vector(12 + k) for k in range(4)]
        normed = self.norm[1] is not None
        weight, state = self.joined(1, "w"), self.joined(5, "r")
        whole = None
        if not normed:
            parts = [np.zeros(self.cells) if (b := self.bias[k]) is None else b.data for k in self.gates]
            whole = self.constant(np.concatenate(parts), "bias")  # pyright: ignore
        steps = x.shape[0]  # pyright: ignore[reportOptionalSubscript]
        product = self.make("FullyConnected", x, weight, whole)
        told = [product] if steps == 1 else self.all("Split", product, axis=0, sizes=[1] * steps)  # pyright: ignore
        projection, after = inputs[16], self.vector(17)
        if projection is not None and not is_quantized(projection):
            projection = self.constant(projection.real(), "projection")
        h, c = (self.state(slot) for slot in (18, 19))
        ys = []
        for k, total in enumerate(told):
            self.place = f"{self.node.name}/{k}"
            if h is not None:
                total = self.make("Add", total, self.make("FullyConnected", h, state))
            h, c = self.step(total, c, normed)
            if projection is not None:
                h = self.make("FullyConnected", h, projection, after)
            h = self.held(h, inputs[18], 0.0 if projection is None else a["proj_clip"])
            ys.append(h)
        self.place = self.node.name
        y = ys[0] if len(ys) == 1 else self.make("Concat", *ys, axis=0)
        self.end(y if a["time_major"] else self.make("Transpose", y, perm=[1, 0, 2]))

    def state(self, slot: int) -> Tensor | None:
        """[1, N, …]; None for zeros."""
        t = self.inputs[slot]
        if t is None:
            return None
        if t.data is None:
            return self.make("ExpandDims", self.reals(t), axes=[0])
        return self.constant(t.real()[None], "start") if t.real().any() else None

    def step(self, total: Tensor, c: Tensor | None, normed: bool) -> tuple[Tensor, Tensor]:
        a = self.node.attrs
        parts = dict(zip(self.gates, self.all("Split", total, axis=2, sizes=[self.cells] * len(self.gates))))

        def gate(k: int, cell: Tensor | None) -> Tensor:
            v, p = parts[k], self.peep.get(k)
            if p is not None and cell is not None:
                v = self.make("Add", v, self.make("Mul", cell, p))
            return self.make("LayerNorm", v, self.norm[k], self.bias[k], axis=-1, epsilon=1e-8) if normed else v

        forget = self.make("Sigmoid", gate(1, c))
        taken = (
            self.make("Sub", self.constant(1.0, "one"), forget) if self.coupled else self.make("Sigmoid", gate(0, c))
        )
        fresh = self.make("Mul", taken, self.act(gate(2, c), a["act"]))
        c = fresh if c is None else self.make("Add", self.make("Mul", forget, c), fresh)
        c = self.held(c, self.inputs[19], a["cell_clip"])
        return self.make("Mul", self.make("Sigmoid", gate(3, c)), self.act(c, a["act"])), c
