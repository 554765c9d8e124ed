"""Models of odd form: read, run, written to each format (or refused by name) and read back as the same function."""

from __future__ import annotations

import subprocess
import sys

import bitlite
import numpy as np
import pytest
from bitlite.converter.formats import CONTAINERS
from onnx import TensorProto, helper, numpy_helper, save


def _save(path, nodes, inputs, outputs, constants=(), kind=TensorProto.FLOAT):
    ports = [[helper.make_tensor_value_info(n, kind, s) for n, s in group.items()] for group in (inputs, outputs)]
    graph = helper.make_graph(nodes, "g", *ports, [numpy_helper.from_array(v, n) for n, v in constants])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


def _node(op, inputs, outputs, **attrs):
    return helper.make_node(op, inputs, outputs, **attrs)


W = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)
MODELS = {
    "five axes": ([_node("Transpose", ["x"], ["t"], perm=[4, 2, 0, 1, 3]), _node("Relu", ["t"], ["y"])],
                  {"x": [2, 3, 1, 2, 2]}, {"y": None}, ()),
    "no elements": ([_node("Relu", ["x"], ["y"])], {"x": [0, 3]}, {"y": None}, ()),
    "joined with no elements": ([_node("Concat", ["x", "z"], ["y"], axis=0)],
                                {"x": [0, 3], "z": [2, 3]}, {"y": None}, ()),
    "names of all kinds": ([_node("MatMul", ["in put/🙂:0", "w w/é"], ["t/ 1"], name="a b/🙂"),
                            _node("Relu", ["t/ 1"], ["out/🚀 x"], name="a b/🙂")],
                           {"in put/🙂:0": [2, 3]}, {"out/🚀 x": None}, (("w w/é", W),)),
    "duplicated node names": ([_node("Relu", ["x"], ["a"], name="n"), _node("Neg", ["a"], ["y"], name="n")],
                              {"x": [2]}, {"y": None}, ()),
    "a scalar input": ([_node("Add", ["x", "w"], ["y"])], {"x": []}, {"y": None}, (("w", W),)),
    "no nodes": ([], {"x": [2, 3]}, {"x": None}, ()),
    "an output that is an input": ([_node("Relu", ["x"], ["y"])], {"x": [2, 3]}, {"y": None, "x": None}, ()),
    "an output that is a constant": ([_node("Relu", ["x"], ["y"])], {"x": [2, 3]}, {"y": None, "w": None}, (("w", W),)),
    "an input that nothing reads": ([_node("Relu", ["x"], ["y"])], {"x": [2, 3], "z": [4]}, {"y": None}, ()),
}  # fmt: skip


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", MODELS)
def test_it_runs_as_the_standard_says_and_survives_conversion(tmp_path, name, container):
    from onnx.reference import ReferenceEvaluator

    nodes, inputs, outputs, constants = MODELS[name]
    path = _save(tmp_path / "m.onnx", nodes, inputs, outputs, constants)
    feeds = {n: np.random.default_rng(3).standard_normal(s).astype(np.float32) for n, s in inputs.items()}
    want = ReferenceEvaluator(path).run(list(outputs), feeds)
    target = str(tmp_path / f"back.{container}")
    # An output that is an input has a name of its own: its place says what it is.
    for got, w in zip(bitlite.load(path).run(feeds).values(), want, strict=True):
        np.testing.assert_allclose(got, w, rtol=1e-5, atol=1e-6)
    try:
        bitlite.convert(path, target, output_format=container.upper())
    except bitlite.Error as error:
        assert "m.onnx" in str(error) or container in str(error) or any(n in str(error) for n in (*inputs, *outputs))
        return
    session = bitlite.load(target)
    again = session.run({p.name: feeds[p.name] for p in session.inputs})
    for a, w in zip(again.values(), want):
        np.testing.assert_allclose(a, w, rtol=1e-5, atol=1e-6)


def test_a_chain_of_two_thousand_nodes_is_read_and_run(tmp_path):
    nodes = [_node(("Neg", "Abs", "Exp", "Tanh")[k % 4], [f"t{k}"], [f"t{k + 1}"]) for k in range(2000)]
    path = _save(tmp_path / "m.onnx", nodes, {"t0": [1, 8]}, {"t2000": [1, 8]})
    x = np.linspace(-1, 1, 8, dtype=np.float32)[None]
    want = x
    for _ in range(500):
        want = np.tanh(np.exp(np.abs(-want)))
    np.testing.assert_allclose(bitlite.load(path).run({"t0": x})["t2000"], want, rtol=1e-4)


_PEAK = """
import resource, sys
import bitlite, numpy as np
session = bitlite.load(sys.argv[1])
session.run({"x": np.ones((1, 4096), np.float32)})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_a_gigabyte_of_external_weights_takes_at_most_two_and_a_half(tmp_path):
    layers, size = 16, 4096
    data = np.full((size, size), 1e-4, np.float32).tobytes()
    constants, nodes = [], []
    with open(tmp_path / "w.bin", "wb") as out:
        for k in range(layers):
            t = TensorProto(name=f"w{k}", data_type=1, dims=[size, size], data_location=1)
            for key, value in (("location", "w.bin"), ("offset", str(out.tell())), ("length", str(len(data)))):
                t.external_data.add(key=key, value=value)
            constants.append(t)
            out.write(data)
            nodes.append(_node("MatMul", [f"t{k}" if k else "x", f"w{k}"], [f"t{k + 1}"]))
    ports = [helper.make_tensor_value_info(n, 1, [1, size]) for n in ("x", f"t{layers}")]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(tmp_path / "m.onnx")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) << 10 <= 2.5 * layers * len(data)


def test_a_graph_name_that_is_no_text_does_not_matter(tmp_path):
    path = _save(tmp_path / "m.onnx", [_node("Relu", ["x"], ["y"])], {"x": [2]}, {"y": None})
    data = (tmp_path / "m.onnx").read_bytes()
    assert data.count(b"\x01g") == 1
    (tmp_path / "m.onnx").write_bytes(data.replace(b"\x01g", b"\x01\x9f"))
    for container in CONTAINERS:
        bitlite.convert(path, tmp_path / "out", output_format=(container.upper(),), quiet=True)
        assert next(iter(bitlite.load(tmp_path / f"out.{container}").run(np.float32([-1, 2])).values())).tolist() == [
            0,
            2,
        ]
