"""Streaming models: states that last from run to run, with LiteRT's variables as the judge."""

from __future__ import annotations

import bitlite
import numpy as np
import pytest
from bitlite.converter.formats import flat, tflite
from bitlite.converter.formats.tflite_schema import SCHEMA
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.schema.builder import Builder
from bitlite.converter.schema.verify import verify

STEPS = 50
FIRST = np.float32([[1, -2, 3], [0, 5, 0]])
CODES = QuantParam(np.array([0.1]), np.array([-3]), None, 8)


def streaming(dtype="float32"):
    """x [1,3] and the two rows before it [2,3] → their maximum and a leaking sum."""
    quant = CODES if dtype == "int8" else None
    graph = Graph(meta={"source": "tflite"})
    build = Builder(graph)
    x = build.input("x", dtype, (1, 3), quant=quant)
    rows, total = build.input("rows", dtype, (2, 3), quant=quant), build.input("total", dtype, (1, 3), quant=quant)
    [all_rows] = build.emit("Concat", [rows, x], {"axis": 0})
    [kept] = build.emit("Slice", [all_rows, *(build.constant(v) for v in ([1], [3], [0], [1]))], outputs=["rows/next"])
    half = build.constant(np.float32(0.5)) if quant is None else None
    [sums] = build.emit(
        "Add", [total if half is None else build.emit("Mul", [total, half])[0], x], outputs=["total/next"]
    )
    [y] = build.emit("Maximum", [sums, x], outputs=["y"])
    for t in (all_rows, kept, sums, y):
        t.quant, t.dtype = quant, np.dtype(dtype)
    first = [FIRST, FIRST[:1] * 2]
    graph.outputs = [y, kept, sums]
    graph.states = tuple(first if quant is None else [a.astype(np.int8) for a in first])
    verify(graph)
    return graph


@pytest.fixture(params=["float32", "int8"])
def file(request, tmp_path):
    path = str(tmp_path / "stream.tflite")
    tflite.write(streaming(request.param), path)
    return path


def inputs(dtype):
    rng = np.random.default_rng(8)
    return [rng.integers(-100, 100, (1, 3)).astype(dtype) for _ in range(STEPS)]


def by_litert(path, samples):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(path)
    runner.allocate_tensors()
    [given], [produced] = runner.get_input_details(), runner.get_output_details()
    outputs = []
    for x in samples:
        runner.set_tensor(given["index"], x)
        runner.invoke()
        outputs.append(runner.get_tensor(produced["index"]).copy())
    return outputs


def test_states_last_from_run_to_run_as_in_litert(file):
    session = bitlite.load(file)
    [port] = session.inputs
    samples = inputs(port.dtype)
    got = [session.run({"x": x})["y"] for x in samples]
    np.testing.assert_array_equal(got, by_litert(file, samples))
    assert len(np.unique(got)) > 20


def test_no_samples_give_nothing_and_leave_the_states(file):
    session, other = bitlite.load(file), bitlite.load(file)
    samples = inputs(session.inputs[0].dtype)[:3]
    for x in samples:
        assert session.run({"x": x[:0]})["y"].shape[0] == 0
        np.testing.assert_array_equal(session.run({"x": x})["y"], other.run({"x": x})["y"])


def test_reset_starts_anew_and_sessions_share_nothing(file):
    session, other = bitlite.load(file), bitlite.load(file)
    samples = inputs(session.inputs[0].dtype)[:5]
    first = [session.run({"x": x})["y"] for x in samples]
    np.testing.assert_array_equal(first, [other.run({"x": x})["y"] for x in samples])
    assert not np.array_equal(first, [session.run({"x": x})["y"] for x in samples])
    session.reset()
    np.testing.assert_array_equal(first, [session.run({"x": x})["y"] for x in samples])


def test_a_converted_tflite_keeps_its_states(file, tmp_path):
    report = bitlite.convert(file, tmp_path / "again", output_format="TFLITE")
    [path] = report.files
    samples = inputs(bitlite.load(file).inputs[0].dtype)
    np.testing.assert_array_equal(by_litert(path, samples), by_litert(file, samples))


def next_by_session(path):
    session = bitlite.load(path)
    return session.run


def next_by_onnxruntime(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    names = [o.name for o in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(None, feeds)))


@pytest.mark.parametrize(("container", "runner"), [("MS", next_by_session), ("ONNX", next_by_onnxruntime)])
def test_other_files_have_states_as_inputs_and_outputs(file, tmp_path, container, runner):
    report = bitlite.convert(file, tmp_path / "out", output_format=container)
    assert [n for n in report.notes if "'rows' from 'rows/next'" in n and "the source's first values" in n]
    [path] = report.files
    samples = inputs(bitlite.load(file).inputs[0].dtype)
    run, states, got = runner(path), dict(tflite.read(file).first_states), []
    for x in samples:
        results = run({"x": x, **states})
        got.append(results["y"])
        states = {name: results[f"{name}/next"] for name in states}
    np.testing.assert_array_equal(got, by_litert(file, samples))


def test_post_training_is_refused_by_name(tmp_path):
    path = str(tmp_path / "stream.tflite")
    tflite.write(streaming(), path)
    with pytest.raises(bitlite.UnsupportedError, match=r"'rows'.*WeightQuant"):
        data = {"x": np.ones((1, 3), np.float32)}
        bitlite.convert(path, tmp_path / "q", quant_type="PostTraining", calibration_data=[data])


def test_weights_of_a_streaming_model_are_quantized(tmp_path):
    path = str(tmp_path / "stream.tflite")
    tflite.write(streaming(), path)
    report = bitlite.convert(path, tmp_path / "q", quant_type="DynamicQuant", output_format="TFLITE")
    [written] = report.files
    samples = inputs(np.float32)
    np.testing.assert_allclose(by_litert(written, samples), by_litert(path, samples), rtol=1e-5)


def operators_of(model, index=0):
    numbers = SCHEMA.enums["BuiltinOperator"]
    return [
        (numbers.name(model.operator_codes[o.opcode_index].builtin_code), o) for o in model.subgraphs[index].operators
    ]


@pytest.fixture
def changed(tmp_path):
    """changed(function of the decoded model) → the path of the float network's file after it."""

    def run(change):
        path = tmp_path / "stream.tflite"
        tflite.write(streaming(), str(path))
        model = flat.decode(path.read_bytes(), SCHEMA)
        change(model)
        path.write_bytes(b"".join(bytes(part) for part in flat.encode(model, SCHEMA)))
        return str(path)

    return run


def test_a_variable_that_is_only_read_is_a_constant(changed):
    def change(model):
        last = operators_of(model)[-1]
        assert last[0] == "ASSIGN_VARIABLE"
        model.subgraphs[0].operators.remove(last[1])

    path = changed(change)
    session, samples = bitlite.load(path), inputs(np.float32)[:6]
    assert len(session.graph.states) == 1
    np.testing.assert_array_equal([session.run({"x": x})["y"] for x in samples], by_litert(path, samples))


def test_a_variable_read_after_its_assignment_has_the_new_value(changed):
    def change(model):
        graph = model.subgraphs[0]
        assign, add = (
            next(o for n, o in operators_of(model)[::-1] if n == name) for name in ("ASSIGN_VARIABLE", "MAXIMUM")
        )
        read = next(o for n, o in operators_of(model) if n == "READ_VARIABLE" and o.inputs[0] == assign.inputs[0])
        again = flat.Record("Operator", **read.fields() | {"outputs": np.int32([len(graph.tensors)])})
        twin = graph.tensors[read.outputs[0]]
        graph.tensors.append(flat.Record("Tensor", **twin.fields() | {"name": "again"}))
        add.inputs = np.int32([again.outputs[0], add.inputs[1]])
        for operator in (assign, add):
            graph.operators.remove(operator)
        graph.operators += [assign, again, add]

    path = changed(change)
    session, samples = bitlite.load(path), inputs(np.float32)[:6]
    np.testing.assert_array_equal([session.run({"x": x})["y"] for x in samples], by_litert(path, samples))


def test_a_variable_without_a_first_value_is_refused(changed):
    def change(model):
        model.subgraphs[0].operators.pop(0)

    with pytest.raises(bitlite.UnsupportedError, match="read before anything is assigned"):
        bitlite.load(changed(change))


def test_a_variable_of_another_shape_is_refused(changed):
    def change(model):
        assigns = [o for n, o in operators_of(model) if n == "ASSIGN_VARIABLE"]
        assigns[0].inputs = np.int32([assigns[0].inputs[0], assigns[1].inputs[1]])

    with pytest.raises(bitlite.ModelError, match="'rows' is float32"):
        bitlite.load(changed(change))


def test_an_initialization_that_calls_itself_is_refused(changed):
    def change(model):
        operators_of(model)[0][1].builtin_options.init_subgraph_index = 0

    with pytest.raises(bitlite.ModelError, match="contains itself"):
        bitlite.load(changed(change))
