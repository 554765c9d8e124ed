"""Pools, reductions, broadcasting, row functions and data movement against numpy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from bitlite import _native
from bitlite.converter.numeric.qparams import ACT_BOUNDS
from step_runner import CHANNELS, f32, normal, run


def pool_reference(x, kernel, stride, dilation, pad, out, average, include_pad):
    rank = x.ndim - 2
    y = np.empty((x.shape[0], *out, x.shape[-1]))
    for position in np.ndindex(*out):
        taps = []
        counted = 1
        for d in range(rank):
            index = position[d] * stride[d] - pad[2 * d] + np.arange(kernel[d]) * dilation[d]
            counted *= int(np.sum(index < x.shape[d + 1] + pad[2 * d + 1])) if include_pad else 1
            taps.append(index[(index >= 0) & (index < x.shape[d + 1])])
        window = x[(slice(None), *np.ix_(*taps))].astype(np.float64).reshape(x.shape[0], -1, x.shape[-1])
        if average:
            y[(slice(None), *position)] = window.sum(1) / (counted if include_pad else window.shape[1])
        else:
            y[(slice(None), *position)] = window.max(1)
    return y


POOLS = [
    # kernel, stride, dilation, pad, ceil_mode
    ([2, 2], [2, 2], [1, 1], [0, 0, 0, 0], False),
    ([3, 3], [2, 2], [1, 1], [1, 1, 1, 1], True),
    ([3, 2], [1, 3], [2, 1], [2, 1, 0, 1], False),
    ([3], [2], [1], [1, 0], False),
    ([2, 3, 2], [2, 1, 2], [1, 1, 1], [0, 1, 1, 1, 0, 0], False),
]


@pytest.mark.parametrize("op", ["max_pool", "average_pool"])
@pytest.mark.parametrize("kernel, stride, dilation, pad, ceil_mode", POOLS)
@pytest.mark.parametrize("channels", CHANNELS)
def test_pool(op, kernel, stride, dilation, pad, ceil_mode, channels):
    x = normal(1, 2, *[7, 8, 6][: len(kernel)], channels)
    out = []
    for d, k in enumerate(kernel):
        span = x.shape[d + 1] + pad[2 * d] + pad[2 * d + 1] - (k - 1) * dilation[d] - 1
        out.append((-(-span // stride[d]) if ceil_mode else span // stride[d]) + 1)
    attrs = {"kernel": kernel, "stride": stride, "dilation": dilation, "pad": pad, "ceil_mode": ceil_mode}
    for include_pad in (False, True) if op == "average_pool" else (False,):
        if op == "average_pool":
            attrs["count_include_pad"] = include_pad
        want = pool_reference(x, kernel, stride, dilation, pad, out, op == "average_pool", include_pad)
        run(op, [x], f32(want), **attrs)


@pytest.mark.parametrize(
    "mode, fn",
    [
        ("mean", np.mean),
        ("sum", np.sum),
        ("max", np.max),
        ("min", np.min),
        ("prod", np.prod),
        ("l1", lambda x, axes: np.abs(x).sum(axes)),
        ("l2", lambda x, axes: np.sqrt(np.square(x).sum(axes))),
        ("sum_square", lambda x, axes: np.square(x).sum(axes)),
    ],
)
@pytest.mark.parametrize("axes", [(0,), (1, 2), (-1,), (2, 3), (0, 1, 2, 3), (3,)])
def test_reduce(mode, fn, axes):
    x = normal(1, 3, 5, 4, 37)
    run("reduce", [x], f32(fn(x.astype(np.float64), axes)), mode=mode, axes=list(axes), keep_dims=False)


def test_reduce_of_a_long_row_and_of_few_wide_rows():
    x = normal(1, 2, 50_001)
    run("reduce", [x], f32(x.astype(np.float64).sum(1)), mode="sum", axes=[1], atol=1e-2)
    x = normal(1, 1, 7, 7, 1280)
    run("reduce", [x], f32(x.mean((1, 2), dtype=np.float64)), mode="mean", axes=[1, 2], keep_dims=False)


BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "squared_difference": lambda a, b: np.square(a - b),
    "prelu": lambda a, b: np.where(a < 0, a * b, a),
}


@pytest.mark.parametrize("op", BINARY)
@pytest.mark.parametrize(
    "a, b",
    [
        ((), ()),
        ((9000,), (9000,)),
        ((2, 3, 5, 17), (17,)),
        ((2, 3, 5, 17), (2, 1, 1, 17)),
        ((1, 5, 1), (2, 1, 33)),
        ((4, 5, 6), ()),
        ((3, 1, 7), (1, 2, 7)),
        ((2, 3, 4, 5), (2, 3, 4, 1)),
    ],
)
def test_binary_broadcasting(op, a, b):
    x, y = normal(1, *a), normal(2, *b)
    if op != "prelu":
        run(op, [y, x], f32(BINARY[op](y, x)), rtol=1e-6)
    elif np.broadcast_shapes(a, b) != a:
        return
    run(op, [x, y], f32(BINARY[op](x, y)), rtol=1e-6)
    run(op, [x], f32(BINARY[op](x, y)), {1: y}, rtol=1e-6)


def test_binary_with_a_fused_activation():
    a, b = normal(1, 3, 40), normal(2, 3, 40)
    for act, (low, high) in ACT_BOUNDS.items():
        want = a + b if act == "none" else np.clip(a + b, low, high)
        run("add", [a, b], want, act=act)
    run("mul", [a, b], np.tanh(a * b), act="tanh")


def test_minimum_and_maximum_pass_nan_on():
    a, b = f32([np.nan, 1, 2, np.nan]), f32([1, np.nan, 3, np.nan])
    run("minimum", [a, b], np.minimum(a, b))
    run("maximum", [a, b], np.maximum(a, b))


@pytest.mark.parametrize("shape, axis", [((3, 10), -1), ((2, 5, 17), 1), ((1, 1001), 1), ((4, 1), -1), ((7, 3), 0)])
def test_softmax(shape, axis):
    x = 5 * normal(1, *shape)
    for beta in (1.0, 0.5):
        e = np.exp(beta * (x.astype(np.float64) - x.max(axis, keepdims=True)))
        run("softmax", [x], f32(e / e.sum(axis, keepdims=True)), rtol=1e-6, axis=axis, beta=beta)
    shifted = x.astype(np.float64) - x.max(axis, keepdims=True)
    want = shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))
    run("log_softmax", [x], f32(want), rtol=1e-6, axis=axis)


@pytest.mark.parametrize("channels", [1, 7, 16, 45])
def test_normalizations(channels):
    x = 3 * normal(1, 4, 6, channels) + 1
    gamma, beta, mean, variance = (
        normal(2, channels),
        normal(3, channels),
        normal(4, channels),
        normal(5, channels) ** 2,
    )
    want = (x - mean) / np.sqrt(variance.astype(np.float64) + 1e-3) * gamma + beta
    run("batch_norm", [x], f32(want), {1: gamma, 2: beta, 3: mean, 4: variance}, epsilon=1e-3)
    wide = x.astype(np.float64)
    centered = wide - wide.mean(-1, keepdims=True)
    want = centered / np.sqrt(np.square(centered).mean(-1, keepdims=True) + 1e-5)
    run("layer_norm", [x], f32(want), axis=-1)
    run("layer_norm", [x], f32(want * gamma + beta), {1: gamma, 2: beta}, axis=2, epsilon=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "int8", "int64", "float16", "bool"])
@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 4, 5), (40, 33), (1, 17, 1, 20), (3, 2, 2, 2, 4)])
def test_transpose(dtype, shape):
    x = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    for perm in list(itertools.permutations(range(len(shape))))[:24]:
        run("transpose", [x], np.ascontiguousarray(x.transpose(perm)), perm=list(perm))


@pytest.mark.parametrize(
    "begin, end, axes, step",
    [
        ([1, 0], [4, 6], [1, 2], [2, 3]),
        ([-3], [2**63 - 1], [0], [1]),
        ([4, -1], [0, -100], [0, -1], [-1, -2]),
        ([2], [2], [0], [1]),
        ([0, 1, 0], [5, 3, 2], None, None),
    ],
)
def test_slice(begin, end, axes, step):
    x = normal(1, 5, 6, 4)
    at = [slice(None)] * 3
    for i, (b, e) in enumerate(zip(begin, end)):
        s = step[i] if step else 1
        at[axes[i] if axes else i] = slice(b, e, s)
    constants = {1: np.array(begin), 2: np.array(end)}
    if axes:
        constants |= {3: np.array(axes), 4: np.array(step)}
    run("slice", [x], np.ascontiguousarray(x[tuple(at)]), constants)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_concat_and_split_undo_each_other(axis):
    sizes = [1, 4, 2]
    shapes = [[3, 5, 6] for _ in sizes]
    for shape, size in zip(shapes, sizes):
        shape[axis] = size
    parts = [normal(i, *shape) for i, shape in enumerate(shapes)]
    whole = np.concatenate(parts, axis)
    run("concat", parts, whole, axis=axis)
    tensors = [{"name": "x", "dtype": "float32", "shape": list(whole.shape), "data": None}]
    tensors += [{"name": f"y{i}", "dtype": "float32", "shape": s, "data": None} for i, s in enumerate(shapes)]
    step = {"op": "split", "name": "s", "inputs": [0], "outputs": [1, 2, 3], "attrs": {"axis": axis, "sizes": sizes}}
    for part, got in zip(parts, _native.Program(tensors, [step], [0], [1, 2, 3]).run([whole])):
        np.testing.assert_array_equal(got, part)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "symmetric"])
@pytest.mark.parametrize("pads", [[(0, 0), (1, 2), (2, 0), (0, 0)], [(1, 1), (0, 3), (0, 0), (2, 1)], [(0, 0)] * 4])
def test_pad(mode, pads):
    x = normal(1, 2, 4, 5, 3)
    flat = np.array(pads).reshape(-1)
    options = {"constant_values": 1.5} if mode == "constant" else {}
    run("pad", [x], np.pad(x, pads, mode, **options), {1: flat}, mode=mode, value=1.5)
    codes = np.random.default_rng(0).integers(-99, 99, x.shape).astype(np.int8)
    options = {"constant_values": 7} if mode == "constant" else {}
    run("pad", [codes], np.pad(codes, pads, mode, **options), {1: flat}, mode=mode, value=7.0)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize(
    "shape,pads",
    [
        ((2, 21, 17, 16), [(0, 0)] * 3 + [(0, 16)]),  # channels, in groups of short rows
        ((3, 40, 7), [(0, 0), (0, 0), (3, 2)]),
        ((5, 6, 9, 4), [(0, 0), (0, 0), (2, 1), (0, 0)]),
        ((2, 2, 20000), [(0, 0), (0, 0), (1, 5)]),  # a row each
    ],
    ids=str,
)
def test_pad_of_the_last_axis_alone(mode, shape, pads):
    x, flat = np.random.default_rng(0).integers(-99, 99, shape), np.array(pads).reshape(-1)
    for dtype, value in ((np.float32, 1.5), (np.int8, 7), (np.int32, 300)):
        options = {"constant_values": value} if mode == "constant" else {}
        want = np.pad(x.astype(dtype), pads, mode, **options)
        run("pad", [x.astype(dtype)], want, {1: flat}, mode=mode, value=float(value))


def test_tile_and_broadcast():
    x = normal(1, 2, 1, 3)
    run("tile", [x], np.tile(x, (2, 3, 1)), {1: np.array([2, 3, 1])})
    want = np.ascontiguousarray(np.broadcast_to(x, (4, 2, 5, 3)))
    run("broadcast_to", [x], want, {1: np.array(want.shape)})


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_gather(axis, dtype):
    x = normal(1, 4, 5, 6)
    indices = np.array([[0, 3], [-1, 2]], dtype)
    want = np.ascontiguousarray(np.take(x, indices, axis))
    run("gather", [x, indices], want, axis=axis, batch_dims=0)
    run("gather", [x], want, {1: indices}, axis=axis)


@pytest.mark.parametrize("to", ["float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool"])
@pytest.mark.parametrize("dtype", ["float32", "int32", "int8", "bool"])
def test_cast(dtype, to):
    x = np.array([-100.7, -1, 0, 0.3, 99.9, 1]).astype(dtype)
    want = x.astype(np.int64).astype(to) if to not in ("bool", "float32", "float64") else x.astype(to)
    run("cast", [x], want, dtype=to)


def resize_positions(n, m, mode):
    k = np.arange(m, dtype=np.float64)
    return {
        "half_pixel": (k + 0.5) * n / m - 0.5,
        "asymmetric": k * n / m,
        "align_corners": k * (n - 1) / max(m - 1, 1),
    }[mode]


@pytest.mark.parametrize("mode", ["half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("size", [(8, 10), (3, 4), (5, 1), (4, 5)])
@pytest.mark.parametrize("channels", [1, 3, 17])
def test_resize(mode, size, channels):
    x = normal(1, 2, 4, 5, channels)
    y = x.astype(np.float64)
    for axis, m in enumerate(size):
        n = x.shape[axis + 1]
        at = resize_positions(n, m, mode)
        low = np.floor(at).astype(int)
        part = (at - low).reshape([-1 if d == axis + 1 else 1 for d in range(4)])
        below, above = (np.take(y, np.clip(i, 0, n - 1), axis + 1) for i in (low, low + 1))
        y = below * (1 - part) + above * part
    run("resize", [x], f32(y), {1: np.array(size)}, method="linear", coordinate_mode=mode, scales=[])
    rows, columns = (
        np.clip(np.floor(resize_positions(n, m, mode)), 0, n - 1).astype(int) for n, m in zip(x.shape[1:3], size)
    )
    for data in (x, (10 * x).astype(np.int8)):
        want = np.ascontiguousarray(data[:, rows][:, :, columns])
        run("resize", [data], want, method="nearest", coordinate_mode=mode, nearest_mode="floor")


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space_and_back(mode):
    x = normal(1, 2, 3, 4, 12)
    n, h, w, c = x.shape
    if mode == "DCR":
        y = x.reshape(n, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h, 2 * w, c // 4)
        run("space_to_depth", [np.ascontiguousarray(y)], x, block=2)
    else:
        y = x.reshape(n, h, w, c // 4, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(n, 2 * h, 2 * w, c // 4)
    run("depth_to_space", [x], np.ascontiguousarray(y), block=2, mode=mode)


def test_reduce_takes_its_axes_from_a_constant():
    x = normal(1, 3, 5, 7)
    run("reduce", [x], f32(x.sum((1, 2), dtype=np.float64)), {1: np.array([1, -1])}, mode="sum", keep_dims=False)


ACTIVATIONS = {
    "leaky_relu": {"alpha": 0.3},
    "elu": {"alpha": 0.7},
    "sigmoid": {},
    "tanh": {},
    "swish": {},
    "hard_swish": {},
}
LAYERS = {
    "conv": (normal(1, 2, 9, 7, 5), normal(2, 20, 3, 3, 5), (2, 7, 5, 20), {}),
    "winograd": (normal(1, 1, 20, 20, 16), normal(2, 16, 3, 3, 16), (1, 18, 18, 16), {}),
    "depthwise": (normal(1, 1, 6, 5, 40), normal(2, 40, 3, 3, 1), (1, 4, 3, 40), {"group": 40}),
    "fully_connected": (normal(1, 9, 12), normal(2, 33, 12), (9, 33), {}),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_a_layer_applies_the_function_that_alone_reads_it(layer, act):
    x, w, shape, attrs = LAYERS[layer]
    tensors = [
        {"name": "x", "dtype": "float32", "shape": list(x.shape), "data": None},
        {"name": "w", "dtype": "float32", "shape": list(w.shape), "data": w},
        *({"name": name, "dtype": "float32", "shape": list(shape), "data": None} for name in "yz"),
    ]
    op = "fully_connected" if layer == "fully_connected" else "conv"
    steps = [
        {"op": op, "name": "a", "inputs": [0, 1], "outputs": [2], "attrs": attrs},
        {"op": act, "name": "b", "inputs": [2], "outputs": [3], "attrs": ACTIVATIONS[act]},
    ]
    for isa, threads in itertools.product(_native.isas(), (1, 2)):
        fused = _native.Program(tensors, steps, [0], [3], isa=isa, threads=threads)
        apart = _native.Program(tensors, steps, [0], [2, 3], isa=isa, threads=threads)
        assert (fused.step_names, apart.step_names) == (["a+b"], ["a", "b"])
        np.testing.assert_array_equal(fused.run([x])[0], apart.run([x])[1])
