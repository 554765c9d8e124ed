from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.numeric.qparams import choose_symmetric, quantize
from bitlite.converter.passes.fold_batch_norm import fold_batch_norm
from bitlite.converter.passes.fold_depthwise_scale import fold_depthwise_scale
from bitlite.converter.passes.fold_scale import fold_scale
from bitlite.converter.passes.fuse_bias import fuse_bias


def batch_norm(net, x, name="bn"):
    c = x.shape[-1]
    return net.emit(
        "BatchNorm", x, net.const(c), net.const(c), net.const(c), net.const(c, low=0.1), epsilon=1e-3, name=name
    )


def layer(net, kind, x):
    if kind == "conv":
        return net.conv(x, 6)
    if kind == "depthwise":
        return net.emit(
            "Conv", x, net.const(8, 3, 3, 1), group=4, stride=[1, 1], dilation=[1, 1], pad=[0] * 4, pad_mode="valid"
        )
    if kind.startswith("transposed"):
        group = int(kind[-1])
        window = {"stride": [2, 2], "dilation": [1, 1], "pad": [1, 0, 0, 1], "output_padding": [0, 1]}
        return net.emit("ConvTranspose", x, net.const(4, 3, 3, 6 // group), net.const(6), group=group, **window)
    if kind == "fully_connected":
        return net.emit("FullyConnected", x, net.const(6, 4), net.const(6))
    if kind == "matmul":
        return net.emit("MatMul", x, net.const(4, 6))
    return net.emit("MatMul", x, net.const(6, 4), net.const(6), transpose_b=True)


KINDS = ["conv", "depthwise", "transposed1", "transposed2", "fully_connected", "matmul", "matmul_transposed"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_norm_behind_a_layer_folds(net, rewrite, kind):
    got = rewrite(net.done(batch_norm(net, layer(net, kind, net.input(2, 5, 5, 4)))), fold_batch_norm)
    assert len(got.ops) == 1
    assert got.graph.nodes[0].outputs[0].name == "bn"
    assert got.graph.nodes[0].origin[-1] == "bn"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("op", ["Mul", "Div"])
def test_a_per_channel_factor_folds(net, rewrite, kind, op):
    y = layer(net, kind, net.input(2, 5, 5, 4))
    y = net.emit(op, y, net.const(1, 1, y.shape[-1], low=0.5), act="relu")
    folds, other = (fold_scale, fold_depthwise_scale)[:: -1 if kind == "depthwise" else 1]
    assert len(rewrite(net.done(y), other).ops) == 2
    got = rewrite(net.done(y), folds)
    assert len(got.ops) == 1
    assert got.graph.nodes[0].attrs["act"] == "relu"


def test_mul_add_and_another_mul_all_fold(net, rewrite):
    y = net.emit("Mul", layer(net, "conv", net.input(1, 5, 5, 4)), net.const(6), name="m1")
    y = net.emit("Mul", net.emit("Add", net.const(1), y, name="a1"), net.const(1, 1, 1, 6), name="m2")
    got = rewrite(net.done(net.emit("Sub", y, net.const(6), name="s1")), fold_scale, fuse_bias)
    assert got.ops == ["Conv"]
    assert got.node("Conv").name == "conv"
    assert got.node("Conv").origin == ("conv", "m1", "a1", "m2", "s1")
    assert got.node("Conv").outputs[0].name == "s1"


def test_a_factor_that_varies_over_space_stays(net, rewrite):
    y = layer(net, "conv", net.input(1, 5, 5, 4))
    assert rewrite(net.done(net.emit("Mul", y, net.const(5, 1))), fold_scale).ops == ["Conv", "Mul"]


def test_a_constant_that_adds_axes_stays(net, rewrite):
    y = layer(net, "matmul", net.input(3, 4))
    assert rewrite(net.done(net.emit("Add", y, net.const(2, 1, 6))), fuse_bias).ops == ["MatMul", "Add"]


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("second_reader", "read by several"),
        ("output", "is a graph output"),
        ("activation", "activation relu in between"),
        ("shared", "shared with 'other'"),
        ("quantized", "is quantized"),
        ("computed", "not a constant"),
        ("half", "float16"),
        ("infinite", "not finite"),
        ("overflow", "would not be finite"),
    ],
)
def test_refusals_say_why(net, rewrite, case, reason):
    x, window = net.input(1, 5, 5, 4), {"stride": [1, 1], "dilation": [1, 1], "pad": [0] * 4}
    w = net.const(6, 1, 1, 4)
    if case == "quantized":
        qp = choose_symmetric(np.abs(w.data).max((1, 2, 3)), 8, 0)
        w.data, w.dtype, w.quant = quantize(w.data, qp), np.dtype(np.int8), qp
    if case == "half":
        w.data, w.dtype = w.data.astype(np.float16), np.dtype(np.float16)
    if case == "computed":
        w = net.input(6, 1, 1, 4, name="weight")
    extra = []
    if case == "shared":
        extra.append(net.emit("Conv", x, w, name="other", **window))
    y = net.emit("Conv", x, w, act="relu" if case == "activation" else "none", **window)
    if case == "second_reader":
        extra.append(net.emit("Transpose", y, perm=[0, 3, 1, 2]))
    if case == "output":
        extra.append(y)
    values = [net.const(6), net.const(6), net.const(6), net.const(6, low=0.5)]
    if case == "infinite":
        values[3].data[0] = -1.0
    if case == "overflow":
        values[0].data[0], w.data[:] = 3e38, 1e3
    z = net.emit("BatchNorm", y, *values, epsilon=1e-5)
    graph = net.done(z, *extra)
    from bitlite.converter.passes import run_passes

    records = run_passes(graph, (fold_batch_norm,))
    assert [r.reason for r in records if reason in r.reason], records
    assert "BatchNorm" in [n.op for n in graph.nodes]


def test_a_bias_folds_beside_a_quantized_weight(net, rewrite):
    w = net.const(6, 4)
    qp = choose_symmetric(np.abs(w.data).max(1), 8, 0)
    w.data, w.dtype, w.quant = quantize(w.data, qp), np.dtype(np.int8), qp
    y = net.emit("FullyConnected", net.input(3, 4), w)
    got = rewrite(net.done(net.emit("Add", y, net.const(6))), fuse_bias)
    assert got.ops == ["FullyConnected"]
    assert got.node("FullyConnected").inputs[1] is w


def test_a_batch_norm_in_front_of_an_unpadded_conv_folds(net, rewrite):
    x = net.emit("Transpose", net.input(2, 4, 5, 5), perm=[0, 2, 3, 1])
    got = rewrite(net.done(net.conv(batch_norm(net, x), 6, pad=0, group=2)), fold_batch_norm)
    assert got.ops == ["Transpose", "Conv"]
    assert got.node("Conv").origin == ("bn", "conv")


def test_a_batch_norm_in_front_of_a_padded_conv_stays(net, rewrite):
    x = net.emit("Transpose", net.input(2, 4, 5, 5), perm=[0, 2, 3, 1])
    got = rewrite(net.done(net.conv(batch_norm(net, x), 6, pad=1)), fold_batch_norm)
    assert got.ops == ["Transpose", "BatchNorm", "Conv"]
    assert "pads with zeros" in got.reasons()


@pytest.mark.parametrize(("group", "folds"), [(1, fold_scale), (2, fold_scale), (4, fold_depthwise_scale)])
def test_a_pure_factor_in_front_of_a_padded_conv_folds(net, rewrite, group, folds):
    y = net.conv(net.emit("Div", net.input(2, 5, 5, 4), net.const(4, low=0.5)), 8, pad=1, group=group)
    assert rewrite(net.done(y), folds).ops == ["Conv"]


def test_a_batch_norm_between_two_fully_connected_layers_goes_to_the_first(net, rewrite):
    y = net.emit(
        "FullyConnected", batch_norm(net, net.emit("FullyConnected", net.input(3, 4), net.const(5, 4))), net.const(2, 5)
    )
    got = rewrite(net.done(y), fold_batch_norm)
    assert got.ops == ["FullyConnected", "FullyConnected"]
    assert got.graph.nodes[0].origin[-1] == "bn"


def test_an_integer_graph_is_left_alone(net):
    from bitlite.converter.numeric.qparams import choose_asymmetric
    from bitlite.converter.passes import run_passes

    qp = choose_asymmetric(-1.0, 1.0)
    x = net.input(1, 4, dtype=np.int8)
    x.quant = qp
    y = net.emit("FullyConnected", x, net.const(6, 4))
    y.dtype, y.quant = np.dtype(np.int8), qp
    z = net.emit("Add", y, net.const(6))
    z.dtype, z.quant = np.dtype(np.int8), qp
    assert run_passes(net.done(z), (fold_batch_norm, fold_scale, fuse_bias)) == []
