"""Builds and runs one-step programs; compares them on every instruction set and thread count."""

from __future__ import annotations

from typing import Any

import numpy as np
from bitlite import _native
from bitlite.native.lower import with_bounds

ISAS = _native.isas()
CHANNELS = [1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33]


def program(
    op: str, inputs: list[np.ndarray], out_shape: tuple[int, ...], constants: dict[int, np.ndarray], attrs, **kw
):
    """One step; inputs at the positions in `constants` are given at planning time. None = absent."""
    tensors: list[dict[str, Any]] = []
    indices, graph_inputs = [], []
    total = len(inputs) + len(constants)
    queue = iter(inputs)
    for i in range(total):
        value = constants[i] if i in constants else next(queue)
        if value is None:
            indices.append(-1)
            continue
        if i not in constants:
            graph_inputs.append(len(tensors))
        indices.append(len(tensors))
        tensors.append(
            {
                "name": f"t{i}",
                "dtype": str(value.dtype),
                "shape": list(value.shape),
                "data": value if i in constants else None,
            }
        )
    out_dtype = kw.pop("out_dtype", "float32")
    tensors.append({"name": "y", "dtype": out_dtype, "shape": list(out_shape), "data": None})
    step = {"op": op, "name": "step", "inputs": indices, "outputs": [len(tensors) - 1], "attrs": with_bounds(attrs)}
    return _native.Program(tensors, [step], graph_inputs, [len(tensors) - 1], **kw)


def run(op, inputs, want, constants=None, rtol=1e-5, atol=None, **attrs):
    """Runs one step on every instruction set and on two threads and compares with `want`."""
    constants = constants or {}
    want = np.asarray(want)
    scale = float(np.max(np.abs(want), initial=0.0, where=np.isfinite(want))) if want.dtype.kind == "f" else 0.0
    if atol is None:
        atol = rtol * scale
    for isa in ISAS:
        results = []
        for threads in (1, 2):
            p = program(
                op, inputs, want.shape, constants, attrs, isa=isa, threads=threads, out_dtype=np.dtype(want.dtype).name
            )
            results.append(p.run([x for x in inputs if x is not None])[0])
        np.testing.assert_array_equal(*results, err_msg=f"{op} {isa}: thread count changes bits")
        np.testing.assert_allclose(results[0], want, rtol=rtol, atol=atol, err_msg=f"{op} {isa} {attrs}")


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def f32(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, np.float32)
