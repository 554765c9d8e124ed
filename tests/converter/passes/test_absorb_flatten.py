from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.numeric.qparams import choose_symmetric, quantize
from bitlite.converter.passes import GENERAL
from bitlite.converter.passes.absorb_flatten import absorb_flatten
from bitlite.converter.passes.matmul_to_fully_connected import matmul_to_fully_connected


def flattened(net, *between, batch=2):
    x = net.first(net.conv(net.input(batch, 4, 5, 3), 6))
    y = net.emit("Reshape", x, net.ints(-1, 120))
    for op in between:
        y = net.emit(op, y)
    return y


@pytest.mark.parametrize("batch", [2, None])
def test_the_weight_takes_the_transpose_in(net, rewrite, batch):
    got = rewrite(
        net.done(net.emit("FullyConnected", flattened(net, "Relu", batch=batch), net.const(7, 120))), absorb_flatten
    )
    assert got.ops == ["Conv", "Reshape", "Relu", "FullyConnected"]


def test_a_layer_that_flattens_itself(net, rewrite):
    x = net.first(net.conv(net.input(2, 4, 5, 3), 6))
    got = rewrite(net.done(net.emit("FullyConnected", x, net.const(7, 120), keep_dims=False)), absorb_flatten)
    assert got.ops == ["Conv", "FullyConnected"]


def test_codes_move_with_their_rows(net, rewrite):
    w = net.const(7, 120)
    qp = choose_symmetric(np.abs(w.data).max(1), 8, 0)
    w.data, w.dtype, w.quant = quantize(w.data, qp), np.dtype(np.int8), qp
    got = rewrite(net.done(net.emit("FullyConnected", flattened(net), w)), absorb_flatten)
    assert got.ops == ["Conv", "Reshape", "FullyConnected"]
    assert got.node("FullyConnected").inputs[1].dtype == np.int8


def test_a_whole_network_of_an_exporter(net, rewrite):
    y = net.emit("MatMul", flattened(net, "Relu"), net.const(120, 7))
    y = net.emit("Relu", net.emit("Add", y, net.const(7)))
    got = rewrite(net.done(y), *GENERAL)
    assert got.ops == ["Conv", "Reshape", "Relu", "FullyConnected"]


@pytest.mark.parametrize("case", ["shared", "computed", "second_reader", "columns"])
def test_refusals_keep_the_transpose(net, rewrite, case):
    y = flattened(net)
    w = net.input(7, 120, name="w") if case == "computed" else net.const(7, 120)
    extra = []
    if case == "shared":
        extra = [net.emit("FullyConnected", net.input(1, 120, name="z"), w)]
    if case == "second_reader":
        extra = [net.emit("Exp", y)]
    if case == "columns":
        qp = choose_symmetric(np.abs(w.data).max(0), 8, 1)
        w.data, w.dtype, w.quant = quantize(w.data, qp), np.dtype(np.int8), qp
    got = rewrite(net.done(net.emit("FullyConnected", y, w), *extra), absorb_flatten)
    assert "Transpose" in got.ops
    reason = {"shared": "shared", "computed": "not a constant", "columns": "along its columns", "second_reader": ""}[
        case
    ]
    assert reason in got.reasons()


def test_matmul_by_a_matrix_is_fully_connected(net, rewrite):
    w = net.const(4, 3)
    x = net.input(2, 5, 4)
    y = net.emit("MatMul", x, w, net.const(3), act="relu")
    z = net.emit("MatMul", x, w)
    t = net.emit("MatMul", x, net.const(3, 4), transpose_b=True)
    got = rewrite(net.done(y, z, t), matmul_to_fully_connected)
    assert got.ops == ["FullyConnected"] * 3
    assert got.graph.nodes[0].inputs[1] is got.graph.nodes[1].inputs[1]
    assert np.shares_memory(got.graph.nodes[0].inputs[1].data, w.data)


def test_other_products_stay(net, rewrite):
    x = net.input(2, 5, 4)
    a = net.emit("MatMul", x, net.const(2, 4, 3))
    b = net.emit("MatMul", x, net.const(5, 3), transpose_a=True)
    c = net.emit("MatMul", net.input(4, name="v"), net.const(4, 3))
    got = rewrite(net.done(a, b, c), matmul_to_fully_connected)
    assert got.ops == ["MatMul"] * 3
    assert "not two axes" in got.reasons() and "are transposed" in got.reasons()
