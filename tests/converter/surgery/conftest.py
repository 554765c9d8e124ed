"""A small network for images, and what it gives."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.converter.schema.verify import verify
from bitlite.native.session import Session


def image_network(channels: int = 3, size: tuple = (8, 10), layout: str = "NHWC", pad: int = 0, conv: bool = True):
    """x → conv (`pad` on each side) "features" → relu y, 4 channels; without conv the pixels times 1."""
    graph, rng = Graph("m"), np.random.default_rng(1)
    build = Builder(graph)
    shape = (1, *size, channels) if layout == "NHWC" else (1, channels, *size)
    x = build.input("x", np.float32, shape, layout=layout)
    inner = x if layout == "NHWC" else build.emit("Transpose", [x], {"perm": [0, 2, 3, 1]}, name="last")[0]
    if not conv:
        graph.outputs = build.emit("Mul", [inner, build.constant(np.float32([1]), "one")], name="y")[:]
        return graph
    w = build.constant(rng.normal(size=(4, 3, 3, channels)).astype(np.float32), "w")
    b = build.constant(rng.normal(size=4).astype(np.float32), "b")
    attrs = {"stride": [1, 1], "dilation": [1, 1], "pad": [pad] * 4}
    y = build.emit("Conv", [inner, w, b], attrs, name="conv", outputs=["features"])[0]
    graph.outputs = build.emit("Relu", [y], name="relu", outputs=["y"])[:]
    return graph


def run_graph(graph: Graph, **feed: np.ndarray) -> list[np.ndarray]:
    verify(graph)
    return list(Session(graph.copy()).run(feed).values())


@pytest.fixture(scope="session")
def network():
    return image_network


@pytest.fixture(scope="session")
def run():
    return run_graph
