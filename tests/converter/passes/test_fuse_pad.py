from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.passes.fuse_pad import fuse_pad
from bitlite.converter.passes.pools import split_counted_pads

WINDOW = {"kernel": [3, 3], "stride": [2, 2], "dilation": [1, 1], "pad": [0] * 4}


def pad(net, x, *pads, **attrs):
    return net.emit("Pad", x, net.ints(*(pads or (0, 0, 1, 2, 0, 1, 0, 0))), **attrs)


def test_a_conv_takes_the_pads_in(net, rewrite):
    got = rewrite(net.done(net.conv(pad(net, net.input(1, 5, 5, 2)), 4, pad=1)), fuse_pad)
    assert got.ops == ["Conv"]
    assert got.node("Conv").attrs["pad"] == [2, 3, 1, 2]
    assert got.node("Conv").origin == ("pad", "conv")


def test_a_valid_conv_becomes_explicit(net, rewrite):
    got = rewrite(
        net.done(net.conv(pad(net, net.input(1, 5, 5, 2)), 4, pad=0, pad_mode="valid", stride=[2, 2])), fuse_pad
    )
    assert got.node("Conv").attrs["pad_mode"] == "explicit"
    assert got.node("Conv").attrs["pad"] == [1, 2, 0, 1]


def test_a_maximum_takes_zeros_of_values_that_are_not_negative(net, rewrite):
    x = net.emit("Relu", net.input(1, 7, 7, 2))
    assert rewrite(net.done(net.emit("MaxPool", pad(net, x), **WINDOW)), fuse_pad).ops == ["Relu", "MaxPool"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda net, x: net.conv(pad(net, x, 0, 0, 1, 1, 1, 1, 0, 2), 4), "more than the spatial axes"),
        (lambda net, x: net.conv(pad(net, x, 0, 0, -1, 1, 1, 1, 0, 0), 4), "crops"),
        (lambda net, x: net.conv(pad(net, x, mode="reflect"), 4), "pads by reflect"),
        (lambda net, x: net.conv(pad(net, x, value=1.0), 4), "fills with 1"),
        (lambda net, x: net.conv(pad(net, x), 4, pad_mode="same_upper"), "depends on the padded size"),
        (lambda net, x: net.emit("MaxPool", pad(net, x), **WINDOW), "may be negative"),
        (lambda net, x: net.emit("MaxPool", pad(net, x), **WINDOW, ceil_mode=True), "rounds its output size up"),
        (
            lambda net, x: net.emit("MaxPool", pad(net, net.emit("Abs", x), 0, 0, 3, 0, 0, 0, 0, 0), **WINDOW),
            "padding alone",
        ),
    ],
)
def test_refusals_say_why(net, rewrite, make, reason):
    got = rewrite(net.done(make(net, net.input(1, 7, 7, 2))), fuse_pad)
    assert "Pad" in got.ops
    assert reason in got.reasons()


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_counted_pads_become_a_pad(net, rewrite, ceil_mode):
    window = WINDOW | {"pad": [1, 0, 1, 1], "count_include_pad": True, "ceil_mode": ceil_mode}
    got = rewrite(net.done(net.emit("AveragePool", net.input(1, 7, 8, 2), **window)), split_counted_pads, fuse_pad)
    assert got.ops == ["Pad", "AveragePool"]
    assert not got.node("AveragePool").attrs["count_include_pad"]


def test_a_quantized_pad_keeps_its_zero(net):
    from bitlite.converter.numeric.qparams import choose_asymmetric
    from bitlite.converter.passes import run_passes

    qp = choose_asymmetric(-1.0, 3.0)
    y = net.conv(pad(net, net.input(1, 5, 5, 2, dtype=np.int8)), 4)
    for t in net.graph.tensors():
        if not t.is_const:
            t.dtype, t.quant = np.dtype(np.int8), qp
    graph = net.done(y)
    run_passes(graph, (fuse_pad,))
    assert [n.op for n in graph.nodes] == ["Conv"]
    assert graph.nodes[0].inputs[0].quant == qp
