"""What MindSpore Lite's kernels take: narrowed, written in parts, or refused with the node's name before any work."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import UnsupportedError
from bitlite.converter.execute import execute
from bitlite.converter.formats.ms import read, write
from bitlite.converter.formats.operators import write_operators
from bitlite.converter.ir import Graph, Tensor
from bitlite.converter.passes import for_target, run_passes
from bitlite.converter.schema.builder import Builder


def graph_of(op, inputs, attrs=None, outputs=1):
    """One node "n"; inputs are (dtype, shape) or arrays."""
    graph = Graph()
    build = Builder(graph, fold_limit=0)
    ins = [
        build.constant(v, f"c{i}") if isinstance(v, np.ndarray) else build.input(f"x{i}", np.dtype(v[0]), v[1])
        for i, v in enumerate(inputs)
    ]
    graph.outputs = build.emit(op, ins, attrs or {}, name="n")[:outputs]
    return graph


def emitted(graph):
    return [(e.op, [t.dtype.name for t in e.outputs]) for e in write_operators(graph, "ms").emitted]


def run(graph, *feeds):
    values = dict(zip(graph.inputs, feeds, strict=True))
    for node in graph.nodes:
        results = execute(node, [None if t is None else t.data if t.is_const else values[t] for t in node.inputs])
        values.update(zip(node.outputs, results, strict=True))
    return [values[t] for t in graph.outputs]


def test_int64_is_computed_as_int32_between_casts_at_the_ends():
    graph = graph_of("Add", [("int64", (2, 3)), np.arange(3)])
    assert emitted(graph) == [("Cast", ["int32"]), ("AddFusion", ["int32"]), ("Cast", ["int64"])]


def test_narrowed_ends_keep_names_types_and_values(tmp_path):
    graph = graph_of("Add", [("int64", (2, 3)), np.arange(3)])
    want = run(graph, np.int64([[5, -6, 7], [0, 1, 2]]))
    path = str(tmp_path / "m.ms")
    write(graph, path)
    again = read(path)
    assert [(t.name, t.dtype) for t in again.inputs] == [("x0", np.int64)]
    assert [(t.name, t.dtype) for t in again.outputs] == [(t.name, np.int64) for t in graph.outputs]
    np.testing.assert_array_equal(run(again, np.int64([[5, -6, 7], [0, 1, 2]])), want)


def test_an_int64_output_that_is_constant_stays_int64(tmp_path):
    graph = graph_of("Neg", [("float32", (2,))])
    lengths = Tensor("lengths", np.dtype(np.int64), (1,), np.int64([3000]))
    graph.outputs.append(lengths)
    path = str(tmp_path / "m.ms")
    write(graph, path)
    again = read(path)
    assert [(t.name, t.dtype.name) for t in again.outputs][1] == ("lengths", "int64")
    np.testing.assert_array_equal(run(again, np.float32([1, 2]))[1], [3000])


def test_a_cast_that_the_runtime_lacks_takes_two_steps():
    assert emitted(graph_of("Cast", [("int32", (4,))], {"dtype": "bool"})) == [
        ("Cast", ["float32"]),
        ("Cast", ["bool"]),
    ]


@pytest.mark.parametrize(
    ("graph", "what"),
    [
        (graph_of("Cast", [("float32", (4,))], {"dtype": "float16"}), "no cast from float32 to float16"),
        (graph_of("Add", [("float64", (4,)), ("float64", (4,))]), "no kernel for float64"),
        (graph_of("Div", [("int32", (4,)), ("int32", (4,))]), "DivFusion has no kernel for int32"),
        (graph_of("Add", [("int32", (4,)), ("int32", (4,))], {"act": "relu"}), "no fused activation for int32"),
        (graph_of("Where", [("bool", (4,)), ("bool", (4,)), ("bool", (4,))]), "Where has no kernel for bool"),
        (graph_of("Reduce", [("int32", (4,))], {"mode": "l1", "axes": [0]}), "ReduceFusion has no kernel for int32"),
        (graph_of("Slice", [("float32", (5, 6)), *(np.array([v]) for v in (2, 2, 0, 1))]), "is empty"),
        (graph_of("Reshape", [("float32", (None, 1)), np.zeros(0, np.int64)]), "a single number is made of"),
        (
            graph_of("ScatterElements", [("float32", (3, 3)), np.array([[1, 0, 2]]), np.ones((1, 3), np.float32)]),
            "ScatterElements has no form in ms",
        ),
        (
            graph_of("FullyConnected", [("float32", (2, 3)), ("float32", (4, 3))], {"keep_dims": False}),
            "must be a const",
        ),
        (graph_of("Pow", [("float32", (2, 3)), ("float32", (3,))]), "broadcast"),
    ],
    ids=lambda v: v.replace(" ", "-") if isinstance(v, str) else "",
)
def test_what_the_runtime_answers_wrongly_or_not_at_all_is_refused_by_name(graph, what):
    with pytest.raises(UnsupportedError, match=what) as caught:
        write_operators(graph, "ms")
    assert str(caught.value).startswith("n")


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "names"),
    [
        ("Gather", [("float32", (2, 4)), np.array(-1)], {"axis": -1}, ["Gather", "Squeeze"]),
        ("Reshape", [("float32", (1, 1)), np.zeros(0, np.int64)], {}, ["Squeeze"]),
        ("PRelu", [("float32", (2, 5)), np.float32([0.3])], {}, ["Activation", "Minimum", "MulFusion", "AddFusion"]),
        ("Softsign", [("float32", (2, 5))], {}, ["Abs", "AddFusion", "DivFusion"]),
        ("Sign", [("float32", (2, 5))], {}, ["Greater", "Cast", "Less", "Cast", "SubFusion"]),
        ("Selu", [("float32", (2, 5))], {"alpha": 1.5, "gamma": 2.0}, ["Activation", "MulFusion"]),
        ("Celu", [("float32", (2, 5))], {"alpha": 2.0}, ["MulFusion", "Activation", "MulFusion"]),
        ("ThresholdedRelu", [("float32", (2, 5))], {"alpha": 0.3}, ["Greater", "Cast", "MulFusion"]),
        ("Mish", [("float32", (2, 5))], {}, ["Activation", "Activation", "MulFusion"]),
    ],
)
def test_a_form_that_the_runtime_has_no_kernel_for_is_written_as_its_parts(op, inputs, attrs, names, tmp_path):
    graph = graph_of(op, inputs, attrs)
    assert [name for name, _ in emitted(graph)] == names
    x = np.random.default_rng(0).standard_normal(graph.inputs[0].shape).astype(np.float32)
    path = str(tmp_path / "m.ms")
    write(graph, path)
    np.testing.assert_allclose(run(read(path), x)[0], run(graph, x)[0], rtol=1e-5, atol=1e-6)


def test_the_hidden_size_of_an_lstm_for_one_sequence_is_rounded_up(tmp_path):
    rng = np.random.default_rng(1)
    w, r, b = (rng.standard_normal(s).astype(np.float32) for s in ((1, 12, 2), (1, 12, 3), (1, 24)))
    graph = graph_of("Lstm", [("float32", (5, 1, 2)), w, r, b], {"hidden_size": 3}, outputs=3)
    emitted = write_operators(graph, "ms").emitted
    assert [e.op for e in emitted] == ["LSTM", "StridedSlice", "StridedSlice", "StridedSlice"]
    assert emitted[0].fields["hidden_size"] == 8
    path, x = str(tmp_path / "m.ms"), rng.standard_normal((5, 1, 2)).astype(np.float32)
    write(graph, path)
    for got, want in zip(run(read(path), x), run(graph, x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_gru_is_written_for_one_sequence_and_refused_for_a_batch(tmp_path):
    rng = np.random.default_rng(1)
    w, r, b = (rng.standard_normal(s).astype(np.float32) for s in ((1, 9, 2), (1, 9, 3), (1, 18)))
    graph = graph_of("Gru", [("float32", (5, 1, 2)), w, r, b], {"hidden_size": 3}, outputs=2)
    path, x = str(tmp_path / "m.ms"), rng.standard_normal((5, 1, 2)).astype(np.float32)
    write(graph, path)
    again = read(path)
    assert [n.op for n in again.nodes] == ["Gru"]
    for got, want in zip(run(again, x), run(graph, x), strict=True):
        np.testing.assert_array_equal(got, want)
    with pytest.raises(UnsupportedError, match="one sequence at a time"):
        write_operators(graph_of("Gru", [("float32", (5, 2, 2)), w, r, b], {"hidden_size": 3}), "ms")
    after = {"hidden_size": 3, "linear_before_reset": True}
    with pytest.raises(UnsupportedError, match="linear_before_reset=1"):
        write_operators(graph_of("Gru", [("float32", (5, 1, 2)), w, r, b], after), "ms")


def test_float16_ends_become_float32():
    graph = Graph()
    build = Builder(graph, fold_limit=0)
    x = build.input("x", np.dtype(np.float16), (2, 3))
    wide = build.emit("Cast", [x], {"dtype": "float32"}, name="in")[0]
    y = build.emit("Relu", [wide], {}, name="relu")[0]
    graph.outputs = build.emit("Cast", [y], {"dtype": "float16"}, name="out")
    name = graph.outputs[0].name
    run_passes(graph, for_target("ms"))
    assert [n.op for n in graph.nodes] == ["Relu"]
    assert (graph.inputs[0].name, graph.inputs[0].dtype) == ("x", np.float32)
    assert (graph.outputs[0].name, graph.outputs[0].dtype) == (name, np.float32)


def test_the_scales_of_detection_boxes_are_stored_h_w_x_y():
    attrs = {
        "max_detections": 3, "max_classes_per_detection": 1, "num_classes": 2, "nms_score_threshold": 0.1,
        "nms_iou_threshold": 0.5, "scale": [10.0, 9.0, 5.0, 4.0],
    }  # fmt: skip
    anchors = np.ones((6, 4), np.float32)
    graph = graph_of("DetectionPostProcess", [("float32", (1, 6, 4)), ("float32", (1, 6, 3)), anchors], attrs, 4)
    assert write_operators(graph, "ms").emitted[0].fields["scale"] == [5.0, 4.0, 9.0, 10.0]


@pytest.mark.parametrize("shapes", [((), (2, 3)), ((1,), (2, 3)), ((2, 1), (2, 3)), ((2, 3), (1,)), ((2, 3), (3,))])
def test_a_choice_never_broadcasts_there(shapes, tmp_path):
    condition, other = shapes
    rng = np.random.default_rng(0)
    graph = graph_of("Where", [(bool, condition), (np.float32, (2, 3)), (np.float32, other)])
    wide = next(e for e in write_operators(graph, "ms").emitted if e.op == "Where")
    assert [t.shape for t in wide.inputs] == [(2, 3)] * 3
    write(graph, tmp_path / "m.ms")
    feeds = [rng.random(condition) < 0.5, rng.random((2, 3), np.float32), rng.random(other, np.float32)]
    (want,), (got,) = run(graph, *feeds), run(read(str(tmp_path / "m.ms")), *feeds)
    assert np.array_equal(want, got)


def test_a_condition_says_nothing_of_the_order_of_an_image(tmp_path):
    """A tensor that the file tags NCHW is no input of its convolutions."""
    graph = Graph()
    build = Builder(graph, fold_limit=0)
    x = build.input("x", np.dtype(np.float32), (1, 4, 5, 5))
    x.layout = "NCHW"
    (mean,) = build.emit("Reduce", [x], {"mode": "mean", "axes": [0, 1, 2, 3], "keep_dims": False})
    (condition,) = build.emit("Greater", [mean, build.constant(np.float32(0), "zero")])
    (image,) = build.emit("Transpose", [x], {"perm": [0, 2, 3, 1]})
    (doubled,) = build.emit("Add", [image, image])
    graph.outputs = build.emit("Where", [condition, image, doubled])
    write(graph, tmp_path / "m.ms")
    assert [t.layout for t in read(str(tmp_path / "m.ms")).outputs] == ["NHWC"]


def test_an_input_that_cannot_be_reordered_may_keep_its_order(tmp_path):
    graph = graph_of("Transpose", [(np.uint8, (1, 4, 5, 3))], {"perm": [0, 3, 1, 2]})
    graph.inputs[0].layout = "NHWC"
    with pytest.raises(UnsupportedError, match=r"no kernel for uint8.*try input_data_format='NCHW'"):
        write(graph, tmp_path / "m.ms")


@pytest.mark.parametrize("lines", [True, False])
def test_no_transposition_turns_the_format_of_a_1d_window(lines, tmp_path):
    graph = graph_of("Transpose", [(np.float32, (1, 3, 7))], {"perm": [0, 2, 1]})
    if lines:
        build, (x,) = Builder(graph, fold_limit=0), graph.outputs
        weight = build.constant(np.ones((2, 3, 3), np.float32), "w")
        graph.outputs = build.emit("Conv", [x, weight], {"stride": [1], "dilation": [1], "pad": [1, 1]})
    emitted = [e for e in write_operators(graph, "ms").emitted if e.op == "Transpose"]
    assert [e.inputs[1].data.tolist() for e in emitted] == [[0, 1, 3, 2] if lines else [0, 2, 1]]
    write(graph, tmp_path / "m.ms")
    feed = np.random.default_rng(0).random((1, 3, 7), np.float32)
    assert np.allclose(*run(graph, feed), *run(read(str(tmp_path / "m.ms")), feed))


@pytest.mark.parametrize(("shape", "perm", "apart"), [((1, 4, 4), [0, 2, 1], True), ((1, 4, 5), [0, 2, 1], False)])
def test_no_reshape_follows_a_transpose_that_keeps_the_shape(shape, perm, apart, tmp_path):
    graph = graph_of("Transpose", [(np.float32, shape)], {"perm": perm})
    build, flat = Builder(graph, fold_limit=0), np.array([int(np.prod(shape))])
    graph.outputs = build.emit("Reshape", [graph.outputs[0], build.constant(flat, "s")])
    assert ["Unsqueeze" in [op for op, _ in emitted(graph)]] == [apart]
    write(graph, tmp_path / "m.ms")
    feed = np.random.default_rng(0).random(shape, np.float32)
    assert np.array_equal(*run(graph, feed), *run(read(str(tmp_path / "m.ms")), feed))
