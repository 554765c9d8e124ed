"""The int8 steps against plain integer references, bit for bit, on every instruction set and thread count."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from bitlite.native.lower import with_bounds

_native = pytest.importorskip("bitlite._native")

ISAS = _native.isas()
THREADS = (1, 2, 3)
SIZES = (1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 64, 65)


# --- describing and running one step


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


# --- references


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


# --- convolution

CONV_CASES = [
    # h, w, c, o, (kh, kw), stride, dilation, pad, group
    (5, 6, 3, 16, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1),
    (9, 7, 3, 8, (3, 3), (2, 2), (1, 1), (0, 1, 0, 1), 1),
    (6, 5, 16, 33, (3, 3), (1, 1), (2, 1), (2, 2, 1, 1), 1),
    (6, 7, 5, 7, (3, 2), (1, 2), (1, 2), (1, 0, 2, 1), 1),
    (4, 5, 17, 65, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1),
    (5, 5, 8, 24, (1, 1), (2, 2), (1, 1), (0, 0, 0, 0), 1),
    (4, 4, 7, 9, (1, 1), (1, 1), (1, 1), (1, 1, 1, 1), 1),
    (5, 4, 12, 10, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 2),
    (5, 4, 6, 9, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 3),
    (10, 4, 1, 64, (10, 4), (2, 2), (1, 1), (4, 5, 1, 1), 1),
    (1, 9, 4, 5, (1, 3), (1, 1), (1, 1), (0, 0, 1, 1), 1),
    (8, 8, 64, 64, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1),
    (33, 3, 64, 31, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1),
]


def conv_case(rng, case, n=1):
    h, w, c, o, kernel, stride, dilation, pad, group = case
    x = codes(rng, (n, h, w, c))
    weights = codes(rng, (o, *kernel, c // group))
    attrs = {"stride": list(stride), "dilation": list(dilation), "pad": list(pad), "group": group}

    def acc(zx, zw=0):
        return conv_acc(x, weights, zx, zw, stride, dilation, pad, group)

    return x, weights, attrs, acc


@pytest.mark.parametrize("case", CONV_CASES, ids=str)
@pytest.mark.parametrize("zx,zy", [(-128, 127), (127, -128), (3, -5)])
def test_conv_matches_integer_reference(case, zx, zy):
    rng = np.random.default_rng(1)
    x, w, attrs, acc = conv_case(rng, case, n=2)
    bias = rng.integers(-20000, 20000, w.shape[0]).astype(np.int32)
    sw = rng.uniform(0.001, 0.01, w.shape[0])
    sums = acc(zx) + bias
    sy = float(np.abs(sums).max() * 0.02 * sw.max() / 100)
    expected = requantize(sums, 0.02 * sw / sy, zy)
    y = T(expected, sy, zy)
    check(
        "conv", [T(x, 0.02, zx), const(w, sw, np.zeros(len(sw), int), 0), const(bias)], [y], attrs, [expected], THREADS
    )


@pytest.mark.parametrize("channels", SIZES)
@pytest.mark.parametrize("out", SIZES)
def test_pointwise_conv_of_all_widths(channels, out):
    rng = np.random.default_rng(channels * 100 + out)
    x, w, attrs, acc = conv_case(rng, (3, 7, channels, out, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1))
    sums = acc(-7)
    sy = float(np.abs(sums).max() * 0.02 * 0.01 / 150) + 1e-6
    expected = requantize(sums, 0.02 * 0.01 / sy, 4)
    check("conv", [T(x, 0.02, -7), const(w, 0.01, 0), None], [T(expected, sy, 4)], attrs, [expected])


@pytest.mark.parametrize("pixels", range(1, 40))
def test_conv_of_every_number_of_pixels(pixels):
    rng = np.random.default_rng(pixels)
    for out in (16, 32, 48, 64):
        x, w, attrs, acc = conv_case(rng, (1, pixels, 16, out, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1))
        sums = acc(0)
        expected = requantize(sums, 0.02 * 0.01 / 0.05, 0)
        check("conv", [T(x, 0.02, 0), const(w, 0.01, 0), None], [T(expected, 0.05, 0)], attrs, [expected])


@pytest.mark.parametrize(
    "act,bounds", [("relu", (0, None)), ("relu6", (0, 6)), ("relu_n1_to_1", (-1, 1)), ("none", (None, None))]
)
def test_conv_folds_activation_into_range(act, bounds):
    rng = np.random.default_rng(2)
    x, w, attrs, acc = conv_case(rng, CONV_CASES[0])
    low, high = (
        default if b is None else np.clip(np.rint(b / 0.07) - 20, -128, 127) for b, default in zip(bounds, (-128, 127))
    )
    expected = requantize(acc(5), 0.02 * 0.01 / 0.07, -20, low, high)
    check("conv", [T(x, 0.02, 5), const(w, 0.01, 0), None], [T(expected, 0.07, -20)], attrs | {"act": act}, [expected])


def test_conv_range_attributes_narrow_the_output():
    rng = np.random.default_rng(3)
    x, w, attrs, acc = conv_case(rng, CONV_CASES[0])
    expected = requantize(acc(5), 0.02 * 0.01 / 0.07, 1, -8, 7)
    attrs |= {"qmin": -8, "qmax": 7}
    check("conv", [T(x, 0.02, 5), const(w, 0.01, 0), None], [T(expected, 0.07, 1)], attrs, [expected])


@pytest.mark.parametrize("case", CONV_CASES[:9], ids=str)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_conv_with_weight_zero_points(case, per_channel, dtype):
    rng = np.random.default_rng(4)
    x, w, attrs, _ = conv_case(rng, case)
    w = codes(rng, w.shape, dtype)
    info = np.iinfo(dtype)
    zw = rng.integers(info.min, info.max, w.shape[0], endpoint=True) if per_channel else np.array([info.max])
    sw = rng.uniform(0.001, 0.01, len(zw))
    *_, stride, dilation, pad, group = case
    sums = conv_acc(x, w, -100, zw, stride, dilation, pad, group)
    sy = float(np.abs(sums).max() * 0.02 * sw.max() / 100)
    expected = requantize(sums, 0.02 * sw / sy, -3)
    weights = const(w, sw, zw, 0 if per_channel else None)
    check("conv", [T(x, 0.02, -100), weights, None], [T(expected, sy, -3)], attrs, [expected], (1, 2))


@pytest.mark.parametrize("case", CONV_CASES[:8], ids=str)
def test_conv_rounds_as_gemmlowp(case):
    rng = np.random.default_rng(5)
    x, w, attrs, acc = conv_case(rng, case)
    bias = rng.integers(-2000, 2000, w.shape[0]).astype(np.int32)
    sw = rng.uniform(0.001, 0.01, w.shape[0])
    sums = acc(11) + bias
    sy = float(np.abs(sums).max() * 0.02 * sw.max() / 100)
    expected = gemmlowp(sums, 0.02, sw, sy, 9)
    weights = const(w, sw, np.zeros(len(sw), int), 0)
    check(
        "conv",
        [T(x, 0.02, 11), weights, const(bias)],
        [T(expected, sy, 9)],
        attrs | {"rounding": "gemmlowp"},
        [expected],
    )


@pytest.mark.parametrize("case", CONV_CASES[:9] + CONV_CASES[-2:], ids=str)
def test_conv_gives_float_from_its_accumulator(case):
    rng = np.random.default_rng(6)
    x, w, attrs, acc = conv_case(rng, case)
    sw = rng.uniform(0.001, 0.01, w.shape[0])
    bias = rng.normal(size=w.shape[0]).astype(np.float32)
    expected = acc(-9).astype(np.float32) * (0.02 * sw).astype(np.float32) + bias
    weights = const(w, sw, np.zeros(len(sw), int), 0)
    check("conv", [T(x, 0.02, -9), weights, const(bias)], [T(expected)], attrs, [expected], THREADS)
    expected = np.maximum(expected, 0)
    check("conv", [T(x, 0.02, -9), weights, const(bias)], [T(expected)], attrs | {"act": "relu"}, [expected])


@pytest.mark.parametrize("case", CONV_CASES, ids=str)
@pytest.mark.parametrize("zw", [0, 5])
def test_conv_adds_fused_residual(case, zw):
    rng = np.random.default_rng(7)
    x, w, attrs, acc = conv_case(rng, case)
    sums = acc(-9, zw)
    mid = float(np.abs(sums).max() * 0.02 * 0.01 / 150)
    q = requantize(sums, 0.02 * 0.01 / mid, 7, 7, 127)
    r = codes(rng, q.shape)
    sr, sy = 0.04, 0.05
    total = (q.astype(np.float32) - 7) * np.float32(mid / sy) + (r.astype(np.float32) + 3) * np.float32(sr / sy)
    expected = np.clip(np.rint(total) + 2, -128, 127).astype(np.int8)
    attrs |= {"mid_scale": mid, "mid_zero_point": 7, "act": "relu"}
    inputs = [T(x, 0.02, -9), const(w, 0.01, zw), None, T(r, sr, -3)]
    check("conv", inputs, [T(expected, sy, 2)], attrs, [expected], THREADS)


def test_accumulators_wrap_and_large_multipliers_saturate():
    rng = np.random.default_rng(8)
    x, w, attrs, acc = conv_case(rng, CONV_CASES[7])
    bias = np.where(np.arange(w.shape[0]) % 2, 2**31 - 1, -(2**31)).astype(np.int32)
    for sy in (1e-9, 3.0, 1e9):
        expected = requantize(acc(3) + bias, 0.5 * 0.25 / sy, 1)
        check("conv", [T(x, 0.5, 3), const(w, 0.25, 0), const(bias)], [T(expected, sy, 1)], attrs, [expected])


def test_one_dimensional_conv():
    rng = np.random.default_rng(9)
    x, w, attrs, acc = conv_case(rng, (1, 11, 6, 13, (1, 3), (1, 2), (1, 1), (0, 0, 1, 1), 1))
    expected = requantize(acc(3), 0.02 * 0.01 / 0.05, 0)[:, 0]
    attrs = {"stride": [2], "dilation": [1], "pad": [1, 1]}
    check("conv", [T(x[:, 0], 0.02, 3), const(w[:, 0], 0.01, 0), None], [T(expected, 0.05, 0)], attrs, [expected])


DEPTHWISE_CASES = [
    (7, 8, 16, 16, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 16),
    (9, 7, 65, 65, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 65),
    (9, 9, 64, 64, (3, 3), (2, 2), (1, 1), (0, 1, 0, 1), 64),
    (6, 5, 31, 31, (3, 3), (2, 1), (1, 1), (1, 1, 1, 1), 31),
    (8, 7, 33, 33, (5, 5), (1, 1), (1, 1), (2, 2, 2, 2), 33),
    (8, 9, 130, 130, (5, 5), (2, 2), (1, 1), (2, 1, 2, 1), 130),
    (9, 9, 17, 17, (3, 3), (1, 1), (2, 2), (2, 2, 2, 2), 17),
    (9, 9, 5, 10, (3, 3), (3, 3), (1, 1), (1, 1, 1, 1), 5),
    (6, 6, 23, 69, (2, 3), (1, 1), (1, 1), (1, 0, 1, 1), 23),
    (3, 1, 96, 96, (3, 1), (1, 1), (1, 1), (1, 1, 0, 0), 96),
    (1, 1, 8, 8, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 8),
    (2, 3, 3, 3, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 3),
]


@pytest.mark.parametrize("case", DEPTHWISE_CASES, ids=str)
@pytest.mark.parametrize("zx,zy", [(-128, 127), (127, -128), (3, -5)])
def test_depthwise_matches_integer_reference(case, zx, zy):
    rng = np.random.default_rng(1)
    x, w, attrs, acc = conv_case(rng, case, n=2)
    bias = rng.integers(-20000, 20000, w.shape[0]).astype(np.int32)
    sw = rng.uniform(0.001, 0.01, w.shape[0])
    sums = acc(zx) + bias
    sy = float(np.abs(sums).max() * 0.02 * sw.max() / 150)
    expected = requantize(sums, 0.02 * sw / sy, zy)
    inputs = [T(x, 0.02, zx), const(w, sw, np.zeros(len(sw), int), 0), const(bias)]
    check("conv", inputs, [T(expected, sy, zy)], attrs, [expected], THREADS)
    expected = gemmlowp(sums, 0.02, sw, sy, zy)
    check("conv", inputs, [T(expected, sy, zy)], attrs | {"rounding": "gemmlowp"}, [expected], (1, 2))


@pytest.mark.parametrize("channels", SIZES)
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_of_all_widths(channels, stride):
    for width in range(1, 9):
        rng = np.random.default_rng(channels * 100 + width)
        case = (3, width, channels, channels, (3, 3), (stride, stride), (1, 1), (1, 1, 1, 1), channels)
        x, w, attrs, acc = conv_case(rng, case)
        expected = requantize(acc(-7), 0.02 * 0.01 / 0.3, 4)
        check("conv", [T(x, 0.02, -7), const(w, 0.01, 0), None], [T(expected, 0.3, 4)], attrs, [expected])


@pytest.mark.parametrize("case", DEPTHWISE_CASES, ids=str)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_depthwise_with_weight_zero_points(case, per_channel, dtype):
    rng = np.random.default_rng(4)
    x, w, attrs, _ = conv_case(rng, case)
    w = codes(rng, w.shape, dtype)
    info = np.iinfo(dtype)
    zw = rng.integers(info.min, info.max, w.shape[0], endpoint=True) if per_channel else np.array([info.max])
    sw = rng.uniform(0.001, 0.01, len(zw))
    *_, stride, dilation, pad, group = case
    sums = conv_acc(x, w, -100, zw, stride, dilation, pad, group)
    expected = requantize(sums, 0.02 * sw / 1.1, -3)
    weights = const(w, sw, zw, 0 if per_channel else None)
    check("conv", [T(x, 0.02, -100), weights, None], [T(expected, 1.1, -3)], attrs, [expected], (1, 2))


def dynamic_params(x):
    low, high = min(np.float32(0), x.min()), max(np.float32(0), x.max())
    scale = np.float32(high - low) / np.float32(255)
    zero = int(np.clip(np.rint(np.float32(-128) - low / scale), -128, 127))
    q = np.clip(np.rint(x * (np.float32(1) / scale)), -128 - zero, 127 - zero) + zero
    return q.astype(np.int8), scale, zero


@pytest.mark.parametrize("case", CONV_CASES[:9], ids=str)
def test_conv_quantizes_its_input_while_running(case):
    rng = np.random.default_rng(10)
    _, w, attrs, _ = conv_case(rng, case)
    x = rng.normal(1, 3, (2, case[0], case[1], case[2])).astype(np.float32)
    q, sx, zx = dynamic_params(x)
    *_, stride, dilation, pad, group = case
    sw = rng.uniform(0.001, 0.01, w.shape[0])
    acc = conv_acc(q, w, zx, 0, stride, dilation, pad, group)
    bias = rng.normal(size=w.shape[0]).astype(np.float32)
    expected = acc.astype(np.float32) * (sx * sw.astype(np.float32)) + bias
    inputs = [T(x), const(w, sw, np.zeros(len(sw), int), 0), const(bias)]
    check("conv", inputs, [T(expected)], attrs | {"dynamic": True}, [expected], THREADS)


TRANSPOSE_CASES = [
    # h, w, c, o, kernel, stride, dilation, pad, output_padding, group
    (4, 5, 8, 16, (2, 2), (2, 2), (1, 1), (0, 0, 0, 0), (0, 0), 1),
    (4, 5, 7, 9, (3, 3), (2, 2), (1, 1), (1, 0, 0, 1), (0, 1), 1),
    (3, 4, 5, 33, (4, 4), (2, 2), (1, 1), (1, 1, 1, 1), (0, 0), 1),
    (5, 3, 4, 6, (3, 2), (1, 3), (2, 1), (1, 2, 0, 0), (0, 0), 2),
    (3, 3, 16, 4, (2, 2), (3, 4), (1, 1), (0, 0, 0, 0), (1, 2), 1),
    (6, 6, 4, 4, (5, 5), (1, 1), (1, 1), (2, 2, 2, 2), (0, 0), 4),
    (1, 1, 3, 2, (7, 7), (2, 2), (1, 1), (2, 2, 2, 2), (0, 0), 1),
]


@pytest.mark.parametrize("case", TRANSPOSE_CASES, ids=str)
@pytest.mark.parametrize("zw", [0, -9])
def test_conv_transpose_matches_integer_reference(case, zw):
    h, w, c, o, kernel, stride, dilation, pad, more, group = case
    rng = np.random.default_rng(22)
    x, weights = codes(rng, (2, h, w, c)), codes(rng, (c, *kernel, o // group))
    bias = rng.integers(-9000, 9000, o).astype(np.int32)
    size = [
        s * (n - 1) + (k - 1) * d + 1 + e for s, n, k, d, e in zip(stride, (h, w), kernel, dilation, more, strict=True)
    ]
    full = np.zeros((2, *size, o), np.int64)
    ig, og = c // group, o // group
    for ky, kx in np.ndindex(*kernel):
        rows = slice(ky * dilation[0], ky * dilation[0] + stride[0] * (h - 1) + 1, stride[0])
        columns = slice(kx * dilation[1], kx * dilation[1] + stride[1] * (w - 1) + 1, stride[1])
        for g in range(group):
            part = x[..., g * ig : (g + 1) * ig].astype(np.int64) + 20
            matrix = weights[g * ig : (g + 1) * ig, ky, kx].astype(np.int64) - zw
            full[:, rows, columns, g * og : (g + 1) * og] += part @ matrix
    sums = full[:, pad[0] : size[0] - pad[1], pad[2] : size[1] - pad[3]] + bias
    sy = float(np.abs(sums).max() * 0.02 * 0.01 / 120)
    expected = requantize(sums, 0.02 * 0.01 / sy, 6)
    attrs = {"stride": stride, "dilation": dilation, "pad": pad, "output_padding": more}
    attrs = {k: list(v) for k, v in attrs.items()} | {"group": group}
    inputs = [T(x, 0.02, -20), const(weights, 0.01, zw), const(bias)]
    check("conv_transpose", inputs, [T(expected, sy, 6)], attrs, [expected], THREADS)


# --- fully connected, matmul


@pytest.mark.parametrize("m,k,n", [*itertools.product((1, 2, 7), (1, 3, 64, 65), (1, 10, 128)), (33, 640, 128)])
def test_fully_connected_matches_integer_reference(m, k, n):
    rng = np.random.default_rng(m * k * n)
    x, w = codes(rng, (m, k)), codes(rng, (n, k))
    bias = rng.integers(-9000, 9000, n).astype(np.int32)
    acc = (x.astype(np.int64) + 128) @ w.T.astype(np.int64) + bias
    sy = float(np.abs(acc).max() * 0.02 * 0.01 / 120)
    expected = requantize(acc, 0.02 * 0.01 / sy, -4)
    inputs = [T(x, 0.02, -128), const(w, 0.01, 0), const(bias)]
    check("fully_connected", inputs, [T(expected, sy, -4)], {}, [expected], THREADS)
    expected = acc.astype(np.float32) * np.float32(0.02 * 0.01)
    check("fully_connected", inputs, [T(expected)], {}, [expected], THREADS)


def test_fully_connected_quantizes_its_input_while_running():
    rng = np.random.default_rng(11)
    x, w = rng.normal(0, 2, (5, 65)).astype(np.float32), codes(rng, (33, 65))
    q, sx, zx = dynamic_params(x)
    zw = rng.integers(-128, 127, 33)
    sw = rng.uniform(0.001, 0.01, 33)
    acc = (q.astype(np.int64) - zx) @ (w.astype(np.int64) - zw[:, None]).T
    expected = acc.astype(np.float32) * (sx * sw.astype(np.float32))
    check("fully_connected", [T(x), const(w, sw, zw, 0), None], [T(expected)], {"dynamic": True}, [expected], THREADS)


@pytest.mark.parametrize("ta,tb", [*itertools.product((False, True), repeat=2)])
@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("zb", [0, -128, 17])
@pytest.mark.parametrize("batch", [((), ()), ((2, 3), (3,)), ((3,), (1,)), ((1,), (2,))], ids=str)
def test_matmul_matches_integer_reference(ta, tb, computed, zb, batch):
    rng = np.random.default_rng(12)
    m, k, n = 9, 21, 18
    a = codes(rng, (*batch[0], *((k, m) if ta else (m, k))))
    b = codes(rng, (*batch[1], *((n, k) if tb else (k, n))))
    left = a.astype(np.int64).swapaxes(-1, -2) if ta else a.astype(np.int64)
    right = b.astype(np.int64).swapaxes(-1, -2) if tb else b.astype(np.int64)
    acc = np.matmul(left - 5, right - zb)
    sy = float(np.abs(acc).max() * 0.02 * 0.01 / 120)
    expected = requantize(acc, 0.02 * 0.01 / sy, -4)
    inputs = [T(a, 0.02, 5), (T if computed else const)(b, 0.01, zb)]
    attrs = {"transpose_a": ta, "transpose_b": tb}
    check("matmul", inputs, [T(expected, sy, -4)], attrs, [expected], THREADS)


# --- elementwise


def added(a, b, qa, qb, qy, sign=1, low=-128, high=127):
    left = (a.astype(np.float32) - np.float32(qa[1])) * np.float32(qa[0] / qy[0])
    right = (b.astype(np.float32) - np.float32(qb[1])) * np.float32(sign * (qb[0] / qy[0]))
    return np.clip(np.rint(left + right) + qy[1], low, high).astype(np.int8)


BROADCASTS = [
    *[((n,), (n,)) for n in SIZES],
    ((3, 5, 7), (3, 5, 7)),
    ((3, 5, 7), (7,)),
    ((7,), (3, 5, 7)),
    ((3, 5, 7), ()),
    ((1,), (3, 33)),
    ((3, 1, 7), (1, 5, 1)),
    ((2, 3, 1, 65), (3, 4, 65)),
    ((9000, 3), (9000, 3)),
    ((2, 9000), (2, 1)),
]


@pytest.mark.parametrize("sa,sb", BROADCASTS, ids=str)
@pytest.mark.parametrize("qa,qb,qy", [((0.1, 3), (0.2, -7), (0.25, 5)), ((0.5, -128), (0.5, 127), (1e-4, -128))])
def test_binary_functions_match_reference(sa, sb, qa, qb, qy):
    rng = np.random.default_rng(13)
    a, b = codes(rng, sa), codes(rng, sb)
    inputs = [T(a, *qa), T(b, *qb)]
    for op, expected in (
        ("add", added(a, b, qa, qb, qy)),
        ("sub", added(a, b, qa, qb, qy, -1)),
        ("mul", requantize((a.astype(np.int64) - qa[1]) * (b.astype(np.int64) - qb[1]), qa[0] * qb[0] / qy[0], qy[1])),
    ):
        check(op, inputs, [T(expected, *qy)], {}, [expected], THREADS)
    expected = added(a, b, qa, qb, (0.25, 5), low=5, high=29)
    check("add", inputs, [T(expected, 0.25, 5)], {"act": "relu6"}, [expected])
    same = [T(a, 0.1, 3), T(b, 0.1, 3)]
    for op, function in (("maximum", np.maximum), ("minimum", np.minimum)):
        expected = function(a, b)
        check(op, same, [T(expected, 0.1, 3)], {}, [expected])


def test_binary_with_constant_operand():
    rng = np.random.default_rng(14)
    a, b = codes(rng, (4, 17)), codes(rng, (17,))
    expected = added(a, b, (0.1, 3), (0.2, 0), (0.3, 1))
    check("add", [T(a, 0.1, 3), const(b, 0.2, 0)], [T(expected, 0.3, 1)], {}, [expected])
    unsigned = (b.astype(np.int16) + 128).astype(np.uint8)
    check("add", [T(a, 0.1, 3), const(unsigned, 0.2, 128)], [T(expected, 0.3, 1)], {}, [expected])


FLOATS = np.array(
    [0, -0.0, 0.5, 1.5, -0.5, -2.5, 1e30, -1e30, np.inf, -np.inf, np.nan, 126.5, 127.5, -128.5], np.float32
)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
@pytest.mark.parametrize("n", SIZES)
def test_quantize_rounds_half_to_even_and_saturates(dtype, n):
    rng = np.random.default_rng(n)
    info = np.iinfo(dtype)
    x = np.concatenate([FLOATS, rng.normal(0, 60, n).astype(np.float32)])
    for scale, zero in ((1.0, 0), (0.3, info.max), (0.7, info.min)):
        with np.errstate(over="ignore"):
            v = np.rint(x * np.float32(1 / scale)).astype(np.float64)
        expected = np.where(np.isnan(v), zero, np.clip(v + zero, info.min, info.max)).astype(dtype)
        check("quantize", [T(x)], [T(expected, scale, zero)], {"dtype": np.dtype(dtype).name}, [expected], (1, 2))


@pytest.mark.parametrize("source,target", [*itertools.product([np.int8, np.uint8, np.int16], [np.int8, np.uint8])])
def test_quantize_changes_parameters_of_codes(source, target):
    rng = np.random.default_rng(15)
    x = codes(rng, 9001, source)
    zx, zy = (np.iinfo(t).min + 7 for t in (source, target))
    for sx, sy in ((0.1, 0.3), (0.3, 0.1), (0.1, 0.1)):
        v = np.rint((x.astype(np.float32) - zx) * np.float32(sx / sy)).astype(np.int64) + zy
        expected = np.clip(v, np.iinfo(target).min, np.iinfo(target).max).astype(target)
        check("quantize", [T(x, sx, zx)], [T(expected, sy, zy)], {}, [expected], (1, 2))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32])
def test_dequantize_matches_reference(dtype):
    rng = np.random.default_rng(16)
    x = codes(rng, (3, 3001), dtype)
    zero = 0 if dtype == np.int32 else np.iinfo(dtype).max
    expected = (x.astype(np.int64) - zero).astype(np.float32) * np.float32(0.037)
    check("dequantize", [T(x, 0.037, zero)], [T(expected)], {}, [expected], (1, 2))


@pytest.mark.parametrize("n", [*SIZES, 256, 20000])
def test_lut_looks_every_code_up(n):
    rng = np.random.default_rng(n)
    table = codes(rng, 256)
    x = np.resize(np.arange(-128, 128), n).astype(np.int8)
    expected = table[x.astype(np.int64) + 128]
    check("lut", [T(x, 0.1, 3), const(table)], [T(expected, 0.2, 1)], {}, [expected], (1, 2))


# --- pools, reductions, softmax, concat

POOL_CASES = [
    # h, w, c, kernel, stride, dilation, pad, ceil
    (6, 7, 5, (2, 2), (2, 2), (1, 1), (0, 0, 0, 0), False),
    (7, 7, 16, (3, 3), (2, 2), (1, 1), (1, 1, 1, 1), False),
    (6, 6, 33, (3, 3), (2, 2), (1, 1), (0, 0, 0, 0), True),
    (5, 8, 65, (2, 3), (1, 2), (2, 1), (1, 0, 0, 1), False),
    (4, 4, 1280, (4, 4), (4, 4), (1, 1), (0, 0, 0, 0), False),
]


def pool_windows(case, x, fill):
    h, w, _, (kh, kw), (sh, sw), (dh, dw), pad, ceil = case
    rounding = np.ceil if ceil else np.floor
    oh = int(rounding((h + pad[0] + pad[1] - (kh - 1) * dh - 1) / sh)) + 1
    ow = int(rounding((w + pad[2] + pad[3] - (kw - 1) * dw - 1) / sw)) + 1
    more = ((0, 0), (pad[0], pad[1] + sh), (pad[2], pad[3] + sw), (0, 0))
    x = np.pad(x, more, constant_values=fill)
    taps = [
        x[:, ky * dh : ky * dh + (oh - 1) * sh + 1 : sh, kx * dw : kx * dw + (ow - 1) * sw + 1 : sw]
        for ky, kx in np.ndindex(kh, kw)
    ]
    return np.stack(taps)


def pool_attrs(case):
    _, _, _, kernel, stride, dilation, pad, ceil = case
    listed = {"kernel": kernel, "stride": stride, "dilation": dilation, "pad": pad}
    return {k: list(v) for k, v in listed.items()} | {"ceil_mode": ceil}


@pytest.mark.parametrize("case", POOL_CASES, ids=str)
def test_max_pool_matches_reference(case):
    rng = np.random.default_rng(17)
    x = codes(rng, (2, *case[:3]))
    expected = pool_windows(case, x.astype(np.int64), -1000).max(0).astype(np.int8)
    check("max_pool", [T(x, 0.1, 4)], [T(expected, 0.1, 4)], pool_attrs(case), [expected], THREADS)
    other = requantize(expected.astype(np.int64) - 4, 0.1 / 0.07, -9, -9, 127)
    check("max_pool", [T(x, 0.1, 4)], [T(other, 0.07, -9)], pool_attrs(case) | {"act": "relu"}, [other])


@pytest.mark.parametrize("case", POOL_CASES, ids=str)
@pytest.mark.parametrize("include_pad", [False, True])
def test_average_pool_matches_reference(case, include_pad):
    rng = np.random.default_rng(18)
    x = codes(rng, (2, *case[:3]))
    sums = pool_windows(case, x.astype(np.int64) - 4, 0).sum(0)
    ones = np.ones((1, case[0], case[1], 1), np.int64)
    pad = case[6]
    if include_pad:
        ones = np.pad(ones, ((0, 0), pad[:2], pad[2:], (0, 0)), constant_values=1)
        padded = (*ones.shape[1:3], *case[2:6], (0, 0, 0, 0), case[7])
        count = pool_windows(padded, ones, 0).sum(0)
    else:
        count = pool_windows(case, ones, 0).sum(0)
    expected = requantize(sums, 0.1 / (0.05 * count), -3)
    attrs = pool_attrs(case) | {"count_include_pad": include_pad}
    check("average_pool", [T(x, 0.1, 4)], [T(expected, 0.05, -3)], attrs, [expected], THREADS)


@pytest.mark.parametrize(
    "shape,axes",
    [((2, 7, 7, 33), (1, 2)), ((2, 5, 300), (2,)), ((3, 4, 5), (0, 1, 2)), ((3, 4, 5), (-3,)), ((2, 9), (0,))],
)
@pytest.mark.parametrize("keep", [False, True])
def test_reduce_matches_reference(shape, axes, keep):
    rng = np.random.default_rng(19)
    x = codes(rng, shape)
    n = np.prod([shape[a] for a in axes])
    attrs = {"axes": list(axes), "keep_dims": keep}
    sums = (x.astype(np.int64) + 5).sum(axes, keepdims=keep)
    for mode, m in (("mean", 0.1 / (0.02 * n)), ("sum", 0.1 / 0.02)):
        expected = np.asarray(requantize(sums, m, 7))
        check("reduce", [T(x, 0.1, -5)], [T(expected, 0.02, 7)], attrs | {"mode": mode}, [expected], (1, 2))
    for mode, function in (("max", np.max), ("min", np.min)):
        expected = np.asarray(function(x, axes, keepdims=keep))
        check("reduce", [T(x, 0.1, -5)], [T(expected, 0.1, -5)], attrs | {"mode": mode}, [expected], (1, 2))


@pytest.mark.parametrize("shape,axis", [((5, 10), -1), ((2, 3, 1001), 2), ((3, 7, 5), 1), ((4, 1), 1)])
@pytest.mark.parametrize("scale,beta", [(0.1, 1.0), (0.5, 2.0), (0.001, 1.0)])
def test_softmax_matches_reference(shape, axis, scale, beta):
    rng = np.random.default_rng(20)
    x = codes(rng, shape)
    distance = x.max(axis, keepdims=True).astype(np.int64) - x
    table = np.array([np.rint(np.exp(-d * (scale * beta)) * 2.0**24) for d in range(256)])
    t = table[distance]
    m = (1.0 / (t.sum(axis, keepdims=True) * (1 / 256))).astype(np.float32)
    expected = (np.clip(np.rint(t.astype(np.float32) * m), 0, 255) - 128).astype(np.int8)
    attrs = {"axis": axis, "beta": beta}
    check("softmax", [T(x, scale, 9)], [T(expected, 1 / 256, -128)], attrs, [expected], (1, 2))
    exact = np.exp(-distance * scale * beta) / np.exp(-distance * scale * beta).sum(axis, keepdims=True)
    assert np.abs((expected.astype(float) + 128) / 256 - exact).max() <= 0.51 / 256 + (exact.max() > 255.5 / 256) / 256


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat_requantizes_other_parameters(axis):
    rng = np.random.default_rng(21)
    shapes = [[2, 3, 33], [2, 3, 33], [2, 3, 33]]
    for shape, n in zip(shapes, (1, 5, 17), strict=True):
        shape[axis] = n
    params = ((0.1, 3), (0.2, -50), (0.15, 3))
    parts = [codes(rng, s) for s in shapes]
    expected = np.concatenate(
        [requantize(p.astype(np.int64) - z, s / 0.1, 3) for p, (s, z) in zip(parts, params, strict=True)], axis
    )
    inputs = [T(p, *q) for p, q in zip(parts, params, strict=True)]
    check("concat", inputs, [T(expected, 0.1, 3)], {"axis": axis}, [expected], (1, 2))


# --- refusals


def test_refusals_say_why():
    x, w = np.zeros((1, 4, 4, 8), np.int8), np.zeros((8, 3, 3, 8), np.int8)
    y = np.zeros((1, 2, 2, 8), np.int8)
    q = [T(x, 0.1, 0), const(w, 0.1, 0), None]
    assert refusal("conv", q, [T(y, 0.1, 0)], {}) is None
    assert "scale" in refusal("conv", [T(x, 0.1, 0), const(w, -0.1, 0), None], [T(y, 0.1, 0)], {})
    assert "not a clamp" in refusal("conv", q, [T(y, 0.1, 0)], {"act": "tanh"})
    assert "rounding" in refusal("conv", q, [T(y, 0.1, 0)], {"rounding": "up"})
    assert "does not follow" in refusal("conv", q, [T(np.zeros((1, 3, 2, 8), np.int8), 0.1, 0)], {})
    assert "zero point" in refusal("conv", [T(x, 0.1, 200), *q[1:]], [T(y, 0.1, 0)], {})
    assert "not known" in refusal("conv", q, [T(y, 0.1, 0)], {"colour": 1})
    assert "not quantized" in refusal("add", [T(x), T(x, 0.1, 0)], [T(x, 0.1, 0)], {})
    assert "table" in refusal("lut", [T(x, 0.1, 0), const(np.zeros(255, np.int8))], [T(x, 0.1, 0)], {})


# --- an addition fused into the layer before it


@pytest.mark.parametrize("op", ["conv", "fully_connected", "matmul"])
@pytest.mark.parametrize("rounding", ["rne_f32", "gemmlowp"])
@pytest.mark.parametrize("side", [0, 1])
def test_fused_addition_gives_the_bits_of_two_steps(op, rounding, side):
    rng = np.random.default_rng(23)
    shape = {"conv": (1, 6, 5, 24), "fully_connected": (7, 24), "matmul": (7, 24)}[op]
    weight = codes(rng, (24, 3, 3, 24) if op == "conv" else (24, 24))
    tensors = [
        T(np.zeros(shape, np.int8), 0.05, -3),
        const(weight, 0.002, 0),
        const(rng.integers(-999, 999, 24, np.int32)),
    ]
    tensors += [T(np.zeros(shape, np.int8), s, z) for s, z in ((0.03, 4), (0.02, 9), (0.04, -7))]
    specs = [t.spec(f"t{i}") for i, t in enumerate(tensors)]
    attrs = with_bounds({"act": "relu", "rounding": rounding}) | ({"pad": [1] * 4} if op == "conv" else {})
    steps = [
        {"op": op, "name": "a", "inputs": [0, 1, 2], "outputs": [3], "attrs": attrs},
        {
            "op": "add",
            "name": "b",
            "inputs": [3, 4] if side else [4, 3],
            "outputs": [5],
            "attrs": with_bounds({"act": "relu6"}),
        },
    ]
    feeds = [codes(rng, shape), codes(rng, shape)]
    for isa in ISAS:
        fused = _native.Program(specs, steps, [0, 4], [5], threads=1, isa=isa)
        apart = _native.Program(specs, steps, [0, 4], [5, 3], threads=1, isa=isa)
        assert (fused.step_names, apart.step_names) == (["a+b"], ["a", "b"])
        np.testing.assert_array_equal(fused.run(feeds)[0], apart.run(feeds)[0])


def test_fused_addition_of_the_layers_own_input_does_not_overwrite_it():
    rng = np.random.default_rng(24)
    shape = (1, 40, 40, 64)
    weight = codes(rng, (64, 3, 3, 64))
    tensors = [T(np.zeros(shape, np.int8), 0.05, -3), const(weight, 0.002, 0), const(codes(rng, 256))]
    tensors += [T(np.zeros(shape, np.int8), s, z) for s, z in ((0.05, 4), (0.03, 4), (0.04, -7))]
    specs = [t.spec(f"t{i}") for i, t in enumerate(tensors)]
    steps = [
        {"op": "lut", "name": "l", "inputs": [0, 2], "outputs": [3], "attrs": {}},
        {"op": "conv", "name": "a", "inputs": [3, 1], "outputs": [4], "attrs": {"pad": [1] * 4}},
        {"op": "add", "name": "b", "inputs": [3, 4], "outputs": [5], "attrs": {}},
        {"op": "lut", "name": "m", "inputs": [5, 2], "outputs": [6], "attrs": {}},
    ]
    specs.append(T(np.zeros(shape, np.int8), 0.05, 4).spec("t6"))
    feed = [codes(rng, shape)]
    fused = _native.Program(specs, steps, [0], [6])
    apart = _native.Program(specs, steps, [0], [6, 4])
    assert fused.step_names == ["l", "a+b", "m"]
    np.testing.assert_array_equal(fused.run(feed)[0], apart.run(feed)[0])
