"""DynamicQuant: codes of weights, marks on layers, kernels against the reference, round trips."""

import bitlite
import numpy as np
import pytest
from bitlite import _native
from bitlite.converter.execute import execute
from bitlite.converter.formats import onnx_write, read_model, tflite_write
from bitlite.converter.formats.ms import write as write_ms
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.dynamic import dynamic_codes
from bitlite.converter.passes import GENERAL, for_target, run_passes
from bitlite.converter.schema.builder import Builder
from bitlite.native.session import Session
from bitlite.quant.selectors import parse_selector
from bitlite.quant.weights.dynamic_quant import quantize_dynamic
from bitlite.quant.weights.weight_quant import WeightSettings

WRITERS = {"ms": write_ms, "tflite": tflite_write.write, "onnx": onnx_write.write}


def network(kind):
    rng = np.random.default_rng(3)

    def weight(*shape, scale=0.2):
        return build.constant((rng.standard_normal(shape) * scale).astype(np.float32), "w")

    graph = Graph("net")
    build = Builder(graph)
    if kind == "dense":
        x = build.input("x", np.float32, (5, 48))
        for n, act in ((40, "relu"), (32, "none"), (24, "relu6")):
            bias = build.constant(rng.standard_normal(n).astype(np.float32), "b")
            [x] = build.emit("FullyConnected", [x, weight(n, x.shape[1]), bias], {"act": act}, name=f"fc{n}")
    elif kind == "matmul":
        x = build.input("x", np.float32, (2, 7, 32))
        [x] = build.emit("MatMul", [x, weight(32, 24)], name="product")
        [x] = build.emit("MatMul", [x, weight(40, 24)], {"transpose_b": True}, name="turned")
    else:
        x = build.input("x", np.float32, (1, 9, 8, 3), layout="NHWC")
        window = {"stride": [1, 1], "dilation": [1, 1], "pad": [1, 1, 1, 1]}
        [x] = build.emit("Conv", [x, weight(24, 3, 3, 3), build.constant(np.ones(24, np.float32), "b")],
                         window | {"act": "relu"}, name="first")  # fmt: skip
        [x] = build.emit("Conv", [x, weight(24, 3, 3, 1)], window | {"group": 24}, name="depthwise")
        [x] = build.emit("Conv", [x, weight(32, 3, 3, 24)], window | {"stride": [2, 2]}, name="second")
        [x] = build.emit("Conv", [x, weight(32, 3, 3, 16)], window | {"group": 2}, name="grouped")
        x.layout = "NHWC"
    graph.outputs = [x]
    return graph


def reference(graph, x):
    values = {graph.inputs[0]: x}
    for node in graph.nodes:
        results = execute(node, [None if t is None else t.data if t.is_const else values[t] for t in node.inputs])
        values.update(zip(node.outputs, results))
    return values[graph.outputs[0]]


def quantized(kind, **settings):
    graph = network(kind)
    return graph, quantize_dynamic(graph, WeightSettings(**settings))


def feed(graph, seed=0):
    shape = graph.inputs[0].shape
    return (np.random.default_rng(seed).standard_normal(shape) * 3).astype(np.float32)


def sqnr(reference, actual):
    return 10 * np.log10((reference.astype(np.float64) ** 2).sum() / ((reference - actual) ** 2).sum())


def test_codes_cover_the_range_and_hold_zero():
    x = np.array([-1.0, 0.0, 0.5, 3.0], np.float32)
    codes, scale, zero = dynamic_codes(x)
    assert codes.min() == -128 and codes.max() == 127 and codes[1] == zero
    assert np.abs((codes.astype(int) - zero) * scale - x).max() <= scale


@pytest.mark.parametrize("x", [[0.0, 0.0], [np.nan, np.nan], [1e-38, 0.0]])
def test_codes_of_no_range_are_their_zero_point(x):
    codes, scale, zero = dynamic_codes(np.array(x, np.float32))
    assert scale == 1 and (codes == zero).all()


def test_infinite_activations_have_codes():
    codes, scale, _ = dynamic_codes(np.array([-np.inf, 1.0, np.inf], np.float32))
    assert np.isfinite(scale) and codes[0] < codes[2]


@pytest.mark.parametrize("kind", ["dense", "matmul", "conv"])
def test_kernels_equal_the_reference_on_every_isa(kind):
    graph, dynamic = quantized(kind)
    x = feed(graph)
    expected = reference(graph, x)
    if kind == "conv":
        # The depthwise layer between is float, where instruction sets differ in the last bit: each layer alone.
        graph.nodes, graph.outputs = graph.nodes[:1], graph.nodes[0].outputs
        expected = reference(graph, x)
    for isa in _native.isas():
        for threads in (1, 2):
            session = Session(graph.copy(), threads, isa=isa)
            assert session.refusals == {}
            [y] = session.run({"x": x}).values()
            assert np.array_equal(y, expected), (isa, threads)
    assert dynamic.layers


def test_grouped_convolutions_equal_the_reference():
    graph, _ = quantized("conv")
    last = graph.nodes[-1]
    alone = Graph("last", [last], [last.inputs[0]], list(last.outputs))
    x = feed(alone)
    for isa in _native.isas():
        [y] = Session(alone.copy(), isa=isa).run({alone.inputs[0].name: x}).values()
        assert np.array_equal(y, reference(alone, x)), isa


@pytest.mark.parametrize("kind, floor", [("dense", 33), ("matmul", 33), ("conv", 33)])
def test_stays_close_to_float(kind, floor):
    graph, _ = quantized(kind)
    x = feed(graph)
    assert sqnr(reference(network(kind), x), reference(graph, x)) > floor


def test_weights_are_symmetric_and_narrow():
    graph, dynamic = quantized("dense")
    for node in graph.nodes:
        w = node.inputs[1]
        assert w.dtype == np.int8 and np.abs(w.data.astype(int)).max() <= 127
        assert not w.quant.zero_point.any() and w.quant.axis == 0 and len(w.quant.scale) == w.shape[0]
    assert [r.bits for r in dynamic.weights] == [8, 8, 8]


def test_depthwise_layers_keep_float_inputs_and_say_why():
    _, dynamic = quantized("conv", gain_gate=False)
    assert dynamic.layers == ["first", "second", "grouped"]
    assert "depthwise" in dynamic.why["depthwise"] and any("depthwise" in note for note in dynamic.notes())


def test_layers_kept_in_float_are_not_touched():
    graph, dynamic = quantized("dense", keep_float=(parse_selector("fc32"),))
    assert dynamic.layers == ["fc40", "fc24"]
    assert graph.nodes[1].inputs[1].dtype == np.float32 and not graph.nodes[1].attrs["dynamic"]


def test_small_weights_stay_float():
    _, dynamic = quantized("dense", min_size=1500)
    assert dynamic.layers == ["fc40"]


@pytest.mark.parametrize("container", WRITERS)
@pytest.mark.parametrize("kind", ["dense", "matmul", "conv"])
def test_files_keep_what_quantizes_while_running(tmp_path, kind, container):
    graph = network(kind)
    run_passes(graph, GENERAL)
    quantize_dynamic(graph, WeightSettings())
    x = feed(graph)
    expected = Session(graph.copy()).run({"x": x})
    target = graph.copy()
    run_passes(target, for_target(container))
    path = str(tmp_path / f"m.{container}")
    WRITERS[container](target, path)
    read = read_model(path)
    run_passes(read, GENERAL)
    marked = [n.attrs["dynamic"] for n in read.nodes if "dynamic" in n.attrs]
    assert marked.count(True) == sum(n.attrs.get("dynamic", False) for n in graph.nodes)
    session = bitlite.load(path)
    fed = x.transpose(0, 3, 1, 2) if session.inputs[0].layout == "NCHW" and container == "onnx" else x
    [actual] = session.run({session.inputs[0].name: np.ascontiguousarray(fed)}).values()
    [wanted] = expected.values()
    if container == "onnx" and kind == "conv":
        actual = actual.transpose(0, 2, 3, 1)
    assert np.abs(actual - wanted).max() <= 2e-5 * np.abs(wanted).max()


def test_the_command_writes_dynamic_products_for_mindspore_lite(tmp_path):
    graph = network("dense")
    source = str(tmp_path / "m.onnx")
    onnx_write.write(graph, source)
    report = bitlite.convert(source, str(tmp_path / "m"), quant_type="DynamicQuant")
    assert "3 layers quantize their inputs while running" in report.notes
    from bitlite.converter.formats import ms_schema
    from bitlite.converter.formats.files import map_file
    from bitlite.converter.formats.flat import decode

    record = decode(map_file(str(tmp_path / "m.ms")), ms_schema.SCHEMA, file="m.ms")
    ops = [n.primitive.value.table for n in record.nodes]
    assert ops == ["DynamicQuant", "MatMulFusion"] * 2 + ["DynamicQuant", "MatMulFusion"]
    assert all(n.quantType == 6 for n in record.nodes)


def test_a_calibrated_model_ignores_the_mark():
    graph, _ = quantized("dense")
    from bitlite.converter.passes import run_passes
    from bitlite.quant.ptq.prepare import weights_to_reals

    run_passes(graph, (weights_to_reals,))
    x = feed(graph)
    plain = graph.copy()
    for node in plain.nodes:
        node.attrs["dynamic"] = False
    assert np.array_equal(reference(graph, x), reference(plain, x))
