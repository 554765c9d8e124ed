"""Other numbers of samples than a model declares: each sample gives what it gives alone, and none give nothing."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import DataError
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.converter.schema.rebatch import batch_of
from bitlite.native.session import Session

RNG = np.random.default_rng(5)


def weight(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def reshape(build, x, *sizes):
    return build.emit("Reshape", [x, build.constant(np.array(sizes, np.int64))])[0]


def declared(*shape):
    graph = Graph("m")
    build = Builder(graph)
    return graph, build, build.input("x", np.float32, shape)


def gru(build, x, *state):
    w, r, b = (build.constant(weight(*s)) for s in ((1, 12, x.shape[-1]), (1, 12, 4), (1, 24)))
    return build.emit("Gru", [x, w, r, b, None, *state], {"hidden_size": 4})[0]


def flattened_to_one_row():
    graph, build, x = declared(1, 4, 6)
    y = build.emit("FullyConnected", [reshape(build, x, 1, 24), build.constant(weight(5, 24))])[0]
    graph.outputs = [reshape(build, y, 1, 5, 1)]
    return graph, 0


def boxes_of_an_open_number():
    graph, build, x = declared(1, 4, 6)
    graph.outputs = [reshape(build, x, 1, -1, 3)]
    return graph, 0


def a_scale_of_each_sample():
    graph, build, x = declared(1, 6)
    total = build.emit("Reduce", [x], {"mode": "sum", "axes": [1]})[0]
    graph.outputs = build.emit("Mul", [x, reshape(build, total, 1, 1)])
    return graph, 0


def time_first_by_a_reshape():
    """One sample's Transpose [2, 0, 1] of its positions is a Reshape."""
    graph, build, x = declared(1, 6, 5)
    graph.outputs = [gru(build, reshape(build, build.emit("Transpose", [x], {"perm": [0, 2, 1]})[0], 5, 1, 6))]
    return graph, 2


def one_step_whose_transpose_is_left_out():
    graph, build, x = declared(1, 1, 6)
    graph.outputs = [gru(build, x, build.constant(np.ones((1, 1, 4), np.float32)))]
    return graph, 2


def a_first_token_that_is_constant():
    graph, build, x = declared(1, 3, 4)
    joined = build.emit("Concat", [build.constant(weight(1, 1, 4)), x], {"axis": 1})[0]
    graph.outputs = build.emit("Softmax", [joined], {"axis": 1})
    return graph, 0


def rows_of_all_positions():
    graph, build, x = declared(1, 4, 6)
    y = build.emit("FullyConnected", [reshape(build, x, 4, 6), build.constant(weight(5, 6))])[0]
    graph.outputs = build.emit("Softmax", [reshape(build, y, 1, 4, 5)], {"axis": 1})
    return graph, 0


def a_norm_widened_to_its_row():
    graph, build, x = declared(1, 6)
    norm = build.emit("Reduce", [x], {"mode": "l2", "axes": [1], "keep_dims": True})[0]
    wide = build.emit("BroadcastTo", [norm, build.constant(np.array([1, 6], np.int64))])[0]
    graph.outputs = build.emit("Div", [x, wide])
    return graph, 0


def two_samples_declared():
    graph, build, x = declared(2, 4, 6)
    y = build.emit("FullyConnected", [reshape(build, x, 8, 6), build.constant(weight(5, 6))])[0]
    graph.outputs = [reshape(build, y, 2, 20)]
    return graph, 0


@pytest.mark.parametrize(
    "make",
    [
        flattened_to_one_row,
        boxes_of_an_open_number,
        a_scale_of_each_sample,
        time_first_by_a_reshape,
        one_step_whose_transpose_is_left_out,
        a_first_token_that_is_constant,
        rows_of_all_positions,
        a_norm_widened_to_its_row,
        two_samples_declared,
    ],
)
def test_each_sample_gives_what_it_gives_alone(make):
    graph, axis = make()
    session, size = Session(graph), graph.inputs[0].shape
    parts = [weight(*size) for _ in range(3)]
    alone = np.concatenate([session.run(x)[session.outputs[0].name] for x in parts], axis)
    together = session.run(np.concatenate(parts))[session.outputs[0].name]
    assert together.shape == alone.shape
    assert np.abs(together - alone).max() <= 1e-6 * np.abs(alone).max()
    nothing = session.run(np.zeros((0, *size[1:]), np.float32))[session.outputs[0].name]
    assert nothing.shape == tuple(0 if k == axis else n for k, n in enumerate(alone.shape))


def test_what_no_way_of_reading_fits_says_what_does_not():
    graph, build, x = declared(1, 4)
    square = build.emit("MatMul", [reshape(build, x, 4, 1), build.constant(weight(1, 4))])[0]
    graph.outputs = build.emit("MatMul", [build.constant(weight(3, 4)), square])
    with pytest.raises(DataError, match="cannot reshape"):
        Session(graph).run(weight(2, 4))


def test_samples_are_those_of_the_first_axis():
    graph, _, _ = declared(1, 8, 8, 3)
    assert batch_of(graph, {"x": (5, 8, 8, 3)}) == (1, 5)
    assert batch_of(graph, {"x": (0, 8, 8, 3)}) == (1, 0)
    assert batch_of(graph, {"x": (1, 16, 8, 3)}) is None
    assert batch_of(graph, {"x": (2, 16, 8, 3)}) is None
    assert batch_of(graph, {"x": (1, 8, 8, 3)}) is None


def test_inputs_hold_the_same_number():
    graph, build, _ = declared(2, 4)
    build.input("state", np.float32, (3, 2, 4))
    assert batch_of(graph, {"x": (4, 4), "state": (3, 4, 4)}) == (2, 4)
    assert batch_of(graph, {"x": (4, 4), "state": (3, 6, 4)}) is None
    assert batch_of(graph, {"x": (3, 4), "state": (3, 3, 4)}) == (2, 3)
