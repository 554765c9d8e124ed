"""SequenceLstm step by step, on reals."""

from __future__ import annotations

import numpy as np

from ...ir import Node, Tensor, is_quantized
from ...numeric.qparams import QuantParam
from .parts import GraphEdit, RealParts
from .sequence_lstm import BIAS, CELL, HIDDEN, INPUT, NORM, PEEPHOLE, PROJECTION, PROJECTION_BIAS, RECURRENT

_GATES = range(4)
_IN, _FORGET, _FRESH, _OUT = _GATES


def write_sequence_steps(edit: GraphEdit, node: Node) -> None:
    """Emits the steps of a node for which `why_not_parted` says nothing; its output becomes theirs."""
    _Steps(edit, node).write()


class _Steps(RealParts):
    def __init__(self, edit: GraphEdit, node: Node) -> None:
        super().__init__(edit, node)
        self.inputs = [node.input(i) for i in range(24)]
        self.coupled = self.inputs[INPUT] is None
        self.gates = [k for k in _GATES if k or not self.coupled]
        self.cells = node.required(INPUT + _FORGET).size(0)

    def joined(self, first: int, name: str) -> Tensor:
        """The weights of the gates as one; of 8 bits with a scale for each row."""
        parts = [self.node.required(first + k) for k in self.gates]
        if all(t.dtype == np.int8 and t.quant is not None and t.quant.axis is None for t in parts):
            scale, zero = (
                np.repeat([getattr(t.qparams, key)[0] for t in parts], self.cells) for key in ("scale", "zero_point")
            )
            return self.constant(np.concatenate([t.value for t in parts]), name, np.int8, QuantParam(scale, zero, 0, 8))
        return self.constant(np.concatenate([t.real() for t in parts]), name)

    def vector(self, slot: int) -> Tensor | None:
        t = self.inputs[slot]
        return None if t is None else self.constant(t.real(), f"vector_{slot}")

    def state(self, slot: int) -> Tensor | None:
        """[1, N, …]; None for zeros."""
        t = self.inputs[slot]
        if t is None:
            return None
        if t.data is None:
            return self.make("ExpandDims", self.reals(t), axes=[0])
        return self.constant(t.real()[None], "start") if t.real().any() else None

    def write(self) -> None:
        a, inputs = self.node.attrs, self.inputs
        x = self.reals(self.node.required(0))
        x = x if a["time_major"] else self.make("Transpose", x, perm=[1, 0, 2])
        self.norm = [self.vector(NORM + k) for k in _GATES]
        self.peep = [None if slot is None else self.vector(slot) for slot in PEEPHOLE]
        self.bias = [self.vector(BIAS + k) for k in _GATES]
        self.normed = self.norm[_FORGET] is not None
        weight, recurrent = self.joined(INPUT, "w"), self.joined(RECURRENT, "r")
        whole = None
        if not self.normed:
            parts = [np.zeros(self.cells) if (b := self.bias[k]) is None else b.value for k in self.gates]
            whole = self.constant(np.concatenate(parts), "bias")
        xs = self.split(self.make("FullyConnected", x, weight, whole), 0, [1] * x.size(0))
        projection, after = inputs[PROJECTION], self.vector(PROJECTION_BIAS)
        if projection is not None and not is_quantized(projection):
            projection = self.constant(projection.real(), "projection")
        h, c = (self.state(slot) for slot in (HIDDEN, CELL))
        ys = list[Tensor]()
        for k, total in enumerate(xs):
            self.place = f"{self.node.name}/{k}"
            if h is not None:
                total = self.make("Add", total, self.make("FullyConnected", h, recurrent))
            h, c = self.step(total, c)
            if projection is not None:
                h = self.make("FullyConnected", h, projection, after)
            h = self.held(h, inputs[HIDDEN], 0.0 if projection is None else a["proj_clip"])
            ys.append(h)
        self.place = self.node.name
        y = ys[0] if len(ys) == 1 else self.make("Concat", *ys, axis=0)
        self.end(y if a["time_major"] else self.make("Transpose", y, perm=[1, 0, 2]))

    def step(self, total: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """The gates' sums and the cell state before → the output before its projection, and the cell state after."""
        act, sums = self.node.attrs["act"], self.all("Split", total, axis=2, sizes=[self.cells] * len(self.gates))
        parts = dict(zip(self.gates, sums))

        def gate(k: int, cell: Tensor | None) -> Tensor:
            v, p = parts[k], self.peep[k]
            if p is not None and cell is not None:
                v = self.make("Add", v, self.make("Mul", cell, p))
            return self.make("LayerNorm", v, self.norm[k], self.bias[k], axis=-1, epsilon=1e-8) if self.normed else v

        forget = self.make("Sigmoid", gate(_FORGET, c))
        if self.coupled:
            taken = self.make("Sub", self.constant(1.0, "one"), forget)
        else:
            taken = self.make("Sigmoid", gate(_IN, c))
        fresh = self.make("Mul", taken, self.act(gate(_FRESH, c), act))
        c = fresh if c is None else self.make("Add", self.make("Mul", forget, c), fresh)
        c = self.held(c, self.inputs[CELL], self.node.attrs["cell_clip"])
        return self.make("Mul", self.make("Sigmoid", gate(_OUT, c)), self.act(c, act)), c
