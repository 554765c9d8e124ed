import re

import numpy as np
import pytest
from bitlite.converter.errors import DataError
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.quant.finite import check_finite


def network(weight=0.0, bias=0.0, added=0.0, chosen=0.0):
    graph = Graph()
    build = Builder(graph, fold_limit=0)
    x = build.input("x", np.float32, (1, 4))

    def constant(name, value, *shape):
        data = np.ones(shape, np.float32)
        data.flat[[1, 2]] = value
        return build.constant(data, name)

    y = build.emit("FullyConnected", [x, constant("w", weight, 3, 4), constant("b", bias, 3)], name="fc")[0]
    y = build.emit("Add", [y, constant("term", added, 1, 3)], name="add")[0]
    on = build.constant(np.array([True, False, True]), "on")
    graph.outputs = build.emit("Where", [on, y, constant("other", chosen, 3)], name="choice")
    return graph


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"weight": np.nan}, r"'w' of fc \(FullyConnected\).*2 of 12 values, the first \(nan\) at \[0, 1\]"),
        ({"weight": np.inf}, r"'w' of fc .*the first \(inf\)"),
        ({"bias": np.nan}, r"'b' of fc .*2 of 3 values"),
        ({"bias": -np.inf}, r"'b' of fc .*the first \(-inf\) at \[1\]"),
        ({"added": np.nan}, r"'term' of add \(Add\)"),
    ],
)
def test_a_constant_without_a_number_is_named(form, message):
    graph = network(**form)
    with pytest.raises(DataError, match=message) as stopped:
        check_finite(graph)
    assert re.search(r"; try keep_float='(fc|add)', if they are meant$", str(stopped.value))
    check_finite(graph, {n for n in graph.nodes if n.op in ("FullyConnected", "Add")})


@pytest.mark.parametrize("form", [{}, {"added": -np.inf}, {"chosen": np.nan}])
def test_masks_and_choices_are_let_be(form):
    check_finite(network(**form))
