"""onnxruntime's DynamicQuantizeLSTM: an LSTM on 8-bit weights that quantizes its input and its state while running."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir import Tensor
from ...numeric.qparams import QuantParam
from ...schema.op import reads
from ...schema.reading import Reading

# Inputs beyond those of LSTM: scale and zero point of W [D,I,4H] and of R [D,H,4H], one per direction, or per column.
_SCALE = {1: (8, 9), 2: (10, 11)}


@reads("onnx", "com.microsoft::DynamicQuantizeLSTM")
def read_dynamic_quantize_lstm(r: Reading) -> list[Tensor]:
    """A layer that is dynamic; of two directions with scales of their own two layers, since a weight has one set."""
    x, direction = r.input(0), r.attr("direction", "forward")
    weights = [_weight(r, i) for i in (1, 2)]
    directions, _, hidden = weights[1][0].shape
    attrs: dict[str, Any] = {
        "hidden_size": int(r.attr("hidden_size", hidden)),
        "clip": float(r.attr("clip", 0.0)),
        "input_forget": bool(r.attr("input_forget", 0)),
        "dynamic": True,
    }
    names, alpha, beta = (r.attr(k, None) for k in ("activations", "activation_alpha", "activation_beta"))
    inputs = [r.optional(i) for i in range(8)]
    if directions == 1 or all(len(set(map(tuple, q))) == 1 for _, *params in weights for q in params):
        w = [_codes(r, r.input(i).name, data, scale[0], zero[0]) for i, (data, scale, zero) in zip((1, 2), weights)]
        attrs |= {"direction": direction, "activations": names, "alpha": alpha, "beta": beta}
        return r.emit_many("Lstm", [x, *w, *inputs[3:]], **attrs)
    if alpha or beta:
        r.refuse("parameters of its activations beside scales of each direction are not read")
    results = []
    for d, way in enumerate(("forward", "reverse")):
        w = [
            _codes(r, f"{r.input(i).name}/{d}", data[d : d + 1], scale[d], zero[d])
            for i, (data, scale, zero) in zip((1, 2), weights)
        ]
        rest = [t if i == 4 else _direction(r, t, d) for i, t in enumerate(inputs[3:], 3)]
        own = names[3 * d : 3 * d + 3] if names else None
        results.append(r.emit_many("Lstm", [x, *w, *rest], **attrs, direction=way, activations=own))
    return [r.emit("Concat", *parts, axis=axis) for axis, parts in zip((1, 0, 0), zip(*results))]


def _weight(r: Reading, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes [D,4H,…] in int8; scales and zero points [D,1] or [D,4H] for these."""
    t = r.input(index)
    if t.data is None or t.dtype not in (np.int8, np.uint8) or t.data.ndim != 3:
        r.refuse(f"{t.name!r}, {t.dtype}{t.shape}, is no constant of three axes in 8 bits")
    data, more = t.data.transpose(0, 2, 1), 128 if t.dtype == np.uint8 else 0
    scale, zero = (r.const(i, what) for i, what in zip(_SCALE[index], ("the scale", "the zero point")))
    if not np.isfinite(scale).all() or (scale <= 0).any():
        r.refuse("a scale is not a positive number")
    directions, rows = data.shape[:2]
    if any(a.size not in (directions, directions * rows) for a in (scale, zero)):
        r.refuse(f"scales {scale.shape} and zero points {zero.shape} do not fit a weight of shape {t.shape}")
    if more:
        data = (data.astype(np.int16) - more).astype(np.int8)
    scale = scale.astype(np.float64).reshape(directions, -1)
    zero = np.broadcast_to(zero.astype(np.int64).reshape(directions, -1) - more, scale.shape)
    return data, scale, zero


def _codes(r: Reading, name: str, data: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> Tensor:
    quant = QuantParam(scale, zero.astype(np.int32), 1 if len(scale) > 1 else None, 8)
    return Tensor(r.build.name(f"{name}/rows"), np.dtype(np.int8), data.shape, data, quant)


def _direction(r: Reading, t: Tensor | None, d: int) -> Tensor | None:
    """t[d:d+1]."""
    if t is None:
        return None
    if t.data is not None:
        return r.constant(t.real()[d : d + 1], name=f"{t.name}/{d}")
    return r.emit("Slice", t, *(r.constant([v], np.int64) for v in (d, d + 1, 0)))
