"""Arrays bound to a session: what may be bound, and what is said when they change afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite import DataError
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.native.session import Session


def session(native: bool) -> Session:
    """y = relu(x), z = tanh(x) of [2, 4]; a string of Erf in float64 runs through numpy where `native` is False."""
    graph = Graph("g")
    build = Builder(graph)
    dtype = np.float32 if native else np.float64
    x = build.input("x", dtype, (2, 4))
    y = build.emit("Relu", [x], name="y")[0]
    z = build.emit("Tanh", [x], name="z")[0]
    graph.outputs = [y, z]
    runner = Session(graph)
    assert bool(runner.refusals) != native
    return runner


def arrays(runner: Session) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    dtype = runner.inputs[0].dtype
    return np.arange(8, dtype=dtype).reshape(2, 4) - 4, {p.name: np.empty((2, 4), dtype) for p in runner.outputs}


@pytest.mark.parametrize("native", [True, False])
def test_each_run_reads_the_arrays_as_they_are(native):
    runner = session(native)
    x, out = arrays(runner)
    bound = runner.bind({"x": x}, out)
    for _ in range(2):
        bound.run()
        assert np.array_equal(out[runner.outputs[0].name], np.maximum(x, 0))
        x *= -1


@pytest.mark.parametrize("native", [True, False])
def test_arrays_that_overlap_are_refused_when_they_are_bound(native):
    runner = session(native)
    x, out = arrays(runner)
    first, second = out
    pool = np.empty(12, x.dtype)
    with pytest.raises(DataError, match=f"output '{first}' and 'x' overlap in memory"):
        runner.bind({"x": x}, out | {first: x})
    with pytest.raises(DataError, match=f"output '{second}' and '{first}' overlap in memory"):
        runner.bind({"x": x}, {first: pool[:8].reshape(2, 4), second: pool[4:].reshape(2, 4)})


@pytest.mark.parametrize("native", [True, False])
def test_an_array_that_was_changed_after_it_was_bound_is_named(native):
    runner = session(native)
    for change, why in [
        (lambda x, y: y.setflags(write=False), "not writable"),
        (lambda x, y: setattr(y, "shape", (4, 2)), "expected"),
        (lambda x, y: setattr(x, "shape", (8,)), "x: shape .*, expected"),
    ]:
        x, out = arrays(runner)
        bound = runner.bind({"x": x}, out)
        change(x, out[runner.outputs[0].name])
        with pytest.raises(DataError, match=f"a bound array has changed: .*{why}"):
            bound.run()


def test_outputs_keep_their_names_beside_inputs_that_are_numbered_where_sizes_are_open():
    graph = Graph("g")
    build = Builder(graph)
    inputs = [build.input(name, np.float32, (None, 4)) for name in ("act", "act_1")]
    graph.outputs = build.emit("Add", inputs, name="act_2", outputs=["act_2"])
    runner, given = Session(graph), np.float32([[-1, 2, -3, 4]] * 3)
    out = {"act_2": np.empty((3, 4), np.float32)}
    runner.bind({"act": given, "act_1": given}, out).run()
    assert np.array_equal(out["act_2"], 2 * given)


def test_a_batch_beyond_memory_is_one_line():
    graph = Graph("g")
    x = Builder(graph).input("x", np.float32, (None, 4))
    graph.outputs = Builder(graph).emit("Relu", [x], name="y")
    runner = Session(graph)
    huge = np.broadcast_to(np.float32(1), (1 << 45, 4))
    for work in (runner.run, runner.profile, lambda feed: runner.bind(feed, {})):
        with pytest.raises(DataError, match="more memory than there is"):
            work({"x": huge})


def test_a_session_shows_its_ends():
    assert repr(session(True)) == "Session('g', x: float32[2, 4] → y: float32[2, 4], z: float32[2, 4], threads=1)"


def test_plans_of_large_batches_are_not_kept_beyond_a_bound(monkeypatch):
    from bitlite.native import session as module

    graph = Graph("g")
    build = Builder(graph)
    x = build.input("x", np.float32, (None, 64))
    y = build.emit("Tanh", [x], name="a")[0]
    graph.outputs = build.emit("Softmax", [y], {"axis": -1}, name="b")
    runner = Session(graph)
    monkeypatch.setattr(module, "_BYTES_KEPT", 1 << 20)
    for rows in (1000, 2000, 3000, 100_000, 1):
        assert runner.run(np.ones((rows, 64), np.float32))[runner.outputs[0].name].shape == (rows, 64)
        assert sum(plan.arena_bytes for plan in runner._plans.values()) <= 1 << 20
    assert {shapes[0][0] for shapes in runner._plans} >= {1, 3000}


def test_a_session_of_a_path_says_what_opens_one():
    with pytest.raises(DataError, match=r"runs a Graph, not str 'm.tflite'; try bitlite.load\(path\)"):
        Session("m.tflite")  # pyright: ignore[reportArgumentType]
