"""SequenceLstm: TFLite's LSTM where it is more than ONNX's: with a projection, with normalized gates, or in int8.

Sources: LSTM with projection, Sak et al. 2014; layer normalization inside, Ba et al. 2016; the integer form is that of
TensorFlow's quantizer (8-bit values and weights, 16-bit gates and cell state).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import Setting
from ...ir import Node, Tensor, is_quantized
from ...numeric.fixed_point import sigmoid_codes, tanh_codes
from ...numeric.qparams import QuantParam, quantized_multiplier, requantize_gemmlowp
from ...schema.op import Case, Inferred, Quant, op, writes
from ...schema.reading import Reading
from ...schema.writing import Writing
from .._support.acts import act_from, apply_act
from .._support.types import fail, need
from .unroll_limits import MOST_BYTES, copies_fit, why_not_steps

# Slots of the 24 inputs; gates stand in the order input, forget, cell, output.
INPUT, RECURRENT, BIAS, PROJECTION, PROJECTION_BIAS, HIDDEN, CELL, NORM = 1, 5, 12, 16, 17, 18, 19, 20
PEEPHOLE = (9, 10, None, 11)
_SMALL = np.float32(1e-8)


def _infer(node: Node) -> Inferred:
    x, first = node.required(0), node.input(INPUT + 1)
    need(node, x, "f", "the input")
    if x.shape is not None and len(x.shape) != 3:
        fail(node, f"the input must have three axes, not {x.shape}")
    if first is None or first.shape is None or len(first.shape) != 2 or not all(first.shape):
        fail(node, "the forget gate has no weight")
    cells, projection = first.shape[0], node.input(PROJECTION)
    size = cells if projection is None else (projection.shape or (0,))[0]
    features = None if x.shape is None else x.shape[-1]
    expected: dict[int, tuple[Any, ...]] = {PROJECTION: (size, cells), PROJECTION_BIAS: (size,)}
    for k in range(4):
        expected |= {INPUT + k: (cells, features), RECURRENT + k: (cells, size), BIAS + k: (cells,), NORM + k: (cells,)}
        if (peephole := PEEPHOLE[k]) is not None:
            expected[peephole] = (cells,)
    for i, shape in expected.items():
        t = node.input(i)
        given = None if t is None else t.shape
        if given is not None and (
            len(given) != len(shape) or any(None not in p and p[0] != p[1] for p in zip(given, shape))
        ):
            fail(node, f"input {i} has shape {given}, expected {shape}")
    for k in range(4):
        coupled = k == 0 and node.input(INPUT) is None
        if not coupled and any(node.input(i + k) is None for i in (INPUT, RECURRENT)):
            fail(node, f"a weight of gate {k} is missing")
    return [(x.dtype, None if x.shape is None else (*x.shape[:2], size))]


def _run(
    arrays: Sequence[Any], time_major: bool, cells: int, step: Callable[[np.ndarray, Any, Any], tuple[Any, Any]]
) -> np.ndarray:
    """step(x [N,I], h, c) → (h, c) over time, from the states that are given or from zeros."""
    x = arrays[0] if time_major else np.swapaxes(arrays[0], 0, 1)
    size = cells if arrays[PROJECTION] is None else arrays[PROJECTION].shape[0]
    h, c = (
        np.zeros((x.shape[1], n), np.float64) if a is None else a
        for a, n in ((arrays[HIDDEN], size), (arrays[CELL], cells))
    )
    y = []
    for xt in x:
        h, c = step(xt, h, c)
        y.append(h)
    outputs = np.stack(y) if y else np.zeros((0, x.shape[1], size))
    return outputs if time_major else np.swapaxes(outputs, 0, 1)


def _codes(node: Node, arrays: Sequence[Any]) -> np.ndarray | None:
    """The 8-bit form: products are rescaled to 16-bit gates, in Q3.12 before and Q0.15 after their function."""
    x, y, attrs = node.required(0), node.outputs[0], node.attrs
    if not (is_quantized(x) and is_quantized(y)):
        return None
    full, state = [*arrays, *[None] * (24 - len(arrays))], node.required(HIDDEN).qparams

    def scale_of(slot: int) -> float:
        return float(node.required(slot).qparams.scale[0])

    step, lift = scale_of(CELL), attrs["hidden"]
    coupled, normed = full[INPUT] is None, full[NORM + 1] is not None
    rows = full[INPUT + 1].shape[0]
    size = rows if full[PROJECTION] is None else full[PROJECTION].shape[0]

    gates = [k for k in range(4) if k or not coupled]
    scales = [attrs["gates"][k] if normed else 2.0**-12 for k in range(4)]

    def factor(first: int, of: QuantParam) -> tuple[np.ndarray, Any]:
        """The weights of all gates as one, [columns, gates·rows], and the multiplier of each product."""
        real = [scale_of(first + k) * float(of.scale[0]) / scales[k] for k in gates]
        return np.concatenate([full[first + k] for k in gates]).T.astype(np.float64), np.repeat(real, rows)

    def product(x: np.ndarray, of: QuantParam, weight: np.ndarray, scale: np.ndarray, bias: Any = 0.0) -> np.ndarray:
        acc = (x.astype(np.float64) - of.zero_point[0]) @ weight + bias  # exact: far below 2^53
        return _times(acc.astype(np.int64), scale)

    none = np.zeros(rows)
    bias = np.concatenate([none if normed or full[BIAS + k] is None else full[BIAS + k] for k in gates])
    from_state = factor(RECURRENT, state)
    from_input = _word(product(full[0], x.qparams, *factor(INPUT, x.qparams), bias))

    def gate(k: int, total: np.ndarray, c: np.ndarray) -> np.ndarray:
        at, scale = PEEPHOLE[k], scales[k]
        total = total[:, gates.index(k) * rows :][:, :rows]
        if at is not None and full[at] is not None:
            # Its kernel takes the output's size for the number of cells, which a projection makes smaller: it walks
            # over the first so many of each sequence or, where the time comes first, of all sequences together.
            places = np.arange(len(total) * size)
            if not attrs["time_major"]:
                places = places // size * rows + places % size
            more = c.reshape(-1)[places] * full[at][np.arange(len(places)) % size]
            flat = total.reshape(-1)
            flat[places] = _word(flat[places] + _times(more, step * scale_of(at) / scale))
            total = flat.reshape(-1, rows)
        if normed:
            total = _normed(total, full[NORM + k], full[BIAS + k], scale_of(NORM + k))
        return tanh_codes(total, 3) if k == 2 else sigmoid_codes(total, 3)

    def advance(xt: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        c, total = c.astype(np.int64), _word(xt + product(h, state, *from_state))
        forget, cell = gate(1, total, c), gate(2, total, c)
        taken = 32767 - forget if coupled else gate(0, total, c)
        c = _word(_shifted(forget * c, 2.0**-15) + _shifted(taken * cell, 2.0**-30 / step))
        if attrs["cell_clip"] > 0:
            c = np.clip(c, -_clip(attrs["cell_clip"], step), _clip(attrs["cell_clip"], step))
        out = gate(3, total, c)
        told = out * tanh_codes(c, 15 + round(math.log2(step)))
        hidden = np.clip(_times(told, 2.0**-30 / lift[0]) + int(lift[1]), -128, 127)
        if full[PROJECTION] is None:
            return hidden, c
        acc = (hidden - int(lift[1])) @ full[PROJECTION].T.astype(np.int64)
        acc = acc if full[PROJECTION_BIAS] is None else acc + full[PROJECTION_BIAS]
        scale = scale_of(PROJECTION) * lift[0] / scale_of(HIDDEN)
        h = np.clip(_times(acc, scale) + int(state.zero_point[0]), -128, 127)
        if attrs["proj_clip"] > 0:
            most = _clip(attrs["proj_clip"], scale_of(HIDDEN), 127)
            h = np.clip(h, -most, most)
        return h, c

    return _run([from_input, *full[1:]], attrs["time_major"], rows, advance).astype(y.dtype)


def _word(values: np.ndarray) -> np.ndarray:
    return np.clip(values, -32768, 32767).astype(np.int64)


def _times(acc: np.ndarray, scale: Any) -> np.ndarray:
    """acc · scale as the integer kernels round it."""
    return requantize_gemmlowp(acc, *quantized_multiplier(scale), 0, -(2**31), 2**31 - 1, np.int64)


def _shifted(product: np.ndarray, scale: float) -> np.ndarray:
    """A product of 16-bit numbers by a power of two, halves away from zero."""
    return (np.sign(product) * np.floor(np.abs(product) * scale + 0.5)).astype(np.int64)


def _clip(bound: float, scale: float, most: int = 32767) -> int:
    return int(min(max(bound / scale, -most - 1), most))


def _normed(gate: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, scale: float) -> np.ndarray:
    """Each row to mean 0 and variance 1 with ten more bits, times the weights, plus the bias; Q3.12."""
    n = gate.shape[1]
    mean = np.trunc(gate.sum(1, keepdims=True) * 1024 / n).astype(np.int64)
    square = (gate * gate).sum(1, keepdims=True) * ((1 << 20) // n) - mean * mean
    variance = np.maximum(np.trunc(square / (1 << 20)), 1)
    rescaled = np.rint((1024 * gate - mean) / np.sqrt(variance)).astype(np.int64)
    total = rescaled * weight.astype(np.int64) + (0 if bias is None else bias.astype(np.int64))
    return _word(_times(np.trunc((total + np.where(total > 0, 512, -512)) / 1024).astype(np.int64), scale * 4096))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return (0.5 * (np.tanh(0.5 * x) + 1)).astype(x.dtype)


_RNG = np.random.default_rng(4)


def _case(projection: bool, norm: bool, coupled: bool, **attrs: Any) -> Case:
    cells, size, features = 4, 3 if projection else 4, 2
    weights = [_RNG.uniform(-0.6, 0.6, (cells, features)).astype(np.float32) for _ in range(4)]
    weights += [_RNG.uniform(-0.6, 0.6, (cells, size)).astype(np.float32) for _ in range(4)]
    inputs: list[Any] = [(2, 3, features), *weights, None, *[(cells,)] * 2, *[(cells,)] * 4]
    inputs += [(size, cells), (size,)] if projection else [None, None]
    inputs += [None, None, *[(cells,) if norm else None] * 4]
    if coupled:
        inputs[INPUT] = inputs[RECURRENT] = inputs[BIAS] = inputs[NORM] = None
    return Case(tuple(inputs), attrs, const=tuple(range(9, 24)))


@op(
    "SequenceLstm",
    attrs={
        "act": "tanh",
        "cell_clip": 0.0,
        "proj_clip": 0.0,
        "time_major": False,
        "gates": [],
        "hidden": [],
    },
    infer=_infer,
    arity=(9, 24),
    quant=Quant(int8=False),
    integer=_codes,
    foldable=False,
    cases=[_case(True, False, False), _case(False, True, True, cell_clip=0.3), _case(True, True, False, act="relu")],
)
def sequence_lstm(
    *arrays: np.ndarray | None, act: str, cell_clip: float, proj_clip: float, time_major: bool, gates: Any, hidden: Any
) -> np.ndarray:
    """x [N,T,I] (time_major: [T,N,I]) → [N,T,O], the 24 inputs of TFLite's UNIDIRECTIONAL_SEQUENCE_LSTM.

    Gates i f c o: weights [H,I] 1 to 4 and [H,O] 5 to 8, peepholes 9 to 11 (i f o), biases 12 to 15, projection [O,H]
    and its bias, states h and c, coefficients of normalized gates 20 to 23. Without its weight i is 1 - f.
    gates, hidden: of the integer form, the scale of each normalized gate before its weight, and [scale, zero point] of
    what is projected.
    """
    full: list[Any] = [*arrays, *[None] * (24 - len(arrays))]
    coupled, rows, dtype = full[INPUT] is None, full[INPUT + 1].shape[0], full[0].dtype
    parts = {k: slice(i * rows, (i + 1) * rows) for i, k in enumerate(k for k in range(4) if k or not coupled)}
    from_input, from_state = (np.concatenate([full[first + k] for k in parts]).T for first in (INPUT, RECURRENT))

    def gate(k: int, total: np.ndarray, c: np.ndarray) -> np.ndarray:
        v, at, norm = total[:, parts[k]], PEEPHOLE[k], full[NORM + k]
        v = v if at is None or full[at] is None else v + full[at] * c
        if norm is not None:
            v = v - np.add.reduce(v, 1, keepdims=True) / rows
            v = v / np.sqrt(np.add.reduce(np.square(v), 1, keepdims=True) / rows + _SMALL) * norm
        return v if full[BIAS + k] is None else v + full[BIAS + k]

    def step(xt: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        total, c = xt + h.astype(dtype, copy=False) @ from_state, c.astype(dtype, copy=False)
        forget = _sigmoid(gate(1, total, c))
        taken = 1 - forget if coupled else _sigmoid(gate(0, total, c))
        fresh = forget * c + taken * apply_act(gate(2, total, c), act)
        fresh = np.clip(fresh, -cell_clip, cell_clip) if cell_clip > 0 else fresh
        y = _sigmoid(gate(3, total, fresh)) * apply_act(fresh, act)
        if full[PROJECTION] is None:
            return y, fresh
        y = y @ full[PROJECTION].T
        y = y if full[PROJECTION_BIAS] is None else y + full[PROJECTION_BIAS]
        return (np.clip(y, -proj_clip, proj_clip) if proj_clip > 0 else y), fresh

    return _run([full[0] @ from_input, *full[1:]], time_major, rows, step).astype(dtype)


def read_sequence_lstm(r: Reading) -> Tensor:
    """The operator as it stands in a TFLite file."""
    inputs = [r.optional(i) for i in range(24)]
    attrs: dict[str, Any] = {k: float(r.attr(k, 0.0)) for k in ("cell_clip", "proj_clip")}
    attrs |= {"time_major": bool(r.attr("time_major", False))}
    attrs["act"] = act_from("tflite", r.attr("fused_activation_function", 4), r)
    if r.attr("diagonal_recurrent_tensors", False):
        r.refuse("diagonal recurrent weights are not read")
    if is_quantized(inputs[0]):
        stored: list[QuantParam | None] = list(r.attr("intermediates", []))
        inside = [q for q in stored if q is not None]
        if any(t is None or t.quant is None for t in (inputs[HIDDEN], inputs[CELL])) or not 5 <= len(inside) == len(
            stored
        ):
            r.refuse("its integer form lacks parameters of its states or of what is inside")
        if r.input(0).dtype != np.int8 or r.input(INPUT + 1).dtype != np.int8 or attrs["act"] != "tanh":
            r.refuse("its integer form is read with int8 values and weights and tanh")
        sizes = [t.size(0) if t is not None and t.shape else 0 for t in (inputs[PROJECTION], inputs[INPUT + 1])]
        if sizes[0] > sizes[1] and any(inputs[i] is not None for i in PEEPHOLE if i is not None):
            r.refuse(
                f"its integer form has peepholes and a projection of {sizes[1]} cells to {sizes[0]} values, where "
                "TFLite's kernel goes beyond its arrays"
            )
        step = math.frexp(float(r.input(CELL).qparams.scale[0]))
        if step[0] != 0.5 or not -14 <= step[1] <= -8:
            r.refuse("the scale of its cell state is no power of two from 2^-15 to 2^-9, as TFLite's kernel wants it")
        attrs["gates"] = [float(q.scale[0]) for q in inside[:4]]
        attrs["hidden"] = [float(inside[4].scale[0]), int(inside[4].zero_point[0])]
    return r.emit("SequenceLstm", *inputs, **attrs)


def why_not_parted(node: Node) -> str:
    """Why the layer cannot be written as products and gates of each step, "" where it can."""
    x = node.required(0)
    projected = node.input(PROJECTION) is not None
    if node.attrs["hidden"] and projected and any(node.input(i) is not None for i in PEEPHOLE if i is not None):
        return "its integers have both peepholes and a projection, which TFLite computes in a way of its own"
    given = [node.input(i) for i in range(1, 24) if i not in (HIDDEN, CELL)]
    if any(t is not None and not t.is_const for t in given):
        return "a weight is computed at run time"
    steps = why_not_steps(x, 0 if node.attrs["time_major"] else 1)
    recurrent = [t for t in (node.input(RECURRENT + k) for k in range(4)) if t is not None]
    if not steps and not copies_fit(recurrent[0], len(recurrent) * x.size(0 if node.attrs["time_major"] else 1)):
        return f"its recurrent weights of all steps exceed {MOST_BYTES >> 20} MB"
    return steps


@writes("ms", "SequenceLstm")
@writes("onnx", "SequenceLstm")
def refuse_sequence_lstm(w: Writing, node: Node) -> None:
    """A pass writes its steps; what is left has none to write."""
    w.refuse(node, why_not_parted(node) or "it is written in parts, which a pass makes", hint=Setting("input_shape"))
