from __future__ import annotations

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import Error
from bitlite.converter.execute import execute
from bitlite.converter.formats.onnx import read
from bitlite.converter.schema.verify import verify
from onnx import TensorProto, helper, numpy_helper, parser
from tflite_models import run_litert, tflite_file


@pytest.fixture
def check(tmp_path):
    """check(text, feeds, **constants) → bitlite's outputs, equal to onnxruntime's, of a model in ONNX's text form."""

    def run(text, feeds, **constants):
        import onnxruntime

        model = parser.parse_model(text)
        model.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items())
        path = tmp_path / "m.onnx"
        path.write_bytes(model.SerializeToString())
        graph = read(str(path))
        verify(graph)
        values = {t: feeds[t.name] for t in graph.inputs}
        for node in graph.nodes:
            results = execute(node, [None if t is None else values.get(t, t.data) for t in node.inputs])
            values.update(zip(node.outputs, results))
        got = [values.get(t, t.data) for t in graph.outputs]
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for g, w in zip(got, session.run(None, feeds), strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-6)
        return graph

    return run


HEAD = '<ir_version: 9, opset_import: ["" : 18]>\n'
X = np.float32([[1, -2, 3], [4, 5, -6]])
IF = """agraph (float[2,3] x{more}) => (float[2,3] y) {{
  y = If (c) <then_branch = t () => (float[2,3] a) {{ a = Add(x, x) }},
              else_branch = e () => (float[2,3] b) {{ b = Neg(x) }}>
}}"""


@pytest.mark.parametrize("truth", [True, False])
def test_a_constant_condition_takes_its_branch(check, truth):
    graph = check(HEAD + IF.format(more=""), {"x": X}, c=np.array(truth))
    assert [n.op for n in graph.nodes] == ["Add" if truth else "Neg"]


@pytest.mark.parametrize("truth", [True, False])
def test_a_condition_of_the_run_chooses_between_both_branches(check, truth):
    check(HEAD + IF.format(more=", bool c"), {"x": X, "c": np.array(truth)})


MADE_FOR_3 = """agraph (float[2,N] x, int64 rate) => (float[2,1] y) {
  c = Equal (rate, three)
  y = If (c) <then_branch = t () => (float[2,1] a) { a = MatMul(x, w3) },
              else_branch = e () => (float[2,1] b) { b = MatMul(x, w4) }>
}"""


@pytest.fixture
def rated(tmp_path):
    """A file whose two branches want inputs of 3 and of 4 columns."""
    weights = {"w3": np.float32([[1], [2], [3]]), "w4": np.float32([[1], [2], [3], [4]]), "three": np.int64(3)}
    model = parser.parse_model(HEAD + MADE_FOR_3)
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), n) for n, a in weights.items())
    path = tmp_path / "rated.onnx"
    path.write_bytes(model.SerializeToString())
    return str(path)


@pytest.mark.parametrize(("columns", "rate"), [(3, 3), (4, 8)])
def test_a_branch_for_other_sizes_is_left_out(rated, columns, rate):
    import onnxruntime

    feeds = {"x": np.arange(2 * columns, dtype=np.float32).reshape(2, columns), "rate": np.array(rate)}
    [got] = bitlite.load(rated, shapes={"x": [2, columns]}).run(feeds).values()
    [want] = onnxruntime.InferenceSession(rated).run(None, feeds)
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize(("columns", "rate", "said"), [(3, 8, "rate == 3 must be true"), (4, 3, "must be false")])
def test_a_run_that_asks_for_the_branch_left_out_fails(rated, columns, rate, said):
    session = bitlite.load(rated, shapes={"x": [2, columns]})
    with pytest.raises(bitlite.DataError, match=said):
        session.run({"x": np.ones((2, columns), np.float32), "rate": np.array(rate)})


def test_a_model_of_which_no_branch_fits_names_one(rated):
    with pytest.raises(Error, match=r"MatMul.*5"):
        bitlite.load(rated, shapes={"x": [2, 5]})


BY_SIZE = """agraph (float[N,3] x) => (float[N,K] y) {
  n = Shape <start = 0, end = 1> (x)
  c = Equal (n, two)
  y = If (c) <then_branch = t () => (float[N,3] a) { a = Neg(x) },
              else_branch = e () => (float[M,6] b) { b = Concat <axis = 1> (x, x) }>
}"""


def test_a_condition_that_follows_from_an_open_size_asks_for_that_size(tmp_path):
    model = parser.parse_model(HEAD + BY_SIZE)
    model.graph.initializer.extend([numpy_helper.from_array(np.array([2]), "two")])
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(Error, match=r"try input_shape with all sizes of float32\[\?,3\] 'x'"):
        bitlite.load(path)
    [y] = bitlite.load(path, shapes={"x": [2, 3]}).run({"x": X}).values()
    np.testing.assert_array_equal(y, -X)


@pytest.mark.parametrize("container", ["MS", "TFLITE", "ONNX"])
def test_a_file_without_the_check_says_so(rated, tmp_path, container):
    report = bitlite.convert(rated, tmp_path / "out", output_format=container, input_shape={"x": [2, 3]})
    assert [n for n in report.notes if "without the check that rate == 3 must be true" in n]
    [path] = report.files
    feeds = {"x": np.float32([[1, 2, 3], [4, 5, 6]]), "rate": np.array(3)}
    [got] = bitlite.load(path).run(feeds).values()
    np.testing.assert_allclose(got, [[14], [32]], rtol=1e-6)


LOOP = """agraph (float[2,3] x) => (float[2,3] y, float[N,2,3] all) {
  y, all = Loop (m, keep, x) <body = b (int64 i, bool c, float[2,3] v) => (bool d, float[2,3] w, float[2,3] s) {
    f = Cast<to = 1>(i)
    w = Add(v, f)
    s = Mul(w, x)
    d = Less(i, stop)
  }>
}"""


@pytest.mark.parametrize("stop", [100, 1])
def test_a_loop_is_unrolled_until_its_condition_ends_it(check, stop):
    graph = check(HEAD + LOOP, {"x": X}, m=np.int64(4), keep=np.array(True), stop=np.int64(stop))
    assert [n.op for n in graph.nodes].count("Mul") == (4 if stop == 100 else 2)


BY_LENGTH = """agraph (float[3,2] x) => (float[N,2] all) {
  size = Shape <start = 0, end = 1> (x)
  n = Squeeze (size)
  go = Less (zero, n)
  last, all = Loop (most, go, zero) <body = b (int64 i, bool c, int64 at) => (bool d, int64 next, float[2] row) {
    row = Gather (x, at)
    next = Add (at, one)
    d = Less (next, n)
  }>
}"""


def test_a_while_loop_over_a_known_size_is_unrolled_whatever_count_its_exporter_wrote(check):
    numbers = {"most": np.int64(2**63 - 1), "zero": np.int64(0), "one": np.int64(1)}
    check(HEAD + BY_LENGTH, {"x": X.reshape(3, 2)}, **numbers)


def branching(condition):
    """t0, t1 → t2 = condition ? t1 + t1 : -t1, of subgraphs 1 and 2."""
    line = ("FLOAT32", [2, 3])
    main = [condition, line, line]
    inputs = [1] if isinstance(condition, np.ndarray) else [0, 1]
    options = ("IfOptions", {"then_subgraph_index": 1, "else_subgraph_index": 2})
    return tflite_file(
        (main, inputs, [2], [("IF", [0, 1], [2], options)]),
        ([line, line], [0], [1], [("ADD", [0, 0], [1], ("AddOptions", {}))]),
        ([line, line], [0], [1], [("NEG", [0], [1], None)]),
    )


@pytest.mark.parametrize("truth", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_a_branch_of_tflite_is_taken_or_chosen(tmp_path, truth, known):
    data = branching(np.array(truth) if known else ("BOOL", []))
    path = tmp_path / "m.tflite"
    path.write_bytes(data)
    session = bitlite.load(str(path))
    feeds = {p.name: X if p.name == "t1" else np.array(truth) for p in session.inputs}
    [got] = session.run(feeds).values()
    np.testing.assert_array_equal(got, run_litert(data, feeds)[0])
    np.testing.assert_array_equal(got, X + X if truth else -X)


def test_a_loop_that_runs_too_long_is_refused_by_name(check):
    with pytest.raises(Error, match=r"Loop.*1024"):
        check(HEAD + LOOP, {"x": X}, m=np.int64(10**9), keep=np.array(True), stop=np.int64(10**9))


@pytest.mark.parametrize("attrs", ["", ", scan_input_directions = [1]", ", scan_output_directions = [1]",
                                   ", scan_input_axes = [1], scan_output_axes = [1]"])  # fmt: skip
def test_a_scan_is_unrolled(check, attrs):
    n = 2 if "axes" in attrs else 3
    text = f"""agraph (float[{n}] h, float[2,3] x) => (float[{n}] y, float[M,N] all) {{
      y, all = Scan (h, x) <num_scan_inputs = 1{attrs},
        body = b (float[{n}] v, float[{n}] e) => (float[{n}] w, float[{n}] s) {{
        w = Add(v, e)
        s = Mul(w, e)
      }}>
    }}"""
    check(HEAD + text, {"h": np.float32([1, 2, 3])[:n], "x": X})


def test_rounds_that_only_a_run_knows_are_refused_by_name(tmp_path):
    text = LOOP.replace("(float[2,3] x)", "(float[2,3] x, int64 m)", 1)
    model = parser.parse_model(HEAD + text)
    model.graph.initializer.extend(
        [numpy_helper.from_array(np.array(True), "keep"), helper.make_tensor("stop", TensorProto.INT64, [], [3])]
    )
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(Error, match=r"Loop.*computed while running"):
        read(str(path))
