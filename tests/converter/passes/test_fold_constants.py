from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.numeric.qparams import choose_symmetric, dequantize, quantize
from bitlite.converter.passes.fold_constants import fold_constants
from bitlite.converter.passes.remove_identities import remove_identities


def codes(net, *shape, axis=0, name="w"):
    real = net.rng.uniform(-1, 1, shape).astype(np.float32)
    others = tuple(k for k in range(len(shape)) if k != axis)
    qp = choose_symmetric(np.abs(real).max(others) if axis is not None else np.abs(real).max(), 8, axis)
    t = net.build.constant(quantize(real, qp), name)
    t.quant = qp
    return t


def test_constants_are_computed_in_order(net, rewrite):
    w = net.emit("Reshape", net.emit("Transpose", net.const(4, 3), perm=[1, 0]), net.ints(12))
    y = net.emit("Add", net.input(12), net.emit("Mul", w, net.const(1)))
    assert rewrite(net.done(y), fold_constants).ops == ["Add"]


@pytest.mark.parametrize(("dtype", "left"), [("int32", []), ("float32", ["Mul"])])
def test_integers_times_zero_are_zero_and_floats_may_be_nan(net, rewrite, dtype, left):
    y = net.emit("Mul", net.input(2, 3, dtype=dtype), net.build.constant(np.zeros((), dtype)))
    got = rewrite(net.done(net.emit("Cast", y, dtype="float64")), fold_constants)
    assert [op for op in got.ops if op != "Cast"] == left


def test_an_axis_move_stays_a_view(net, rewrite):
    w = net.const(64, 32)
    got = rewrite(net.done(net.emit("MatMul", net.input(2, 64), net.emit("Identity", w))), fold_constants)
    assert np.shares_memory(got.node("MatMul").inputs[1].data, w.data)
    net2 = net.emit("Transpose", w, perm=[1, 0])
    net.done(net.emit("MatMul", net.graph.inputs[0], net2, transpose_b=True))
    got = rewrite(net.graph, fold_constants)
    assert np.shares_memory(got.node("MatMul").inputs[1].data, w.data)


def test_half_precision_weights_are_read_as_what_they_mean(net, rewrite):
    w = net.build.constant(net.rng.normal(size=(4, 3)).astype(np.float16))
    got = rewrite(
        net.done(net.emit("FullyConnected", net.input(2, 3), net.emit("Cast", w, dtype="float32"))), fold_constants
    )
    assert got.node("FullyConnected").inputs[1].dtype == np.float32


def test_dequantized_codes_stay_codes_for_every_reader(net, rewrite):
    w = codes(net, 4, 3)
    real = net.emit("Dequantize", w)
    x = net.input(2, 3)
    got = rewrite(
        net.done(net.emit("FullyConnected", x, real), net.emit("Add", x, net.emit("Gather", real, net.ints(1)))),
        fold_constants,
    )
    weights = [n.inputs[1] for n in got.graph.nodes if n.op == "FullyConnected"]
    assert weights[0].dtype == np.int8
    assert weights[0].quant == w.quant
    assert np.shares_memory(weights[0].data, w.data)


@pytest.mark.parametrize(("perm", "axis"), [([1, 0, 2], 1), ([2, 1, 0], 2)])
def test_codes_are_transposed_with_their_axis(net, rewrite, perm, axis):
    w = net.emit("Transpose", net.emit("Dequantize", codes(net, 4, 3, 2)), perm=perm)
    got = rewrite(net.done(net.emit("Add", net.input(*w.shape), w)), fold_constants)
    assert got.ops == ["Add"]
    assert got.node("Add").inputs[1].quant.axis == axis


def test_codes_are_reshaped_while_their_axis_survives(net, rewrite):
    kept = net.emit("Reshape", net.emit("Dequantize", codes(net, 4, 3, 2)), net.ints(4, 6))
    lost = net.emit("Reshape", net.emit("Dequantize", codes(net, 4, 3, 2)), net.ints(6, 4))
    got = rewrite(
        net.done(net.emit("Add", net.input(4, 6), kept), net.emit("Add", net.input(6, 4, name="z"), lost)),
        fold_constants,
    )
    first, second = (n.inputs[1] for n in got.graph.nodes)
    assert first.dtype == np.int8
    assert second.dtype == np.float32


def test_quantize_of_a_constant_gives_codes(net, rewrite):
    w = net.const(4, 3)
    qp = choose_symmetric(np.abs(w.data).max(1), 8, 0)
    q = net.emit("Quantize", w)
    q.quant, q.dtype = qp, np.dtype(np.int8)
    got = rewrite(net.done(net.emit("FullyConnected", net.input(2, 3), net.emit("Dequantize", q))), fold_constants)
    weight = got.node("FullyConnected").inputs[1]
    assert weight.dtype == np.int8
    assert np.allclose(dequantize(weight.data, weight.quant), w.data, atol=0.01)


def test_an_output_that_is_constant_keeps_its_type(net, rewrite):
    y = net.emit("Dequantize", codes(net, 4, 3))
    got = rewrite(net.done(y), fold_constants)
    assert got.graph.outputs[0].dtype == np.float32


def test_what_grows_is_computed_at_run_time(net, rewrite):
    big = net.emit("Tile", net.const(1, 1024), net.ints(1024, 1))
    got = rewrite(net.done(net.emit("Add", net.input(1, 1024), big)), fold_constants)
    assert got.ops == ["Tile", "Add"]
    assert "4194304 bytes" in got.reasons()


def test_folding_leaves_nothing_to_remove(net, rewrite):
    shape = net.emit("Concat", net.ints(2), net.ints(6), axis=0)
    got = rewrite(
        net.done(net.emit("Exp", net.emit("Reshape", net.input(2, 6), shape))), fold_constants, remove_identities
    )
    assert got.ops == ["Exp"]


def test_what_is_empty_is_not_computed(net, rewrite):
    x = net.input(2, 3)
    nothing = net.emit("Exp", net.emit("Slice", x, net.ints(0), net.ints(0), net.ints(1)))
    assert rewrite(net.done(net.emit("Concat", x, nothing, axis=1)), fold_constants).ops == ["Concat"]
