"""Weights of matrix products in blocks along their inputs."""

import tracemalloc

import bitlite
import numpy as np
import pytest
from bitlite.converter.formats import flat, onnx, read_model, tflite_schema
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.blocks import block_reals, packed_blocks, unpacked_blocks
from bitlite.converter.passes import GENERAL, run_passes
from bitlite.converter.schema.builder import Builder
from bitlite.converter.schema.verify import verify
from bitlite.native.session import Session
from bitlite.quant.weights.block_weights import block_codes
from bitlite.quant.weights.weight_quant import WeightSettings, quantize_graph_weights
from bitlite.tools import read_back, stored_weights


def matrix(seed=0, shape=(24, 100)):
    """Normal weights with outliers."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(shape).astype(np.float32)
    w[rng.random(shape) < 0.01] *= 12
    return w


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zero_points", [False, True])
@pytest.mark.parametrize("block", [16, 32, 128])
def test_codes_are_within_their_widths_and_near_the_weights(bits, zero_points, block):
    w = matrix() + np.float32(0.5 if zero_points else 0)
    codes, scale, zero = block_codes(w, bits, block, zero_points)
    codes = unpacked_blocks(codes, 100, bits)
    assert codes.dtype == np.int8 and scale.shape == (24, -(-100 // block)) and (zero is not None) == zero_points
    half = 2 ** (bits - 1)
    assert codes.min() >= -half + (not zero_points) and codes.max() <= half - 1
    error = np.square(block_reals(codes, scale, zero, block) - w).sum() / np.square(w).sum()
    assert error < {16: 0.03, 32: 0.03, 128: 0.1}[block] / (1 if bits == 4 else 200)


def test_smaller_blocks_and_zero_points_lose_less():
    w = np.abs(matrix(1))
    errors = {}
    for block in (16, 64, 256):
        for zero_points in (False, True):
            codes, *grid = block_codes(w, 4, block, zero_points)
            found = block_reals(unpacked_blocks(codes, 100, 4), *grid, block)
            errors[block, zero_points] = np.square(found - w).sum()
    assert errors[16, False] < errors[64, False] < errors[256, False]
    assert all(errors[block, True] < errors[block, False] for block in (16, 64, 256))


def test_zeros_stay_zero():
    codes, scale, zero = block_codes(np.zeros((3, 40), np.float32), 4, 16, True)
    assert not block_reals(unpacked_blocks(codes, 40, 4), scale, zero, 16).any()


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("inputs", [32, 75])
def test_packed_codes_come_back(bits, inputs):
    half = 2 ** (bits - 1)
    codes = np.random.default_rng(2).integers(-half, half, (5, inputs)).astype(np.int8)
    packed = packed_blocks(codes, 32, bits)
    assert packed.shape == (5, -(-inputs // 32), 32 * bits // 8)
    assert np.array_equal(unpacked_blocks(packed, inputs, bits), codes)


def network():
    """Two matrix products, one with a bias and three dimensions, and a convolution."""
    rng = np.random.default_rng(3)
    graph = Graph("net")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 6, 96))
    b = build.constant(rng.standard_normal(40).astype(np.float32), "b")
    (y,) = build.emit("FullyConnected", [x, build.constant(matrix(4, (40, 96)), "w"), b], {"act": "relu"}, name="up")
    (y,) = build.emit("FullyConnected", [y, build.constant(matrix(5, (32, 40)), "v")], name="down")
    graph.outputs = [y]
    return graph


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.write(network(), str(path))
    return path


def converted(source, tmp_path, **options):
    given = {"quant_type": "WeightQuant", "bit_num": 4, "block_size": 32, "output_format": "ONNX", "cost": False}
    return bitlite.convert(source, tmp_path / "q", **given | options)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zero_points", [False, True])
@pytest.mark.parametrize("form", ["MatMulNBits", "DequantizeLinear"])
def test_onnxruntime_and_the_session_compute_the_same(source, tmp_path, bits, zero_points, form):
    import onnxruntime
    from onnx import load

    report = converted(source, tmp_path, bit_num=bits, block_zero_points=zero_points, block_form=form)
    assert [n.op_type for n in load(tmp_path / "q.onnx").graph.node].count(form) == 2
    assert [row.bits for row in report.layers] == [bits, bits]
    path = str(tmp_path / "q.onnx")
    graph = read_model(path)
    run_passes(graph, GENERAL)
    assert [n.op for n in graph.nodes].count("BlockFullyConnected") == 2
    x = np.random.default_rng(6).standard_normal((1, 6, 96)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")  # float32; by itself int8 inputs
    (want,) = onnxruntime.InferenceSession(path, options).run(None, {"x": x})
    session = bitlite.load(path)
    (got,) = session.run({"x": x}).values()
    assert not session.refusals
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()
    (real,) = bitlite.load(str(source)).run({"x": x}).values()
    assert np.square(got - real).sum() < (0.1 if bits == 4 else 1e-3) * np.square(real).sum()


def test_a_weight_stays_beside_its_blocks_for_other_readers():
    """One is the left factor of a product, one has blocks of another width."""
    graph = Graph("net")
    build = Builder(graph)
    w = build.constant(matrix(9, (32, 32)), "w")
    (left,) = build.emit("MatMul", [w, build.input("x", np.float32, (32, 5))], name="left")
    (y,) = build.emit("FullyConnected", [build.input("y", np.float32, (3, 32)), w], name="four")
    (z,) = build.emit("FullyConnected", [y, w], name="eight")
    graph.outputs = [left, z]
    quantize_graph_weights(graph, WeightSettings(4, block_size=32, layer_bits=(("eight", 8),)), {})
    verify(graph)
    assert [n.attrs.get("bits") for n in graph.nodes] == [None, 4, 8]


def test_blocks_lose_less_than_one_scale_per_output(source, tmp_path):
    x = np.random.default_rng(7).standard_normal((1, 6, 96)).astype(np.float32)
    (want,) = bitlite.load(str(source)).run({"x": x}).values()
    errors = []
    for size in (0, 16):
        converted(source, tmp_path, block_size=size)
        (got,) = bitlite.load(str(tmp_path / "q.onnx")).run({"x": x}).values()
        errors.append(np.square(got - want).sum())
    assert errors[1] < 0.6 * errors[0]


def test_with_data_biases_take_up_what_blocks_lose(source, tmp_path):
    rng = np.random.default_rng(8)
    data = [np.abs(rng.standard_normal((1, 6, 96))).astype(np.float32) for _ in range(16)]
    found = []
    for options in ({}, {"calibration_data": data}):
        converted(source, tmp_path, **options)
        found.append(bitlite.load(str(tmp_path / "q.onnx")))
    real = bitlite.load(str(source))
    off = [
        sum((s.run({"x": x}).popitem()[1] - real.run({"x": x}).popitem()[1]).mean(axis=(0, 1)) for x in data)
        for s in found
    ]
    assert np.abs(off[1]).sum() < 0.2 * np.abs(off[0]).sum()


@pytest.mark.parametrize(
    "options,text",
    [
        ({"output_format": "MS"}, "none per block"),
        ({"block_form": "DequantizeLinear", "opset": 18}, "opset 21"),
        ({"block_form": "DequantizeLinear", "block_size": 0}, "no effect without blocks"),
        ({"output_format": "C"}, "C kernels"),
        ({"output_format": "TFLITE", "block_zero_points": True}, "no zero points"),
        ({"output_format": "TFLITE", "block_size": 16}, "32 inputs or more"),
        ({"output_format": "TFLITE", "bit_num": 8}, "have 4 bits"),
        ({"quant_type": "PostTraining"}, "of WeightQuant, and there is PostTraining"),
        ({"block_size": 48}, "16|32|64"),
        ({"block_size": 0, "block_zero_points": True}, "no effect without blocks"),
        (
            {"target_size": 0.3, "bit_num": 8, "calibration_data": [np.zeros((1, 6, 96), np.float32)]},
            "one scale per output",
        ),
    ],
)
def test_what_blocks_are_not_for_is_refused(source, tmp_path, options, text):
    with pytest.raises(bitlite.Error) as error:
        converted(source, tmp_path, **options)
    assert text in str(error.value)


def litert(path, x):
    """What LiteRT gives; it takes inputs of such products to 8 bits, row by row."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def decibel(got, want):
    return 10 * np.log10(np.square(want).sum() / np.square(got - want).sum())


@pytest.mark.parametrize("block", [32, 64])
@pytest.mark.parametrize("shape", [(1, 128), (7, 128), (1, 6, 128)])
def test_litert_computes_what_a_tflite_has_in_blocks(tmp_path, shape, block):
    graph = Graph("net")
    build = Builder(graph)
    rng = np.random.default_rng(10)
    x = build.input("x", np.float32, shape)
    b = build.constant(rng.standard_normal(40).astype(np.float32), "b")
    (y,) = build.emit("FullyConnected", [x, build.constant(matrix(4, (40, 128)), "w"), b], {"act": "relu"}, name="up")
    graph.outputs = [y]
    onnx.write(graph, str(tmp_path / "m.onnx"))
    report = converted(tmp_path / "m.onnx", tmp_path, output_format="TFLITE", block_size=block)
    assert [row.bits for row in report.layers] == [4]
    feed = rng.standard_normal(shape).astype(np.float32)
    (got,) = bitlite.load(str(tmp_path / "q.tflite")).run({"x": feed}).values()
    assert decibel(litert(tmp_path / "q.tflite", feed), got) > 35
    read = read_model(str(tmp_path / "q.tflite"))
    (node,) = [n for n in read.nodes if n.op == "BlockFullyConnected"]
    assert node.attrs["block"] == block and node.required(1).value.nbytes == 40 * 128 // 2
    (real,) = bitlite.load(str(tmp_path / "m.onnx")).run({"x": feed}).values()
    assert decibel(got, real) > {32: 13, 64: 11}[block]


def test_a_tflite_has_one_scale_per_output_where_blocks_have_no_form(source, tmp_path):
    """Rows of 40 inputs are no whole blocks; weights next to nothing have no scale in float16."""
    converted(source, tmp_path, output_format="TFLITE")
    read = read_model(str(tmp_path / "q.tflite"))
    assert [n.op for n in read.nodes if "FullyConnected" in n.op] == ["BlockFullyConnected", "FullyConnected"]
    graph = network()
    for node in graph.nodes:
        node.required(1).data = node.required(1).value * np.float32(1e-6)
    rows = quantize_graph_weights(graph, WeightSettings(4, block_size=32, container="tflite"))
    assert [n.op for n in graph.nodes] == ["FullyConnected", "FullyConnected"] and len(rows) == 2


def test_scales_for_a_tflite_are_those_that_float16_holds():
    codes, scale, zero = block_codes(matrix(), 4, 50, False, half=True)
    assert zero is None and np.array_equal(scale.astype(np.float16).astype(np.float32), scale)
    found = block_reals(unpacked_blocks(codes, 100, 4), scale, None, 50)
    assert np.square(found - matrix()).sum() < 0.06 * np.square(matrix()).sum()


def broken(path, change):
    """The file with another quantization of its blocked weight."""
    model = flat.decode(path.read_bytes(), tflite_schema.SCHEMA)
    (tensor,) = [t for t in model.subgraphs[0].tensors if t.quantization is not None and t.quantization.details]
    change(model.subgraphs[0], tensor, tensor.quantization.details)
    path.write_bytes(b"".join(bytes(part) for part in flat.encode(model, tflite_schema.SCHEMA)))
    return path


def _set(field, value):
    return lambda graph, tensor, details: details.__setitem__(field, value)


def _zero_points(graph, tensor, details):
    details.zero_points = details.scales
    graph.tensors[details.scales].type = tflite_schema.SCHEMA.enums["TensorType"].INT16


@pytest.mark.parametrize(
    "change,text",
    [
        (_set("block_size", 0), "do not fit"),
        (_set("block_size", 64), "do not fit"),
        (_set("block_size", -32), "do not fit"),
        (_set("block_size", 2**30), "do not fit"),
        (_set("scales", 0), "must be a constant"),
        (_set("scales", 99), "outside"),
        (_set("zero_points", 99), "outside"),
        (_zero_points, "scales of int16"),
    ],
)
def test_broken_blocks_of_a_tflite_are_refused(source, tmp_path, change, text):
    converted(source, tmp_path, output_format="TFLITE", keep_float=["down"])
    with pytest.raises(bitlite.Error, match=text):
        read_model(str(broken(tmp_path / "q.tflite", change)))


def test_a_large_file_is_read_back_without_a_second_copy_of_its_codes(tmp_path, monkeypatch):
    """Codes are compared where they are stored, so that a small part of them is held; a wrong one is named."""
    monkeypatch.setattr(read_back, "LARGEST", 0)
    monkeypatch.setattr(stored_weights, "_BLOCK", 1 << 16)
    graph = Graph("net")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 2048))
    w = build.constant(matrix(9, (2048, 2048)), "w")
    graph.outputs = build.emit("FullyConnected", [x, w], name="product")
    quantize_graph_weights(graph, WeightSettings(4, block_size=128, container="onnx"))
    codes = graph.nodes[0].required(1)
    path = str(tmp_path / "q.onnx")
    onnx.write(graph, path)
    original = read_back.Original(graph)
    tracemalloc.start()
    note = read_back.check_written(path, original)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "100% of the bytes" in note
    assert codes.nbytes == 2048 * 2048 // 2 and peak < codes.nbytes / 4
    codes.value[7, 3, 5] ^= 1
    with pytest.raises(bitlite.OutputError, match=r"weight 'w' \[2048, 16, 64\] is not what was written"):
        read_back.check_written(path, original)


@pytest.mark.parametrize("rows", [1, 3, 4, 9])
def test_weights_of_zero_keep_loud_inputs_out(rows):
    """Spectra reach from 1 to a millionth: what a band of the quiet end adds up is nothing to the loud one."""
    at, graph = np.arange(96), Graph("bands")
    build = Builder(graph)
    bands = np.maximum(0, 1 - np.abs(at - np.linspace(0, 95, 40)[:, None]) / 4).astype(np.float32)
    x = build.input("x", np.float32, (rows, 96))
    graph.outputs = build.emit("FullyConnected", [x, build.constant(bands, "w")], {"keep_dims": True})
    quantize_graph_weights(graph, WeightSettings(4, block_size=32))
    feed = (np.random.default_rng(3).uniform(0.5, 1, (rows, 96)) * 10.0 ** (-at / 16)).astype(np.float32)
    (got,) = Session(graph).run({"x": feed}).values()
    node = graph.nodes[0]
    real = block_reals(unpacked_blocks(node.required(1).value, 96, 4), node.required(3).value, None, 32)
    want = feed.astype(np.float64) @ real.T.astype(np.float64)
    assert (np.abs(got - want) <= 1e-3 * want).all()
