"""WeightQuant that sees calibration data."""

import subprocess
import sys
from dataclasses import replace

import bitlite
import numpy as np
import pytest
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.quant.calibrate.noise import noise_images
from bitlite.quant.calibrate.spread import Chosen
from bitlite.quant.cluster.pool import Workforce
from bitlite.quant.ptq.bias_correction import correct
from bitlite.quant.ptq.prefix_runner import QuantizedPrefixRunner
from bitlite.quant.ptq.quantized_graph import beside, note_stored
from bitlite.quant.weights import finer_weights, noise_biases, output_rounding
from bitlite.quant.weights.output_rounding import quantize_by_output
from bitlite.quant.weights.weight_quant import WeightSettings, quantize_graph_weights

SETTINGS = WeightSettings(4, min_channels=0, gain_gate=False)


def network():
    """conv → depthwise → conv → mean → dense, on inputs whose channels say nearly the same."""
    rng = np.random.default_rng(0)
    graph = Graph("net")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 8, 8, 6))

    def layer(name, x, shape, **attrs):
        w = build.constant(rng.normal(0, 1, shape).astype(np.float32), f"{name}/w")
        b = build.constant(rng.normal(0, 1, shape[0]).astype(np.float32), f"{name}/b")
        return build.emit("Conv", [x, w, b], {"act": "relu", **attrs}, name=name)[0]

    window = {"stride": [1, 1], "dilation": [1, 1], "pad": [1, 1, 1, 1], "group": 1}
    y = layer("first", x, (16, 3, 3, 6), **window)
    y = layer("each", y, (16, 3, 3, 1), **{**window, "group": 16})
    y = layer("second", y, (24, 1, 1, 16), **{**window, "pad": [0] * 4})
    y = build.emit("Reduce", [y], {"axes": [1, 2], "mode": "mean", "keep_dims": False}, name="mean")[0]
    w = build.constant(rng.normal(0, 1, (10, 24)).astype(np.float32), "dense/w")
    graph.outputs = build.emit("FullyConnected", [y, w], name="dense")
    return graph


def wide_network():
    """conv → wide conv → narrow conv → mean → dense."""
    rng = np.random.default_rng(1)
    graph = Graph("net")
    build = Builder(graph)
    y = build.input("x", np.float32, (1, 8, 8, 6))
    window = {"act": "relu", "stride": [1, 1], "dilation": [1, 1], "pad": [0] * 4, "group": 1}
    for name, inputs, outputs in (("first", 6, 32), ("wide", 32, 512), ("narrow", 512, 24)):
        w = rng.normal(0, 1, (outputs, 1, 1, inputs)) * rng.uniform(0.5, 2, (outputs, 1, 1, 1)) / inputs**0.5
        b = build.constant(rng.normal(0, 0.1, outputs).astype(np.float32), f"{name}/b")
        y = build.emit("Conv", [y, build.constant(w.astype(np.float32), f"{name}/w"), b], window, name=name)[0]
    y = build.emit("Reduce", [y], {"axes": [1, 2], "mode": "mean", "keep_dims": False}, name="mean")[0]
    w = build.constant(rng.normal(0, 1, (10, 24)).astype(np.float32), "dense/w")
    graph.outputs = build.emit("FullyConnected", [y, w], name="dense")
    return graph


class Rows(list):
    def only(self, rows):
        return (self[k] for k in rows)


def samples(count=24, seed=1):
    rng = np.random.default_rng(seed)
    shared = [rng.normal(0, 1, (1, 8, 8, 1)) + rng.normal(0, 0.2, (1, 8, 8, 6)) for _ in range(count)]
    return Rows({"x": a.astype(np.float32)} for a in shared)


def outputs(graph, rows):
    session = bitlite.Session(graph)
    return np.stack([session.run(row)[graph.outputs[0].name].copy() for row in rows])


def sqnr(want, got):
    return 10 * np.log10((want**2).sum() / ((want - got) ** 2).sum())


def test_outputs_are_nearer_than_with_each_weight_rounded_by_itself():
    fresh, graph, alone = samples(32, seed=7), network(), network()
    want = outputs(graph, fresh)
    quantize_graph_weights(alone, SETTINGS)
    rows, fidelity = quantize_by_output(graph, SETTINGS, samples(), Workforce(1))
    assert min(row.bits for row in rows) == 4 and fidelity.held_back
    assert sqnr(want, outputs(graph, fresh)) > sqnr(want, outputs(alone, fresh)) + 4


@pytest.mark.parametrize("container", ["onnx", "tflite"])
def test_other_formats_keep_symmetric_codes(container):
    graph = network()
    quantize_by_output(
        graph, WeightSettings(4, min_channels=0, gain_gate=False, container=container), samples(), Workforce(1)
    )
    for node in graph.nodes:
        w = node.input(1)
        if w is not None and w.quant is not None:
            assert not w.quant.zero_point.any() and w.quant.mean_corr is None and np.abs(w.data).max() <= 7


def test_threads_do_not_change_the_codes():
    def stored(threads):
        graph = network()
        quantize_by_output(graph, SETTINGS, samples(), Workforce(threads))
        return [t.data.tobytes() + (b"" if t.quant is None else t.quant.scale.tobytes()) for t in graph.constants()]

    assert stored(1) == stored(3)


def test_a_layer_kept_in_float_takes_up_what_comes_before_it():
    graph = network()
    before = {n.name: n.inputs[2].data.copy() for n in graph.nodes if n.op == "Conv"}
    quantize_by_output(graph, SETTINGS, samples(), Workforce(1))
    kept = network()
    rows, _ = quantize_by_output(
        kept, WeightSettings(4, min_channels=0, gain_gate=False, layer_bits=(("first", 2),)), samples(), Workforce(1)
    )
    assert next(row.bits for row in rows if row.layer == "first") == 2
    assert all((n.inputs[2].data != before[n.name]).any() for n in kept.nodes if n.op == "Conv")


def test_biases_stay_on_request():
    graph = network()
    before = {n.name: n.inputs[2].data.copy() for n in graph.nodes if n.op == "Conv"}
    quantize_by_output(graph, SETTINGS, samples(), Workforce(1), correct_biases=False)
    assert all((n.inputs[2].data == before[n.name]).all() for n in graph.nodes if n.op == "Conv")


def test_the_command_says_what_it_cost(tmp_path):
    from bitlite.converter.formats.onnx import write

    source = tmp_path / "m.onnx"
    write(network(), str(source))
    data = list(samples())
    given = {"quant_type": "WeightQuant", "bit_num": 4, "quant_weight_channel": 0}
    report = bitlite.convert(source, tmp_path / "m", calibration_data=data, **given)
    assert report.fidelity is not None and report.fidelity.held_back
    nearest = bitlite.convert(source, tmp_path / "n", calibration_data=data, weight_rounding="nearest", **given)
    assert nearest.fidelity is not None and nearest.fidelity.random
    config = tmp_path / "c.cfg"
    config.write_text("[weight_quant_param]\nquant_strategy=GPTQ\n")
    with pytest.raises(bitlite.UsageError, match="there are none"):
        bitlite.convert(source, tmp_path / "g", config_file=config, **given)


def test_a_model_that_keeps_states_is_refused_with_data(tmp_path, monkeypatch):
    from bitlite.converter.formats.onnx import write
    from bitlite.tools import convert

    source = tmp_path / "m.onnx"
    write(network(), str(source))
    read = convert.read_sized

    def with_a_state(*args, **given):
        graph = read(*args, **given)
        build = Builder(graph)
        state = build.input("state", np.float32, (1, 2))
        graph.outputs.append(build.emit("Relu", [state], name="next")[0])
        graph.states = (np.zeros((1, 2), np.float32),)
        return graph

    monkeypatch.setattr(convert, "read_sized", with_a_state)
    given = {"quant_type": "WeightQuant", "quant_weight_channel": 0}
    with pytest.raises(bitlite.Error, match="keeps states from run to run"):
        bitlite.convert(source, tmp_path / "m", calibration_data=list(samples()), **given)
    assert not (tmp_path / "m.ms").exists()
    assert bitlite.convert(source, tmp_path / "m", read_back=False, **given).files


def image_network(poison=False):
    """conv → depthwise → conv → mean on an image; poison: of values that no float holds."""
    rng = np.random.default_rng(3)
    graph = Graph("net")
    build = Builder(graph)
    y = build.input("x", np.float32, (1, 24, 24, 3))
    window = {"stride": [2, 2], "dilation": [1, 1], "pad": [1, 1, 1, 1], "group": 1}
    for name, shape in (("a", (24, 3, 3, 3)), ("b", (32, 3, 3, 24)), ("c", (32, 3, 3, 32))):
        w = build.constant(rng.normal(0.05, 1e15 if poison else 0.2, shape).astype(np.float32), f"{name}/w")
        b = build.constant(rng.normal(0, 0.3, shape[0]).astype(np.float32), f"{name}/b")
        y = build.emit("Conv", [y, w, b], {"act": "relu", **window}, name=name)[0]
    graph.outputs = build.emit("Reduce", [y], {"axes": [1, 2], "mode": "mean", "keep_dims": False}, name="mean")
    return graph


def written(tmp_path, graph):
    from bitlite.converter.formats.onnx import write

    source = tmp_path / "m.onnx"
    write(graph, str(source))
    return source


def test_without_data_biases_keep_means_on_noise_at_four_bits(tmp_path):
    source = written(tmp_path, image_network())
    given = {"quant_type": "WeightQuant", "bit_num": 4}
    corrected = bitlite.convert(source, tmp_path / "noise", **given)
    alone = bitlite.convert(source, tmp_path / "alone", weight_rounding="nearest", **given)
    eight = bitlite.convert(source, tmp_path / "eight", quant_type="WeightQuant")
    assert any("images of noise" in note for note in corrected.notes)
    assert not any("noise" in note for report in (alone, eight) for note in report.notes)
    sessions = [bitlite.load(str(path)) for path in (source, tmp_path / "noise.ms", tmp_path / "alone.ms")]
    rng = np.random.default_rng(4)
    images = [np.clip(rng.normal(0.1, 0.4, (1, 24, 24, 3)), -1, 1).astype(np.float32) for _ in range(20)]
    want, near, far = (np.concatenate([s.run({"x": x})["mean"].copy() for x in images]) for s in sessions)
    assert np.abs(near.mean(0) - want.mean(0)).sum() < 0.5 * np.abs(far.mean(0) - want.mean(0)).sum()


def test_keeping_means_on_noise_loads_nothing_that_reads_data(tmp_path):
    source = written(tmp_path, image_network())
    work = f"""if True:
        import sys, bitlite
        bitlite.convert({str(source)!r}, {str(tmp_path / "m")!r}, quant_type="WeightQuant", bit_num=4)
        print(*sys.modules)
    """
    modules = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, check=True).stdout.split()
    assert "bitlite.quant.weights.noise_biases" in modules
    assert not {"bitlite.quant.calibrate.data", "bitlite.quant.cluster", "bitlite.quant.ptq.emit"} & {*modules}


def test_biases_stay_where_keeping_means_on_noise_leaves_outputs_further_off(tmp_path, monkeypatch):
    """Each bias is shifted after it was corrected."""
    found = noise_biases._Walk.means_at

    def shift(walk, layer):
        real, codes = found(walk, layer)
        return real + 3, codes

    source = written(tmp_path, image_network())
    monkeypatch.setattr(noise_biases._Walk, "means_at", shift)
    report = bitlite.convert(source, tmp_path / "noise", quant_type="WeightQuant", bit_num=4)
    assert any("biases stay: outputs are no nearer" in note for note in report.notes)
    bitlite.convert(source, tmp_path / "alone", quant_type="WeightQuant", bit_num=4, weight_rounding="nearest")
    x = np.random.default_rng(4).uniform(-1, 1, (1, 24, 24, 3)).astype(np.float32)
    a, b = (bitlite.load(str(tmp_path / f"{name}.ms")).run({"x": x})["mean"] for name in ("noise", "alone"))
    np.testing.assert_array_equal(a, b)


def test_a_model_that_noise_overflows_is_rounded_without_it(tmp_path):
    source = written(tmp_path, image_network(poison=True))
    report = bitlite.convert(source, tmp_path / "m", quant_type="WeightQuant", bit_num=4, read_back=False, cost=False)
    assert any("none of noise" in note for note in report.notes)


@pytest.mark.parametrize("container", ["", "tflite"])
def test_outputs_of_values_that_4_bits_are_too_few_for_get_more_where_they_gain_most(container, monkeypatch):
    monkeypatch.setattr(finer_weights, "POOR", 26.0)
    monkeypatch.setattr(output_rounding, "spare_bits", lambda *args: {})
    data, settings = samples(40), replace(SETTINGS, container=container)

    def rounded(graph, settings):
        rows, fidelity = quantize_by_output(graph, settings, data, Workforce(1))
        return {row.layer: row.bits for row in rows}, fidelity.worst.sqnr

    values = network()
    values.outputs = [next(n for n in values.nodes if n.name == "second").outputs[0]]
    values.prune()
    bits, reached = rounded(values.copy(), settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output_rounding, "lacking", lambda settings, fidelity: 0.0)
        plain, before = rounded(values.copy(), settings)
    assert set(plain.values()) == {4} and before < 26 and reached >= before + 1
    assert 4 < max(bits.values()) <= 8 and (container == "" or set(bits.values()) <= {4, 8})
    sizes = {n.name: n.inputs[1].value.size for n in values.nodes}
    assert sum(b * sizes[name] for name, b in bits.items()) <= 4 * sum(sizes.values()) * 4 / 3
    named = replace(settings, layer_bits=(("first", 4), ("second", 4)))
    assert {rounded(values.copy(), named)[0][name] for name in ("first", "second")} == {4}
    assert set(rounded(network(), settings)[0].values()) == {4}  # classes


def test_outputs_lack_what_they_lack_on_samples_that_codes_are_fitted_to(monkeypatch):
    """Held-back samples that happen to be easy do not hide it."""
    asked, finer = [], []

    def lacking(settings, fidelity):
        asked.append(fidelity.held_back)
        return -1.0 if fidelity.held_back else 2.0

    monkeypatch.setattr(output_rounding, "lacking", lacking)
    monkeypatch.setattr(output_rounding, "finer_weights", lambda *args: finer.append(args) or {})
    quantize_by_output(network(), SETTINGS, samples(40), Workforce(1))
    assert asked == [True, False] and len(finer) == 1
    monkeypatch.setattr(output_rounding, "lacking", lambda settings, fidelity: -1.0)
    quantize_by_output(network(), SETTINGS, samples(40), Workforce(1))
    assert len(finer) == 1


def test_a_conversion_says_which_weights_have_more_bits_and_what_they_take(tmp_path, monkeypatch):
    monkeypatch.setattr(finer_weights, "POOR", 26.0)
    values = network()
    values.outputs = [next(n for n in values.nodes if n.name == "second").outputs[0]]
    values.prune()
    asked = {"quant_type": "WeightQuant", "bit_num": 4, "calibration_data": list(samples(40)), "cost": False}
    gates = {"quant_weight_size": 0, "quant_weight_channel": 0}
    report = bitlite.convert(written(tmp_path, values), tmp_path / "m", read_back=False, **asked, **gates)
    finer = [row for row in report.layers if not row.reason and row.bits > 4]
    more = sum(int(np.prod(row.shape)) * (row.bits - 4) for row in finer) // 8
    note = next(note for note in report.notes if "bits instead of 4" in note)
    assert note.startswith(f"{len(finer)} weights") and f"{more} bytes more" in note and finer[0].layer in note


def test_weights_that_cost_most_have_more_bits_in_no_more_bytes(tmp_path):
    """Of 4 bits with grids of their own, as without data."""
    source = written(tmp_path, wide_network())
    asked = {"quant_type": "WeightQuant", "bit_num": 4, "cost": False, "quant_weight_channel": 0}
    bitlite.convert(source, tmp_path / "own", weight_rounding="nearest", **asked)
    report = bitlite.convert(source, tmp_path / "m", calibration_data=list(samples(40)), **asked)
    bits = [row.bits for row in report.layers if not row.reason]
    assert min(bits) == 4 and 4 < max(bits) <= 8
    assert (tmp_path / "m.ms").stat().st_size <= (tmp_path / "own.ms").stat().st_size
    asked |= {"layer_bits": "wide/Relu:4", "calibration_data": list(samples(40))}
    named = bitlite.convert(source, tmp_path / "n", **asked)
    assert next(row.bits for row in named.layers if row.tensor == "wide/w") == 4


@pytest.mark.parametrize("container", ["tflite", "onnx"])
def test_formats_that_say_each_grid_anew_keep_the_bits_asked_for(container):
    graph = wide_network()
    rows, _ = quantize_by_output(graph, replace(SETTINGS, container=container), samples(40), Workforce(1))
    assert {row.bits for row in rows} == {4}
    scales = next(n for n in graph.nodes if n.name == "wide").inputs[1].quant.scale
    assert len(np.unique(scales)) > 400


def test_few_grids_serve_many_channels():
    graph = wide_network()
    quantize_by_output(graph, SETTINGS, samples(40), Workforce(1))
    q = next(n for n in graph.nodes if n.name == "wide").inputs[1].quant
    zero, mean = np.broadcast_to(q.zero_point, 512), np.broadcast_to(q.mean_corr, 512)
    assert q.bits == 4 and len(set(zip(q.scale.tolist(), zero.tolist(), mean.tolist()))) < 200


def with_outliers(inputs=1024):
    """Two dense layers, of which the second has a weight in each row that leaves the others next to no code."""
    rng = np.random.default_rng(3)
    graph = Graph("net")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 128))
    first = build.constant(rng.normal(0, 1, (inputs, 128)).astype(np.float32), "first/w")
    spiky = rng.normal(0, 1, (24, inputs)).astype(np.float32)
    spiky[np.arange(24), rng.integers(0, inputs, 24)] = 300
    y = build.emit("FullyConnected", [x, first], {"act": "relu"}, name="first")[0]
    graph.outputs = build.emit("FullyConnected", [y, build.constant(spiky, "last/w")], name="last")
    return graph


@pytest.mark.parametrize("container,bits", [("", 16), ("onnx", 16), ("tflite", 8)])
def test_a_weight_that_8_bits_are_too_few_for_has_16_where_the_file_can_hold_them(container, bits):
    rng = np.random.default_rng(4)
    data = Rows({"x": rng.normal(0, 1, (1, 128)).astype(np.float32)} for _ in range(40))
    graph = with_outliers()
    settings = WeightSettings(8, min_channels=0, gain_gate=False, container=container)
    rows, fidelity = quantize_by_output(graph, settings, data, Workforce(1))
    assert {row.layer: row.bits for row in rows} == {"first": 8, "last": bits}
    assert [n.inputs[1].quant.bits for n in graph.nodes] == [8, bits]
    if bits > 8:
        assert fidelity.worst.sqnr > 35


def test_means_are_kept_layer_by_layer_behind_what_was_corrected_before():
    """As the walk that fits codes to samples corrects them, on every layer, and whatever the number of threads."""
    source = image_network()
    images = noise_images(source.inputs[0], 3)
    found = []
    for threads in (1, 2, 5):
        graph = source.copy()
        quantize_graph_weights(graph, SETTINGS)
        noise_biases.keep_means(source, beside(source, graph), images.rows, threads)
        found.append([node.inputs[2].value for node in graph.nodes[:3]])
    other = source.copy()
    quantize_graph_weights(other, SETTINGS)
    runner = QuantizedPrefixRunner(source, noted(source, other), Chosen(images, range(3)), Workforce(1))
    runner.run(lambda prefix, node: correct(prefix, node, rounds=1))
    for a, b, c, want in zip(*found, (node.inputs[2].value for node in other.nodes)):
        assert np.array_equal(a, b) and np.array_equal(a, c)
        np.testing.assert_allclose(a, want, rtol=1e-5, atol=1e-6)


def noted(source, graph):
    quantized = beside(source, graph)
    note_stored(quantized, every=True)
    return quantized


def test_so_many_images_go_side_by_side_as_memory_has_room_for(monkeypatch):
    source = image_network()
    live = 4 * (24 * 24 * 3 + 12 * 12 * 24)  # the first layer's input and output, in bytes
    for room, images in ((8 * live, 4), (8 * live - 1, 3), (5 * live, 2), (0, 1)):
        monkeypatch.setattr(noise_biases, "_HELD", room)
        assert noise_biases._at_once(source) == images
