"""target_size: bits of layers within a number of bytes, where they keep the outputs, the same every time."""

import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import UsageError
from bitlite.converter.formats.onnx import write
from bitlite.quant.search.find import find_form
from bitlite.quant.search.goal import DECIBEL, Goal
from bitlite.quant.search.loss import Loss
from bitlite.quant.search.trials import Trial
from bitlite.quant.weights.bit_budget import BitBudget, Width, knapsack, measure
from bitlite.quant.weights.weight_quant import WeightSettings, quantize_graph_weights
from bitlite.tools.options.types import Size

FREE = WeightSettings(min_channels=0, gain_gate=False)


def packed_bytes(graph):
    return sum(t.data.size * t.quant.bits // 8 if t.quant else t.data.nbytes for t in graph.constants())


def random_layers(rng, count):
    """Errors that shrink about fourfold with each bit, of layers of unlike sizes."""
    layers = {}
    for k in range(count):
        size, error = int(rng.integers(10, 400)), float(rng.uniform(0.1, 10))
        layers[f"l{k}"] = {b: Width(size * b, error * 4.0**-b * rng.uniform(0.8, 1.2)) for b in (2, 3, 4, 6, 8)}
    return layers


def of(layers, bits):
    return [sum(getattr(layers[name][b], part) for name, b in bits.items()) for part in ("bytes", "error")]


@pytest.mark.parametrize("seed", range(6))
def test_the_knapsack_stays_within_its_room_and_near_the_best_there_is(seed):
    layers = random_layers(np.random.default_rng(seed), 5)
    least, most = (sum(w[b].bytes for w in layers.values()) for b in (2, 8))
    for room in np.linspace(least, most, 5):
        size, error = of(layers, knapsack(layers, room))
        every = (of(layers, dict(zip(layers, bits))) for bits in itertools.product((2, 3, 4, 6, 8), repeat=5))
        best = min(e for s, e in every if s <= room)
        assert size <= room
        assert best <= error <= 1.5 * best


def test_the_knapsack_leaves_no_room_for_a_step():
    layers = random_layers(np.random.default_rng(9), 40)
    room = sum(w[4].bytes for w in layers.values())
    bits = knapsack(layers, room)
    left = room - of(layers, bits)[0]
    for name, b in bits.items():
        at = layers[name][b]
        assert not any(w.error < at.error and w.bytes - at.bytes <= left for w in layers[name].values())


def test_below_the_smallest_every_layer_has_its_fewest_bytes():
    layers = {"a": {2: Width(20, 1.0), 8: Width(80, 0.1)}, "b": {4: Width(50, 1.0), 8: Width(40, 0.0)}}
    assert knapsack(layers, 0) == {"a": 2, "b": 8}


def test_room_that_files_turn_out_to_have_is_used():
    layers = random_layers(np.random.default_rng(3), 20)
    budget = BitBudget(layers, lambda bits: int(1000 + 0.9 * of(layers, bits)[0]))  # files are smaller than measured
    target = 1000 + sum(w[4].bytes for w in layers.values())
    bits, size = budget.choose(target)
    assert 0.99 * target < size <= target and size == budget.sized(bits)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("lump", [0, 40, 400])
def test_a_file_near_the_target_is_found_whatever_it_takes_besides(seed, lump):
    """Bytes of grids come and go with the bits of a layer, which what it is chosen by does not know."""
    rng = np.random.default_rng(seed)
    layers = random_layers(rng, 12)
    grids = {(name, b): int(rng.integers(0, lump + 1)) for name, widths in layers.items() for b in widths}
    budget = BitBudget(layers, lambda bits: int(500 + of(layers, bits)[0] + sum(grids[at] for at in bits.items())))
    for share in (3, 4, 6):
        target = 500 + sum(w[share].bytes for w in layers.values()) + 12 * lump // 2
        bits, size = budget.choose(target)
        assert size == budget.sized(bits) <= target
        least = of(layers, knapsack(layers, target - 500 - 12 * lump))[1]
        assert of(layers, bits)[1] <= 1.02 * least


def test_more_bytes_give_smaller_errors_and_every_file_fits(network, samples, outputs, sqnr):
    graph = network(softmax=False)
    budget = measure(graph, samples.rows, FREE, packed_bytes)
    assert set(budget.widths) == {"first", "each", "mix", "side", "classify"}
    full = budget.sized(dict.fromkeys(budget.widths, 8))
    found = []
    for share in (0.45, 0.7, 1.0, 1.3):
        bits, size = budget.choose(int(full * share))
        trial = graph.copy()
        quantize_graph_weights(trial, WeightSettings(min_channels=0, gain_gate=False, chosen=bits, alone=True))
        assert size == packed_bytes(trial) <= full * share
        found.append(sqnr(outputs(graph), outputs(trial)))
    assert found == sorted(found)
    quantize_graph_weights(graph_of_8 := graph.copy(), FREE)
    assert found[2] >= sqnr(outputs(graph), outputs(graph_of_8)) and found[3] > found[2] + 6
    assert min(bits.values()) >= 8 and max(bits.values()) > 8
    assert budget.choose(10 * full)[0] == dict.fromkeys(budget.widths, 16)


def test_it_beats_one_width_for_all_at_the_same_bytes(network, samples, outputs, sqnr):
    graph = network(softmax=False)
    uniform = graph.copy()
    quantize_graph_weights(uniform, WeightSettings(4, min_channels=0, gain_gate=False, alone=True))
    bits, _ = measure(graph, samples.rows, FREE, packed_bytes).choose(packed_bytes(uniform))
    mixed = graph.copy()
    quantize_graph_weights(mixed, WeightSettings(min_channels=0, gain_gate=False, chosen=bits, alone=True))
    assert packed_bytes(mixed) <= packed_bytes(uniform)
    assert sqnr(outputs(graph), outputs(mixed)) > sqnr(outputs(graph), outputs(uniform)) + 0.5


def test_what_is_measured_does_not_depend_on_threads_nor_change_the_graph(network, samples):
    graph = network()
    before = {t.name: (t.data, t.quant) for t in graph.constants()}
    found = {repr(measure(graph, samples.rows, FREE, packed_bytes, threads).widths) for threads in (1, 2, 5)}
    assert len(found) == 1
    assert all(t.data is before[t.name][0] and t.quant is None for t in graph.constants())


def test_named_layers_keep_their_bits_and_formats_their_widths(network, samples):
    settings = WeightSettings(min_channels=0, gain_gate=False, layer_bits=(("mix", 8),), container="onnx")
    budget = measure(network(), samples.rows, settings, packed_bytes)
    assert "mix" not in budget.widths
    assert {b for widths in budget.widths.values() for b in widths} == {4, 8}


def test_a_layer_that_the_gates_keep_in_float_at_some_width_costs_its_floats(network, samples):
    # 9 elements a channel pass the gain gate up to 3 bits only.
    widths = measure(network(), samples.rows, WeightSettings(min_channels=0), packed_bytes).widths["each"]
    assert set(widths) == {2, 3, 16}
    assert widths[16].error == 0 and widths[16].bytes > 2 * widths[3].bytes


@pytest.fixture
def model(network, tmp_path):
    path = tmp_path / "net.onnx"
    write(network(softmax=False), str(path))
    return path


@pytest.mark.parametrize("more", [{}, {"weight_rounding": "nearest"}, {"fp16": True}, {"output_format": "TFLITE"}])
def test_a_file_has_the_bytes_asked_for(model, samples, tmp_path, more):
    data = [row["x"] for row in samples.rows]
    given = {"quant_type": "WeightQuant", "quant_weight_channel": 0, "gain_gate": False, "calibration_data": data}
    (whole,) = bitlite.convert(model, tmp_path / "whole", **given, **more).files.values()
    target = int(0.93 * whole)
    report = bitlite.convert(model, tmp_path / "m", target_size=target, **given, **more)
    (size,) = report.files.values()
    assert 0.9 * target < size <= target
    assert any(f"target_size: {size:,} of {target:,} bytes" in note for note in report.notes)
    assert report.fidelity is not None and report.fidelity.held_back


def test_a_share_is_of_the_model_file(model, samples, tmp_path):
    data = [row["x"] for row in samples.rows]
    given = {"quant_type": "WeightQuant", "quant_weight_channel": 0, "gain_gate": False, "calibration_data": data}
    report = bitlite.convert(model, tmp_path / "m", target_size=0.9, **given)
    assert report.files[str(tmp_path / "m.ms")] <= 0.9 * model.stat().st_size


@pytest.mark.parametrize(
    "options, words",
    [
        ({"target_size": 100}, "target_size.*the smallest file has [0-9,]+ bytes, with 2 bits"),
        ({"mixed": True, "max_drop": "20dB"}, "one of them"),
        ({"bit_num": 4}, "asks for 4"),
        ({"quant_type": "DynamicQuant"}, "there is DynamicQuant"),
        ({"calibration_data": None}, "needs calibration data"),
        ({"target_size": "2,2MB"}, "must be bytes"),
    ],
)
def test_what_cannot_be_is_refused(model, samples, tmp_path, options, words):
    data = [row["x"] for row in samples.rows]
    given = {"quant_type": "WeightQuant", "calibration_data": data, "quant_weight_channel": 0, "target_size": 5000}
    with pytest.raises(UsageError, match=words):
        bitlite.convert(model, tmp_path / "m", **(given | options))
    assert not (tmp_path / "m.ms").exists()


@pytest.mark.parametrize(
    "text, value",
    [("2.2MB", 2.2e6), ("850 kB", 850e3), ("0.25", 0.25), ("2282508", 2282508), ("1MiB", 2.0**20), (".5", 0.5)],
)
def test_sizes_are_read(text, value):
    assert Size().parse(text) == value
    assert Size().parse(Size().show(value)) == value


@pytest.mark.parametrize("text", ["", "0", "-3", "2.2 XB", "1e6", "MB", "nan", "0.0MB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="must be bytes"):
        Size().parse(text)


def test_a_model_of_open_sizes_is_measured_like_any_other(tmp_path):
    demo = Path(__file__).parents[3] / "demo" / "digits.onnx"
    data = [np.random.default_rng(k).random((1, 1, 8, 8), np.float32) for k in range(20)]
    report = bitlite.convert(demo, tmp_path / "m", quant_type="WeightQuant", target_size=39000, calibration_data=data)
    assert 0.9 * 39000 < sum(report.files.values()) <= 39000


@pytest.mark.parametrize("more", [1.001, 1.004, 1.015])
def test_codes_that_take_more_than_measured_get_less_room(monkeypatch, more):
    rooms, size = [], 5000

    def choose(budget, room):
        rooms.append(room)
        return {"a": len(rooms)}, room

    def evaluate(form):
        return Trial(form, int(rooms[-1] * more), Loss(20.0, math.nan, math.nan, 20.0, DECIBEL))

    monkeypatch.setattr(BitBudget, "choose", choose)
    budget = BitBudget({"a": {2: Width(1, 1.0)}}, len)
    family = SimpleNamespace(first=lambda: None, budget=lambda form: budget)
    find_form(family, Goal(size=size), evaluate)
    assert int(rooms[0] * more) > size == rooms[0] and size >= int(rooms[-1] * more)
