"""One step of an Rnn, Gru or Lstm: what layers written step by step and loops over steps have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...ir import Tensor
from .parts import LayerParts, Parts
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


def operators_of(gates: list[Gate]) -> set[str]:
    """The operators that compute functions of gates."""
    return {op for name, *_ in gates if (op := _OPERATORS.get(name, ("", ()))[0])}


@dataclass(frozen=True)
class CellWeights:
    """What one direction computes its steps with.

    products: [rows, H], the weights of the state's products, in order. input_bias: [gates·H], added to the input's
    product; state_bias: to the state's, where that is not the same. peepholes: [H] of the gates i, o, f.
    """

    products: tuple[Tensor, ...]
    input_bias: Tensor | None = None
    state_bias: Tensor | None = None
    peepholes: tuple[Tensor | None, ...] = (None, None, None)


class Cell:
    """The steps of one direction.

    Attributes:
        states: how many a step hands on.
        attrs: of the layer.
    """

    states: ClassVar[int] = 1

    def __init__(self, parts: Parts[Any], attrs: dict[str, Any], gates: list[Gate], weights: CellWeights) -> None:
        self.parts, self.attrs, self.gates, self.weights = parts, attrs, gates, weights
        self.hidden: int = attrs["hidden_size"]

    @classmethod
    def of_layer(cls, parts: LayerParts, d: int, gates: list[Gate]) -> Cell:
        """The cell of a layer's direction."""
        biases = cls._biases(parts, d)
        return cls(
            parts, parts.node.attrs, gates, CellWeights(cls._products(parts, d), *biases, cls._peepholes(parts, d))
        )

    @classmethod
    def _biases(cls, parts: LayerParts, d: int) -> tuple[Tensor | None, Tensor | None]:
        """The bias of the input's product and that of the state's; here both are one."""
        b, rows = parts.node.input(3), parts.gates * parts.hidden
        if b is None:
            return None, None
        if b.data is not None:
            data = b.real()[d].astype(np.float32)
            return parts.constant(data[:rows] + data[rows:], f"bias_{d}"), None
        return parts.sum(*(parts.weight(b, d, k * rows, (k + 1) * rows) for k in range(2))), None

    @classmethod
    def _products(cls, parts: LayerParts, d: int) -> tuple[Tensor, ...]:
        return (parts.weight(parts.node.required(2), d),)

    @classmethod
    def _peepholes(cls, parts: LayerParts, d: int) -> tuple[Tensor | None, ...]:
        return None, None, None

    def step(self, x: Tensor, *states: Tensor | None) -> tuple[Tensor, ...]:
        """x [1, N, gates·H] and the states before → the states after; the first is the output."""
        raise NotImplementedError

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        u = self.parts
        if weight.is_const:
            return u.make("FullyConnected", x, weight, bias, dynamic=self.attrs["dynamic"])
        y = u.make("MatMul", x, weight, transpose_b=True)
        return y if bias is None else u.make("Add", y, bias)

    def gate(self, x: Tensor, gate: Gate) -> Tensor:
        """The function of a gate, of its input bounded by `clip`."""
        return self.function(self.parts.bounded(x, self.attrs["clip"]), gate)

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

    def step(self, x: Tensor, *states: Tensor | None) -> tuple[Tensor, ...]:
        (h,) = states
        told = None if h is None else self.product(h, self.weights.products[0], self.weights.state_bias)
        return (self.gate(self.parts.sum(x, told), self.gates[0]),)


class _Gru(Cell):
    """Gates z r h: h' = (1 - z)·n + z·h = n + z·(h - n)."""

    @classmethod
    def _products(cls, parts: LayerParts, d: int) -> tuple[Tensor, ...]:
        """The candidate's weights apart, where it reads the state behind the reset gate."""
        if parts.node.attrs["linear_before_reset"]:
            return super()._products(parts, d)
        r, n = parts.node.required(2), parts.hidden
        return parts.weight(r, d, 0, 2 * n), parts.weight(r, d, 2 * n, 3 * n)

    @classmethod
    def _biases(cls, parts: LayerParts, d: int) -> tuple[Tensor | None, Tensor | None]:
        """The reset gate works on the candidate's bias where it works on its product."""
        if not parts.node.attrs["linear_before_reset"]:
            return super()._biases(parts, d)
        b, rows = parts.node.input(3), 3 * parts.hidden
        if b is None:
            return None, None
        return parts.weight(b, d, 0, rows), parts.weight(b, d, rows, 2 * rows)

    def step(self, x: Tensor, *states: Tensor | None) -> tuple[Tensor, ...]:
        u, n, (f, g), (h,) = self.parts, self.hidden, self.gates, states
        after, products, state_bias = self.attrs["linear_before_reset"], self.weights.products, self.weights.state_bias
        gates, fresh = u.split(x, 2, [2 * n, n])
        told = None if h is None else self.product(h, products[0], state_bias)
        inner = None
        if told is not None:
            both, inner = u.split(told, 2, [2 * n, n]) if after else (told, None)
            gates = u.sum(gates, both)
        elif after and state_bias is not None:
            both, inner = self._split_bias(state_bias)
            gates = u.sum(gates, both)
        z, r = u.split(self.gate(gates, f), 2, [n, n])
        if inner is not None:
            inner = u.make("Mul", r, inner)
        elif not after and h is not None:
            inner = self.product(u.make("Mul", r, h), products[1])
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

    @classmethod
    def _peepholes(cls, parts: LayerParts, d: int) -> tuple[Tensor | None, ...]:
        p, n = parts.node.input(7), parts.hidden
        return (
            super()._peepholes(parts, d)
            if p is None
            else tuple(parts.weight(p, d, k * n, (k + 1) * n) for k in range(3))
        )

    def step(self, x: Tensor, *states: Tensor | None) -> tuple[Tensor, ...]:
        u, n, attrs, (f, g, last) = self.parts, self.hidden, self.attrs, self.gates
        h, c = states
        total = u.sum(x, None if h is None else self.product(h, self.weights.products[0]))
        peeps = self.weights.peepholes[0] is not None
        if not peeps and not attrs["input_forget"]:
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
        if peeps or attrs["input_forget"]:
            o = self.gate(self.peeped(o, 1, c), f)
        return u.make("Mul", o, self.function(c, last)), c

    def peeped(self, x: Tensor, k: int, c: Tensor | None) -> Tensor:
        u, p = self.parts, self.weights.peepholes[k]
        return x if p is None or c is None else u.sum(x, u.make("Mul", c, p))


CELLS: dict[str, type[Cell]] = {"Lstm": _Lstm, "Gru": _Gru, "Rnn": _Rnn}
