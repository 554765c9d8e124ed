"""An index that names no entry is an error, in native code as in the numpy reference; the session stays usable."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import DataError
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.native.session import Session


def embedding(rows=5, width=3, after=()):
    graph = Graph()
    build = Builder(graph)
    table = np.arange(rows * width, dtype=np.float32).reshape(rows, width)
    t = build.emit("Gather", [build.constant(table, "table"), build.input("ids", np.int64, (4,))], name="embed")[0]
    for op in after:
        t = build.emit(op, [t])[0]
    graph.outputs = [t]
    return table, graph


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("wrong", [5, -6, 1 << 40, -(1 << 62)])
def test_ids_beyond_the_table_are_an_error_that_names_the_layer(wrong, threads):
    table, graph = embedding(after=("Relu",))
    session = Session(graph, threads)
    assert not session.refusals
    good = np.array([0, 4, -1, 2])
    for _ in range(2):
        with pytest.raises(DataError, match=r"embed.* 5 entries"):
            session.run({"ids": np.array([0, wrong, 1, 2])})
        np.testing.assert_array_equal(session.run({"ids": good})[graph.outputs[0].name], table[good])


def test_bound_arrays_and_profiles_tell_of_it_too():
    table, graph = embedding()
    session = Session(graph)
    ids, out = np.array([1, 2, 3, 9]), np.zeros((4, 3), np.float32)
    bound = session.bind({"ids": ids}, {graph.outputs[0].name: out})
    with pytest.raises(DataError, match="embed"):
        bound.run()
    with pytest.raises(DataError, match="embed"):
        session.profile({"ids": ids})
    ids[3] = 0
    bound.run()
    np.testing.assert_array_equal(out, table[ids])
