"""Weights that the gates leave in float: smaller forms of them, where nobody asked for the gates."""

import bitlite
import numpy as np
import pytest
from bitlite.converter.formats.onnx import write
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.quant.selectors import parse_selector
from bitlite.quant.weights.left_by_gates import forms_by_width, halves
from bitlite.quant.weights.weight_quant import FLOAT, HALF, WeightSettings, quantize_graph_weights

YIELD = WeightSettings(4, gates_yield=True)
GATED = {"first", "each", "mix", "side"}  # up to 16 channels; "each" of 9 elements a channel, too


def bits_of(graph, settings):
    return {row.layer: (row.bits, row.reason, row.gate) for row in quantize_graph_weights(graph, settings)}


def test_channels_are_counted_below_8_bits_and_elements_always(network):
    forms = forms_by_width(network(), YIELD, (4, 6, 8, 12, 16))
    assert {b: set(found) for b, found in forms.items()} == {
        4: {"classify"},
        6: {"classify"},
        8: {"first", "mix", "side", "classify"},
        12: {"first", "mix", "side", "classify"},
        16: {"classify"},
    }
    assert set(forms_by_width(network(), WeightSettings(4), (8,))[8]) == {"classify"}


def test_float16_is_for_what_the_gates_leave(network):
    graph = network()
    found = halves(graph, YIELD)
    assert set(found) == GATED and not halves(graph, WeightSettings(4))
    for (t,) in found.values():
        assert t.dtype == np.float16 and t.quant is None
    kept = WeightSettings(4, gates_yield=True, keep_float=(parse_selector("mix"),), layer_bits=(("side", 8),))
    assert set(halves(graph, kept)) == {"first", "each"}


@pytest.mark.parametrize("value", [1e5, 1e-7, np.nan])
def test_what_float16_does_not_hold_stays(network, value):
    graph = network()
    node = next(n for n in graph.nodes if n.name == "mix")
    node.inputs[1].data = node.inputs[1].data.copy()
    node.inputs[1].data[3] = value
    assert set(halves(graph, YIELD)) == GATED - {"mix"}


def test_a_weight_that_another_operator_reads_stays():
    graph = Graph("net")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 4, 4, 8))
    w = build.constant(np.ones((8, 1, 1, 8), np.float32), "w")
    window = {"stride": [1, 1], "dilation": [1, 1], "pad": [0] * 4, "group": 1}
    (y,) = build.emit("Conv", [x, w], window, name="conv")
    graph.outputs = build.emit("Add", [y, w], {}, name="add")
    assert not halves(graph, YIELD)


def test_chosen_bits_are_codes_from_8_on_and_float16_at_16(network):
    chosen = {"first": 8, "each": HALF, "mix": 4, "side": HALF, "classify": HALF}
    graph = network()
    found = bits_of(graph, WeightSettings(4, gates_yield=True, chosen=chosen))
    assert {name: bits for name, (bits, *_) in found.items()} == {
        "first": 8,
        "each": 16,
        "mix": 32,
        "side": 16,
        "classify": 16,
    }
    assert not found["first"][1] and "channel gate" in found["first"][2]
    assert "channel gate" in found["mix"][1] and "channel gate" in found["side"][1]
    assert found["classify"][1:] == ("", "")
    stored = {n.name: n.inputs[1] for n in graph.nodes if n.name in chosen}
    assert stored["first"].dtype == np.int8 and stored["classify"].dtype == np.int16
    assert stored["each"].dtype == stored["side"].dtype == np.float16 and stored["mix"].dtype == np.float32


def test_gates_that_do_not_yield_hold_chosen_bits(network):
    found = bits_of(network(), WeightSettings(4, chosen=dict.fromkeys(GATED, 8)))
    assert {found[name][0] for name in GATED} == {FLOAT}


def converted(model, folder, samples, **more):
    data = [row["x"] for row in samples.rows]
    return bitlite.convert(model, folder / "m", quant_type="WeightQuant", calibration_data=data, cost=False, **more)


@pytest.fixture
def model(network, tmp_path):
    path = tmp_path / "net.onnx"
    write(network(softmax=False), str(path))
    return path


def test_with_data_the_gates_yield_unless_they_were_asked_for(model, samples, tmp_path):
    given = [{}, {"quant_weight_channel": 16}, {"quant_weight_size": 0}]
    found = [converted(model, tmp_path, samples, bit_num=4, **more) for more in given]
    left = [[row.bits for row in report.layers if row.op == "Conv"] for report in found]
    assert max(left[0]) <= 16 and set(left[1]) == set(left[2]) == {32}
    note = next(note for note in found[0].notes if "the gates leave have" in note)
    assert note.startswith("4 weights")
    assert not any("the gates leave have" in note for report in found[1:] for note in report.notes)


@pytest.mark.parametrize("container", ["MS", "TFLITE", "ONNX"])
def test_a_budget_is_met_with_smaller_forms_of_them(container, model, samples, tmp_path):
    asked = {"output_format": container}
    (least,) = converted(model, tmp_path, samples, quant_weight_channel=16, bit_num=4, **asked).files.values()
    report = converted(model, tmp_path, samples, target_size=least, **asked)
    assert sum(report.files.values()) <= least
    assert any(row.bits <= 16 for row in report.layers if row.op == "Conv")
