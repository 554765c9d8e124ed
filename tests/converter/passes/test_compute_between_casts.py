"""Functions of codes that TFLite lacks, between casts: LiteRT gives the codes of their table."""

import bitlite
import numpy as np
import pytest
from bitlite.converter.execute import execute
from bitlite.converter.formats import ms, tflite_write
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.passes import for_target, run_passes
from bitlite.converter.schema.builder import Builder

IN, OUT = QuantParam(np.array([0.03]), np.array([5])), QuantParam(np.array([0.047]), np.array([-7]))


def table(op, attrs):
    graph = Graph()
    build = Builder(graph, fold_limit=0)
    x = build.input("x", np.int8, (2, 128))
    x.quant = IN
    [y] = graph.outputs = build.emit(op, [x], attrs, name="node")
    y.dtype, y.quant = np.dtype(np.int8), OUT
    codes = np.arange(-128, 128, dtype=np.int8).reshape(2, 128)
    [want] = execute(graph.nodes[0], [codes])
    return graph, codes, want


def litert(path, codes):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    runner = Interpreter(path, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    runner.allocate_tensors()
    runner.set_tensor(runner.get_input_details()[0]["index"], codes)
    runner.invoke()
    return runner.get_tensor(runner.get_output_details()[0]["index"])


@pytest.mark.parametrize(
    "op,attrs",
    [
        ("HardSigmoid", {}),
        ("HardSigmoid", {"alpha": 1 / 6}),
        ("Square", {}),
        ("Neg", {}),
        ("Clip", {"min": -0.4, "max": 1.1}),
    ],
    ids=str,
)
def test_what_litert_lacks_computes_between_casts(op, attrs, tmp_path):
    graph, codes, want = table(op, attrs)
    records = run_passes(graph, for_target("tflite"))
    assert any(r.pass_name == "compute_between_casts" for r in records)
    path = str(tmp_path / "m.tflite")
    tflite_write.write(graph, path)
    # In float32 here, in float64 there: a value halfway between two codes may go either way.
    off = np.abs(litert(path, codes).astype(int) - want)
    assert off.max() <= 1
    assert (off > 0).sum() <= 2


@pytest.mark.parametrize("op", ["Elu", "Gelu", "Tanh", "Swish"])
def test_what_litert_has_stays_on_codes(op, tmp_path):
    graph, codes, want = table(op, {})
    run_passes(graph, for_target("tflite"))
    assert [n.op for n in graph.nodes] == [op]
    path = str(tmp_path / "m.tflite")
    tflite_write.write(graph, path)
    assert np.abs(litert(path, codes).astype(int) - want).max() <= 1


@pytest.mark.parametrize("op,attrs", [("HardSigmoid", {}), ("Mish", {})], ids=str)
def test_what_mindspore_lite_names_in_float_only_computes_between_casts(op, attrs, tmp_path):
    graph, codes, want = table(op, attrs)
    run_passes(graph, for_target("ms"))
    path = str(tmp_path / "m.ms")
    ms.write(graph, path)
    [got] = bitlite.load(path).run({"x": codes}).values()
    assert np.abs(got.astype(int) - want).max() <= 1


def on_codes(op, shapes, attrs=None, out=OUT, first=IN, constant=False):
    """One node on int8 inputs of parameters that differ. constant: those but for the first."""
    graph = Graph()
    build = Builder(graph)
    values = np.random.default_rng(1).integers(-128, 128, shapes[-1]).astype(np.int8)
    inputs = [
        build.constant(values, f"x{i}") if constant and i > 0 else build.input(f"x{i}", np.int8, s)
        for i, s in enumerate(shapes)
    ]
    for i, x in enumerate(inputs):
        x.quant = first if i == 0 else QuantParam(np.array([0.02]), np.array([-11]))
    [y] = graph.outputs = build.emit(op, inputs, attrs or {}, name="node")
    y.dtype, y.quant = np.dtype(np.int8), out
    return graph


IMAGE = (1, 4, 6, 8)
POOL = {"kernel": [2, 2], "stride": [2, 2], "dilation": [1, 1], "pad": [0] * 4}


@pytest.mark.parametrize(
    ("op", "shapes", "attrs", "out"),
    [
        ("Swish", [IMAGE], {}, OUT),
        ("Gelu", [IMAGE], {}, OUT),
        ("LeakyRelu", [IMAGE], {}, OUT),
        ("PRelu", [IMAGE, (8,)], {}, OUT),
        ("PRelu", [(2, 40), (40,)], {}, OUT),
        ("PRelu", [IMAGE, (4, 1, 8)], {}, OUT),
        ("Maximum", [IMAGE, IMAGE], {}, IN),
        ("Resize", [IMAGE], {"method": "linear"}, IN),
        ("Add", [IMAGE, (1, 4, 6, 1)], {}, OUT),
        ("Mul", [IMAGE, IMAGE], {"act": "relu"}, OUT),
        ("AveragePool", [IMAGE], POOL, OUT),
        ("Softmax", [IMAGE], {}, OUT),
        ("DepthToSpace", [IMAGE], {"block": 2, "mode": "CRD"}, IN),
    ],
    ids=str,
)
def test_what_mindspore_lite_gets_wrong_on_codes_computes_between_casts(op, shapes, attrs, out, tmp_path):
    check_between_casts(resized(attrs, out) if op == "Resize" else on_codes(op, shapes, attrs, out), tmp_path)


@pytest.mark.parametrize("shapes", [(IMAGE, (8,)), (IMAGE, (1, 1, 8)), (IMAGE, (4, 1, 8)), ((2, 40), (40,))], ids=str)
def test_constant_slopes_stay_codes_between_casts(shapes, tmp_path):
    check_between_casts(on_codes("PRelu", shapes, constant=True), tmp_path)


def check_between_casts(graph, tmp_path):
    [op] = [n.op for n in graph.nodes]
    rng = np.random.default_rng(0)
    feeds = {t.name: rng.integers(-128, 128, t.shape).astype(np.int8) for t in graph.inputs}
    [want] = bitlite.Session(graph).run(feeds).values()
    target = graph.copy()
    records = run_passes(target, for_target("ms"))
    assert [r.node for r in records if r.pass_name == "compute_between_casts_for_ms"] == ["node"]
    [node] = [n for n in target.nodes if n.op == op]
    assert node.outputs[0].dtype == np.float32
    path = str(tmp_path / "m.ms")
    ms.write(target, path)
    session = bitlite.load(path)
    assert [n.op for n in session.graph.nodes if n.op != "Quantize"] == [op]  # the three are read as one
    [got] = session.run(feeds).values()
    np.testing.assert_array_equal(got, want)


def resized(attrs, out):
    graph = Graph()
    build = Builder(graph)
    x = build.input("x", np.int8, IMAGE)
    x.quant = IN
    [y] = graph.outputs = build.emit("Resize", [x, build.constant(np.int64([8, 12]))], attrs, name="node")
    y.dtype, y.quant = np.dtype(np.int8), out
    return graph


@pytest.mark.parametrize(
    ("op", "shapes", "attrs", "out"),
    [
        ("Add", [IMAGE, (8,)], {}, OUT),
        ("Add", [IMAGE, (1, 1, 6, 8)], {}, OUT),
        ("Mul", [IMAGE, (1, 4, 6, 1)], {}, OUT),
        ("AveragePool", [IMAGE], POOL, IN),
        ("DepthToSpace", [IMAGE], {"block": 2}, IN),
    ],
    ids=str,
)
def test_what_mindspore_lite_computes_right_stays_on_codes(op, shapes, attrs, out):
    graph = on_codes(op, shapes, attrs, out)
    run_passes(graph, for_target("ms"))
    assert [n.op for n in graph.nodes] == [op]


@pytest.mark.parametrize(("op", "attrs", "out"), [("Softmax", {}, OUT), ("MaxPool", POOL, OUT)], ids=str)
def test_parameters_that_litert_refuses_compute_between_casts(op, attrs, out, tmp_path):
    graph = on_codes(op, [(1, 4, 4, 8)], attrs, out)
    codes = np.random.default_rng(0).integers(-128, 128, (1, 4, 4, 8)).astype(np.int8)
    [want] = bitlite.Session(graph).run({"x0": codes}).values()
    run_passes(graph, for_target("tflite"))
    path = str(tmp_path / "m.tflite")
    tflite_write.write(graph, path)
    assert np.abs(litert(path, codes).astype(int) - want).max() <= 1
