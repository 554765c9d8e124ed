from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.passes.keep_codes import keep_codes

CODES = QuantParam(np.array([0.1]), np.array([3]))
OTHER = QuantParam(np.array([0.2]), np.array([3]))


def quantized(net, x, quant=CODES, name="q"):
    y = net.emit("Quantize", x, name=name)
    y.quant, y.dtype = quant, np.dtype(np.uint8)
    return y


def plain(net, x):
    return net.emit("Reinterpret", x, name="plain")


def real(net, x, quant=CODES):
    y = net.emit("Reinterpret", x, name="codes")
    y.quant = quant
    return net.emit("Dequantize", y, name="end")


def moved(net, kind, x):
    window = {"kernel": [2, 2], "stride": [1, 1], "dilation": [1, 1], "pad": [1, 0, 0, 1]}
    return {
        "Transpose": lambda: net.emit("Transpose", x, perm=[0, 3, 1, 2]),
        "Reshape": lambda: net.emit("Reshape", x, net.ints(2, -1)),
        "MaxPool": lambda: net.emit("MaxPool", x, **window),
        "Concat": lambda: net.emit("Concat", x, plain(net, quantized(net, net.input(2, 4, 4, 3, name="b"))), axis=-1),
    }[kind]()


@pytest.mark.parametrize("kind", ["Transpose", "Reshape", "MaxPool", "Concat"])
def test_an_operator_between_two_views_works_on_codes(net, rewrite, kind):
    x = plain(net, quantized(net, net.input(2, 4, 4, 3)))
    got = rewrite(net.done(real(net, moved(net, kind, x))), keep_codes)
    assert "Reinterpret" not in got.ops
    assert kind in got.ops


def test_codes_of_two_scales_are_not_joined(net, rewrite):
    a = plain(net, quantized(net, net.input(2, 3)))
    b = plain(net, quantized(net, net.input(2, 3, name="b"), OTHER, "r"))
    got = rewrite(net.done(real(net, net.emit("Concat", a, b, axis=1))), keep_codes)
    assert got.ops.count("Reinterpret") == 3


def test_another_reading_of_the_same_bytes_stays(net, rewrite):
    x = plain(net, quantized(net, net.input(2, 3)))
    got = rewrite(net.done(real(net, net.emit("Reshape", x, net.ints(3, 2)), OTHER)), keep_codes)
    assert got.ops.count("Reinterpret") == 2


def test_a_plain_output_stays_plain(net, rewrite):
    x = plain(net, quantized(net, net.input(2, 3)))
    got = rewrite(net.done(net.emit("Reshape", x, net.ints(3, 2))), keep_codes)
    assert got.ops == ["Quantize", "Reshape", "Reinterpret"]
    assert got.graph.outputs[0].quant is None
