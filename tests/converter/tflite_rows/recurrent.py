"""Rows of the layers with a state. Each run starts from the state that the file holds: zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
from bitlite.converter.numeric.qparams import QuantParam

from .table import Case, Draw, Row, real, rounded

HYBRID = 3e-2
"""Of the output's range: LiteRT rounds inputs and states to 8 bits while it runs, where weights are int8."""
TANH_ACT, RELU_ACT = 4, 1


def _symmetric(draw: Draw, shape: tuple[int, ...], most: float) -> tuple[np.ndarray, QuantParam]:
    q = rounded(QuantParam(most * draw.rng.uniform(0.8, 1.2) / 127, 0))
    return draw.rng.integers(-127, 128, shape).astype(np.int8), q


def _lstm(
    draw: Draw, dtype: str, size: tuple[int, int, int, int], time_major: bool, coupled: bool, peephole: bool,
    projection: str, norm: bool, clip: float, act: int,
) -> Case | None:  # fmt: skip
    """size: batch, steps, features, cells."""
    n, t, f, h = size
    o = 3 if projection else h
    if dtype == "int8":
        return _integer_lstm(draw, size, time_major, coupled, peephole, projection, norm, clip)
    if dtype == "hybrid" and act != TANH_ACT:
        return None
    quant: dict[int, QuantParam | None] = {}
    inputs: list[Any] = [draw.values("float32", (t, n, f) if time_major else (n, t, f), -1, 1)]

    def weights(*shape: int) -> None:
        if dtype == "hybrid":
            codes, quant[len(inputs)] = _symmetric(draw, shape, 0.6)
            inputs.append(codes)
        else:
            inputs.append(draw.values("float32", shape, -0.6, 0.6))

    def vector(size: int, low: float = -0.6, high: float = 0.6) -> np.ndarray:
        return draw.values("float32", (size,), low, high)

    for k in range(8):
        if coupled and k in (0, 4):
            inputs.append(None)
        else:
            weights(h, f) if k < 4 else weights(h, o)
    for k in range(3):
        if not peephole or (coupled and k == 0):
            inputs.append(None)
        elif dtype == "hybrid":
            weights(h)
        else:
            inputs.append(vector(h))
    inputs += [None if coupled and k == 0 else vector(h) for k in range(4)]
    if projection:
        weights(o, h)
        inputs.append(vector(o) if projection == "bias" else None)
    else:
        inputs += [None, None]
    inputs += [np.zeros((n, o), np.float32), np.zeros((n, h), np.float32)]
    inputs += [vector(h, 0.5, 1.5) if norm and not (coupled and k == 0) else None for k in range(4)]
    options = {"fused_activation_function": act, "time_major": time_major, "cell_clip": clip}
    options["proj_clip"] = clip if projection else 0.0
    const = tuple(i for i, a in enumerate(inputs) if a is not None and i not in (0, 18, 19))
    return Case(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, options, const=const, variable=(18, 19), quant=quant,
        tolerance=HYBRID if dtype == "hybrid" else 1e-5, absolute=2e-2 if dtype == "hybrid" else 0.0,
        version=3 if dtype == "hybrid" else 1,
    )  # fmt: skip


def _integer_lstm(
    draw: Draw, size: tuple[int, int, int, int], time_major: bool, coupled: bool, peephole: bool, projection: str,
    norm: bool, clip: float,
) -> Case:  # fmt: skip
    """int8 values and weights, int16 cell state and gates, as TensorFlow's quantizer writes it."""
    n, t, f, h = size
    o = 3 if projection else h
    quant: dict[int, QuantParam | None] = {}
    qx, qy = draw.params("int8", -1, 1), draw.params("int8", -1, 1)
    assert qx is not None and qy is not None
    quant[0] = qx
    inputs: list[Any] = [draw.values("int8", (t, n, f) if time_major else (n, t, f))]

    def put(value: Any, q: QuantParam | None = None) -> None:
        quant[len(inputs)] = q
        inputs.append(value)

    for k in range(8):
        if coupled and k in (0, 4):
            put(None)
        else:
            put(*_symmetric(draw, (h, f if k < 4 else o), 0.6))
    cell = rounded(QuantParam(2.0**-11, 0, None, 16))
    for k in range(3):
        if peephole and not (coupled and k == 0):
            put(draw.rng.integers(-32767, 32768, h).astype(np.int16), rounded(QuantParam(0.6 / 32767, 0, None, 16)))
        else:
            put(None)
    norms = [rounded(QuantParam(1.5 / 32767, 0, None, 16)) for _ in range(4)]
    for k in range(4):
        if coupled and k == 0:
            put(None)
            continue
        scale = norms[k].scale / 1024 if norm else qx.scale * quant[k + 1].scale  # type: ignore[union-attr]
        most = draw.rng.uniform(-0.6, 0.6, h)
        put(np.rint(most / scale).astype(np.int32), rounded(QuantParam(scale, 0, None, 32)))
    hidden = rounded(QuantParam(1 / 128, 0)) if projection else qy
    if projection:
        put(*_symmetric(draw, (o, h), 0.6))
        scale = hidden.scale * quant[16].scale  # type: ignore[union-attr]
        bias = np.rint(draw.rng.uniform(-0.3, 0.3, o) / scale).astype(np.int32)
        put(*((bias, rounded(QuantParam(scale, 0, None, 32))) if projection == "bias" else (None,)))
    else:
        put(None)
        put(None)
    put(np.zeros((n, o), np.int8), qy)
    put(np.zeros((n, h), np.int16), cell)
    for k in range(4):
        if norm and not (coupled and k == 0):
            put(draw.rng.integers(12000, 32767, h).astype(np.int16), norms[k])
        else:
            put(None)
    options = {"fused_activation_function": TANH_ACT, "time_major": time_major, "cell_clip": clip}
    options["proj_clip"] = clip if projection else 0.0
    gates = [rounded(QuantParam(4 / 32768, 0, None, 16)) for _ in range(4)]
    const = tuple(i for i, a in enumerate(inputs) if a is not None and i not in (0, 18, 19))
    return Case(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, options, const=const, variable=(18, 19), quant=quant,
        output_quant=(qy,), intermediates=(*gates, hidden), version=2,
    )  # fmt: skip


def _svdf(draw: Draw, dtype: str, size: tuple[int, int, int, int], rank: int, bias: bool, act: int) -> Case | None:
    """size: batch, features, units, memory."""
    n, f, units, memory = size
    filters = units * rank
    options = {"rank": rank, "fused_activation_function": act}
    quant: dict[int, QuantParam | None] = {}
    y = None
    if dtype == "int8":
        if act != RELU_ACT:
            return None  # the only one that LiteRT takes there
        qx = draw.params("int8", -1, 1)
        assert qx is not None
        x, feature = draw.values("int8", (n, f)), _symmetric(draw, (filters, f), 0.8)
        time = draw.rng.integers(-32767, 32768, (filters, memory)).astype(np.int16)
        qt, qs = rounded(QuantParam(0.9 / 32767, 0, None, 16)), rounded(QuantParam(f / 3 / 32767, 0, None, 16))
        total = (real(x, qx) @ real(*feature).T) * real(time, qt)[:, -1]
        sums = total.reshape(n, units, rank).sum(2)
        scale = qt.scale * qs.scale
        b = np.rint(draw.rng.uniform(-0.5, 0.5, units) / scale).astype(np.int32)
        y = draw.fitting("int8", np.maximum(sums + real(b, QuantParam(scale, 0)) if bias else sums, 0))
        quant = {0: qx, 1: feature[1], 2: qt, 3: rounded(QuantParam(scale, 0, None, 32)) if bias else None, 4: qs}
        inputs: list[Any] = [x, feature[0], time, b if bias else None, np.zeros((n, memory * filters), np.int16)]
    else:
        inputs = [draw.values("float32", (n, f), -1, 1)]
        for k, shape in ((1, (filters, f)), (2, (filters, memory))):
            if dtype == "hybrid":
                codes, quant[k] = _symmetric(draw, shape, 1)
                inputs.append(codes)
            else:
                inputs.append(draw.values("float32", shape, -1, 1))
        inputs.append(draw.values("float32", (units,), -1, 1) if bias else None)
        inputs.append(np.zeros((n, memory * filters), np.float32))
    const = tuple(i for i in range(1, 4) if inputs[i] is not None)
    # Sums of numbers up to 1 may cancel: what is left is exact to float32's last bit of those, not of itself.
    return Case(
        "SVDF", inputs, options, const=const, variable=(4,), quant=quant, output_quant=(y,),
        tolerance=HYBRID if dtype == "hybrid" else 1e-5, absolute=3e-2 if dtype == "hybrid" else 1e-6,
        version={"hybrid": 2, "int8": 3}.get(dtype, 1),
    )  # fmt: skip


ROWS = [
    Row(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        _lstm,
        ("float32", "hybrid", "int8"),
        {
            "size": ((1, 1, 4, 5), (3, 5, 4, 6), (2, 9, 7, 8)),
            "time_major": (False, True),
            "coupled": (False, True),
            "peephole": (False, True),
            "projection": ("", "plain", "bias"),
            "norm": (False, True),
            "clip": (0.0, 0.3),
            "act": (TANH_ACT, TANH_ACT, RELU_ACT),
        },
    ),
    Row(
        "SVDF",
        _svdf,
        ("float32", "hybrid", "int8"),
        {
            "size": ((1, 4, 3, 2), (3, 8, 4, 5)),
            "rank": (1, 2),
            "bias": (True, False),
            "act": (0, RELU_ACT, TANH_ACT),
        },
    ),
]
