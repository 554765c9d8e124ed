"""Weights in .ms files: what stands there is what readers make of it."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite import convert, load
from bitlite.converter.errors import ModelError, UnsupportedError
from bitlite.converter.formats import ms, tflite
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.schema.builder import Builder


def fully_connected(weight, quant=None):
    graph = Graph("m")
    build = Builder(graph)
    w = build.constant(weight, "w")
    w.quant = quant
    x = build.input("x", np.float32, (2, weight.shape[1]))
    graph.outputs = build.emit("FullyConnected", [x, w], {"keep_dims": True}, name="dense")
    return graph


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("axis", [0, None])
def test_corrections_of_weights_survive_the_file(tmp_path, channels, axis):
    rng = np.random.default_rng(1)
    n = 1 if axis is None else channels
    quant = QuantParam(
        rng.uniform(0.01, 0.02, n),
        np.zeros(n, np.int32),
        axis,
        8,
        var_corr=np.full(n, 1.25, np.float32),
        mean_corr=np.full(n, 0.5, np.float32),
    )
    graph = fully_connected(rng.integers(-128, 128, (channels, 64)).astype(np.int8), quant)
    x = rng.normal(size=(2, 64)).astype(np.float32)
    want = x @ graph.nodes[0].inputs[1].real().T
    ms.write(graph, str(tmp_path / "m.ms"))
    (got,) = load(tmp_path / "m.ms").run(x).values()
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("zeros", [0.0, 0.85])
def test_weights_of_integer_layers_take_the_smallest_form_and_stay_what_they_are(tmp_path, zeros):
    rng = np.random.default_rng(1)
    w = rng.normal(size=(64, 128)) * (rng.random((64, 128)) >= zeros)
    tflite.write(fully_connected(w.astype(np.float32)), str(tmp_path / "m.tflite"))
    data = [rng.normal(size=(2, 128)).astype(np.float32) for _ in range(4)]
    sizes, outputs = [], []
    for encode in (True, False):
        path = tmp_path / f"{encode}.ms"
        convert(tmp_path / "m.tflite", path, quant_type="PostTraining", calibration_data=data, enable_encode=encode)
        sizes.append(path.stat().st_size)
        outputs.append(next(iter(load(path).run(data[0]).values())))
    assert sizes[0] < 0.6 * sizes[1] if zeros else 0.8 * sizes[1] < sizes[0] <= sizes[1]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize(
    "options",
    [
        *({"quant_type": "WeightQuant", "bit_num": bits} for bits in (1, 3, 4, 8, 12, 16)),
        {"quant_type": "WeightQuant", "per_channel": False},
        {"quant_type": "DynamicQuant"},
        {"quant_type": "PostTraining"},
    ],
    ids=lambda o: " ".join(map(str, o.values())),
)
def test_a_layer_of_one_output_channel_is_written_as_it_computes(tmp_path, options):
    rng = np.random.default_rng(0)
    tflite.write(fully_connected(rng.normal(0.5, 1, (1, 64)).astype(np.float32)), str(tmp_path / "m.tflite"))
    if options["quant_type"] == "PostTraining":
        options = options | {"calibration_data": [rng.normal(size=(2, 64)).astype(np.float32) for _ in range(4)]}
    convert(tmp_path / "m.tflite", tmp_path / "q", **options)
    x = rng.normal(size=(2, 64)).astype(np.float32)
    ((want,), (got,)) = (load(tmp_path / name).run(x).values() for name in ("m.tflite", "q.ms"))
    step = 2.0 ** -options.get("bit_num", 8)
    assert np.abs(got - want).max() < 8 * 8 * step


def few(shape, count):
    weight = np.zeros(shape, np.float32)
    weight.ravel()[:: max(1, weight.size // max(count, 1))][:count] = np.linspace(-1, 1, count)
    return weight


@pytest.mark.parametrize("bits", [1, 4, 8, 16])
@pytest.mark.parametrize(
    "weight",
    [np.zeros((256, 256)), np.ones((256, 256)), few((1024, 1024), 5), few((1024, 1024), 1)],
    ids=["zeros", "ones", "five", "one"],
)
def test_a_weight_of_next_to_no_information_is_written_and_read(tmp_path, weight, bits):
    tflite.write(fully_connected(weight.astype(np.float32)), str(tmp_path / "m.tflite"))
    report = convert(tmp_path / "m.tflite", tmp_path / "q", quant_type="WeightQuant", bit_num=bits)
    assert report.files[str(tmp_path / "q.ms")] < 2 * 12 * len(weight) + 8192
    x = np.random.default_rng(0).normal(size=(2, weight.shape[1])).astype(np.float32)
    (got,) = load(tmp_path / "q.ms").run(x).values()
    if bits > 1:
        np.testing.assert_allclose(got, x @ weight.T, atol=0.02)


def test_codes_that_take_no_room_are_bounded_in_all(tmp_path, monkeypatch):
    graph = Graph("m")
    build = Builder(graph)
    y = build.input("x", np.float32, (2, 1024))
    for k in range(4):
        w = build.constant(np.full((1024, 1024), 3 + k, np.int8), f"w{k}")
        w.quant = QuantParam([0.1], [0])
        y = build.emit("FullyConnected", [y, w], {"keep_dims": True})[0]
    graph.outputs = [y]
    ms.write(graph, str(tmp_path / "m.ms"))
    monkeypatch.setenv("BITLITE_MEMORY_MB", "4")
    ms.read(str(tmp_path / "m.ms"))
    monkeypatch.setenv("BITLITE_MEMORY_MB", "3")
    with pytest.raises(ModelError, match=r"w3: 2 bytes become \[1024, 1024\], 4 MB .* 3 MB are allowed"):
        ms.read(str(tmp_path / "m.ms"))


def test_an_empty_output_is_refused_by_name_and_read(tmp_path, monkeypatch):
    graph = Graph("m")
    build = Builder(graph)
    y = build.emit("Relu", [build.input("x", np.float32, (2, 4))])[0]
    graph.outputs = [y, build.constant(np.zeros((0, 3), np.float32), "z")]
    with pytest.raises(UnsupportedError, match="output 'z' is empty"):
        ms.write(graph, str(tmp_path / "m.ms"))
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("bitlite.converter.formats.operators.fit_types", lambda *_: None)
    ms.write(graph, str(tmp_path / "m.ms"))
    assert load(tmp_path / "m.ms").run(np.zeros((2, 4), np.float32))["z"].shape == (0, 3)
