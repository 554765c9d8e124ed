"""Channels of an activation in groups: the same in float, better in int8 where ranges are far apart."""

from __future__ import annotations

import bitlite
import numpy as np
import pytest
from bitlite.converter import ops  # noqa: F401  (declares the operators that the builder emits)
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.converter.schema.verify import verify
from bitlite.native.session import Session
from bitlite.quant.ptq.channel_groups import group_channels


def network(spread: float) -> Graph:
    """conv → ReLU6 → conv; half of the channels between them are `spread` times smaller and weigh as much more."""
    rng, graph = np.random.default_rng(3), Graph("m")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 12, 12, 4), layout="NHWC")
    factors = np.where(np.arange(16) % 2, 1.0, 1 / spread).astype(np.float32)
    wa = rng.normal(size=(16, 3, 3, 4)).astype(np.float32) / 4 * factors[:, None, None, None]
    ba = np.abs(rng.normal(size=16)).astype(np.float32) * factors
    wb = rng.normal(size=(8, 3, 3, 16)).astype(np.float32) / 12 / factors
    window = {"stride": [1, 1], "dilation": [1, 1], "pad": [1] * 4}
    y = build.emit(
        "Conv", [x, build.constant(wa, "wa"), build.constant(ba, "ba")], {**window, "act": "relu6"}, name="first"
    )[0]
    y = build.emit("Conv", [y, build.constant(wb, "wb")], {**window, "act": "relu"}, name="second", outputs=["y"])
    graph.outputs = y[:]
    return graph


def samples(count: int = 24) -> list[np.ndarray]:
    return list(np.random.default_rng(9).normal(size=(count, 1, 12, 12, 4)).astype(np.float32))


def test_a_grouped_network_computes_the_same():
    graph, x = network(40), samples(4)
    wanted = [Session(graph).run({"x": s})["y"] for s in x]
    assert group_channels(graph, [{"x": s} for s in x]) == ["second"]
    verify(graph)
    assert [n.op for n in graph.nodes] == ["Conv"] * 4 + ["Add"]
    assert {n.outputs[0].shape[-1] for n in graph.nodes} == {8} and graph.outputs[0].name == "y"
    for s, y in zip(x, wanted):
        assert np.abs(Session(graph).run({"x": s})["y"] - y).max() <= 1e-5 * np.ptp(y)


def test_like_ranges_are_not_grouped():
    graph = network(1)
    assert group_channels(graph, [{"x": s} for s in samples(4)]) == [] and len(graph.nodes) == 2


@pytest.mark.parametrize("method", ["KL", "MAX_MIN"])
def test_unequal_channels_gain_three_decibels(tmp_path, method):
    bitlite.write(network(40), tmp_path / "m.tflite")
    held = np.random.default_rng(1).normal(size=(20, 1, 12, 12, 4)).astype(np.float32)
    wanted = [bitlite.load(tmp_path / "m.tflite").run({"x": s})["y"] for s in held]
    noise = {}
    for grouped in (False, True):
        report = bitlite.convert(
            tmp_path / "m.tflite", tmp_path / f"{grouped}", quant_type="PostTraining", calibration_data=samples(),
            conv_group=grouped, activation_quant_method=method, output_format="MS,TFLITE,ONNX",
        )  # fmt: skip
        session = bitlite.load(tmp_path / f"{grouped}.ms")
        noise[grouped] = sum(np.square(session.run({"x": s})["y"] - y).sum() for s, y in zip(held, wanted))
    assert 10 * np.log10(noise[False] / noise[True]) >= 3
    assert any("groups are kept" in note for note in report.notes)
