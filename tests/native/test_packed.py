"""Weight-only quantized matrices that stay packed: values against the widened ones, and what is not kept packed."""

from dataclasses import replace

import numpy as np
import pytest
from bitlite import _native
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.blocks import block_reals, packed_blocks
from bitlite.converter.numeric.qparams import QuantParam, code_range
from bitlite.converter.schema.builder import Builder
from bitlite.native.session import Session

ISAS = _native.isas()


def dense(m, n, k, bits, act="none", corrected=False, bias=True, seed=0):
    rng = np.random.default_rng(seed)
    graph = Graph("packed")
    b = Builder(graph)
    x = b.input("x", np.float32, (m, k))
    low, high = code_range(bits)
    w = b.constant(rng.integers(low, high + 1, (n, k)).astype(np.int8), "w")
    zero = rng.integers(low, high + 1, n).astype(np.int32)
    var = rng.uniform(0.9, 1.1, n).astype(np.float32) if corrected else None
    mean = rng.normal(0, 0.01, n).astype(np.float32) if corrected else None
    w.quant = QuantParam(rng.uniform(0.005, 0.01, n), zero, 0, bits, var, mean)
    inputs = [x, w, b.constant(rng.normal(size=n).astype(np.float32), "b")] if bias else [x, w]
    graph.outputs = b.emit("FullyConnected", inputs, {"act": act})
    return graph, rng.normal(0.3, 2, (m, k)).astype(np.float32)


def check(graph, x, threads=1):
    [expected] = Session(graph.copy()).run({"x": x}).values()
    for isa in ISAS:
        session = Session(graph.copy(), threads, isa, keep_packed=True)
        assert session.refusals == {} and session.dequantized == {}
        [y] = session.run({"x": x}).values()
        assert np.abs(y - expected).max() <= 1e-5 * np.abs(expected).max() + 1e-6, isa


@pytest.mark.parametrize("bits", range(1, 9))
def test_codes_of_any_width_give_the_widened_values(bits):
    check(*dense(3, 40, 33, bits))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("n, k", [(1, 1), (15, 2), (16, 7), (33, 64), (200, 31)])
def test_all_sizes_give_the_widened_values(m, n, k, bits):
    check(*dense(m, n, k, bits))


@pytest.mark.parametrize("corrected", [False, True])
def test_rows_longer_than_sums_of_digits_hold_give_the_widened_values(corrected):
    check(*dense(2, 20, 9001, 4, corrected=corrected))


@pytest.mark.parametrize("act", ["relu", "relu6", "tanh"])
def test_activations_and_corrections(act):
    check(*dense(2, 50, 48, 8, act, corrected=True))
    check(*dense(2, 50, 48, 4, act, bias=False))


@pytest.mark.parametrize("bits", [3, 8])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_matrix_products_stay_packed(transpose_b, bits):
    dense_graph, _ = dense(1, 40, 33, bits, corrected=True)
    w = dense_graph.nodes[0].inputs[1]
    graph = Graph("packed")
    b = Builder(graph)
    x = b.input("x", np.float32, (2, 3, 33))
    weight = b.constant(w.data if transpose_b else np.ascontiguousarray(w.data.T), "w")
    weight.quant = replace(w.quant, axis=0 if transpose_b else 1)
    graph.outputs = b.emit("MatMul", [x, weight], {"transpose_b": transpose_b})
    check(graph, np.random.default_rng(1).normal(0.3, 2, (2, 3, 33)).astype(np.float32))


def test_a_batch_of_matrices_is_widened_with_a_reason():
    graph = Graph("batch")
    b = Builder(graph)
    x = b.input("x", np.float32, (2, 3, 4))
    weight = b.constant(np.ones((2, 4, 5), np.int8), "w")
    weight.quant = QuantParam(np.full(5, 0.5), np.zeros(5, np.int32), 2, 8)
    graph.outputs = b.emit("MatMul", [x, weight])
    session = Session(graph, keep_packed=True)
    [y] = session.run({"x": np.ones((2, 3, 4), np.float32)}).values()
    assert "one matrix" in next(iter(session.dequantized.values()))
    np.testing.assert_array_equal(y, np.full((2, 3, 5), 2, np.float32))


@pytest.mark.parametrize("bits", [4, 8])
def test_threads_change_no_bit(bits):
    graph, x = dense(7, 700, 90, bits)
    one, two = (Session(graph.copy(), n, keep_packed=True).run({"x": x}) for n in (1, 2))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_wider_codes_are_widened_with_a_reason():
    graph, x = dense(2, 20, 16, 8)
    w = graph.nodes[0].inputs[1]
    w.data, w.dtype = w.data.astype(np.int16), np.dtype(np.int16)
    session = Session(graph, keep_packed=True)
    assert "bits" in next(iter(session.dequantized.values()))
    session.run({"x": x})


def test_float_models_have_nothing_to_keep():
    graph = Graph("float")
    b = Builder(graph)
    x = b.input("x", np.float32, (1, 4))
    graph.outputs = b.emit("FullyConnected", [x, b.constant(np.ones((3, 4), np.float32))])
    session = Session(graph, keep_packed=True)
    assert session.dequantized == {}


def blocks(rows, k=256, n=40, block=32, zero=False, seed=0):
    """A product in blocks of 4-bit codes: graph, x with rows of `rows`, and the outputs in float64."""
    rng = np.random.default_rng(seed)
    graph = Graph("blocks")
    b = Builder(graph)
    codes = rng.integers(-8, 8, (n, k)).astype(np.int8)
    codes[::3, 5] = 0  # outputs that do not see what an outlier there is
    scale = rng.uniform(0.01, 0.1, (n, -(-k // block))).astype(np.float32)
    points = rng.integers(-8, 8, scale.shape).astype(np.int8) if zero else None
    constants = [packed_blocks(codes, block, 4), rng.normal(size=n).astype(np.float32), scale]
    x = b.input("x", np.float32, (len(rows), k))
    inputs = [x, *(b.constant(c, f"c{i}") for i, c in enumerate(constants))]
    inputs += [b.constant(points, "z")] if zero else []
    graph.outputs = b.emit("BlockFullyConnected", inputs, {"bits": 4, "block": block, "depth": k})
    feed = rng.standard_normal((len(rows), k)).astype(np.float32)
    for row, values in zip(feed, rows):
        for at, value in values.items():
            row[at] = value
    w = block_reals(codes, scale, points, block).astype(np.float64)
    return graph, feed, feed.astype(np.float64) @ w.T + constants[1], np.abs(feed).astype(np.float64) @ np.abs(w).T


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("isa", ISAS)
def test_outliers_do_not_coarsen_what_is_beside_them(isa, zero):
    for value in (20.0, 500.0, 1e4, 1e6, 1e20):
        graph, x, want, size = blocks([{5: value}, {}, {5: -value, 70: value}], zero=zero)
        [y] = Session(graph, 1, isa).run({"x": x}).values()
        # Sums of float32 lose what is below 2^-24 of what they add, raised codes of an outlier, too.
        raised = 16 * 0.1 * np.abs(x).max(axis=1, keepdims=True) * 1e-6
        assert np.all(np.abs(y - want) <= 1e-6 * size + raised), value


@pytest.mark.parametrize("isa", ISAS)
def test_next_to_nothing_zeros_and_what_is_not_finite(isa):
    graph, x, _, _ = blocks([{}, {}, {7: np.nan}])
    x[0] *= np.float32(1e-32)
    x[1] = 0
    [y] = Session(graph.copy(), 1, isa).run({"x": x}).values()
    bias = graph.nodes[0].inputs[2].data
    assert np.array_equal(y[1], bias) and np.array_equal(y[0], bias) and np.isnan(y[2]).all()


@pytest.mark.parametrize("block, k", [(20, 75), (64, 200), (6, 32)])
def test_blocks_of_any_even_size(block, k):
    for isa in ISAS:
        graph, x, want, size = blocks([{}], k, block=block)
        [y] = Session(graph, 1, isa).run({"x": x}).values()
        assert np.all(np.abs(y - want) <= 1e-6 * size + 1e-6), isa
