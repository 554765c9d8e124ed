from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.numeric.qparams import choose_asymmetric
from bitlite.converter.passes import run_passes
from bitlite.converter.passes.fuse_activation import fuse_activation


def clamp(net, x, how):
    low, high = {"relu": (0.0, np.inf), "relu6": (0.0, 6.0), "relu_n1_to_1": (-1.0, 1.0), "other": (0.0, 2.0)}[how]
    return net.emit("Clip", x, min=low, max=high)


@pytest.mark.parametrize("act", ["relu", "relu6", "relu_n1_to_1"])
def test_a_clip_with_an_acts_bounds_fuses(net, rewrite, act):
    got = rewrite(net.done(clamp(net, net.conv(net.input(1, 5, 5, 2), 4), act)), fuse_activation)
    assert got.ops == ["Conv"]
    assert got.node("Conv").attrs["act"] == act
    assert got.node("Conv").origin == ("conv", "clip")


@pytest.mark.parametrize(
    "op", ["Add", "Sub", "Mul", "Div", "MaxPool", "AveragePool", "FullyConnected", "MatMul", "ConvTranspose"]
)
def test_every_operator_with_an_act_takes_it(net, rewrite, op):
    x = net.input(1, 6, 6, 4)
    window = {"stride": [2, 2], "dilation": [1, 1], "pad": [0] * 4}
    if op.endswith("Pool"):
        y = net.emit(op, x, kernel=[2, 2], **window)
    elif op == "ConvTranspose":
        y = net.emit(op, x, net.const(4, 2, 2, 3), output_padding=[0, 0], **window)
    elif op == "FullyConnected":
        y = net.emit(op, x, net.const(3, 4))
    elif op == "MatMul":
        y = net.emit(op, x, net.const(4, 3))
    else:
        y = net.emit(op, x, net.const(4, low=0.5))
    got = rewrite(net.done(net.emit("Relu6", net.emit("Relu", y))), fuse_activation)
    assert got.ops == [op]
    assert got.node(op).attrs["act"] == "relu6"


def test_unlike_bounds_are_refused_with_them(net, rewrite):
    got = rewrite(net.done(clamp(net, net.conv(net.input(1, 5, 5, 2), 4), "other")), fuse_activation)
    assert got.ops == ["Conv", "Clip"]
    assert "no fused activation clamps to [0, 2]" in got.reasons()


def test_a_second_reader_or_an_output_keeps_the_clamp(net, rewrite):
    y = net.conv(net.input(1, 5, 5, 2), 4)
    z = net.conv(net.graph.inputs[0], 4)
    got = rewrite(net.done(net.emit("Relu", y), net.emit("Exp", y), z, net.emit("Relu6", z)), fuse_activation)
    assert sorted(got.ops) == ["Conv", "Conv", "Exp", "Relu", "Relu6"]
    assert "also read by 'exp'" in got.reasons()
    assert "is a graph output" in got.reasons()


def test_a_curve_in_between_is_not_a_bound(net, rewrite):
    y = net.emit("Relu", net.conv(net.input(1, 5, 5, 2), 4, act="tanh"))
    assert rewrite(net.done(y), fuse_activation).ops == ["Conv", "Relu"]


def test_integer_graphs_are_left_to_the_quantizer(net):
    qp = choose_asymmetric(-1.0, 1.0)
    x = net.input(1, 4, dtype=np.int8)
    x.quant = qp
    y = net.emit("Relu", net.emit("FullyConnected", x, net.const(6, 4)))
    for t in net.graph.tensors():
        if not t.is_const:
            t.dtype, t.quant = np.dtype(np.int8), qp
    assert run_passes(net.done(y), (fuse_activation,)) == []
