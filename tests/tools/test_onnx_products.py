"""What is said of integer products in a .onnx: by a conversion, and of files by `--verify` on this CPU."""

from pathlib import Path

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import UsageError
from bitlite.tools import onnx_products
from bitlite.tools.benchmark import main
from bitlite.tools.other_runtimes import verify_file

DIGITS = Path(__file__).parents[2] / "demo" / "digits.onnx"


def converted(folder, **options):
    samples = np.load(DIGITS.parent / "heldout.npz")["x"][:32]
    options = {"quant_type": "PostTraining", "calibration_data": samples, "output_format": "ONNX"} | options
    report = bitlite.convert(DIGITS, folder / "d", **options)
    return report, [note for note in report.notes if ".onnx: " in note]


def session_and_feed(path):
    session = bitlite.load(str(path), shapes={0: (1, -1, -1, -1)})
    port = session.inputs[0]
    return session, {port.name: np.load(DIGITS.parent / "heldout.npz")["x"][:1].reshape(port.shape)}


def stored_types(path):
    import onnx

    names = {onnx.TensorProto.INT8: "int8", onnx.TensorProto.UINT8: "uint8"}
    types = {names.get(t.data_type) for t in onnx.load(path).graph.initializer if len(t.dims) > 1}
    return types - {None}


def test_by_default_weights_are_int8_and_exact_everywhere(tmp_path):
    _, (note,) = converted(tmp_path)
    assert "5 of 5 layers" in note and "int8 weights whose products fit 16 bits" in note
    assert stored_types(tmp_path / "d.onnx") == {"int8"}
    assert onnx_products.saturating_layers(str(tmp_path / "d.onnx")) == []
    session, feed = session_and_feed(tmp_path / "d.onnx")
    ort = pytest.importorskip("onnxruntime")
    theirs = ort.InferenceSession(str(tmp_path / "d.onnx"), providers=["CPUExecutionProvider"]).run(None, feed)[0]
    mine = next(iter(session.run(feed).values()))
    assert np.abs(theirs - mine).max() <= 0.01 * np.ptp(mine)


def test_int8_as_they_are_is_warned_of(tmp_path):
    _, (note,) = converted(tmp_path, onnx_weights="int8")
    assert note.startswith("warning: ") and "saturate" in note and "onnx_weights='auto'" in note
    assert onnx_products.saturating_layers(str(tmp_path / "d.onnx"))


def test_uint8_is_taken_and_read_again_as_the_same_function(tmp_path):
    _, (note,) = converted(tmp_path, onnx_weights="uint8", output_format="MS,ONNX")
    assert "0 of 5 layers" in note
    assert stored_types(tmp_path / "d.onnx") == {"uint8"}
    session, feed = session_and_feed(tmp_path / "d.onnx")
    assert not session.refusals and {t.dtype.name for t in session.graph.constants() if t.rank and t.rank > 1} == {
        "int8"
    }
    (mine,) = session.run(feed).values()
    other = bitlite.load(str(tmp_path / "d.ms"), shapes={0: (1, -1, -1, -1)})
    (ms,) = other.run({other.inputs[0].name: next(iter(feed.values())).reshape(other.inputs[0].shape)}).values()
    np.testing.assert_allclose(mine, ms, rtol=0, atol=1e-4 * np.ptp(ms))


def test_codes_of_the_model_become_uint8_where_they_saturate(tmp_path):
    converted(tmp_path, output_format="TFLITE")
    report = bitlite.convert(tmp_path / "d.tflite", tmp_path / "again", output_format="ONNX")
    (note,) = [note for note in report.notes if ".onnx: " in note]
    names = {r.node for r in report.passes if r.pass_name == "unsigned_saturating_weights"}
    assert names and f"{len(names)} uint8 ones" in note
    assert onnx_products.saturating_layers(str(tmp_path / "again.onnx")) == []


def test_the_flag_names_what_it_takes(tmp_path):
    with pytest.raises(UsageError, match=r"onnx_weights.*auto\|int8\|uint8"):
        converted(tmp_path, onnx_weights="int4")


@pytest.mark.parametrize("saturates", [True, False])
@pytest.mark.parametrize("weights", ["int8", "auto"])
def test_verify_names_the_layers_where_the_cpu_saturates(tmp_path, monkeypatch, capsys, saturates, weights):
    monkeypatch.setattr(onnx_products, "saturates", lambda: saturates)
    converted(tmp_path, onnx_weights=weights)
    path = str(tmp_path / "d.onnx")
    names = onnx_products.saturating_layers(path)
    assert main([f"--modelFile={path}", "--verify", "--loopCount=1"]) == 0
    said = capsys.readouterr().out
    assert (bool(names) and saturates) == ("in 16 bits on this CPU" in said)
    assert not saturates or all(name in said for name in names[:3])


def test_a_comparison_that_fails_says_that_the_cpu_saturates(tmp_path, monkeypatch):
    from bitlite.tools import other_runtimes
    from bitlite.tools.accuracy import AccuracyError

    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnx_products, "saturates", lambda: True)
    monkeypatch.setattr(other_runtimes, "LEAST_COSINE", 2.0)
    converted(tmp_path, onnx_weights="int8")
    with pytest.raises(AccuracyError, match=r"in 16 bits on this CPU.*x64quantprecision"):
        verify_file(str(tmp_path / "d.onnx"), *session_and_feed(tmp_path / "d.onnx"))


def test_the_probe_says_what_a_layer_that_exceeds_shows(tmp_path):
    """Full activations on weights of 127: wrong where the probe says so, right where not."""
    ort, onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx")
    from onnx import helper, numpy_helper

    inits = {
        "s": np.float32(1e-4),
        "z": np.uint8(0),
        "w": np.full((8, 16), 127, np.int8),
        "sw": np.float32(1),
        "zw": np.int8(0),
        "sy": np.float32(1),
    }
    graph = helper.make_graph(
        [helper.make_node("QLinearMatMul", ["x", "s", "z", "w", "sw", "zw", "sy", "z"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, [2, 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.UINT8, [2, 16])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in inits.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), tmp_path / "q.onnx")
    session = ort.InferenceSession(str(tmp_path / "q.onnx"), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": np.full((2, 8), 255, np.uint8)})
    assert (y != 26).any() == onnx_products.saturates()
    assert len(onnx_products.saturating_layers(str(tmp_path / "q.onnx"))) == 1
