"""Every Case of every row: inferred type = reference's; what a row writes is read back as the same function."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from bitlite import _native
from bitlite.converter.errors import GraphError, UnsupportedError
from bitlite.converter.examples import example
from bitlite.converter.execute import execute
from bitlite.converter.formats import onnx_write, tflite_write
from bitlite.converter.formats.ms_schema import SCHEMA as MS
from bitlite.converter.formats.operators import write_operators
from bitlite.converter.ir import Graph
from bitlite.converter.ops import OPS, reader
from bitlite.converter.schema.builder import Builder
from bitlite.converter.schema.reading import Reading, read_operator
from bitlite.converter.schema.verify import verify

WRITERS = {"onnx": onnx_write.write, "tflite": tflite_write.write}
ROWS = OPS
CASES = [
    pytest.param(row, case, id=f"{name}-{k}") for name, row in sorted(ROWS.items()) for k, case in enumerate(row.cases)
]
WRITTEN = [
    pytest.param(*p.values, container, id=f"{p.id}-{container}")
    for p in CASES
    for container in ("tflite", "onnx", "ms")
    if container in p.values[0].writers
]


def test_every_kernel_that_a_row_names_exists():
    assert {name: row.kernel for name, row in ROWS.items() if row.kernel and row.kernel not in _native.ops()} == {}


def build(row, case):
    """(graph of the one node, feeds by input name); shapes become random float32."""
    return example(row.name, case)


def run(graph, feeds):
    values = {t: feeds[t.name] for t in graph.inputs}
    for node in graph.nodes:
        results = execute(node, [None if t is None else t.data if t.is_const else values[t] for t in node.inputs])
        values.update(zip(node.outputs, results, strict=True))
    return [t.data if t.is_const else values[t] for t in graph.outputs]


# Where an independent runtime does less than, or other than, the standard: case → why.
ELSEWHERE = {
    "Lrn-1-onnx": "onnxruntime takes odd sizes only",
    "MaxUnpool-1-onnx": "onnxruntime counts places in the output shape, the standard's test in the natural one",
}


def run_onnxruntime(path, feeds):
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, NotImplemented

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Its optimizer moves transposes into a cubic Resize that it then cannot run.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except (NotImplemented, Fail) as error:
        if not any(text in str(error) for text in ("NOT_IMPLEMENTED", "is under development", "No Op registered")):
            raise
        return None
    return session.run(None, {i.name: feeds[i.name] for i in session.get_inputs()})


def run_litert(path, feeds):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    runner = Interpreter(path, experimental_op_resolver_type=resolver)
    runner.allocate_tensors()
    for d in runner.get_input_details():
        runner.set_tensor(d["index"], feeds[d["name"]])
    runner.invoke()
    return [runner.get_tensor(d["index"]) for d in runner.get_output_details()]


@pytest.mark.parametrize(("row", "case"), CASES)
def test_inferred_type_is_the_references(row, case):
    graph, feeds = build(row, case)
    for t, a in zip(graph.outputs, run(graph, feeds)):
        assert t.dtype == a.dtype
        if t.shape is not None:
            assert len(t.shape) == a.ndim
            assert all(n in (None, m) for n, m in zip(t.shape, a.shape)), (t.shape, a.shape)


@pytest.mark.parametrize(("row", "case"), CASES)
def test_unknown_shapes_are_inferred_without_error_and_agree(row, case):
    graph, feeds = build(row, case)
    want = run(graph, feeds)
    if not graph.nodes:
        return  # its value follows from types alone
    node = graph.nodes[0]
    for t in graph.inputs:
        t.shape = (None,) * len(t.shape)
    try:
        types = row.infer(node)
    except GraphError:
        return  # a row may insist on a known shape; it says so
    for (dtype, shape), a in zip(types, want):
        assert dtype == a.dtype
        assert shape is None or (len(shape) == a.ndim and all(n in (None, m) for n, m in zip(shape, a.shape)))


def reread(graph, container):
    """What the container's readers make of the operators that the writers emit, with the schema's defaults."""
    emitted = write_operators(graph, container, opset=23).emitted
    fresh = Graph()
    builder = Builder(fresh)
    value = {}
    for t in graph.inputs:
        value[t] = builder.input(t.name, t.dtype, t.shape)
    builder.reserve(t.name for e in emitted for t in e.outputs)
    for e in emitted:
        fields = dict(e.fields)
        if container == "ms":
            known = {f.name: f.default for f in MS.fields(e.op)}
            assert fields.keys() <= known.keys(), (e.op, fields.keys() - known.keys())
            fields = known | fields
        domain = e.extra.get("domain", "")
        function = reader(container, f"{domain}::{e.op}" if domain else e.op)
        assert function is not None, f"{container} {e.op} is written and not read"
        inputs = [None if t is None else value.get(t, t) for t in e.inputs]
        reading = Reading(e.op, e.name, inputs, e.outputs, fields, builder, version=23 if container == "onnx" else 1)
        value.update(zip(e.outputs, read_operator(reading, function)))
    fresh.outputs = [value[t] for t in graph.outputs]
    fresh.prune()
    return fresh


@pytest.mark.parametrize(("row", "case", "container"), WRITTEN)
def test_what_is_written_is_read_back_as_the_same_function(row, case, container):
    graph, feeds = build(row, case)
    if not graph.nodes:
        return  # its value follows from types alone
    want = run(graph, feeds)
    try:
        again = reread(graph, container)
    except UnsupportedError as error:
        assert "node" in str(error)  # refused, by the node's name
        return
    verify(again)
    for got, expected in zip(run(again, feeds), want, strict=True):
        assert got.shape == expected.shape
        if expected.dtype.kind == "f":
            scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=0))
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5 * scale)
        else:
            np.testing.assert_array_equal(got, expected)


RUNTIMES = {"onnx": run_onnxruntime, "tflite": run_litert}
RUNS = [p for p in WRITTEN if p.values[2] in RUNTIMES and p.id not in ELSEWHERE]


@pytest.mark.parametrize(("row", "case", "container"), RUNS)
def test_what_is_written_runs_the_same_in_an_independent_runtime(row, case, container, tmp_path):
    graph, feeds = build(row, case)
    if not graph.nodes or not feeds:
        return
    want = run(graph, feeds)
    path = str(tmp_path / "model")
    try:
        WRITERS[container](graph, path)
    except UnsupportedError as error:
        assert "node" in str(error)
        return
    got = RUNTIMES[container](path, feeds)
    if got is None:
        return  # the runtime has no kernel for this operator or type
    for y, expected in zip(got, want, strict=True):
        assert y.dtype == expected.dtype
        assert y.shape == expected.shape
        if expected.dtype.kind == "f":
            scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=0))
            np.testing.assert_allclose(y, expected, rtol=1e-5, atol=max(case.tolerance, 1e-5) * scale)
        else:
            np.testing.assert_array_equal(y, expected)


def test_every_row_has_a_case():
    assert [name for name, row in ROWS.items() if not row.cases] == []


def test_row_names_and_container_names_are_unique():
    assert len({row.name for row in ROWS.values()}) == len(ROWS)
    kernels = [(row.kernel, row.name) for row in ROWS.values() if row.kernel]
    for kernel, group in itertools.groupby(sorted(kernels), key=lambda pair: pair[0]):
        assert kernel.islower(), list(group)
