"""bit_num=0: the fewest bits with which each weight is off no more than is allowed."""

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import UsageError
from bitlite.converter.formats.onnx import write
from bitlite.quant.ptq.weight_codes import bits_within as integer_bits_within
from bitlite.quant.weights.error_bits import bits_within, fewest, weight_error
from bitlite.quant.weights.weight_quant import WeightSettings, quantize_graph_weights

FREE = WeightSettings(min_channels=0, gain_gate=False)


def errors(graph, bits, settings=FREE):
    """Layer → ‖w - ŵ‖ / ‖w‖ of its channels, the mean, written out again."""
    from dataclasses import replace

    trial = graph.copy()
    quantize_graph_weights(trial, replace(settings, chosen=bits, alone=True))
    found = {}
    for before, after in zip(graph.nodes, trial.nodes):
        if before.name in bits:
            w, v = (n.inputs[1].real().astype(np.float64) for n in (before, after))
            w, v = (a.reshape(len(a), -1) for a in (w, v))
            found[before.name] = float(np.mean(np.linalg.norm(w - v, axis=1) / np.linalg.norm(w, axis=1)))
    return found


@pytest.mark.parametrize("limit", [0.005, 0.02, 0.1, 0.3])
def test_no_weight_is_off_more_and_one_bit_less_is_too_few(network, limit):
    graph = network()
    bits = bits_within(graph, FREE, limit)
    assert set(bits) == {"first", "each", "mix", "side", "classify"}
    assert all(e <= limit for e in errors(graph, bits).values())
    fewer = {name: b - 1 for name, b in bits.items() if b > 2}
    assert fewer or limit == 0.3
    assert all(e > limit for e in errors(graph, fewer).values())


def test_only_widths_of_the_container_are_chosen_and_the_most_where_none_will_do(network):
    graph = network()
    settings = WeightSettings(min_channels=0, gain_gate=False, container="tflite", correction=False)
    assert set(bits_within(graph, settings, 0.2).values()) <= {4, 8}
    assert set(bits_within(graph, settings, 1e-6).values()) == {8}
    assert set(bits_within(graph, FREE, 1e-9).values()) == {16}


def test_what_is_named_is_not_chosen(network):
    settings = WeightSettings(min_channels=0, gain_gate=False, layer_bits=(("mix", 3),))
    assert "mix" not in bits_within(network(), settings, 0.02)


def test_zeros_are_off_by_nothing():
    from bitlite.converter.numeric.qparams import QuantParam

    quant = QuantParam(np.ones(2), np.zeros(2, np.int32), 0, 4)
    assert weight_error(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.int8), quant) == 0.0
    half = np.array([[2.0, 0.0], [0.0, 0.0]], np.float32)
    assert weight_error(half, np.array([[1, 0], [0, 0]], np.int8), quant) == 0.5


@pytest.mark.parametrize("enough", range(2, 10))
def test_the_fewest_are_found_by_halving(enough):
    assert fewest(range(2, 9), lambda bits: float(bits < enough), 0.5) == min(enough, 8)


def test_integer_models_keep_depthwise_layers_at_8_bits(network):
    graph = network()
    bits = {n.name: b for n, b in integer_bits_within(graph, 0.2, per_channel=True).items()}
    assert "each" not in bits and set(bits.values()) <= set(range(2, 9)) and min(bits.values()) < 8


@pytest.fixture
def model(network, tmp_path):
    path = tmp_path / "net.onnx"
    write(network(softmax=False), str(path))
    return path


def test_a_config_of_mindspore_lite_asks_for_it_without_data(model, tmp_path):
    config = tmp_path / "c.cfg"
    config.write_text(
        "[common_quant_param]\nquant_type=WEIGHT_QUANT\nbit_num=0\nmin_quant_weight_channel=0\n"
        "[mixed_bit_weight_quant_param]\ninit_scale=0.1\nauto_tune=false\nuse_cv_data=false\nmax_iterations=40\n"
    )
    report = bitlite.convert(model, tmp_path / "m", config_file=str(config), gain_gate=False)
    bits = {row.layer: row.bits for row in report.layers if not row.reason}
    assert len(bits) == 5 and len(set(bits.values())) > 1 and max(bits.values()) < 8
    config.write_text(config.read_text().replace("0.1", "0.01"))
    finer = bitlite.convert(model, tmp_path / "n", config_file=str(config), gain_gate=False)
    assert all(row.bits > bits[row.layer] for row in finer.layers)


@pytest.mark.parametrize("kind", ["WeightQuant", "PostTraining"])
def test_auto_tune_finds_a_smaller_file_that_keeps_the_cosine(model, samples, tmp_path, kind):
    data = [row["x"] for row in samples.rows]
    options = {"quant_type": kind, "calibration_data": data, "quant_weight_channel": 0, "cost": False}
    plain = bitlite.convert(model, tmp_path / "p", **options)
    report = bitlite.convert(model, tmp_path / "m", bit_num=0, auto_tune=True, **options)
    assert report.search.met and report.search.best.loss.value >= 0.995
    assert sum(report.files.values()) < sum(plain.files.values())


def test_integer_models_take_it_too(model, samples, tmp_path):
    data = [row["x"] for row in samples.rows]
    report = bitlite.convert(
        model, tmp_path / "m", quant_type="PostTraining", bit_num=0, init_scale=0.1, calibration_data=data, cost=False
    )
    widths = {t.quant.bits for t in bitlite.load(str(tmp_path / "m.ms")).graph.constants() if t.dtype == np.int8}
    assert min(widths) < 8 and report.fidelity is not None


@pytest.mark.parametrize(
    "options, words",
    [
        ({"quant_type": "DynamicQuant"}, "takes 8"),
        ({"quant_type": "WeightQuant", "auto_tune": True}, "needs calibration data"),
        ({"quant_type": "WeightQuant", "init_scale": 0}, r"\(0, 1\)|between"),
        ({"quant_type": "WeightQuant", "enable_encode": False}, "enable_encode"),
    ],
)
def test_what_makes_no_sense_is_refused(model, tmp_path, options, words):
    with pytest.raises(UsageError, match=words):
        bitlite.convert(model, tmp_path / "m", bit_num=0, **options)
    assert not (tmp_path / "m.ms").exists()


def test_a_scale_without_0_bits_is_noted(model, tmp_path):
    report = bitlite.convert(model, tmp_path / "m", quant_type="WeightQuant", init_scale=0.1)
    assert any("init_scale has no effect without bit_num=0" in note for note in report.notes)
