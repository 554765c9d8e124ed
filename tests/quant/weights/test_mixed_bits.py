"""mixed=true: bits chosen on data stay within the error allowed, save bytes, and are the same bits every time."""

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import DataError, UsageError
from bitlite.converter.formats.onnx import write
from bitlite.native.session import Session
from bitlite.quant.calibrate.observe import float_isa
from bitlite.quant.weights import mixed_bits, weight_trials
from bitlite.quant.weights.mixed_bits import choose_bits
from bitlite.quant.weights.output_rounding import parted
from bitlite.quant.weights.weight_quant import WeightSettings, quantize_graph_weights

FREE = WeightSettings(min_channels=0, gain_gate=False)
LAYERS = ["classify", "side", "mix", "each", "first"]


def weight_bits(graph, choice):
    sizes = {n.name: n.inputs[1].data.size for n in graph.nodes if n.name in LAYERS}
    return sum(size * choice.bits[name] for name, size in sizes.items())


def error_of(graph, quantized_graph, samples):
    """The definition, written out again."""
    before, after = (Session(g, isa=float_isa()) for g in (graph, quantized_graph))
    y, z = ([next(iter(s.run(sample).values())).astype(np.float64) for sample in samples] for s in (before, after))
    return sum(np.abs(a - b).sum() for a, b in zip(y, z)) / sum(np.abs(a).sum() for a in y)


def quantized(graph, choice):
    trial = graph.copy()
    rows = quantize_graph_weights(
        trial, WeightSettings(min_channels=0, gain_gate=False, chosen=choice.bits, alone=True)
    )
    return trial, rows


@pytest.mark.parametrize("threshold", [0.02, 0.04, 0.1, 0.3])
def test_the_written_weights_cost_what_was_found_and_no_more_than_allowed(network, samples, threshold):
    graph = network(softmax=False)
    choice = choose_bits(graph, samples.rows, FREE, threshold)
    trial, rows = quantized(graph, choice)
    assert [row.bits for row in rows] == [choice.bits[row.layer] for row in rows]
    assert choice.error == pytest.approx(error_of(graph, trial, samples.rows), rel=1e-9)
    assert choice.start < choice.error <= threshold


def test_a_larger_threshold_takes_fewer_bits(network, samples):
    graph = network(softmax=False)
    taken = [
        weight_bits(graph, choose_bits(graph, samples.rows, FREE, threshold)) for threshold in (0.01, 0.03, 0.1, 0.4)
    ]
    assert taken == sorted(set(taken), reverse=True)
    assert taken[0] < 8 * weight_bits(graph, mixed_bits.Mixed(dict.fromkeys(LAYERS, 1), 0, 0))


def test_where_8_bits_are_beyond_the_threshold_every_layer_keeps_8(network, samples):
    choice = choose_bits(network(softmax=False), samples.rows, FREE, 1e-6)
    assert choice.bits == dict.fromkeys(LAYERS, 8)
    assert choice.error == choice.start > 1e-6


def test_layers_are_decided_from_the_last_to_the_first(network, samples):
    seen = []

    def track(items, label):
        for item in items:
            seen.append(item[1])
            yield item

    choice = choose_bits(network(), samples.rows, FREE, 0.1, track=track)
    assert seen == LAYERS == list(choice.bits)


def test_the_last_layer_takes_the_share_of_its_elements(network, samples):
    graph, threshold = network(softmax=False), 0.1
    choice = choose_bits(graph, samples.rows, FREE, threshold)
    sizes = {n.name: n.inputs[1].data.size for n in graph.nodes if n.name in LAYERS}
    part = sizes["classify"] / sum(sizes.values())
    limit = np.sqrt(choice.start**2 + part * (threshold**2 - choice.start**2))
    errors = []
    for bits in (choice.bits["classify"] - 1, choice.bits["classify"]):
        trial, _ = quantized(graph, mixed_bits.Mixed(dict.fromkeys(LAYERS, 8) | {"classify": bits}, 0, 0))
        errors.append(error_of(graph, trial, samples.rows))
    assert errors[1] <= limit < errors[0] < threshold


def test_the_choice_is_the_same_for_any_number_of_threads(network, samples):
    graph = network()
    assert len({repr(choose_bits(graph, samples.rows, FREE, 0.05, threads)) for threads in (1, 2, 5)}) == 1


def test_the_choice_does_not_depend_on_where_trials_start(network, samples, monkeypatch):
    graph = network()
    cached = choose_bits(graph, samples.rows, FREE, 0.05)
    monkeypatch.setattr(weight_trials, "_HELD", 0)
    assert choose_bits(graph, samples.rows, FREE, 0.05) == cached


def test_the_graph_is_left_as_it_was(network, samples):
    graph = network()
    before = {t.name: (t.data, t.quant) for t in graph.constants()}
    choose_bits(graph, samples.rows, FREE, 0.1)
    assert all(t.data is before[t.name][0] and t.quant is None for t in graph.constants())


def test_what_the_user_fixed_is_not_chosen(network, samples):
    settings = WeightSettings(min_channels=0, gain_gate=False, layer_bits=(("side", 3), ("mix", 16)))
    graph = network(softmax=False)
    choice = choose_bits(graph, samples.rows, settings, 0.2)
    assert list(choice.bits) == ["classify", "each", "first"]
    assert choice.start > choose_bits(graph, samples.rows, FREE, 0.2).start  # three bits are counted from the outset


def test_the_gates_hold_at_each_width(network, samples):
    # 9 elements a channel pass the gain gate up to 3 bits only, 16 channels never pass the channel gate.
    graph = network(softmax=False)
    assert choose_bits(graph, samples.rows, WeightSettings(), 0.2).bits.keys() == {"classify"}
    free = choose_bits(graph, samples.rows, WeightSettings(min_channels=0), 0.01)
    assert free.bits["each"] == 8
    trial = graph.copy()
    rows = quantize_graph_weights(trial, WeightSettings(min_channels=0, chosen=free.bits, alone=True))
    assert [row.reason[:9] for row in rows if row.layer == "each"] == ["gain gate"]
    assert free.error == pytest.approx(error_of(graph, trial, samples.rows), rel=1e-9)


def test_only_widths_that_the_format_has_are_tried(network, samples):
    settings = WeightSettings(min_channels=0, gain_gate=False, container="onnx")
    choice = choose_bits(network(softmax=False), samples.rows, settings, 0.15)
    assert set(choice.bits.values()) == {4, 8}


def test_a_model_that_gives_nan_is_refused(network, samples):
    samples.rows[2]["x"] = np.full_like(samples.rows[2]["x"], np.nan)
    with pytest.raises(DataError, match="NaN or infinity at output"):
        choose_bits(network(softmax=False), samples.rows, FREE, 0.1)


@pytest.fixture
def model(network, tmp_path):
    path = tmp_path / "net.onnx"
    write(network(softmax=False), str(path))
    return path


def test_a_conversion_shows_bits_and_error(model, network, samples, tmp_path, sqnr):
    arrays = [row["x"] for row in samples.rows]
    judging = [arrays[k] for k in parted(network(softmax=False), len(arrays))[1]]
    options = {"quant_type": "WeightQuant", "quant_weight_channel": 0, "gain_gate": False, "calibration_data": arrays}
    mixed = bitlite.convert(model, tmp_path / "mixed", mixed=True, mean_error_threshold=0.2, **options)
    plain = bitlite.convert(
        model, tmp_path / "plain", quant_type="WeightQuant", quant_weight_channel=0, gain_gate=False
    )
    assert mixed.files[str(tmp_path / "mixed.ms")] < plain.files[str(tmp_path / "plain.ms")]
    assert min(row.bits for row in mixed.layers) < 8
    assert any("mixed: " in note and "0.2 allowed" in note for note in mixed.notes)
    assert mixed.data is not None
    assert mixed.fidelity is not None and mixed.fidelity.held_back
    assert plain.fidelity is not None and plain.fidelity.random
    want, got = (
        np.concatenate([next(iter(bitlite.load(path).run({"x": a}).values())) for a in judging])
        for path in (model, tmp_path / "mixed.ms")
    )
    assert mixed.fidelity.worst.sqnr == pytest.approx(sqnr(want, got), abs=0.2)


def test_a_config_file_asks_for_it(model, samples, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for k, row in enumerate(samples.rows):
        row["x"].tofile(data / f"{k:02}.bin")
    config = tmp_path / "c.cfg"
    config.write_text(f"image_path={data}\nbatch_count=24\nmixed=true\nmean_error_threshold=0.00001\n")
    given = {"quant_type": "WeightQuant", "quant_weight_channel": 0, "config_file": str(config)}
    report = bitlite.convert(model, tmp_path / "m", **given)
    assert {row.bits for row in report.layers if not row.reason} == {8}
    assert any(note.startswith("warning: mixed: 8 bits for every layer") for note in report.notes)
    config.write_text("\nmixed=true\n")
    with pytest.raises(UsageError, match=r"c\.cfg:2 mixed: needs calibration data"):
        bitlite.convert(model, tmp_path / "m", **given)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"quant_type": "PostTraining"}, "try layer_bits"),
        ({"quant_type": "DynamicQuant"}, "try nothing to choose"),
        ({}, "quant_type='WeightQuant'"),
        ({"quant_type": "WeightQuant", "bit_num": 4}, "asks for 4"),
        ({"quant_type": "WeightQuant", "enable_encode": False}, "enable_encode"),
        ({"quant_type": "WeightQuant", "mean_error_threshold": 0}, r"in \(0, 1\)|between"),
    ],
)
def test_what_makes_no_sense_is_refused(model, tmp_path, options, words):
    data = [np.zeros((1, 8, 8, 3), np.float32)]
    with pytest.raises(UsageError, match=words):
        bitlite.convert(model, tmp_path / "m", mixed=True, calibration_data=data, **options)
    assert not (tmp_path / "m.ms").exists()
