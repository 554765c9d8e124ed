"""Recurrent layers: Lstm, Gru and Rnn as ONNX defines them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir import Node
from ...numeric.dynamic import dynamic_range, encode
from ...numeric.qparams import QuantParam
from ...schema.op import REQUIRED, Case, Inferred, Quant, op
from .._support.integer import centred
from .._support.types import fail, length, need, value_dtype

# name → function of (array, alpha, beta), and ONNX's defaults of the two
_FUNCTIONS: dict[str, tuple[Callable[[np.ndarray, float, float], np.ndarray], float, float]] = {
    "sigmoid": (lambda x, a, b: 0.5 * (np.tanh(0.5 * x) + 1), 0.0, 0.0),
    "tanh": (lambda x, a, b: np.tanh(x), 0.0, 0.0),
    "relu": (lambda x, a, b: np.maximum(x, 0), 0.0, 0.0),
    "affine": (lambda x, a, b: a * x + b, 1.0, 0.0),
    "leakyrelu": (lambda x, a, b: np.where(x >= 0, x, a * x), 0.01, 0.0),
    "thresholdedrelu": (lambda x, a, b: np.where(x > a, x, 0), 1.0, 0.0),
    "scaledtanh": (lambda x, a, b: a * np.tanh(b * x), 1.0, 1.0),
    "hardsigmoid": (lambda x, a, b: np.clip(a * x + b, 0, 1), 0.2, 0.5),
    "elu": (lambda x, a, b: np.where(x >= 0, x, a * np.expm1(np.minimum(x, 0))), 1.0, 0.0),
    "softsign": (lambda x, a, b: x / (1 + np.abs(x)), 0.0, 0.0),
    "softplus": (lambda x, a, b: np.logaddexp(0, x), 0.0, 0.0),
}
GATES = {"Lstm": 4, "Gru": 3, "Rnn": 1}
_PER_DIRECTION = {"Lstm": ["sigmoid", "tanh", "tanh"], "Gru": ["sigmoid", "tanh"], "Rnn": ["tanh"]}
DIRECTIONS = ("forward", "reverse", "bidirectional")
_ATTRS: dict[str, Any] = {
    "hidden_size": REQUIRED,
    "direction": "forward",
    "activations": None,
    "alpha": None,
    "beta": None,
    "clip": 0.0,
    "dynamic": False,
}


def _infer(node: Node) -> Inferred:
    x, *_ = node.operands(3)
    need(node, x, "f", "the input")
    many, hidden = GATES[node.op], node.attrs["hidden_size"]
    if node.attrs["direction"] not in DIRECTIONS:
        fail(node, f"direction {node.attrs['direction']!r}, allowed are {', '.join(DIRECTIONS)}")
    d = 2 if node.attrs["direction"] == "bidirectional" else 1
    names = _activations(node.op, node.attrs["activations"], d)
    if len(names) != d * len(_PER_DIRECTION[node.op]) or any(n not in _FUNCTIONS for n in names):
        fail(node, f"activations {names} are not {len(_PER_DIRECTION[node.op])} known ones per direction")
    if x.shape is not None and len(x.shape) != 3:
        fail(node, f"the input must be [steps, batch, features], not {x.shape}")
    t, n, size = (None, None, None) if x.shape is None else x.shape
    expected = {
        1: (d, many * hidden, size),
        2: (d, many * hidden, hidden),
        3: (d, 2 * many * hidden),
        4: (n,),
        5: (d, n, hidden),
        6: (d, n, hidden),
        7: (d, 3 * hidden),
    }
    for index, shape in expected.items():
        given = node.input(index)
        if given is None or given.shape is None:
            continue
        if len(given.shape) != len(shape) or any(None not in (a, b) and a != b for a, b in zip(given.shape, shape)):
            fail(node, f"input {index} has shape {given.shape}, expected {shape}")
    length(node, node.input(4), "the lengths", None)
    dtype = value_dtype(x)
    state = (dtype, (d, n, hidden))
    return [(dtype, (t, d, n, hidden)), state, *([state] if node.op == "Lstm" else [])]


def _activations(name: str, given: Sequence[str] | None, directions: int) -> list[str]:
    return [a.lower() for a in given] if given else _PER_DIRECTION[name] * directions


def plain_gates(node: Node) -> bool:
    """Whether each gate has the function that ONNX gives it by default."""
    names, plain = _activations(node.op, node.attrs["activations"], 1), _PER_DIRECTION[node.op]
    return names == plain * (len(names) // len(plain))


_WITH_ALPHA = ("affine", "leakyrelu", "thresholdedrelu", "scaledtanh", "hardsigmoid", "elu")
_WITH_BETA = ("affine", "scaledtanh", "hardsigmoid")
Gate = tuple[str, float, float]
"""A gate's function: its name in small letters, alpha and beta."""


def gates_of(name: str, attrs: dict[str, Any], directions: int) -> list[list[Gate]]:
    """The functions of each direction's gates. `alpha` and `beta` belong to those that have one, in order."""
    alphas, betas = list(attrs["alpha"] or []), list(attrs["beta"] or [])
    gates: list[Gate] = []
    for n in _activations(name, attrs["activations"], directions):
        _, a, b = _FUNCTIONS[n]
        alpha, beta = n in _WITH_ALPHA and alphas, n in _WITH_BETA and betas
        gates.append((n, alphas.pop(0) if alpha else a, betas.pop(0) if beta else b))
    per = len(_PER_DIRECTION[name])
    return [gates[i * per : (i + 1) * per] for i in range(directions)]


def attrs_of(name: str, attrs: dict[str, Any], directions: int, d: int) -> dict[str, Any]:
    """The attributes of a layer of direction `d` alone, but for its `direction`."""
    if not attrs["activations"]:
        return dict(attrs)
    gates = gates_of(name, attrs, directions)[d]
    return attrs | {
        "activations": [n for n, _, _ in gates],
        "alpha": [a for n, a, _ in gates if n in _WITH_ALPHA] or None,
        "beta": [b for n, _, b in gates if n in _WITH_BETA] or None,
    }


def _functions(name: str, attrs: dict[str, Any], directions: int) -> list[list[Callable[[np.ndarray], np.ndarray]]]:
    return [
        [lambda x, f=_FUNCTIONS[n][0], a=a, b=b: f(x, a, b).astype(x.dtype) for n, a, b in gates]
        for gates in gates_of(name, attrs, directions)
    ]


_Cell = Callable[[np.ndarray, tuple[np.ndarray, ...]], tuple[np.ndarray, ...]]


def _run(x: np.ndarray, cell: _Cell, state: tuple[np.ndarray, ...], lengths: Any, backwards: bool) -> Any:
    """One direction over x [T, N, I]: outputs [T, N, H] and the state after each sequence's last step."""
    steps, batch = x.shape[:2]
    if lengths is None:
        lengths = np.full(batch, steps)
    y = np.zeros((steps, *state[0].shape), x.dtype)
    for k in range(steps):
        # A sequence that is read backwards starts at its own end, so steps are counted per sequence.
        at = np.where(k < lengths, lengths - 1 - k, k) if backwards else np.full(batch, k)
        fresh = cell(x[at, np.arange(batch)], state)
        alive = (k < lengths)[:, None]
        state = tuple(np.where(alive, new, old) for new, old in zip(fresh, state))
        y[at, np.arange(batch)] = np.where(alive, fresh[0], 0)
    return y, state


def _layer(
    x: np.ndarray, directions: int, attrs: dict[str, Any], lengths: Any, make: Callable[[int], tuple[_Cell, Any]]
) -> tuple[np.ndarray, ...]:
    outputs, states = [], []
    for d in range(directions):
        cell, state = make(d)
        backwards = attrs["direction"] == "reverse" or d == 1
        y, state = _run(x, cell, state, None if lengths is None else np.asarray(lengths), backwards)
        outputs.append(y)
        states.append(state)
    return np.stack(outputs, 1), *(np.stack(parts) for parts in zip(*states))


def _start(given: np.ndarray | None, d: int, x: np.ndarray, hidden: int) -> np.ndarray:
    return np.zeros((x.shape[1], hidden), x.dtype) if given is None else given[d]


def _clipped(x: np.ndarray, clip: float) -> np.ndarray:
    return np.clip(x, -clip, clip) if clip > 0 else x


_Product = Callable[[np.ndarray], np.ndarray]


class _Matrix:
    """A float weight [D, rows, columns]; `of` gives the product with (a part of) one direction's, `given` that with a
    sequence whose steps come one by one."""

    def __init__(self, data: np.ndarray) -> None:
        self.data = data

    def of(self, d: int, rows: slice = slice(None)) -> _Product:
        return lambda x: x @ self.data[d, rows].T

    def given(self, d: int, x: np.ndarray) -> _Product:
        return self.of(d)


class _CodedMatrix(_Matrix):
    """int8 codes of a weight: x is quantized, too, on its own range, and sums are exact."""

    def __init__(self, data: np.ndarray, quant: QuantParam) -> None:
        super().__init__(data)
        self.codes = centred(data, quant)
        self.scale = np.broadcast_to(quant.scale.astype(np.float32), data.shape[1])

    def of(self, d: int, rows: slice = slice(None)) -> _Product:
        return lambda x: self._sum(d, rows, x, *dynamic_range(x))

    def given(self, d: int, x: np.ndarray) -> _Product:
        scale, zero = dynamic_range(x)
        return lambda step: self._sum(d, slice(None), step, scale, zero)

    def _sum(self, d: int, rows: slice, x: np.ndarray, scale: np.float32, zero: int) -> np.ndarray:
        acc = (encode(x, scale, zero).astype(np.float64) - zero) @ self.codes[d, rows].T
        return acc.astype(np.float32) * (scale * self.scale[rows])


def is_dynamic_recurrent(node: Node) -> bool:
    """Whether the layer quantizes its float32 input and its state as they come: it is asked to, and both its weights
    are constant int8 codes with scales of one per row, or one."""
    x, w, r = node.inputs[0], node.inputs[1], node.inputs[2]
    if not node.attrs.get("dynamic", False) or x is None or x.dtype != np.float32:
        return False
    for t in (w, r):
        if t is None or not t.is_const or t.quant is None or t.dtype != np.int8 or t.rank != 3:
            return False
        q = t.quant
        if q.var_corr is not None or q.mean_corr is not None or (len(q.scale) > 1 and q.axis != 1):
            return False
    return True


def _dynamic(run: Callable[..., tuple[np.ndarray, ...]]) -> Callable[[Node, Sequence[Any]], Any]:
    """The `integer` cell of a row: float32(Σ (x-zx)(w-zw)) · (sx · float32(sw)) for each product, the rest in float.
    The input has one range for all steps, the state one at each."""

    def integer(node: Node, arrays: Sequence[Any]) -> tuple[np.ndarray, ...] | None:
        if not is_dynamic_recurrent(node):
            return None
        w, r = (_CodedMatrix(arrays[i], node.required(i).qparams) for i in (1, 2))
        rest = [a if t is None or t.quant is None else t.real() for a, t in zip(arrays[3:], node.inputs[3:])]
        return run(np.asarray(arrays[0], np.float32), w, r, *rest, **node.attrs)

    return integer


_RNG = np.random.default_rng(1)


def _case(
    name: str, directions: int, attrs: dict[str, Any], extra: Sequence[Any] = (), bias: bool = True, batch: int = 2
) -> Case:
    hidden, size, many = 3, 2, GATES[name]
    shapes: list[Any] = [(4, batch, size), (directions, many * hidden, size), (directions, many * hidden, hidden)]
    shapes.append((directions, 2 * many * hidden) if bias else None)
    return Case((*shapes, *extra), {"hidden_size": hidden} | attrs, const=(1, 2, 3) if bias else (1, 2))


@op(
    "Lstm",
    attrs=_ATTRS | {"input_forget": False, "cell_clip": 0.0},
    infer=_infer,
    arity=(3, 8),
    outputs=3,
    kernel="lstm",
    quant=Quant(weight=(1, 2), axis=1, int8=False),
    integer=_dynamic(lambda *arrays, **attrs: _lstm(*arrays, **attrs)),
    cases=[
        _case("Lstm", 1, {}),
        _case("Lstm", 2, {"direction": "bidirectional"}, bias=False),
        _case("Lstm", 1, {"direction": "reverse", "clip": 0.5}, (np.array([4, 2]), (1, 2, 3), (1, 2, 3), (1, 9))),
        _case("Lstm", 1, {"input_forget": True, "cell_clip": 0.3}),
        _case("Lstm", 2, {"direction": "bidirectional"}, (None, (2, 1, 3), (2, 1, 3)), batch=1),
    ],
)
def lstm(
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    b: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    p: np.ndarray | None = None,
    **attrs: Any,
) -> tuple[np.ndarray, ...]:
    """x [T,N,I], w [D,4H,I], r [D,4H,H] (gates i o f c), b [D,8H], h0 c0 [D,N,H], peepholes p [D,3H] (i o f).

    Returns Y [T,D,N,H], the last h and the last c [D,N,H], as ONNX LSTM. `cell_clip` bounds the cell state (TFLite).
    """
    return _lstm(x, _Matrix(w), _Matrix(r), b, lengths, h0, c0, p, **attrs)


def _lstm(
    x: np.ndarray, w: _Matrix, r: _Matrix, b: Any = None, lengths: Any = None, h0: Any = None, c0: Any = None,
    p: Any = None, **attrs: Any,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    hidden, directions = attrs["hidden_size"], w.data.shape[0]
    functions = _functions("Lstm", attrs, directions)

    def make(d: int) -> tuple[_Cell, Any]:
        f, g, h = functions[d]
        bias = 0 if b is None else b[d, : 4 * hidden] + b[d, 4 * hidden :]
        pi, po, pf = (0, 0, 0) if p is None else np.split(p[d], 3)
        from_input, from_state = w.given(d, x), r.of(d)

        def cell(xt: np.ndarray, state: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
            ht, ct = state
            i, o, forget, c = np.split(from_input(xt) + from_state(ht) + bias, 4, 1)
            i = f(_clipped(i + pi * ct, attrs["clip"]))
            forget = 1 - i if attrs["input_forget"] else f(_clipped(forget + pf * ct, attrs["clip"]))
            ct = _clipped(forget * ct + i * g(_clipped(c, attrs["clip"])), attrs["cell_clip"])
            return f(_clipped(o + po * ct, attrs["clip"])) * h(ct), ct

        return cell, (_start(h0, d, x, hidden), _start(c0, d, x, hidden))

    return tuple(a.astype(x.dtype, copy=False) for a in _layer(x, directions, attrs, lengths, make))


@op(
    "Gru",
    attrs=_ATTRS | {"linear_before_reset": False},
    infer=_infer,
    arity=(3, 6),
    outputs=2,
    kernel="gru",
    quant=Quant(weight=(1, 2), axis=1, int8=False),
    integer=_dynamic(lambda *arrays, **attrs: _gru(*arrays, **attrs)),
    cases=[
        _case("Gru", 1, {}),
        _case("Gru", 2, {"direction": "bidirectional", "linear_before_reset": True}),
        _case("Gru", 1, {"direction": "reverse"}, (np.array([4, 2]), (1, 2, 3))),
        _case("Gru", 1, {}, batch=1),
        _case("Gru", 2, {"direction": "bidirectional"}, (None, (2, 1, 3)), batch=1),
    ],
)
def gru(
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    b: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    h0: np.ndarray | None = None,
    **attrs: Any,
) -> tuple[np.ndarray, ...]:
    """x [T,N,I], w [D,3H,I], r [D,3H,H] (gates z r h), b [D,6H], h0 [D,N,H] → Y [T,D,N,H], last h, as ONNX GRU."""
    return _gru(x, _Matrix(w), _Matrix(r), b, lengths, h0, **attrs)


def _gru(
    x: np.ndarray, w: _Matrix, r: _Matrix, b: Any = None, lengths: Any = None, h0: Any = None, **attrs: Any
) -> tuple[np.ndarray, ...]:
    hidden, directions = attrs["hidden_size"], w.data.shape[0]
    functions = _functions("Gru", attrs, directions)

    def make(d: int) -> tuple[_Cell, Any]:
        f, g = functions[d]
        own = np.zeros(6 * hidden, x.dtype) if b is None else b[d]
        bw, br = own[: 3 * hidden], own[3 * hidden :]
        from_input = w.given(d, x)
        gates, candidate = r.of(d, slice(2 * hidden)), r.of(d, slice(2 * hidden, None))

        def cell(xt: np.ndarray, state: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
            (ht,) = state
            xz, xr, xh = np.split(from_input(xt) + bw, 3, 1)
            hz, hr = np.split(gates(ht), 2, 1)
            bz, b_r, bh = np.split(br, 3)
            z = f(_clipped(xz + hz + bz, attrs["clip"]))
            reset = f(_clipped(xr + hr + b_r, attrs["clip"]))
            if attrs["linear_before_reset"]:
                inner = xh + reset * (candidate(ht) + bh)
            else:
                inner = xh + candidate(reset * ht) + bh
            return ((1 - z) * g(_clipped(inner, attrs["clip"])) + z * ht,)

        return cell, (_start(h0, d, x, hidden),)

    return tuple(a.astype(x.dtype, copy=False) for a in _layer(x, directions, attrs, lengths, make))


@op(
    "Rnn",
    attrs=_ATTRS,
    infer=_infer,
    arity=(3, 6),
    outputs=2,
    kernel="rnn",
    quant=Quant(weight=(1, 2), axis=1, int8=False),
    integer=_dynamic(lambda *arrays, **attrs: _rnn(*arrays, **attrs)),
    cases=[
        _case("Rnn", 1, {}),
        _case(
            "Rnn", 2, {"direction": "bidirectional", "activations": ["Relu", "Affine"], "alpha": [0.5], "beta": [0.1]}
        ),
    ],
)
def rnn(
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    b: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    h0: np.ndarray | None = None,
    **attrs: Any,
) -> tuple[np.ndarray, ...]:
    """x [T,N,I], w [D,H,I], r [D,H,H], b [D,2H], h0 [D,N,H] → Y [T,D,N,H], last h, as ONNX RNN."""
    return _rnn(x, _Matrix(w), _Matrix(r), b, lengths, h0, **attrs)


def _rnn(
    x: np.ndarray, w: _Matrix, r: _Matrix, b: Any = None, lengths: Any = None, h0: Any = None, **attrs: Any
) -> tuple[np.ndarray, ...]:
    hidden, directions = attrs["hidden_size"], w.data.shape[0]
    functions = _functions("Rnn", attrs, directions)

    def make(d: int) -> tuple[_Cell, Any]:
        (f,) = functions[d]
        bias = 0 if b is None else b[d, :hidden] + b[d, hidden:]
        from_input, from_state = w.given(d, x), r.of(d)

        def cell(xt: np.ndarray, state: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
            return (f(_clipped(from_input(xt) + from_state(state[0]) + bias, attrs["clip"])),)

        return cell, (_start(h0, d, x, hidden),)

    return tuple(a.astype(x.dtype, copy=False) for a in _layer(x, directions, attrs, lengths, make))
