"""What one step of an Rnn, Gru or Lstm is made of."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ...ir import Tensor
from .parts import LayerParts
from .rnn import Gate

# A gate's function → the operator that computes it, and the attributes that alpha and beta are.
_OPERATORS: dict[str, tuple[str, tuple[str, ...]]] = {
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


class Cell:
    """The steps of one direction.

    Attributes:
        states: how many a step hands on.
        input_bias: [gates·H], added to the input's products. state_bias: to the state's, where that is not the same.
    """

    states: ClassVar[int] = 1

    def __init__(self, parts: LayerParts, d: int, gates: list[Gate]) -> None:
        self.parts, self.d, self.gates, self.hidden = parts, d, gates, parts.hidden
        self.r, self.bias = parts.node.required(2), parts.node.input(3)
        self.input_bias, self.state_bias = self._biases()

    def _biases(self) -> tuple[Tensor | None, Tensor | None]:
        """The bias of the input's product and that of the state's; here both are one."""
        b, rows = self.bias, self.parts.gates * self.hidden
        if b is None:
            return None, None
        if b.data is not None:
            data = b.real()[self.d].astype(np.float32)
            return self.parts.constant(data[:rows] + data[rows:], f"bias_{self.d}"), None
        return self.parts.sum(*(self.parts.weight(b, self.d, k * rows, (k + 1) * rows) for k in range(2))), None

    def step(self, x: Tensor, *states: Tensor | None) -> tuple[Tensor, ...]:
        """x [1, N, gates·H] and the states before → the states after; the first is the output."""
        raise NotImplementedError

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        u = self.parts
        if weight.is_const:
            return u.make("FullyConnected", x, weight, bias, dynamic=u.node.attrs["dynamic"])
        y = u.make("MatMul", x, weight, transpose_b=True)
        return y if bias is None else u.make("Add", y, bias)

    def gate(self, x: Tensor, gate: Gate) -> Tensor:
        """The function of a gate, of its input bounded by `clip`."""
        return self.function(self.parts.bounded(x, self.parts.node.attrs["clip"]), gate)

    def function(self, x: Tensor, gate: Gate) -> Tensor:
        u, (name, a, b) = self.parts, gate
        if name in ("affine", "scaledtanh"):
            x = u.make("Mul", x, u.constant(b if name == "scaledtanh" else a, "factor"))
            if name == "affine":
                return u.make("Add", x, u.constant(b, "term"))
            return u.make("Mul", u.make("Tanh", x), u.constant(a, "factor"))
        op, attrs = _OPERATORS[name]
        return u.make(op, x, **dict(zip(attrs, (a, b))))


class _Rnn(Cell):
    """h' = f(x + R·h)."""

    def __init__(self, parts: LayerParts, d: int, gates: list[Gate]) -> None:
        super().__init__(parts, d, gates)
        self.weight = parts.weight(self.r, d)

    def step(self, x: Tensor, *states: Tensor | None) -> tuple[Tensor, ...]:
        (h,) = states
        told = None if h is None else self.product(h, self.weight)
        return (self.gate(self.parts.sum(x, told), self.gates[0]),)


class _Gru(Cell):
    """Gates z r h: h' = (1 - z)·n + z·h = n + z·(h - n)."""

    def __init__(self, parts: LayerParts, d: int, gates: list[Gate]) -> None:
        super().__init__(parts, d, gates)
        n = self.hidden
        if parts.node.attrs["linear_before_reset"]:
            self.weight = parts.weight(self.r, d)
        else:
            self.weight, self.candidate = parts.weight(self.r, d, 0, 2 * n), parts.weight(self.r, d, 2 * n, 3 * n)

    def _biases(self) -> tuple[Tensor | None, Tensor | None]:
        """The reset gate works on the candidate's bias where it works on its product."""
        if not self.parts.node.attrs["linear_before_reset"]:
            return super()._biases()
        b, rows = self.bias, 3 * self.hidden
        if b is None:
            return None, None
        return self.parts.weight(b, self.d, 0, rows), self.parts.weight(b, self.d, rows, 2 * rows)

    def step(self, x: Tensor, *states: Tensor | None) -> tuple[Tensor, ...]:
        u, n, (f, g), (h,) = self.parts, self.hidden, self.gates, states
        after = u.node.attrs["linear_before_reset"]
        told = None if h is None else self.product(h, self.weight, self.state_bias)
        gates, fresh = u.split(x, 2, [2 * n, n])
        inner = None
        if told is not None:
            both, inner = u.split(told, 2, [2 * n, n]) if after else (told, None)
            gates = u.sum(gates, both)
        elif after and self.state_bias is not None:
            both, inner = self._split_bias(self.state_bias)
            gates = u.sum(gates, both)
        z, r = u.split(self.gate(gates, f), 2, [n, n])
        if inner is not None:
            inner = u.make("Mul", r, inner)
        elif not after and h is not None:
            inner = self.product(u.make("Mul", r, h), self.candidate)
        new = self.gate(u.sum(fresh, inner), g)
        if h is None:
            return (u.make("Sub", new, u.make("Mul", z, new)),)
        return (u.make("Add", new, u.make("Mul", z, u.make("Sub", h, new))),)

    def _split_bias(self, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The state's bias of the gates z r and of the candidate: all that a state of zeros gives."""
        u, n = self.parts, self.hidden
        begin, end, axes = (u.constant([v], k, np.int64) for v, k in ((0, "begin"), (2 * n, "end"), (0, "axes")))
        if bias.data is not None:
            return u.constant(bias.data[: 2 * n], "bias_zr"), u.constant(bias.data[2 * n :], "bias_h")
        both = u.make("Slice", bias, begin, end, axes)
        return both, u.make("Slice", bias, end, u.constant([3 * n], "stop", np.int64), axes)


class _Lstm(Cell):
    """Gates i o f c: c' = f·c + i·g, h' = o·tanh(c')."""

    states = 2

    def __init__(self, parts: LayerParts, d: int, gates: list[Gate]) -> None:
        super().__init__(parts, d, gates)
        self.weight, p, n = parts.weight(self.r, d), parts.node.input(7), self.hidden
        self.peep = (None,) * 3 if p is None else tuple(parts.weight(p, d, k * n, (k + 1) * n) for k in range(3))

    def step(self, x: Tensor, *states: Tensor | None) -> tuple[Tensor, ...]:
        u, n, attrs, (f, g, last) = self.parts, self.hidden, self.parts.node.attrs, self.gates
        h, c = states
        total = u.sum(x, None if h is None else self.product(h, self.weight))
        if self.peep[0] is None and not attrs["input_forget"]:
            together, fresh = u.split(total, 2, [3 * n, n])
            i, o, forget = u.split(self.gate(together, f), 2, [n, n, n])
        else:
            i, o, forget, fresh = u.split(total, 2, [n] * 4)
            i = self.gate(self.peeped(i, 0, c), f)
            one = u.constant(1.0, "one")
            forget = u.make("Sub", one, i) if attrs["input_forget"] else self.gate(self.peeped(forget, 2, c), f)
        added = u.make("Mul", i, self.gate(fresh, g))
        c = u.sum(added, None if c is None else u.make("Mul", forget, c))
        c = u.bounded(c, attrs["cell_clip"])
        if self.peep[0] is not None or attrs["input_forget"]:
            o = self.gate(self.peeped(o, 1, c), f)
        return u.make("Mul", o, self.function(c, last)), c

    def peeped(self, x: Tensor, k: int, c: Tensor | None) -> Tensor:
        u, p = self.parts, self.peep[k]
        return x if p is None or c is None else u.sum(x, u.make("Mul", c, p))


CELLS: dict[str, type[Cell]] = {"Lstm": _Lstm, "Gru": _Gru, "Rnn": _Rnn}
