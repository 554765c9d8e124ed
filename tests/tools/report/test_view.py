"""What a report knows of the graph that runs, on conversions of the demo model and on graphs with a planted error."""

import json
from pathlib import Path

import bitlite
import numpy as np
import pytest
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.tools.report.cpu import Cpu, forecast
from bitlite.tools.report.nodes import node_rows
from bitlite.tools.report.trace import add_trace

DIGITS = Path(__file__).parents[3] / "demo" / "digits.onnx"


def samples():
    with np.load(DIGITS.parent / "heldout.npz") as data:
        return [data["x"][k : k + 1] for k in range(24)]


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    for name, options in {
        "int8": {"quant_type": "PostTraining", "calibration_data": samples()},
        "weights": {"quant_type": "WeightQuant", "bit_num": 4, "quant_weight_channel": 0},
        "dynamic": {"quant_type": "DynamicQuant"},
        "plain": {},
    }.items():
        bitlite.convert(DIGITS, folder / name, report=str(folder / f"{name}.json"), threads=1, **options)
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


@pytest.mark.parametrize("name", ["int8", "weights", "dynamic"])
def test_every_quantization_tells_the_loss_of_each_layer_and_the_times(documents, name):
    report = documents[name]
    lossy = [row for row in report["nodes"] if row.get("sqnr") is not None]
    assert len(lossy) >= 4 and all(0 < row["sqnr"] < 80 for row in lossy)
    assert report["time_ms"]["min"] > 0 and report["other_time_ms"]["min"] > 0
    assert any(row.get("ms") for row in report["nodes"])
    assert report["memory"]["peak"] > 0 and report["forecast_ms"] > 0


def test_what_the_losses_are_of_is_said(documents):
    assert documents["int8"]["trace"] == {"samples": 4, "of": "calibration data"}
    assert documents["weights"]["trace"] == {"samples": 2, "of": "seeded random input"}
    assert "trace" not in documents["plain"] and "other_time_ms" not in documents["plain"]


def test_a_layer_in_codes_has_its_histogram_and_the_range_of_every_method(documents):
    from bitlite.quant.calibrate import methods

    rows = [row for row in documents["int8"]["nodes"] if "histogram" in row]
    assert len(rows) >= 4
    for row in rows:
        assert list(row["histogram"]["ranges"]) == methods.names()
        assert sum(row["histogram"]["counts"]) > 0 and row["histogram"]["method"]
        low, high = row["histogram"]["range"]
        assert low <= 0 <= high and len(row["channels"][0]) == min(row["shape"][-1], 256)


def test_the_verdict_follows_the_worst_output(documents):
    worst = min(o["sqnr"] for o in documents["int8"]["fidelity"]["outputs"])
    assert documents["int8"]["verdict"] == ("faithful" if worst >= 30 else "usable" if worst >= 20 else "poor")
    assert documents["weights"]["verdict"] == ""


def two(factor):
    """x → tanh → ·factor → +1."""
    graph = Graph("g")
    build = Builder(graph)
    y = build.emit("Tanh", [build.input("x", np.float32, (1, 4))], name="tanh")[0]
    y = build.emit("Mul", [y, build.constant(np.float32([factor]), "f")], name="scale")[0]
    graph.outputs = build.emit("Add", [y, build.constant(np.float32([1]), "one")], name="add")
    return graph


def test_the_loss_begins_where_the_error_is():
    made = two(1.1)
    rows = node_rows(made)
    add_trace(rows, two(1.0), made, [{"x": np.float32([[0.1, 0.5, -1, 2]])}])
    assert rows[0]["sqnr"] is None and rows[0]["cosine"] == 1
    assert rows[1]["sqnr"] == pytest.approx(20, abs=0.01) and rows[2]["sqnr"] > 20
    assert rows[1]["channels"] == [[pytest.approx(v, rel=1e-3) for v in np.tanh([0.1, 0.5, -1, 2])]] * 2
    assert rows[1]["values"][1] == pytest.approx(np.float32(rows[1]["values"][0]) * 1.1, rel=1e-3)


def test_a_forecast_is_bound_by_products_or_by_bytes():
    rows = [
        {"macs": 2_000_000, "bytes": {"read": 10}, "computes": "int8"},
        {"macs": 2_000_000, "bytes": {"read": 10}, "computes": "float"},
        {"macs": 0, "bytes": {"read": 1000, "written": 2000}, "computes": "int8"},
    ]
    assert forecast(rows, Cpu.given((2, 0.001))) == pytest.approx(1 + 4 + 3)
    assert forecast(rows, Cpu.given((2, 0.001, 1, 500))) == pytest.approx(1 + 2 + 3 + 1.5)
