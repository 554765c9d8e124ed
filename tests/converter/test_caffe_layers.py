"""Each Caffe layer that is read, against what it computes written out in numpy."""

from __future__ import annotations

import bitlite
import numpy as np
import pytest
from bitlite.converter.ops import READERS
from caffe_networks import inputs, layer, write

RNG = np.random.default_rng(7)
X = RNG.standard_normal((2, 6, 7, 5)).astype(np.float32)
Y = RNG.standard_normal((2, 6, 7, 5)).astype(np.float32)
W, B = RNG.standard_normal((4, 6, 3, 3)), RNG.standard_normal(4)
GROUPED, DEPTHWISE = RNG.standard_normal((4, 3, 3, 2)), RNG.standard_normal((6, 1, 3, 3))
UP = RNG.standard_normal((6, 4, 3, 3))
CHANNELS, MORE = RNG.uniform(0.5, 1.5, 6), RNG.standard_normal(6)
FULL = RNG.standard_normal((5, 6 * 7 * 5))


def conv(x, w, b=None, stride=(1, 1), pad=(0, 0), dilation=(1, 1), group=1):
    x = np.pad(x, [(0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2])
    n, _, h, wide = x.shape
    o, per, kh, kw = w.shape
    high = (h - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    across = (wide - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, o, high, across))
    for i in range(high):
        for j in range(across):
            top, left = i * stride[0], j * stride[1]
            part = x[:, :, top : top + dilation[0] * kh : dilation[0], left : left + dilation[1] * kw : dilation[1]]
            for k in range(o):
                g = k // (o // group)
                y[:, k, i, j] = (part[:, g * per : (g + 1) * per] * w[k]).sum((1, 2, 3))
    return y if b is None else y + b[:, None, None]


def deconv(x, w, stride, pad):
    n, _, h, wide = x.shape
    _, o, kh, kw = w.shape
    y = np.zeros((n, o, stride * (h - 1) + kh, stride * (wide - 1) + kw))
    for i in range(h):
        for j in range(wide):
            y[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw] += np.einsum(
                "nc,cohw->nohw", x[:, :, i, j], w
            )
    return y[:, :, pad : y.shape[2] - pad, pad : y.shape[3] - pad]


def pool(x, kernel, stride, pad=0, most=True, ceil=True):
    """As Caffe's pooling_layer.cpp has it."""
    n, c, h, w = x.shape
    sizes = []
    for size in (h, w):
        many = (size + 2 * pad - kernel) / stride
        many = int(np.ceil(many) if ceil else np.floor(many)) + 1
        sizes.append(many - 1 if pad and (many - 1) * stride >= size + pad else many)
    y = np.zeros((n, c, *sizes))
    for i in range(sizes[0]):
        for j in range(sizes[1]):
            top, left = i * stride - pad, j * stride - pad
            bottom, right = min(top + kernel, h + pad), min(left + kernel, w + pad)
            area = (bottom - top) * (right - left)
            part = x[:, :, max(top, 0) : min(bottom, h), max(left, 0) : min(right, w)]
            y[:, :, i, j] = part.max((2, 3)) if most else part.sum((2, 3)) / area
    return y


def lrn(x, size, alpha, beta, k):
    y = np.zeros_like(x)
    for c in range(x.shape[1]):
        near = x[:, max(c - size // 2, 0) : c + size // 2 + 1]
        y[:, c] = x[:, c] / (k + alpha / size * (near**2).sum(1)) ** beta
    return y


def bilinear(x, size):
    h, w = x.shape[2:]

    def taps(m, n):
        at = np.arange(m) * (n - 1) / (m - 1)
        low = np.minimum(at.astype(int), n - 1)
        return low, np.minimum(low + 1, n - 1), at - low

    (a, b, t), (c, d, s) = taps(size[0], h), taps(size[1], w)
    rows = x[:, :, a] * (1 - t)[:, None] + x[:, :, b] * t[:, None]
    return rows[..., c] * (1 - s) + rows[..., d] * s


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def each(values):
    return np.asarray(values)[:, None, None]


def moments(axes):
    return X.mean(axes, keepdims=True), X.std(axes, keepdims=True)


CONV = "convolution_param { num_output: 4 kernel_size: 3 "
CASES = {
    "Convolution": (CONV + "pad: 1 stride: 2 }", [W, B], lambda: conv(X, W, B, (2, 2), (1, 1))),
    "Convolution without bias": (
        CONV + "bias_term: false pad: [2, 1] stride: [1, 2] dilation: [2, 1] }",
        [W],
        lambda: conv(X, W, None, (1, 2), (2, 1), (2, 1)),
    ),
    "Convolution by two fields": (
        "convolution_param { num_output: 4 kernel_h: 3 kernel_w: 2 pad_h: 1 pad_w: 0 group: 2 }",
        [GROUPED, B],
        lambda: conv(X, GROUPED, B, (1, 1), (1, 0), group=2),
    ),
    "ConvolutionDepthwise": (
        "convolution_param { num_output: 6 kernel_size: 3 pad: 1 }",
        [DEPTHWISE, CHANNELS],
        lambda: conv(X, DEPTHWISE, CHANNELS, pad=(1, 1), group=6),
    ),
    "Deconvolution": (
        "convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 1 bias_term: false }",
        [UP],
        lambda: deconv(X, UP, 2, 1),
    ),
    "Pooling": ("pooling_param { kernel_size: 3 stride: 2 }", [], lambda: pool(X, 3, 2)),
    "Pooling with pads": ("pooling_param { kernel_size: 3 stride: 2 pad: 1 }", [], lambda: pool(X, 3, 2, 1)),
    "Pooling rounded down": (
        "pooling_param { kernel_size: 2 stride: 2 round_mode: FLOOR }",
        [],
        lambda: pool(X, 2, 2, ceil=False),
    ),
    "Pooling of means": (
        "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }",
        [],
        lambda: pool(X, 3, 2, 1, False),
    ),
    "Pooling of means, rounded up": (
        "pooling_param { pool: AVE kernel_size: 2 stride: 2 }",
        [],
        lambda: pool(X, 2, 2, 0, False),
    ),
    "Pooling of all": ("pooling_param { pool: AVE global_pooling: true }", [], lambda: X.mean((2, 3), keepdims=True)),
    "InnerProduct": ("inner_product_param { num_output: 5 }", [FULL, RNG.standard_normal(5)], None),
    "InnerProduct transposed, from an axis": (
        "inner_product_param { num_output: 3 axis: -1 transpose: true bias_term: false }",
        [FULL[:3, :5].T],
        lambda: X @ FULL[:3, :5].T,
    ),
    "BatchNorm": (
        "batch_norm_param { eps: 0.01 }",
        [MORE * 2, CHANNELS * 2, [2]],
        lambda: (X - each(MORE)) / np.sqrt(each(CHANNELS) + 0.01),
    ),
    "Scale": ("scale_param { bias_term: true }", [CHANNELS, MORE], lambda: X * each(CHANNELS) + each(MORE)),
    "Scale by planes": ("scale_param { axis: 1 num_axes: 2 }", [RNG.standard_normal((6, 7))], None),
    "Bias": ("bias_param { axis: -1 }", [MORE[:5]], lambda: X + MORE[:5]),
    "MVN": ("mvn_param { eps: 0.1 }", [], lambda: (X - moments((2, 3))[0]) / (moments((2, 3))[1] + 0.1)),
    "MVN across": (
        "mvn_param { across_channels: true normalize_variance: false }",
        [],
        lambda: X - moments((1, 2, 3))[0],
    ),
    "Normalize": (
        "norm_param { across_spatial: false channel_shared: false }",
        [CHANNELS],
        lambda: X / np.sqrt((X**2).sum(1, keepdims=True)) * each(CHANNELS),
    ),
    "Normalize across": ("norm_param { }", [[3.0]], lambda: 3 * X / np.sqrt((X**2).sum((1, 2, 3), keepdims=True))),
    "LRN": ("lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 k: 2 }", [], lambda: lrn(X, 3, 0.5, 0.75, 2)),
    "LRN within": (
        "lrn_param { local_size: 3 alpha: 0.5 norm_region: WITHIN_CHANNEL }",
        [],
        lambda: X / (1 + 0.5 * pool(X**2, 3, 1, 1, False)) ** 0.75,
    ),
    "ReLU": ("", [], lambda: np.maximum(X, 0)),
    "ReLU with a slope": ("relu_param { negative_slope: 0.25 }", [], lambda: np.where(X > 0, X, X * 0.25)),
    "ReLU6": ("", [], lambda: np.clip(X, 0, 6)),
    "PReLU": ("", [CHANNELS], lambda: np.where(X > 0, X, X * each(CHANNELS))),
    "PReLU shared": ("prelu_param { channel_shared: true }", [[0.3]], lambda: np.where(X > 0, X, X * 0.3)),
    "Sigmoid": ("", [], lambda: 1 / (1 + np.exp(-X))),
    "TanH": ("", [], lambda: np.tanh(X)),
    "ELU": ("elu_param { alpha: 0.5 }", [], lambda: np.where(X > 0, X, 0.5 * np.expm1(X))),
    "BNLL": ("", [], lambda: np.log1p(np.exp(X))),
    "HardSwish": ("", [], lambda: X * np.clip(X + 3, 0, 6) / 6),
    "Swish": ("swish_param { beta: 2 }", [], lambda: X / (1 + np.exp(-2 * X))),
    "AbsVal": ("", [], lambda: np.abs(X)),
    "Exp": ("exp_param { base: 2 scale: 0.5 shift: 1 }", [], lambda: 2 ** (1 + 0.5 * X)),
    "Log": ("log_param { base: 10 scale: 0.1 shift: 3 }", [], lambda: np.log10(3 + 0.1 * X)),
    "Power": ("power_param { power: 3 scale: 0.5 shift: -1 }", [], lambda: (0.5 * X - 1) ** 3),
    "Threshold": ("threshold_param { threshold: 0.2 }", [], lambda: (X > 0.2).astype(float)),
    "Clip": ("clip_param { min: -0.5 max: 0.7 }", [], lambda: np.clip(X, -0.5, 0.7)),
    "Softmax": ("", [], lambda: softmax(X, 1)),
    "Softmax of an axis": ("softmax_param { axis: -1 }", [], lambda: softmax(X, 3)),
    "Eltwise": ("", [], lambda: X + Y),
    "Eltwise with coefficients": ("eltwise_param { coeff: 2 coeff: -1 }", [], lambda: 2 * X - Y),
    "Eltwise of products": ("eltwise_param { operation: PROD }", [], lambda: X * Y),
    "Eltwise of maxima": ("eltwise_param { operation: MAX }", [], lambda: np.maximum(X, Y)),
    "Scale by an input": ("scale_param { axis: 0 }", [], lambda: X * Y),
    "Concat": ("", [], lambda: np.concatenate([X, Y], 1)),
    "Concat of an axis": ("concat_param { axis: -2 }", [], lambda: np.concatenate([X, Y], 2)),
    "Flatten": ("", [], lambda: X.reshape(2, -1)),
    "Flatten of a span": ("flatten_param { axis: 1 end_axis: 2 }", [], lambda: X.reshape(2, 42, 5)),
    "Reshape": ("reshape_param { shape { dim: 0 dim: 3 dim: -1 dim: 5 } }", [], lambda: X.reshape(2, 3, 14, 5)),
    "Reshape of a span": (
        "reshape_param { axis: 1 num_axes: 2 shape { dim: -1 dim: 2 } }",
        [],
        lambda: X.reshape(2, 21, 2, 5),
    ),
    "Permute": ("permute_param { order: 0 order: 2 order: 3 }", [], lambda: X.transpose(0, 2, 3, 1)),
    "ShuffleChannel": (
        "shuffle_channel_param { group: 2 }",
        [],
        lambda: X.reshape(2, 2, 3, 7, 5).swapaxes(1, 2).reshape(X.shape),
    ),
    "Reverse": ("reverse_param { axis: 2 }", [], lambda: X[:, :, ::-1]),
    "Tile": ("tile_param { axis: 2 tiles: 3 }", [], lambda: np.tile(X, (1, 1, 3, 1))),
    "Reduction": ("reduction_param { axis: 1 coeff: 0.5 }", [], lambda: 0.5 * X.sum((1, 2, 3))),
    "Reduction of magnitudes": ("reduction_param { operation: ASUM axis: 2 }", [], lambda: np.abs(X).sum((2, 3))),
    "Reduction of squares": ("reduction_param { operation: SUMSQ axis: -1 }", [], lambda: (X**2).sum(3)),
    "Reduction to a mean": ("reduction_param { operation: MEAN axis: 1 }", [], lambda: X.mean((1, 2, 3))),
    "ArgMax": ("argmax_param { axis: 1 }", [], lambda: X.argmax(1)[:, None]),
    "ArgMax of all": ("", [], lambda: X.reshape(2, -1).argmax(1)[:, None, None]),
    "ArgMax with the value": (
        "argmax_param { out_max_val: true }",
        [],
        lambda: np.stack([X.reshape(2, -1).argmax(1), X.reshape(2, -1).max(1)], 1)[:, :, None],
    ),
    "Interp": ("interp_param { height: 13 width: 9 }", [], lambda: bilinear(X, (13, 9))),
    "Interp by factors": (
        "interp_param { zoom_factor: 2 pad_beg: -1 }",
        [],
        lambda: bilinear(X[:, :, 1:, 1:], (11, 7)),
    ),
    "Upsample": ("upsample_param { scale: 2 }", [], lambda: X.repeat(2, 2).repeat(2, 3)),
    "Dropout": ("dropout_param { dropout_ratio: 0.4 }", [], lambda: X),
}
CASES["InnerProduct"] = (*CASES["InnerProduct"][:2], lambda: X.reshape(2, -1) @ FULL.T + CASES["InnerProduct"][1][1])
CASES["Scale by planes"] = (*CASES["Scale by planes"][:2], lambda: X * CASES["Scale by planes"][1][0][:, :, None])


def close(got, wanted):
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * max(np.ptp(wanted), 1.0))


OLDER = [name for name, (_, blobs, _) in CASES.items() if blobs and name != "Scale by planes"]


@pytest.mark.parametrize(("name", "legacy"), [*((n, False) for n in CASES), *((n, True) for n in OLDER)])
def test_a_layer_computes_what_caffe_does(tmp_path, name, legacy):
    more, blobs, wanted = CASES[name]
    both = name.split()[0] in ("Eltwise", "Concat") or name == "Scale by an input"
    text = inputs(X.shape, *([Y.shape] if both else [])) + layer(name.split()[0], more, "x y" if both else "x")
    session = bitlite.load(write(tmp_path, text, {"l": blobs}, legacy=legacy))
    feeds = {"x": X, **({"y": Y} if both else {})}
    close(session.run(feeds)["out"], wanted())


def test_slices_and_splits_have_several_outputs(tmp_path):
    text = inputs(X.shape)
    text += layer("Slice", "slice_param { slice_point: 1 slice_point: 4 }", tops="a b c", name="s")
    text += layer("Slice", "slice_param { axis: 0 }", tops="d e", name="t") + layer("Split", tops="f g", name="u")
    found = bitlite.load(write(tmp_path, text)).run({"x": X})
    for key, wanted in zip("abcdefg", (X[:, :1], X[:, 1:4], X[:, 4:], X[:1], X[1:], X, X), strict=True):
        close(found[key], wanted)


def test_a_crop_takes_the_sizes_of_another_blob(tmp_path):
    text = inputs(X.shape, (1, 1, 4, 3)) + layer("Crop", "crop_param { axis: 2 offset: 2 offset: 1 }", "x y")
    close(
        bitlite.load(write(tmp_path, text)).run({"x": X, "y": np.zeros((1, 1, 4, 3), "f4")})["out"], X[:, :, 2:6, 1:4]
    )


def test_an_embedding_reads_indices_that_are_floats(tmp_path):
    table = RNG.standard_normal((9, 4)).astype(np.float32)
    text = inputs((2, 3)) + layer("Embed", "embed_param { num_output: 4 input_dim: 9 bias_term: false }")
    at = np.float32([[0, 8, 3], [1, 1, 7]])
    close(bitlite.load(write(tmp_path, text, {"l": [table]})).run({"x": at})["out"], table[at.astype(int)])


def test_every_layer_that_is_read_has_a_case():
    shown = {name.split()[0] for name in CASES} | {"Slice", "Split", "Crop", "Embed", "DepthwiseConvolution"}
    assert shown == set(READERS["caffe"])
