"""PostTraining with activations of 16 bits, of all layers and of some."""

import re

import bitlite
import numpy as np
import pytest
from bitlite.converter.execute import execute
from bitlite.converter.formats import onnx, read_model
from bitlite.quant.ptq.post_training import quantize_graph
from bitlite.quant.ptq.settings import Settings
from bitlite.quant.ptq.weight_codes import WIDE_BITS

ALL = {0: 16}


def widths(graph):
    """Layer → width of its output, of what computes on codes."""
    return {n.name: n.outputs[0].quant.bits for n in graph.nodes if n.outputs[0].quant and "Quantize" not in n.op}


def test_outputs_are_nearer_than_with_codes_of_8_bits(network, samples, outputs, sqnr):
    want = outputs(network(softmax=False))
    narrow, wide = (
        outputs(quantize_graph(network(softmax=False), samples, Settings(activation_bits=bits)).graph)
        for bits in ({}, ALL)
    )
    assert sqnr(want, wide) > sqnr(want, narrow) + 4


def test_all_layers_that_have_kernels_compute_on_16_bits(network, samples):
    result = quantize_graph(network(), samples, Settings(activation_bits=ALL))
    assert set(widths(result.graph).values()) == {16} and len(widths(result.graph)) == 9
    for node in result.graph.nodes:
        for t in (*node.inputs, *node.outputs):
            if t is not None and t.dtype == np.int16:
                assert not t.qparams.zero_point.any()
    assert result.plan.why[next(n for n in result.source.nodes if n.op == "Softmax")] == "no int16 form"
    assert not bitlite.Session(result.graph).refusals


@pytest.mark.parametrize("bits", [{"mix": 16}, {0: 16, "mix": 8}, {"type:Conv": 16}, {"join": 16, "first": 16}])
def test_layers_of_other_widths_meet_in_requantized_codes(network, samples, outputs, sqnr, bits):
    result = quantize_graph(network(softmax=False), samples, Settings(activation_bits=bits))
    found = widths(result.graph)
    for name, width in bits.items():
        meant = [n for n in found if name in (0, n) or (name == "type:Conv" and n in ("first", "each", "mix", "side"))]
        assert all(found[n] == width for n in meant if n not in bits)
    assert set(found.values()) == {8, 16}
    casts = [n for n in result.graph.nodes if n.op == "Quantize" and n.inputs[0].dtype.kind == "i"]
    assert casts and all({n.inputs[0].dtype.name, n.outputs[0].dtype.name} == {"int8", "int16"} for n in casts)
    assert sqnr(outputs(network(softmax=False)), outputs(result.graph)) > 25
    assert not bitlite.Session(result.graph).refusals


def test_a_selector_that_names_nothing_is_refused(network, samples):
    with pytest.raises(bitlite.UsageError, match="'mixx' names no node"):
        quantize_graph(network(), samples, Settings(activation_bits={"mixx": 16}))


def with_outliers(graph):
    """The graph with a weight in each channel that leaves the others few codes of 8 bits."""
    rng = np.random.default_rng(3)
    for node in graph.nodes:
        if node.op in ("Conv", "FullyConnected"):
            rows = node.inputs[1].data.reshape(len(node.inputs[1].data), -1)
            rows[np.arange(len(rows)), rng.integers(0, rows.shape[1], len(rows))] *= 30
    return graph


def weight_bits(graph):
    """Layer → bits of its weight."""
    weights = {n.name: n.inputs[1].quant for n in graph.nodes if n.op in ("Conv", "FullyConnected")}
    return {name: quant.bits for name, quant in weights.items() if quant is not None}


def test_weights_that_limit_the_outputs_get_more_bits(network, samples, outputs, sqnr):
    want = outputs(with_outliers(network(softmax=False)))
    narrow, wide = (
        quantize_graph(with_outliers(network(softmax=False)), samples, Settings(activation_bits=ALL, wide_weights=more))
        for more in (False, True)
    )
    assert set(weight_bits(narrow.graph).values()) == {8}
    found = weight_bits(wide.graph)
    assert {n.name for n in wide.wide_weights.codes} == {name for name, bits in found.items() if bits == WIDE_BITS}
    assert wide.wide_weights.before > 10**-4.6
    assert sqnr(want, outputs(wide.graph)) > sqnr(want, outputs(narrow.graph)) + 4
    assert not bitlite.Session(wide.graph).refusals


def test_weights_of_named_bits_and_of_other_widths_keep_them(network, samples):
    graph = with_outliers(network(softmax=False))
    named = {n: 8 for n in graph.nodes if n.name == "mix"}
    settings = Settings(("MSE",), activation_bits={0: 16, "side": 8}, wide_weights=True, layer_bits=named)
    result = quantize_graph(graph, samples, settings)
    found = weight_bits(result.graph)
    assert found["mix"] == found["side"] == 8 and max(found.values()) == WIDE_BITS


def test_a_network_that_8_bits_serve_keeps_them(network, samples):
    result = quantize_graph(network(softmax=False), samples, Settings(activation_bits=ALL, wide_weights=True))
    assert set(weight_bits(result.graph).values()) == {8} and not result.wide_weights.elements


@pytest.fixture
def source(tmp_path, network):
    path = tmp_path / "m.onnx"
    onnx.write(network(softmax=False), str(path))
    return path


def converted(source, samples, tmp_path, **options):
    data = [row["x"] for row in samples]
    given = {"quant_type": "PostTraining", "calibration_data": data, "activation_bits": 16, "cost": False}
    return bitlite.convert(source, tmp_path / "m16", **given | options)


@pytest.mark.parametrize("bits", [16, "16", "/mix/:16"])
def test_files_hold_what_the_session_computes(source, samples, tmp_path, bits):
    converted(source, samples, tmp_path, output_format=("MS", "TFLITE", "ONNX"), activation_bits=bits)
    x = samples.rows[0]["x"]
    found = [bitlite.load(str(tmp_path / f"m16.{kind}")).run({"x": x}) for kind in ("ms", "tflite", "onnx")]
    first, *others = (next(iter(run.values())) for run in found)
    assert all(np.abs(first - other).max() <= 2e-3 * np.abs(first).max() for other in others)


@pytest.mark.parametrize("kind", ["MS", "ONNX"])
def test_files_hold_wider_weights_packed(network, samples, tmp_path, kind):
    source = tmp_path / "outliers.onnx"
    onnx.write(with_outliers(network(softmax=False)), str(source))
    report = converted(source, samples, tmp_path, output_format=kind)
    path = str(tmp_path / f"m16.{kind.lower()}")
    assert any("weights of more than 8 bits" in note for note in report.notes)
    graph = read_model(path)
    codes = [w for n in graph.nodes if n.op in ("Conv", "FullyConnected") and (w := n.inputs[1]).dtype == np.int16]
    assert codes and not bitlite.load(path).refusals
    assert all(np.abs(w.data).max() < 2**11 for w in codes)
    narrow = converted(source, samples, tmp_path, output_format=kind, bit_num=8)
    assert not any("more than 8 bits" in note for note in narrow.notes)


def test_it_is_said_how_many_operators_compute_on_16_bits(source, samples, tmp_path):
    report = converted(source, samples, tmp_path, activation_bits="/mix/:16")
    found = re.search(r"(\d+) of \d+ operators compute on codes, (\d+) of them on 16 bits", " ".join(report.notes))
    assert found and 0 < int(found[2]) < int(found[1])


def test_named_bits_are_those_of_the_file(source, samples, tmp_path):
    converted(source, samples, tmp_path, layer_bits={"/mix/": 16, "/side/": 10})
    graph = read_model(str(tmp_path / "m16.ms"))
    found = {n.name: n.inputs[1].quant.bits for n in graph.nodes if n.op == "Conv"}
    assert [bits for name, bits in found.items() if "mix" in name] == [16]
    assert [bits for name, bits in found.items() if "side" in name] == [10]


def test_a_tflite_beside_keeps_weights_of_8_bits(source, samples, tmp_path):
    converted(source, samples, tmp_path, output_format=("MS", "TFLITE"))
    assert set(weight_bits(read_model(str(tmp_path / "m16.ms"))).values()) == {8}


def test_litert_agrees_within_a_code_at_every_node(source, samples, tmp_path):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    converted(source, samples, tmp_path, output_format="TFLITE")
    path, x = str(tmp_path / "m16.tflite"), samples.rows[0]["x"]
    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    runner = Interpreter(path, experimental_op_resolver_type=kernels, experimental_preserve_all_tensors=True)
    runner.allocate_tensors()
    runner.set_tensor(runner.get_input_details()[0]["index"], x)
    runner.invoke()
    index = {d["name"]: d["index"] for d in runner.get_tensor_details()}
    graph = read_model(path)
    values, judged = {graph.inputs[0]: x}, 0
    for node in graph.nodes:
        (got,) = execute(node, [t.data if t.is_const else values[t] for t in node.inputs])
        (y,) = node.outputs
        values[y] = runner.get_tensor(index[y.name])
        if y.dtype == np.int16:
            judged += 1
            assert np.abs(got.astype(int) - values[y]).max() <= 1, node
    assert judged == 10


def test_onnxruntime_agrees(source, samples, tmp_path):
    import onnxruntime

    converted(source, samples, tmp_path, output_format="ONNX")
    path, x = str(tmp_path / "m16.onnx"), samples.rows[0]["x"]
    (want,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    (got,) = bitlite.load(path).run({"x": x}).values()
    assert np.abs(got - want).max() <= 1e-3 * np.abs(want).max()


@pytest.mark.parametrize(
    "options,text",
    [
        ({"quant_type": "WeightQuant"}, "of PostTraining, and there is WeightQuant"),
        ({"target": "mslite"}, "no kernels on codes of 16 bits"),
        ({"input_data_type": "INT8"}, "gives all activations 16 bits"),
        ({"output_format": "C"}, "C kernels take int8"),
        ({"output_format": "TFLITE", "bit_num": 12}, "weights of 8 bits beside activations of 16"),
        ({"output_format": "TFLITE", "layer_bits": {"mix": 9}}, "weights of 8 bits beside activations of 16"),
        ({"activation_bits": "/side/:16", "layer_bits": {"/mix/": 9}}, "/mix/:9 where activations have 8 bits"),
        ({"activation_bits": {}, "layer_bits": {"mix": 9}}, "9 bits with PostTraining, which takes 1..8"),
        ({"activation_bits": 4}, "8|16"),
        ({"activation_bits": "mixx:16"}, "names no node"),
        ({"activation_bits": {"re:(": 16}}, "re:("),
        ({"activation_bits": "mix:8,16"}, "the width of all layers comes first"),
        ({"opset": 20, "output_format": "ONNX"}, "need opset 21"),
    ],
)
def test_what_16_bits_are_not_for_is_refused(source, samples, tmp_path, options, text):
    with pytest.raises(bitlite.Error) as error:
        converted(source, samples, tmp_path, **options)
    assert text in str(error.value)
