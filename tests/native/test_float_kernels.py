"""Float kernels against numpy in float64, for every instruction set of this machine and for two threads."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from bitlite import _native
from step_runner import CHANNELS, ISAS, f32, normal, program, run


def conv_reference(x, w, b, stride, dilation, pad, group):
    """Channels-last convolution of any spatial rank, in float64."""
    rank = x.ndim - 2
    x = np.pad(x.astype(np.float64), [(0, 0), *[(pad[2 * d], pad[2 * d + 1]) for d in range(rank)], (0, 0)])
    kernel = w.shape[1:-1]
    out = [(x.shape[d + 1] - (kernel[d] - 1) * dilation[d] - 1) // stride[d] + 1 for d in range(rank)]
    y = np.zeros((x.shape[0], *out, w.shape[0]))
    per_in, per_out = x.shape[-1] // group, w.shape[0] // group
    for tap in itertools.product(*map(range, kernel)):
        window = x[
            (
                slice(None),
                *[slice(t * dl, t * dl + (o - 1) * s + 1, s) for t, dl, o, s in zip(tap, dilation, out, stride)],
            )
        ]
        for g in range(group):
            part = window[..., g * per_in : (g + 1) * per_in]
            weight = w[(slice(g * per_out, (g + 1) * per_out), *tap)].astype(np.float64)
            y[..., g * per_out : (g + 1) * per_out] += part @ weight.T
    return y if b is None else y + b


def check_conv(x, w, b=None, stride=None, dilation=None, pad=None, group=1, act="none", residual=None):
    rank = x.ndim - 2
    stride, dilation, pad = stride or [1] * rank, dilation or [1] * rank, pad or [0] * 2 * rank
    y = conv_reference(x, w, b, stride, dilation, pad, group)
    if residual is not None:
        y = y + residual
    y = {"none": lambda v: v, "relu": lambda v: np.maximum(v, 0), "relu6": lambda v: np.clip(v, 0, 6)}.get(
        act, lambda v: np.tanh(v)
    )(y)
    inputs = [x] if residual is None else [x, residual]
    run("conv", inputs, f32(y), {1: w, 2: b}, stride=stride, dilation=dilation, pad=pad, group=group, act=act)


@pytest.mark.parametrize("channels", CHANNELS)
def test_pointwise_conv(channels):
    check_conv(normal(1, 2, 5, 3, channels), normal(2, 19, 1, 1, channels), normal(3, 19), act="relu6")


@pytest.mark.parametrize("channels", CHANNELS)
def test_conv_3x3_output_channels(channels):
    check_conv(normal(1, 1, 7, 6, 9), normal(2, channels, 3, 3, 9), normal(3, channels), pad=[1, 1, 1, 1], act="relu")


@pytest.mark.parametrize("channels", CHANNELS)
def test_conv_3x3_input_channels_strided(channels):
    check_conv(normal(1, 2, 9, 8, channels), normal(2, 6, 3, 3, channels), stride=[2, 2], pad=[0, 1, 0, 1])


@pytest.mark.parametrize(
    "kernel, stride, dilation, pad",
    [
        ((1, 1), (2, 2), (1, 1), (0, 0, 0, 0)),
        ((3, 2), (1, 3), (2, 1), (2, 0, 1, 2)),
        ((2, 5), (2, 1), (1, 2), (0, 3, 4, 4)),
        ((7, 7), (2, 2), (1, 1), (3, 3, 3, 3)),
        ((3, 3), (1, 1), (3, 3), (3, 3, 3, 3)),
    ],
)
@pytest.mark.parametrize("channels", [3, 17])
def test_conv_geometry(kernel, stride, dilation, pad, channels):
    x, w = normal(1, 2, 10, 13, channels), normal(2, 21, *kernel, channels)
    check_conv(x, w, normal(3, 21), list(stride), list(dilation), list(pad))


@pytest.mark.parametrize("group, per_in, per_out", [(2, 3, 5), (4, 16, 16), (3, 1, 2), (5, 2, 1)])
def test_grouped_conv(group, per_in, per_out):
    x, w = normal(1, 2, 6, 5, group * per_in), normal(2, group * per_out, 3, 3, per_in)
    check_conv(x, w, normal(3, group * per_out), pad=[1, 1, 1, 1], group=group, act="relu")


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("group", [1, 4])
def test_conv_of_other_ranks(rank, group):
    x, w = normal(1, 2, *[6, 7, 5][:rank], 4), normal(2, 4, *[3, 2, 3][:rank], 4 // group)
    check_conv(x, w, normal(3, 4), stride=[2] * rank, pad=[1, 0] * rank, group=group)


@pytest.mark.parametrize("channels", [*CHANNELS[1:], 96])
@pytest.mark.parametrize("kernel, stride", [(3, 1), (3, 2), (5, 1), (5, 2), (4, 3)])
def test_depthwise_conv(channels, kernel, stride):
    x, w = normal(1, 2, 11, 14, channels), normal(2, channels, kernel, kernel, 1)
    pad = [kernel // 2, kernel // 2 - 1, 0, kernel // 2]
    check_conv(x, w, normal(3, channels), [stride] * 2, pad=pad, group=channels, act="relu6")


def test_depthwise_conv_smaller_than_its_kernel_and_dilated():
    x, w = normal(1, 1, 2, 1, 6), normal(2, 6, 3, 3, 1)
    check_conv(x, w, pad=[1, 1, 1, 1], group=6)
    check_conv(normal(1, 1, 9, 9, 6), w, dilation=[2, 3], pad=[2, 2, 3, 3], group=6)


# Large enough for Winograd's algorithm, with windows that are cut off and channels that fill no vector.
@pytest.mark.parametrize("act", ["none", "relu6", "tanh"])
@pytest.mark.parametrize(
    "batch, height, width, channels, outputs, pad",
    [
        (1, 32, 32, 16, 16, (1, 1, 1, 1)),
        (1, 13, 13, 64, 48, (1, 1, 1, 1)),
        (2, 19, 30, 17, 35, (0, 2, 1, 0)),
        (3, 17, 15, 24, 16, (0, 0, 0, 0)),
    ],
)
def test_conv_3x3_by_windows(batch, height, width, channels, outputs, pad, act):
    x, w = normal(1, batch, height, width, channels), normal(2, outputs, 3, 3, channels) / np.float32(3 * channels**0.5)
    rows, columns = height + pad[0] + pad[1] - 2, width + pad[2] + pad[3] - 2
    for residual in (None, normal(4, batch, rows, columns, outputs)):
        check_conv(x, w, normal(3, outputs), pad=list(pad), residual=residual, act=act)


@pytest.mark.parametrize("size", [6, 24])
def test_conv_adds_a_residual_before_its_activation(size):
    x, w, r = normal(1, 1, size, size, 8), normal(2, 16, 3, 3, 8), normal(3, 1, size, size, 16)
    check_conv(x, w, normal(4, 16), pad=[1, 1, 1, 1], residual=r, act="relu")


def test_conv_applies_other_activations():
    check_conv(normal(1, 1, 5, 5, 3), normal(2, 4, 3, 3, 3), act="tanh")
    check_conv(normal(1, 1, 5, 5, 4), normal(2, 4, 3, 3, 1), group=4, act="tanh")


def test_large_layers_are_cut_into_blocks():
    check_conv(normal(1, 1, 7, 7, 300), normal(2, 700, 1, 1, 300), normal(3, 700))
    check_conv(normal(1, 1, 9, 9, 64), normal(2, 300, 3, 3, 64), pad=[1, 1, 1, 1])


def conv_transpose_reference(x, w, stride, dilation, pad, more, group):
    rank = x.ndim - 2
    kernel, per_in, per_out = w.shape[1:-1], w.shape[0] // group, w.shape[-1]
    full = [s * (n - 1) + (k - 1) * d + 1 + m for s, n, k, d, m in zip(stride, x.shape[1:], kernel, dilation, more)]
    y = np.zeros((x.shape[0], *full, per_out * group))
    for tap in itertools.product(*map(range, kernel)):
        at = tuple(slice(t * d, t * d + s * (n - 1) + 1, s) for t, d, s, n in zip(tap, dilation, stride, x.shape[1:]))
        for g in range(group):
            part = x[..., g * per_in : (g + 1) * per_in].astype(np.float64)
            weight = w[(slice(g * per_in, (g + 1) * per_in), *tap)]
            y[(slice(None), *at, slice(g * per_out, (g + 1) * per_out))] += part @ weight
    return y[(slice(None), *(slice(pad[2 * d], y.shape[d + 1] - pad[2 * d + 1]) for d in range(rank)))]


@pytest.mark.parametrize(
    "kernel, stride, dilation, pad, more",
    [
        ((3, 3), (2, 2), (1, 1), (1, 1, 0, 1), (1, 0)),
        ((2, 2), (2, 2), (1, 1), (0, 0, 0, 0), (0, 0)),
        ((2, 3), (1, 3), (2, 1), (0, 0, 0, 0), (0, 0)),
        ((1, 2), (3, 3), (1, 2), (0, 0, 1, 0), (2, 1)),
        ((4,), (2,), (1,), (1, 1), (0,)),
        ((2, 3, 2), (2, 1, 2), (1, 1, 1), (0, 0, 1, 1, 0, 0), (0, 0, 1)),
        ((2, 1, 3), (2, 1, 3), (1, 1, 1), (0, 0, 0, 0, 0, 0), (0, 0, 0)),
    ],
)
@pytest.mark.parametrize("group, per_in, per_out", [(1, 5, 17), (1, 5, 3), (4, 2, 3), (3, 1, 1)])
def test_conv_transpose(kernel, stride, dilation, pad, more, group, per_in, per_out):
    x = normal(1, 2, *(4, 5, 3)[: len(kernel)], group * per_in)
    w, b = normal(2, group * per_in, *kernel, per_out), normal(3, group * per_out)
    want = np.maximum(conv_transpose_reference(x, w, stride, dilation, pad, more, group) + b, 0)
    attrs = {"stride": stride, "dilation": dilation, "pad": pad, "output_padding": more, "group": group, "act": "relu"}
    run(
        "conv_transpose",
        [x],
        f32(want),
        {1: w, 2: b},
        **{k: list(v) if type(v) is tuple else v for k, v in attrs.items()},
    )


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 33])
@pytest.mark.parametrize("n", [1, 10, 16, 40, 130, 1001])
def test_fully_connected(rows, n):
    x, w, b = normal(1, rows, 37), normal(2, n, 37), normal(3, n)
    run("fully_connected", [x], f32(x.astype(np.float64) @ w.T.astype(np.float64) + b), {1: w, 2: b})


def test_fully_connected_on_weight_only_integers():
    rng = np.random.default_rng(0)
    q = rng.integers(-127, 128, (9, 20)).astype(np.int8)
    scale = rng.uniform(0.01, 0.1, 9)
    x = normal(1, 3, 20)
    tensors = [
        {"name": "x", "dtype": "float32", "shape": [3, 20], "data": None},
        {"name": "w", "dtype": "int8", "shape": [9, 20], "data": q, "scale": list(scale), "zero_point": [3], "axis": 0},
        {"name": "y", "dtype": "float32", "shape": [3, 9], "data": None},
    ]
    step = {"op": "fully_connected", "name": "fc", "inputs": [0, 1], "outputs": [2], "attrs": {}}
    want = x @ ((q.astype(np.float64) - 3) * scale[:, None]).T
    np.testing.assert_allclose(_native.Program(tensors, [step], [0], [2]).run([x])[0], want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("constant_b", [False, True])
@pytest.mark.parametrize("transpose_a, transpose_b", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("lead_a, lead_b", [((), ()), ((3,), ()), ((3,), (3,)), ((2, 1), (4,)), ((), (2,))])
def test_matmul(lead_a, lead_b, transpose_a, transpose_b, constant_b):
    a = normal(1, *lead_a, *((6, 9) if transpose_a else (9, 6)))
    b = normal(2, *lead_b, *((21, 6) if transpose_b else (6, 21)))
    want = (a.swapaxes(-1, -2) if transpose_a else a).astype(np.float64) @ (b.swapaxes(-1, -2) if transpose_b else b)
    inputs, constants = ([a], {1: b}) if constant_b else ([a, b], {})
    run("matmul", inputs, f32(want), constants, transpose_a=transpose_a, transpose_b=transpose_b)


def test_matmul_of_vectors():
    a, b = normal(1, 6), normal(2, 6)
    run("matmul", [a, b], f32(a.astype(np.float64) @ b))
    m = normal(3, 4, 6)
    run("matmul", [m, b], f32(m.astype(np.float64) @ b))


def _erf(x):
    return np.vectorize(math.erf)(x)


SIGMOID = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
UNARY = {
    "relu": (lambda x: np.maximum(x, 0), {}),
    "relu6": (lambda x: np.clip(x, 0, 6), {}),
    "relu_n1_to_1": (lambda x: np.clip(x, -1, 1), {}),
    "clip": (lambda x: np.clip(x, -0.5, 2), {"min": -0.5, "max": 2}),
    "leaky_relu": (lambda x: np.where(x < 0, 0.1 * x, x), {"alpha": 0.1}),
    "elu": (lambda x: np.where(x < 0, 1.5 * np.expm1(np.minimum(x, 0)), x), {"alpha": 1.5}),
    "selu": (
        lambda x: 1.0507009873554805 * np.where(x < 0, 1.6732632423543772 * np.expm1(np.minimum(x, 0)), x),
        {},
    ),
    "sigmoid": (SIGMOID, {}),
    "tanh": (np.tanh, {}),
    "hard_swish": (lambda x: x * np.clip(x + 3, 0, 6) / 6, {}),
    "hard_sigmoid": (lambda x: np.clip(0.2 * x + 0.5, 0, 1), {"alpha": 0.2, "beta": 0.5}),
    "swish": (lambda x: x * SIGMOID(x), {}),
    "gelu": (lambda x: 0.5 * x * (1 + _erf(x / np.sqrt(2))), {}),
    "erf": (_erf, {}),
    "softplus": (lambda x: np.logaddexp(0, x), {}),
    "mish": (lambda x: x * np.tanh(np.logaddexp(0, x)), {}),
    "exp": (np.exp, {}),
    "abs": (np.abs, {}),
    "neg": (np.negative, {}),
    "square": (np.square, {}),
    "reciprocal": (lambda x: 1 / x, {}),
    "floor": (np.floor, {}),
    "ceil": (np.ceil, {}),
    "round": (np.round, {}),
}


@pytest.mark.parametrize("op", UNARY)
@pytest.mark.parametrize("n", [1, 7, 16, 33, 9000])
def test_unary(op, n):
    reference, attrs = UNARY[op]
    x = f32(np.random.default_rng(n).uniform(-12, 12, n))
    run(op, [x], f32(reference(x.astype(np.float64))), rtol=5e-7, atol=2e-7, **attrs)


@pytest.mark.parametrize("op, fn", [("log", np.log), ("sqrt", np.sqrt), ("rsqrt", lambda x: 1 / np.sqrt(x))])
def test_unary_of_positive_numbers(op, fn):
    x = f32(np.exp(np.random.default_rng(0).uniform(-80, 80, 999)))
    run(op, [x], f32(fn(x.astype(np.float64))), rtol=3e-7, atol=1e-7)


def test_tanh_gelu():
    x = f32(np.linspace(-6, 6, 101))
    want = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x.astype(np.float64) ** 3)))
    run("gelu", [x], f32(want), rtol=1e-6, atol=5e-7, approximate=True)


def test_transcendental_functions_are_precise_over_the_whole_range():
    x = np.concatenate([np.linspace(-104, 88.7, 20001), np.linspace(-1e-3, 1e-3, 2001)]).astype(np.float32)
    wide = x.astype(np.float64)
    for op, fn in [("exp", np.exp), ("tanh", np.tanh), ("sigmoid", SIGMOID), ("erf", _erf)]:
        want = fn(wide)
        # 3 units in the last place, and the smallest subnormal
        bound = 3 * np.spacing(np.abs(want).astype(np.float32)).astype(np.float64) + 2e-45
        for isa in ISAS:
            got = program(op, [x], x.shape, {}, {}, isa=isa).run([x])[0]
            worst = np.argmax(np.abs(got - want) / bound)
            assert np.all(np.abs(got - want) <= bound), (op, isa, x[worst], got[worst], want[worst])


def test_special_values():
    x = f32([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, -200, 200])
    with np.errstate(all="ignore"):
        for op, fn in [("exp", np.exp), ("tanh", np.tanh), ("log", np.log), ("relu", lambda v: np.maximum(v, 0))]:
            run(op, [x], f32(fn(x.astype(np.float64))), rtol=1e-6, atol=1e-45)
        want = np.where(np.isnan(x), np.nan, SIGMOID(x.astype(np.float64)))
        run("sigmoid", [x], f32(want), rtol=1e-6, atol=1e-45)


def test_fully_connected_and_matmul_add_a_residual_before_their_activation():
    x, w, r = normal(1, 9, 20), normal(2, 33, 20), normal(3, 9, 33)
    want = np.maximum(x.astype(np.float64) @ w.T + r, 0)
    run("fully_connected", [x, r], f32(want), {1: w, 2: None}, act="relu")
    run("matmul", [x, w, r], f32(want), {2: None}, act="relu", transpose_b=True)


def test_an_input_that_no_kernel_reads_is_refused():
    x, w = normal(1, 9, 20), normal(2, 33, 20)
    with pytest.raises(ValueError, match="input 4 is not known"):
        program("fully_connected", [x, x], (9, 33), {1: w, 2: None, 3: None}, {})
