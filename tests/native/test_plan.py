"""What plans check while they run."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import DataError
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.native.plan import Plan, ReferenceSegment


def test_a_reference_that_gives_another_shape_than_planned_is_an_error():
    graph = Graph()
    build = Builder(graph)
    graph.outputs = build.emit("NonZero", [build.input("x", np.float32, (2, 3))], name="where")
    plan = Plan(graph)
    segment = plan.segments[0]
    assert isinstance(segment, ReferenceSegment)
    segment.node.outputs[0].shape = (2, 5)
    with pytest.raises(DataError, match=r"where \(NonZero\) computes int64 \[2, 6\] where .* was planned"):
        plan.run([np.ones((2, 3), np.float32)])
