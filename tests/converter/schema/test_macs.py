"""Multiplications of layers, by their definition, and of open sizes."""

import numpy as np
import pytest
from bitlite.converter import ops  # noqa: F401 - declares the rows
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.converter.schema.macs import macs

WINDOWS = {"stride": [2, 2], "dilation": [1, 1], "pad": [0, 0, 0, 0]}
BACK = WINDOWS | {"output_padding": [0, 0]}


@pytest.mark.parametrize(
    ("op", "x", "w", "attrs", "count"),
    [
        pytest.param("FullyConnected", (3, 8), (5, 8), {}, 3 * 8 * 5, id="rows by columns"),
        pytest.param("Conv", (1, 6, 6, 4), (5, 2, 2, 4), WINDOWS, 9 * 4 * 4 * 5, id="each output meets its window"),
        pytest.param(
            "ConvTranspose",
            (1, 6, 6, 4),
            (4, 2, 2, 5),
            BACK,
            36 * 4 * 4 * 5,
            id="each input does",
        ),
        pytest.param("FullyConnected", (None, 8), (5, 8), {}, 0, id="an open size counts nothing"),
    ],
)
def test_multiplications(op, x, w, attrs, count):
    node = layer(op, x, w, attrs)
    assert macs(node) == count


def test_an_open_size_counts_what_is_asked_for():
    assert macs(layer("FullyConnected", (None, 8), (5, 8), {}), open_size=2) == 2 * 8 * 5


def test_what_has_no_weight_multiplies_nothing():
    build = Builder(Graph("g"))
    (y,) = build.emit("Relu", [build.input("x", np.float32, (1, 8))], {})
    assert macs(next(n for n in build.graph.nodes if y in n.outputs)) == 0


def layer(op, x, w, attrs):
    build = Builder(Graph("g"))
    build.emit(op, [build.input("x", np.float32, x), build.constant(np.ones(w, np.float32), "w")], attrs)
    return build.graph.nodes[-1]
