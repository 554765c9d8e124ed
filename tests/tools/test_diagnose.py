"""Networks with one planted fault each: its cause is named first, and its cure gains what the fault cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import Setting
from bitlite.converter.formats import onnx_write
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.converter.schema.verify import verify
from bitlite.quant.ptq.causes import Suspect
from bitlite.tools import diagnose
from bitlite.tools.converter_lite import main

SHAPE = (1, 8, 16)


class Net:
    """Appends operators with random weights."""

    def __init__(self, shape=SHAPE, seed=0):
        self.rng, self.graph = np.random.default_rng(seed), Graph("net")
        self.build = Builder(self.graph)
        self.x = self.build.input("x", np.float32, shape)

    def const(self, value):
        return self.build.constant(np.asarray(value, np.float32), "c")

    def op(self, name, kind, inputs, **attrs):
        return self.build.emit(kind, inputs, attrs, name=name)[0]

    def dense(self, name, x, outputs, rows=1.0, columns=1.0, bias=0.1):
        """rows, columns: factors of what each output and each input weighs."""
        w = self.rng.standard_normal((outputs, x.shape[-1])) / np.sqrt(x.shape[-1]) * rows * columns
        b = self.rng.standard_normal(outputs) * bias * np.squeeze(rows)
        return self.op(name, "FullyConnected", [x, self.const(w), self.const(b)])

    def ends(self, tensor):
        self.graph.outputs = [self.dense("end", tensor, 8)]
        verify(self.graph)
        return self.graph


def plain(planted=False):
    """Three layers with Tanh between, which no scaling of channels passes."""
    net = Net()
    a = net.op("first/tanh", "Tanh", [net.dense("first", net.x, 32)])
    return net.ends(net.op("second/tanh", "Tanh", [net.dense("second", a, 32)]))


def outlier_channels(planted):
    """Two channels of the input are far beyond the others, which the first layer makes up for."""
    net, far = Net(), np.ones(16)
    far[[3, 7]] = 60.0 if planted else 1.0
    return net.ends(net.op("tanh", "Tanh", [net.dense("first", net.x, 32, columns=1 / far)]))


def wide_column(planted):
    """One input is small, and its weights are large: they take the range of all others."""
    net, near = Net(), np.ones(16)
    near[5] = 0.005 if planted else 1.0
    return net.ends(net.op("tanh", "Tanh", [net.dense("first", net.x, 32, columns=1 / near)]))


def wide_channel(planted=True):
    """The first channel's weights are large, and what it gives is cut at 6 like that of all."""
    net, wide = Net(), np.ones((32, 1))
    wide[0] = 100.0
    first = net.dense("first", net.x, 32, rows=wide)
    return net.ends(net.op("cut", "Clip", [first], min=0.0, max=6.0))


def shared_scale(planted):
    """Boxes beside scores, joined row by row, and each row brought to the same size behind that."""
    net, large = Net(), 80.0 if planted else 1.0
    boxes = net.dense("boxes", net.x, 16, rows=np.full((16, 1), large))
    joined = net.op("joined", "Concat", [boxes, net.dense("scores", net.x, 16)], axis=1)
    sizes = np.ones((1, 16, 1))
    sizes[:, :8] = 1 / large
    return net.ends(net.op("levelled", "Mul", [joined, net.const(sizes)]))


def mask(planted):
    """Attention that must neither look ahead nor at the padding."""
    net = Net()
    query, key, value = (net.dense(name, net.x, 16, rows=np.full((16, 1), 0.7)) for name in ("query", "key", "value"))
    scores = net.op("scores", "MatMul", [query, key], transpose_b=True)
    ahead, padding = np.triu(np.ones((1, 8, 8)), 1), np.arange(8) > 5
    for name, masked in (("causal", ahead), ("padded", padding)):
        scores = net.op(name, "Add", [scores, net.const(masked * (-60.0 if planted else -7.0))])
    return net.ends(net.op("looked", "MatMul", [net.op("weights", "Softmax", [scores], axis=-1), value]))


def island(planted):
    """A division, which has no int8 form, by what comes near zero."""
    net = Net()
    below = net.op("below", "Sigmoid", [net.dense("gate", net.x, 16, rows=np.full((16, 1), 2.5 if planted else 0.7))])
    least = net.op("least", "Add", [below, net.const([0.01])])
    return net.ends(net.op("tanh", "Tanh", [net.op("quotient", "Div", [net.dense("first", net.x, 16), least])]))


def row(planted=False):
    """Of a batch of rows, as the first layer's bias is known for them."""
    net = Net((1, 16))
    return net.ends(net.op("tanh", "Tanh", [net.dense("first", net.x, 32)]))


def difference(planted=False):
    """The answer is what an input differs from its mean by."""
    net = Net()
    w = net.rng.standard_normal((32, 16)) / 4
    first = net.op("first", "FullyConnected", [net.x, net.const(w), net.const(-4 * w.sum(axis=1))])
    return net.ends(net.op("tanh", "Tanh", [first]))


def normal(seed, planted=True, scale=1.0, count=40):
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal(SHAPE) * scale).astype(np.float32) for _ in range(count)]


def far_channels(seed, planted):
    return normal(seed, scale=np.where(np.isin(np.arange(16), [3, 7]), 60.0 if planted else 1.0, 1.0))


def near_channel(seed, planted):
    return normal(seed, scale=np.where(np.arange(16) == 5, 0.005 if planted else 1.0, 1.0))


def louder(seed, planted):
    """The first samples are the quietest."""
    return [sample * np.float32(level) for sample, level in zip(normal(seed, count=100), np.linspace(0.1, 3, 100))]


def pixels(seed, planted):
    """Calibrated on 0..255, which in use are 0..1."""
    rng, scale = np.random.default_rng(seed), 255 if planted and seed == 1 else 1
    return [(rng.random((1, 16)) * scale).astype(np.float32) for _ in range(40)]


def lifted(seed, planted):
    return [x * np.float32(0.5) + np.float32(4) for x in normal(seed)]


@dataclass(frozen=True)
class Fault:
    """cause, cure: what is to be named. planted, healthy: options with and without the fault."""

    cause: str
    cure: str
    network: Callable[[bool], Graph] = plain
    data: Callable[[int, bool], list[np.ndarray]] = normal
    planted: dict[str, Any] = field(default_factory=dict)
    healthy: dict[str, Any] = field(default_factory=dict)


WIDE = {"activation_quant_method": "MAX_MIN"}  # with AUTO, islands of float would hide most of them
FIRST = "keep_float=('first/MatMul',)"


def wide(cause, cure, network, data=normal, **planted):
    return Fault(cause, cure, network, data, planted | WIDE, WIDE)


FAULTS = {
    "clip": Fault("the method clips", "activation_quant_method=('AUTO',)",
                  planted={"activation_quant_method": "PERCENTILE:95"}),
    "outliers": wide("outlier channels", FIRST, outlier_channels, far_channels),
    "column": wide("weights of a wide channel", FIRST, wide_column, near_channel),
    "channel": wide("one scale for all channels of the weight", "per_channel=True", wide_channel, per_channel=False),
    "shared": wide("a scale shared with larger tensors",
                   "keep_float=('levelled', 'joined', 'scores/MatMul', 'boxes/MatMul')", shared_scale),
    "mask": wide("a mask takes the range of the scores", "keep_float=('causal', 'padded', 'weights')", mask),
    "island": wide("casts of a float island", "keep_float=('tanh',)", island),
    "layer": wide("few bits", "layer_bits={'second': 8}", plain, layer_bits={"second": 2}),
    "few": Fault("too few samples", "calibrate_size=100", data=louder, planted={"calibrate_size": 2}),
    "scale": Fault("samples on another scale than the model's", "samples of 'x' as (x - 0) / 255", row, pixels),
    "means": wide("means are not corrected", "bias_correction='sequential'", difference, lifted, bias_correction="off"),
    "bits": wide("few bits", "bit_num=8", plain, bit_num=3),
}  # fmt: skip


def quantized(folder, name, graph, data, **options):
    """The report, and the SQNR of the int8 model on data of its own."""
    source, target = folder / f"{name}.onnx", folder / f"{name}.ms"
    onnx_write.write(graph, str(source))
    report = bitlite.convert(source, target, quant_type="PostTraining", calibration_data=data[0], **options)
    want, got = (run(bitlite.load(str(path)), data[1]) for path in (source, target))
    return report, 10 * np.log10(np.square(want).sum() / np.square(want - got).sum())


def run(session, data):
    name = session.inputs[0].name
    return np.stack([next(iter(session.run({name: x}).values())) for x in data]).astype(np.float64)


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named_first_and_its_cure_gains_what_it_cost(tmp_path, name):
    fault = FAULTS[name]
    data = {planted: (fault.data(1, planted), fault.data(2, planted)) for planted in (True, False)}
    report, sick = quantized(tmp_path, "sick", fault.network(True), data[True], **fault.planted)
    healthy, well = quantized(tmp_path, "well", fault.network(False), data[False], **fault.healthy)
    first = report.diagnosis[0]
    assert (first["cause"], first["cure"]) == (fault.cause, fault.cure)
    assert well - sick > 3 and first["gain"] >= 0.8 * (well - sick)
    assert healthy.diagnosis == []


def test_saved_statistics_of_other_data_are_a_cause(tmp_path):
    saved = {"load_dist": str(tmp_path / "dist.json")} | WIDE
    quiet = [x / 10 for x in normal(1)]
    quantized(tmp_path, "saved", plain(), (quiet, quiet), dump_dist=saved["load_dist"], **WIDE)
    report, sick = quantized(tmp_path, "sick", plain(), (normal(1), normal(2)), **saved)
    well = quantized(tmp_path, "well", plain(), (normal(1), normal(2)), **WIDE)[1]
    first = report.diagnosis[0]
    assert first["cause"] == "saved statistics of other data" and first["cure"].startswith("no load_dist")
    assert first["gain"] >= 0.8 * (well - sick) > 3


def test_the_cure_gains_in_a_conversion_what_the_trial_gained(tmp_path):
    data = far_channels(1, True), far_channels(2, True)
    report, before = quantized(tmp_path, "before", outlier_channels(True), data, **WIDE)
    after = quantized(tmp_path, "after", outlier_channels(True), data, **WIDE, keep_float=("first/MatMul",))[1]
    assert after - before >= 0.8 * report.diagnosis[0]["gain"] > 10


def test_what_was_kept_in_float_already_stays_in_the_cure(tmp_path):
    report = quantized(
        tmp_path, "m", outlier_channels(True), (far_channels(1, True),) * 2, **WIDE, keep_float=("tanh",)
    )
    assert report[0].diagnosis[0]["cure"] == "keep_float=('tanh', 'first/MatMul')"


def test_causes_that_one_set_of_operators_in_float_cures_are_tried_once(tmp_path, monkeypatch):
    orders = ("first/MatMul", "tanh"), ("tanh", "first/MatMul"), ("tanh", "first/MatMul", "first/MatMul")
    found = [Suspect(f"cause {k}", names, Setting("keep_float", names), 0.1) for k, names in enumerate(orders)]
    monkeypatch.setattr(diagnose, "suspects", lambda *_: found)
    data = (far_channels(1, True),) * 2
    report = quantized(tmp_path, "m", outlier_channels(True), data, **WIDE, diagnose="full")[0]
    assert [(row["cause"], row["cure"]) for row in report.diagnosis] == [
        ("cause 0", "keep_float=('first/MatMul', 'tanh')")
    ]


def test_nothing_is_looked_for_on_request(tmp_path):
    report = quantized(tmp_path, "m", plain(), (normal(1),) * 2, bit_num=2, diagnose="off")[0]
    assert report.diagnosis == [] and not any("diagnosis" in note for note in report.notes)


def test_without_time_the_report_says_that_causes_are_left_and_full_tries_them(tmp_path, monkeypatch):
    monkeypatch.setattr(diagnose, "_SECONDS", 0.0)
    report = quantized(tmp_path, "m", plain(), (normal(1),) * 2, bit_num=2)[0]
    assert report.diagnosis == [] and any("diagnose='full'" in note for note in report.notes)
    report = quantized(tmp_path, "m", plain(), (normal(1),) * 2, bit_num=2, diagnose="full")[0]
    assert report.diagnosis[0]["cure"] == "bit_num=8"


def test_the_command_ends_with_a_narrow_table_that_spells_flags(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    onnx_write.write(outlier_channels(True), str(tmp_path / "m.onnx"))
    np.save(tmp_path / "data.npy", np.stack(far_channels(1, True)))
    flags = [f"--modelFile={tmp_path}/m.onnx", f"--outputFile={tmp_path}/m", "--quantType=PostTraining"]
    flags += [f"--calibratePath=x:{tmp_path}/data.npy", "--calibrateSize=40", "--method=MAX_MIN"]
    assert main([*flags, f"--report={tmp_path}/r.json"]) == 0
    table = capsys.readouterr().out.partition("causes of what is lost")[2].splitlines()
    assert all(len(line) <= 80 for line in table) and "--keepFloat=first/MatMul" in table[3]
    (row, *_) = json.loads((tmp_path / "r.json").read_text())["diagnosis"]
    assert row["layer"] == "first/MatMul" and row["gain"] == pytest.approx(row["after"] - row["before"], abs=0.02)
