from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.passes.quantized_tables import quantized_tables


def rows_of_bytes(net, dtype, *, moved=False):
    table = net.build.constant(net.rng.integers(0, 100, (200, 8)).astype(dtype), "table")
    rows = net.emit("Gather", table, net.input(1, 5, name="ids", dtype=np.int64), axis=0)
    return net.emit("Transpose", rows, perm=[1, 0, 2]) if moved else rows


def real(net, x, quant):
    y = net.emit("Reinterpret", x, name="codes")
    y.quant = quant
    return net.emit("Dequantize", y, name="end")


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_rows_of_a_table_in_bytes_are_of_a_quantized_weight(net, rewrite, dtype, moved):
    rows = rows_of_bytes(net, dtype, moved=moved)
    got = rewrite(net.done(real(net, rows, QuantParam(np.array([0.1]), np.array([3])))), quantized_tables)
    assert got.ops == (["Gather", "Transpose"] if moved else ["Gather"])
    table = got.node("Gather").required(0)
    assert table.dtype == np.int8 and table.quant is not None and got.node("Gather").outputs[0].dtype == np.float32


def test_bytes_that_are_read_otherwise_too_stay_plain(net, rewrite):
    rows = rows_of_bytes(net, np.uint8)
    graph = net.done(real(net, rows, QuantParam(np.array([0.1]), np.array([3]))), net.emit("Cast", rows, dtype="int32"))
    assert "Reinterpret" in rewrite(graph, quantized_tables).ops


def test_a_scale_for_each_channel_stays_behind(net, rewrite):
    rows = rows_of_bytes(net, np.uint8)
    quant = QuantParam(np.linspace(0.1, 0.2, 8), np.full(8, 3), 2)
    assert "Reinterpret" in rewrite(net.done(real(net, rows, quant)), quantized_tables).ops
