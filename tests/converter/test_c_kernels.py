"""Every Case of every row that is written to C, in float and in codes: what the compiled code gives is what a Session
gives."""

from __future__ import annotations

import shutil

import c_code
import numpy as np
import pytest
from bitlite.converter.errors import UnsupportedError
from bitlite.converter.examples import example
from bitlite.converter.ir import Graph, Node, Tensor
from bitlite.converter.numeric.qparams import QuantParam, choose_asymmetric, choose_symmetric, quantize
from bitlite.converter.ops import OPS
from bitlite.converter.ops._support.layout import same_layout
from bitlite.converter.schema.op import evaluate
from bitlite.native.session import Session

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")


def _float(case):
    first = case.inputs[0]
    return not isinstance(first, np.ndarray) or first.dtype == np.float32


def _cases(row):
    """The row's cases on floats; one of a unary function, which takes any shape alike."""
    cases = [case for case in row.cases if _float(case)]
    unary = row.permute is same_layout and row.arity == (1, 1)
    return cases[:1] if unary and not any(case.attrs for case in cases) else cases


CASES = {
    f"{name.lower()}_{k}": (row, case)
    for name, row in sorted(OPS.items())
    if "c" in row.writers
    for k, case in enumerate(_cases(row))
}
REFUSED = (
    "window has 3 axes",
    "no C kernel takes",
    "has no C kernel",
    "C kernels",
    "an input, a constant",
    "no constant matrix",
    "computed at run time",
    "must be a constant",
    "arrays of nothing",
)
COVERED = set(
    """Conv FullyConnected MatMul Add Sub Mul MaxPool AveragePool Reduce Softmax Concat Pad Reshape Transpose Slice
    Sigmoid Tanh HardSwish Relu Relu6 Maximum Minimum Split Squeeze ExpandDims""".split()  # noqa: SIM905
)


def float_graph(row, case):
    fed = (0,) if isinstance(case.inputs[0], np.ndarray) else ()
    return example(row.name, case, feed=fed)[0]


def int8_graph(row, case):
    """The case on int8 codes, or None where the row has no int8 meaning for it: random scales, extremes of codes."""
    graph = float_graph(row, case)
    node, cell, rng = graph.nodes[0], row.quant, np.random.default_rng(5)
    if cell is None or not (cell.int8 or cell.table) or any(t is None or t.dtype != np.float32 for t in node.outputs):
        return None
    inputs, reals = [], []
    for i, t in enumerate(node.inputs):
        if t is None or t.dtype != np.float32:
            inputs.append(t)
            reals.append(None if t is None else t.data)
            continue
        values = rng.normal(0, 1, t.static_shape).astype(np.float32)
        reals.append(values)
        if i in cell.weights and t.is_const:
            axis = cell.channel_axis(node)
            others = tuple(d for d in range(values.ndim) if d != axis)
            q = choose_symmetric(np.abs(values).max(others), axis=axis)
            inputs.append(Tensor(t.name, np.dtype(np.int8), t.shape, quantize(values, q), q))
        elif i == cell.bias:
            x, w = inputs[0], inputs[cell.weights[0]]
            scale = x.quant.scale * w.quant.scale
            q = QuantParam(scale, np.zeros(1, np.int32), 0 if len(scale) > 1 else None, 32)
            inputs.append(Tensor(t.name, np.dtype(np.int32), t.shape, np.rint(values / scale).astype(np.int32), q))
        else:
            same = i > 0 and cell.output_of(node) in ("same",) and not cell.clamps
            q = inputs[0].quant if same else choose_asymmetric(-2.0 - 0.3 * i, 2.5 + 0.2 * i)
            data = quantize(values, q) if t.is_const else None
            inputs.append(Tensor(t.name, np.dtype(np.int8), t.shape, data, q))
    with np.errstate(all="ignore"):
        y = evaluate(node, reals)
    outputs = []
    for t, values in zip(node.outputs, y):
        q = choose_asymmetric(float(values.min(initial=0)), float(values.max(initial=0)))
        if cell.output_of(node) == "fixed":
            q = QuantParam(np.array([cell.fixed[0]]), np.array([cell.fixed[1]]))
        elif cell.output_of(node) == "same" and not cell.clamps:
            q = inputs[0].quant
        outputs.append(Tensor(t.name, np.dtype(np.int8), values.shape, None, q))
    new = Node(node.op, node.name, inputs, outputs, dict(node.attrs))
    return Graph(graph.name, [new], [t for t in inputs if t is not None and not t.is_const], outputs)


def graph_of(row, case, form):
    """The case as float32 ("f32") or as codes that round so; None where there is no such form of it."""
    if form == "f32":
        graph = float_graph(row, case)
        return graph if graph.inputs and all(t.dtype == np.float32 for t in (*graph.inputs, *graph.outputs)) else None
    graph = int8_graph(row, case)
    if graph is None or not graph.inputs:
        return None
    graph.meta["rounding"] = form
    return graph


def feeds(graph):
    rng = np.random.default_rng(9)
    for _ in range(3):
        yield {
            t.name: rng.integers(-128, 128, t.static_shape).astype(np.int8)
            if t.dtype == np.int8
            else rng.uniform(0.1, 0.9, t.static_shape).astype(np.float32)
            for t in graph.inputs
        }


def compare(name, graph, loaded):
    session = Session(graph.copy())
    for feed in feeds(graph):
        want = session.run(feed)
        got = c_code.call(loaded, name, [feed[t.name] for t in graph.inputs], graph.outputs)
        for t, values in zip(graph.outputs, got):
            if t.dtype == np.int8:
                np.testing.assert_array_equal(values, want[t.name], err_msg=name)
            else:
                span = float(np.ptp(want[t.name]))
                np.testing.assert_allclose(values, want[t.name], rtol=2e-6, atol=max(2e-6 * span, 1e-6), err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["f32", "rne_f32", "gemmlowp"])
def test_compiled_code_gives_what_a_session_gives(form, tmp_path):
    graphs = {}
    for name, (row, case) in CASES.items():
        graph = graph_of(row, case, form)
        if graph is None:
            continue
        try:
            c_code.write(graph, tmp_path / name)
            graphs[name] = graph
        except UnsupportedError as error:
            assert any(text in str(error) for text in REFUSED), error
    operators = {graph.nodes[0].op for graph in graphs.values()}
    assert operators >= COVERED, COVERED - operators
    loaded = c_code.library([tmp_path / name for name in graphs], tmp_path / "all.so")
    for name, graph in graphs.items():
        compare(name, graph, loaded)
