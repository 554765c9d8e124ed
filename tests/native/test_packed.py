"""Weight-only quantized matrices that stay packed: values against the widened ones, and what is not kept packed."""

from dataclasses import replace

import numpy as np
import pytest
from bitlite import _native
from bitlite.converter.ir import Graph
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
