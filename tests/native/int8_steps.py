"""Builds int8 steps as programs of their own, runs them on every instruction set, and what they must compute."""

from __future__ import annotations

import itertools

import numpy as np
from bitlite import _native
from bitlite.native.lower import with_bounds

ISAS = _native.isas()
THREADS = (1, 2, 3)
SIZES = (1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 64, 65)


class T:
    """A tensor of a one-step program: constant when it has data and is not fed."""

    def __init__(self, data, scale=None, zero=None, axis=None, fed=True):
        self.data = np.ascontiguousarray(data)
        self.scale, self.zero, self.axis, self.fed = scale, zero, axis, fed

    def spec(self, name):
        def listed(v):
            return None if v is None else [x.item() for x in np.atleast_1d(v)]

        return {
            "name": name,
            "dtype": str(self.data.dtype),
            "shape": list(self.data.shape),
            "data": None if self.fed else self.data,
            "scale": listed(self.scale),
            "zero_point": listed(self.zero),
            "axis": self.axis,
        }


def const(data, scale=None, zero=None, axis=None):
    return T(data, scale, zero, axis, fed=False)


def step_of(op, inputs, outputs, attrs):
    tensors, index = [], []
    for t in [*inputs, *outputs]:
        index.append(-1 if t is None else len(tensors))
        if t is not None:
            tensors.append(t.spec(f"t{len(tensors)}"))
    n = len(inputs)
    step = {"op": op, "name": op, "inputs": index[:n], "outputs": index[n:], "attrs": with_bounds(attrs)}
    fed = [i for i, t in zip(index, inputs) if t is not None and t.fed]
    return tensors, step, fed


def run(op, inputs, outputs, attrs, isa, threads=1):
    tensors, step, fed = step_of(op, inputs, outputs, attrs)
    program = _native.Program(tensors, [step], fed, step["outputs"], threads=threads, isa=isa)
    return program.run([t.data for t in inputs if t is not None and t.fed])


def check(op, inputs, outputs, attrs, expected, threads=(1,)):
    """outputs give types, shapes and parameters; expected the values."""
    for isa, n in itertools.product(ISAS, threads):
        for got, want in zip(run(op, inputs, outputs, attrs, isa, n), expected, strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got, want, err_msg=f"{op} {attrs} isa={isa} threads={n}")


def refusal(op, inputs, outputs, attrs):
    tensors, step, _ = step_of(op, inputs, outputs, attrs)
    return _native.check_step(tensors, step)


def codes(rng, shape, dtype=np.int8):
    """Random codes with many extremes."""
    info = np.iinfo(dtype)
    x = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    mask = rng.random(shape)
    return np.where(mask < 0.1, info.min, np.where(mask > 0.9, info.max, x)).astype(dtype)


def requantize(acc, m, zero, low=-128, high=127):
    with np.errstate(over="ignore"):
        v = acc.astype(np.int64).astype(np.uint32).view(np.int32).astype(np.float32) * np.asarray(m).astype(np.float32)
    return (np.clip(np.rint(v).astype(np.float64), low - zero, high - zero) + zero).astype(np.int8)


def gemmlowp(acc, sx, sw, sy, zero):
    """Scalar by scalar, in Python integers; sx · sw is one float32 multiplication."""
    product = np.float32(sx) * np.asarray(sw, np.float32)
    m = product.astype(np.float64) / np.float64(np.float32(sy))
    m = np.broadcast_to(np.asarray(m, np.float64), acc.shape)
    y = np.empty(acc.shape, np.int8)
    for i in np.ndindex(acc.shape):
        fraction, exponent = np.frexp(m[i])
        mantissa = int(np.floor(fraction * 2**31 + 0.5))
        if mantissa == 2**31:
            mantissa, exponent = mantissa // 2, exponent + 1
        a = int(acc[i]) << max(exponent, 0)
        product = a * mantissa
        nudge = 2**30 if product >= 0 else 1 - 2**30
        high = abs(product + nudge) >> 31
        high = high if product + nudge >= 0 else -high
        shift = max(-exponent, 0)
        rest = high & ((1 << shift) - 1)
        value = (high >> shift) + (rest > ((((1 << shift) - 1) >> 1) + (high < 0)))
        y[i] = min(max(value + zero, -128), 127)
    return y


def conv_acc(x, w, zx, zw, stride, dilation, pad, group):
    """Sums of (x - zx)(w - zw), x [N,H,W,C], w [O,KH,KW,C/group]."""
    x = np.pad(x.astype(np.int64) - zx, ((0, 0), pad[:2], pad[2:], (0, 0)))
    w = w.astype(np.int64) - np.reshape(zw, (-1, 1, 1, 1))
    n, h, wide, _ = x.shape
    o, kh, kw, cg = w.shape
    oh = (h - (kh - 1) * dilation[0] - 1) // stride[0] + 1
    ow = (wide - (kw - 1) * dilation[1] - 1) // stride[1] + 1
    acc = np.zeros((n, oh, ow, o), np.int64)
    for ky, kx in np.ndindex(kh, kw):
        y0, x0 = ky * dilation[0], kx * dilation[1]
        part = x[:, y0 : y0 + (oh - 1) * stride[0] + 1 : stride[0], x0 : x0 + (ow - 1) * stride[1] + 1 : stride[1]]
        for g in range(group):
            og = o // group
            acc[..., g * og : (g + 1) * og] += part[..., g * cg : (g + 1) * cg] @ w[g * og : (g + 1) * og, ky, kx].T
    return acc


def dynamic_params(x):
    low, high = min(np.float32(0), x.min()), max(np.float32(0), x.max())
    scale = np.float32(high - low) / np.float32(255)
    zero = int(np.clip(np.rint(np.float32(-128) - low / scale), -128, 127))
    q = np.clip(np.rint(x * (np.float32(1) / scale)), -128 - zero, 127 - zero) + zero
    return q.astype(np.int8), scale, zero


def conv_case(rng, case, n=1):
    h, w, c, o, kernel, stride, dilation, pad, group = case
    x = codes(rng, (n, h, w, c))
    weights = codes(rng, (o, *kernel, c // group))
    attrs = {"stride": list(stride), "dilation": list(dilation), "pad": list(pad), "group": group}

    def acc(zx, zw=0):
        return conv_acc(x, weights, zx, zw, stride, dilation, pad, group)

    return x, weights, attrs, acc


def biased_conv(case, zx, spread):
    """Of a convolution with a bias: inputs of its step, attributes, exact sums, weight scales, and the output's scale,
    which `spread` of the largest sum takes."""
    rng = np.random.default_rng(1)
    x, w, attrs, acc = conv_case(rng, case, n=2)
    bias = rng.integers(-20000, 20000, w.shape[0]).astype(np.int32)
    sw = rng.uniform(0.001, 0.01, w.shape[0])
    sums = acc(zx) + bias
    sy = float(np.abs(sums).max() * 0.02 * sw.max() / spread)
    inputs = [T(x, 0.02, zx), const(w, sw, np.zeros(len(sw), int), 0), const(bias)]
    return inputs, attrs, sums, sw, sy
