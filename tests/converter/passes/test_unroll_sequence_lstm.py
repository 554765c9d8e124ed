"""TFLite's recurrent layers in parts: what LiteRT gives, in onnxruntime and in a .ms that is read again."""

from __future__ import annotations

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import UnsupportedError
from bitlite.converter.formats import ms, onnx_write, tflite
from bitlite.converter.ops.recurrent.unroll_limits import MOST_STEPS
from bitlite.converter.passes import GENERAL, for_target, run_passes
from bitlite.converter.passes.split_svdf import split_svdf
from bitlite.converter.passes.unroll_sequence_lstm import unroll_sequence_lstm
from tflite_models import run_litert
from tflite_rows import recurrent
from tflite_rows.table import Draw

CASES = [
    pytest.param(case, id=f"{row.op}-{dtype}-{k}")
    for row in recurrent.ROWS
    for dtype in row.dtypes
    for k, case in enumerate(row.cases(dtype, 10))
]


def converted(case, target, tmp_path):
    path = tmp_path / "a.tflite"
    path.write_bytes(case.model())
    graph = tflite.read(str(path))
    run_passes(graph, (*GENERAL, *for_target(target)))
    return graph


def by_onnxruntime(graph, feeds, tmp_path):
    import onnxruntime

    path = str(tmp_path / "b.onnx")
    onnx_write.write(graph, path)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feeds)


def by_ms(graph, feeds, tmp_path):
    path = str(tmp_path / "b.ms")
    ms.write(graph, path)
    session = bitlite.load(path)
    results = session.run(feeds)
    return [results[p.name] for p in session.outputs]


@pytest.mark.parametrize(("target", "runs"), [("onnx", by_onnxruntime), ("ms", by_ms)])
@pytest.mark.parametrize("case", CASES)
def test_it_gives_what_litert_gives(case, target, runs, tmp_path):
    graph = converted(case, target, tmp_path)
    if case.inputs[0].dtype == np.int8 and any(n.op == "SequenceLstm" for n in graph.nodes):
        with pytest.raises(UnsupportedError, match="peepholes and a projection"):
            runs(graph, case.feeds(), tmp_path)
        return
    [want] = run_litert(case.model(), case.feeds())
    [got] = runs(graph, case.feeds(), tmp_path)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    if got.dtype.kind == "f":
        np.testing.assert_allclose(got, want, rtol=case.tolerance, atol=max(case.absolute, 2e-6))
    else:  # the gates' 16-bit codes are reals here, and the state's 8-bit ones
        assert np.abs(got.astype(np.int32) - want).max() <= 2


def example(dtype, **more):
    row = recurrent.ROWS[0]
    chosen = dict(next(iter(row.combinations(1))), peephole=False, coupled=False, projection="plain", norm=False)
    return row.make(Draw([0]), dtype, **(chosen | more))


def test_eight_bit_weights_keep_their_codes(tmp_path):
    graph = converted(example("int8", size=(1, 2, 4, 5)), "ms", tmp_path)
    assert not {n.op for n in graph.nodes} & {"SequenceLstm"}
    weights = {n.inputs[1] for n in graph.nodes if n.op == "FullyConnected"}
    assert {w.dtype for w in weights} == {np.dtype(np.int8)}


def test_too_many_steps_are_left_and_named(tmp_path):
    path = tmp_path / "a.tflite"
    path.write_bytes(example("float32", size=(1, MOST_STEPS + 1, 2, 3)).model())
    graph = tflite.read(str(path))
    (refusal,) = unroll_sequence_lstm(graph)
    assert f"{MOST_STEPS + 1} steps" in refusal.reason
    with pytest.raises(UnsupportedError, match=f"{MOST_STEPS + 1} steps"):
        ms.write(graph, str(tmp_path / "b.ms"))


def test_svdf_with_weights_of_a_run_is_left(net):
    time = net.input(3, 4, name="time")
    net.done(net.emit("Svdf", net.input(2, 5), net.const(3, 5), time, rank=1))
    (refusal,) = split_svdf(net.graph)
    assert "at run time" in refusal.reason
