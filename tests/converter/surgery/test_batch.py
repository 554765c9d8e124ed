"""Several samples in one run give what they give one by one."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import UnsupportedError, UsageError
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.converter.surgery.batch import change_batch, split_batch
from bitlite.converter.surgery.image_steps import ImageSpec, Pixels
from bitlite.converter.surgery.preprocess import put_preprocessing

RNG = np.random.default_rng(2)
X = RNG.normal(size=(3, 8, 10, 3)).astype(np.float32)


def flattened(network, target):
    """The network with its features reshaped to `target`."""
    graph = network()
    build = Builder(graph)
    graph.outputs = build.emit("Reshape", [graph.outputs[0], build.constant(target, dtype=np.int64)], name="flat")
    return graph


@pytest.mark.parametrize("target", [[1, 192], [-1, 192], [48, 4], [1, -1, 4]])
def test_a_batch_and_its_parts(network, run, target):
    graph = flattened(network, target)
    wanted = np.concatenate([run(graph, x=x[None])[0] for x in X])
    whole, parts = change_batch(graph, 3), split_batch(graph, 3)
    assert whole.inputs[0].shape == (3, 8, 10, 3) and [t.name for t in parts.inputs] == ["x_0", "x_1", "x_2"]
    assert np.abs(run(whole, x=X)[0] - wanted).max() <= 1e-5 * np.ptp(wanted)
    assert np.array_equal(run(parts, **{f"x_{k}": x[None] for k, x in enumerate(X)})[0], run(whole, x=X)[0])
    assert graph.inputs[0].shape == (1, 8, 10, 3)


def test_every_input_is_split(run):
    graph = Graph("m")
    build = Builder(graph)
    a, b = (build.input(name, np.float32, (1, 4)) for name in "ab")
    graph.outputs = build.emit("Add", [a, b], name="y")
    parts = split_batch(graph, 2)
    assert [t.name for t in parts.inputs] == ["a_0", "a_1", "b_0", "b_1"]
    feed = {t.name: RNG.normal(size=(1, 4)).astype(np.float32) for t in parts.inputs}
    assert np.array_equal(run(parts, **feed)[0], np.concatenate([feed["a_0"] + feed["b_0"], feed["a_1"] + feed["b_1"]]))


def test_pixels_are_split_behind_preprocessing(network, run):
    graph = network()
    put_preprocessing(graph, ImageSpec("BGR", (100,), (50,)), Pixels("NV12"))
    parts = split_batch(graph, 2)
    assert [t.name for t in parts.inputs] == ["x_y_0", "x_y_1", "x_uv_0", "x_uv_1"]
    feed = {t.name: RNG.integers(0, 256, t.shape).astype(np.uint8) for t in parts.inputs}
    wanted = [run(graph, x_y=feed[f"x_y_{k}"], x_uv=feed[f"x_uv_{k}"])[0] for k in range(2)]
    assert np.abs(run(parts, **feed)[0] - np.concatenate(wanted)).max() <= 1e-5 * np.ptp(wanted)


def test_what_mixes_samples_is_refused(network):
    graph = network()
    build = Builder(graph)
    y = build.emit("Transpose", [graph.outputs[0]], {"perm": [1, 0, 2, 3]}, name="turned")
    graph.outputs = y
    with pytest.raises(UnsupportedError, match="do not stand along its first axis"):
        change_batch(graph, 2)
    with pytest.raises(UsageError, match="a batch of 0"):
        change_batch(network(), 0)


def test_sizes_beside_the_batch_may_stay_open(run):
    graph = Graph("m")
    build = Builder(graph)
    x = build.input("x", np.float32, (None, None, 4))
    graph.outputs = build.emit("Relu", [x], name="y")
    assert change_batch(graph, 3).inputs[0].shape == (3, None, 4)
