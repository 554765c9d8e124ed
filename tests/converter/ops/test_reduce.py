from __future__ import annotations

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import Error
from bitlite.converter.formats import tflite
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.schema.builder import Builder
from bitlite.native.session import Session
from tflite_models import tflite_model


@pytest.fixture
def rng():
    return np.random.default_rng(3)


TFLITE = ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"]
AXES = [[1, 2], [0], [-1], [0, 1, 2, 3], [2, 0], [1, 1]]


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("op", TFLITE)
def test_tflite_reductions_equal_litert(tflite_check, rng, op, axes, keep):
    x = rng.uniform(0.5, 1.5, (2, 3, 4, 5)).astype(np.float32)
    tflite_check(op, [x, np.int32(axes)], ("ReducerOptions", {"keep_dims": keep}), const=(1,))


@pytest.mark.parametrize("op", TFLITE)
def test_tflite_integers_equal_litert(tflite_check, rng, op):
    x = rng.integers(-5, 6, (2, 3, 4)).astype(np.int32)
    tflite_check(op, [x, np.int32([1])], ("ReducerOptions", {}), const=(1,))


@pytest.mark.parametrize("op", ["REDUCE_ANY", "REDUCE_ALL"])
def test_tflite_truths_equal_litert(tflite_check, rng, op):
    tflite_check(op, [rng.random((3, 4)) < 0.5, np.int32([1])], ("ReducerOptions", {}), const=(1,))


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("op", ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"])
def test_tflite_int8_is_within_one_code_of_litert(tflite_check, rng, op, keep):
    x = rng.integers(-128, 128, (2, 7, 5, 6)).astype(np.int8)
    qx = QuantParam([0.03], [5])
    qy = qx if op.startswith("REDUCE") else QuantParam([0.02 if op == "MEAN" else 0.4], [-9])
    options = ("ReducerOptions", {"keep_dims": keep})
    steps = 0 if op.startswith("REDUCE") else 1
    tflite_check(
        op, [x, np.int32([1, 2])], options, const=(1,), quant={0: qx}, output_quant=(qy,), steps=steps, version=2
    )


def test_int8_mean_is_one_float32_product_of_the_exact_sum(tflite_check, rng):
    x, qx, qy = (
        rng.integers(-128, 128, (3, 7, 7, 4)).astype(np.int8),
        QuantParam([0.03], [5]),
        QuantParam([0.011], [-9]),
    )
    got = tflite_check("MEAN", [x, np.int32([1, 2])], ("ReducerOptions", {}), const=(1,), quant={0: qx},
                       output_quant=(qy,), steps=1, version=2)[0]  # fmt: skip
    m = np.float32(np.float64(np.float32(0.03)) / (np.float64(np.float32(0.011)) * 49))
    acc = (x.astype(np.int32) - 5).sum((1, 2)).astype(np.float32)
    np.testing.assert_array_equal(got, np.clip(np.rint(acc * m) - 9, -128, 127).astype(np.int8))


ONNX = [f"Reduce{m}" for m in ("Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")]


@pytest.mark.parametrize("op", ONNX)
@pytest.mark.parametrize("attrs", [{}, {"keepdims": 0}])
def test_onnx_reductions_equal_onnxruntime(onnx_check, rng, op, attrs):
    x = rng.uniform(0.5, 1.5, (2, 3, 4)).astype(np.float32)
    for axes in ([1], [-1, 0], [0, 1, 2]):
        onnx_check(op, [x, np.int64(axes)], attrs, const=(1,))
    onnx_check(op, [x, np.int64([1])], attrs)
    onnx_check(op, [x], attrs)


@pytest.mark.parametrize("op", ONNX)
def test_onnx_reductions_of_opset_11_have_an_attribute(onnx_check, rng, op):
    x = rng.uniform(0.5, 1.5, (2, 3, 4)).astype(np.float32)
    onnx_check(op, [x], {"axes": [0, 2], "keepdims": 0}, opset=11)
    onnx_check(op, [x], {}, opset=11)


def test_onnx_empty_axes_reduce_all_or_nothing(onnx_check, rng):
    x, none = rng.uniform(-1, 1, (2, 3)).astype(np.float32), np.zeros(0, np.int64)
    onnx_check("ReduceSum", [x, none], {"noop_with_empty_axes": 1}, const=(1,))
    onnx_check("ReduceSum", [x, none], {"noop_with_empty_axes": 0}, const=(1,))
    onnx_check("ReduceSum", [x], {"noop_with_empty_axes": 1})


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"])
def test_onnx_integers_equal_onnxruntime(onnx_check, rng, op, dtype):
    onnx_check(op, [rng.integers(-9, 9, (3, 4)).astype(dtype), np.int64([1])], const=(1,))


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
def test_onnx_arg_equals_onnxruntime(onnx_check, rng, op, last):
    x = rng.integers(0, 3, (3, 4, 5)).astype(np.float32)
    for attrs in ({}, {"axis": 1, "keepdims": 0}, {"axis": -1}):
        onnx_check(op, [x], attrs | {"select_last_index": last})


@pytest.mark.parametrize("op", ["ARG_MAX", "ARG_MIN"])
def test_tflite_arg_equals_litert(tflite_check, rng, op):
    name = "ArgMaxOptions" if op == "ARG_MAX" else "ArgMinOptions"
    x = rng.uniform(-1, 1, (3, 4, 5)).astype(np.float32)
    for axis in (0, 1, -1):
        tflite_check(op, [x, np.int32(axis)], (name, {"output_type": 4}), const=(1,), outputs=(np.int64,))
        tflite_check(op, [x, np.int32(axis)], (name, {"output_type": 2}), const=(1,), outputs=(np.int32,))
    q = rng.integers(-128, 128, (3, 9)).astype(np.int8)
    tflite_check(op, [q, np.int32(1)], (name, {"output_type": 2}), const=(1,), outputs=(np.int32,),
                 quant={0: QuantParam([0.1], [3])})  # fmt: skip


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_cumsum_equals_both_runtimes(tflite_check, onnx_check, rng, exclusive, reverse):
    x = rng.uniform(-1, 1, (3, 4)).astype(np.float32)
    for axis in (0, 1, -1):
        options = ("CumsumOptions", {"exclusive": bool(exclusive), "reverse": bool(reverse)})
        tflite_check("CUMSUM", [x, np.int32(axis)], options, const=(1,))
        onnx_check("CumSum", [x, np.int64(axis)], {"exclusive": exclusive, "reverse": reverse})


def test_an_axis_that_is_not_there_is_refused_by_name(onnx_check, rng):
    with pytest.raises(Error, match=r"node.*axis 3"):
        onnx_check("ReduceSum", [np.zeros((2, 3), np.float32), np.int64([3])], const=(1,), want=[])


@pytest.mark.parametrize("op", ["MEAN", "SUM", "REDUCE_MAX"])
def test_int8_reductions_of_everything_are_scalars(tflite_check, rng, op):
    x, qx = rng.integers(-128, 128, (2, 3)).astype(np.int8), QuantParam([0.03], [5])
    qy = qx if op == "REDUCE_MAX" else QuantParam([0.05], [-3])
    got = tflite_check(op, [x, np.int32([0, 1])], ("ReducerOptions", {}), const=(1,), quant={0: qx}, output_quant=(qy,),
                       steps=1, version=2)  # fmt: skip
    assert got[0].shape == ()


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("axes", [[1, 1], [1, -2], [0, 2, 0], [2, 1, 0], [-3]])
def test_axes_of_a_run_may_name_one_twice(tflite_check, rng, tmp_path, keep, axes):
    x, options = rng.standard_normal((2, 3, 4)).astype(np.float32), ("ReducerOptions", {"keep_dims": keep})
    inputs = [x, np.int32(axes)]
    (want,) = tflite_check("SUM", inputs, options)
    path = tmp_path / "m.tflite"
    path.write_bytes(tflite_model("SUM", inputs, options))
    session = bitlite.load(str(path))
    [got] = session.run({p.name: a for p, a in zip(session.inputs, inputs)}).values()
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("mode", ["l1", "l2", "sum_square", "log_sum"])
@pytest.mark.parametrize("keep", [False, True])
def test_what_tflite_has_in_parts_is_written_as_these(rng, tmp_path, mode, keep):
    graph = Graph("m")
    build = Builder(graph)
    x = build.input("x", np.float32, (2, 3, 4))
    graph.outputs = build.emit("Reduce", [x], {"mode": mode, "axes": [0, 2], "keep_dims": keep}, name="norm")
    tflite.write(graph, str(tmp_path / "m.tflite"))
    value = rng.uniform(0.5, 2, (2, 3, 4)).astype(np.float32)
    (want,), (got,) = (session.run(value).values() for session in (Session(graph), bitlite.load(tmp_path / "m.tflite")))
    np.testing.assert_allclose(got, want, rtol=1e-6)
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(tmp_path / "m.tflite"))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], value)
    interpreter.invoke()
    np.testing.assert_allclose(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), want, rtol=1e-6)


@pytest.mark.parametrize(
    ("mode", "axes", "forms"),
    [
        ("max", [1], ["Neg", "Reduce", "Neg"]),
        ("max", [2], ["Reduce"]),
        ("min", [1], ["Reduce"]),
        ("sum_square", [1], ["Square", "Reduce"]),
        ("l2", [0, 2], ["Square", "Reduce", "Sqrt"]),
    ],
)
@pytest.mark.parametrize("keep", [False, True])
def test_ms_has_no_reduction_that_mindspore_lite_gets_wrong(rng, tmp_path, mode, axes, forms, keep):
    """Its maximum of negative values, and its sums of squares."""
    graph = Graph("m")
    x = Builder(graph).input("x", np.float32, (2, 3, 4))
    attrs = {"mode": mode, "axes": axes, "keep_dims": keep}
    graph.outputs = Builder(graph).emit("Reduce", [x], attrs, name="found")
    bitlite.write(graph, tmp_path / "m.ms")
    assert [n.op for n in bitlite.read(tmp_path / "m.ms").nodes] == forms
    value = -rng.uniform(0.5, 2, (2, 3, 4)).astype(np.float32)
    (want,), (got,) = (session.run(value).values() for session in (Session(graph), bitlite.load(tmp_path / "m.ms")))
    np.testing.assert_allclose(got, want, rtol=1e-6)
