"""Functions of codes that TFLite lacks, between casts: LiteRT gives the codes of their table."""

import bitlite
import numpy as np
import pytest
from bitlite.converter.execute import execute
from bitlite.converter.formats import ms, tflite_write
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.passes import for_target, run_passes
from bitlite.converter.schema.builder import Builder

IN, OUT = QuantParam(np.array([0.03]), np.array([5])), QuantParam(np.array([0.047]), np.array([-7]))


def table(op, attrs):
    graph = Graph()
    build = Builder(graph, fold_limit=0)
    x = build.input("x", np.int8, (2, 128))
    x.quant = IN
    [y] = graph.outputs = build.emit(op, [x], attrs, name="node")
    y.dtype, y.quant = np.dtype(np.int8), OUT
    codes = np.arange(-128, 128, dtype=np.int8).reshape(2, 128)
    [want] = execute(graph.nodes[0], [codes])
    return graph, codes, want


def litert(path, codes):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    runner = Interpreter(path, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    runner.allocate_tensors()
    runner.set_tensor(runner.get_input_details()[0]["index"], codes)
    runner.invoke()
    return runner.get_tensor(runner.get_output_details()[0]["index"])


@pytest.mark.parametrize(
    "op,attrs",
    [
        ("HardSigmoid", {}),
        ("HardSigmoid", {"alpha": 1 / 6}),
        ("Square", {}),
        ("Neg", {}),
        ("Clip", {"min": -0.4, "max": 1.1}),
    ],
    ids=str,
)
def test_what_litert_lacks_computes_between_casts(op, attrs, tmp_path):
    graph, codes, want = table(op, attrs)
    records = run_passes(graph, for_target("tflite"))
    assert any(r.pass_name == "expand_lookup_tables" for r in records)
    path = str(tmp_path / "m.tflite")
    tflite_write.write(graph, path)
    # In float32 here, in float64 there: a value halfway between two codes may go either way.
    off = np.abs(litert(path, codes).astype(int) - want)
    assert off.max() <= 1
    assert (off > 0).sum() <= 2


@pytest.mark.parametrize("op", ["Elu", "Gelu", "Tanh", "Swish"])
def test_what_litert_has_stays_on_codes(op, tmp_path):
    graph, codes, want = table(op, {})
    run_passes(graph, for_target("tflite"))
    assert [n.op for n in graph.nodes] == [op]
    path = str(tmp_path / "m.tflite")
    tflite_write.write(graph, path)
    assert np.abs(litert(path, codes).astype(int) - want).max() <= 1


@pytest.mark.parametrize("op,attrs", [("HardSigmoid", {}), ("Mish", {})], ids=str)
def test_what_mindspore_lite_names_in_float_only_computes_between_casts(op, attrs, tmp_path):
    graph, codes, want = table(op, attrs)
    run_passes(graph, for_target("ms"))
    path = str(tmp_path / "m.ms")
    ms.write(graph, path)
    [got] = bitlite.load(path).run({"x": codes}).values()
    assert np.abs(got.astype(int) - want).max() <= 1
