"""Profiles name the steps that were run, fused ones by all of their nodes."""

from __future__ import annotations

import numpy as np
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.native.session import Session


def residual_network() -> Graph:
    graph, rng = Graph(), np.random.default_rng(0)
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 8, 8, 16))
    window = {"stride": [1, 1], "dilation": [1, 1], "pad": [1, 1, 1, 1]}
    w = build.constant(rng.standard_normal((16, 3, 3, 16)).astype(np.float32), "w")
    y = build.emit("Conv", [x, w], window, name="first")[0]
    z = build.emit("Conv", [y, w], window, name="second")[0]
    s = build.emit("Add", [z, y], name="sum")[0]
    graph.outputs = build.emit("Softmax", [s], name="classes")
    return graph


def test_a_fused_residual_is_one_entry_named_after_both_nodes() -> None:
    session = Session(residual_network())
    entries = session.profile(np.zeros((1, 8, 8, 16), np.float32))
    assert all(ns >= 0 for _, _, ns in entries)
    named = {name: op for name, op, _ in entries}
    covered = {part for name in named for part in name.split("+")}
    assert covered == {"first", "second", "sum", "classes"}
    for name, op in named.items():
        kinds = {"first": "Conv", "second": "Conv", "sum": "Add", "classes": "Softmax"}
        assert op == "+".join(dict.fromkeys(kinds[part] for part in name.split("+")))
