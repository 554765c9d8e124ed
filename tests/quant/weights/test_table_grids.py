"""Ranges of tables by the rows that are read."""

import numpy as np
import pytest
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.quant.cluster.pool import Workforce
from bitlite.quant.weights.table_grids import RowCounts, count_rows, fit_tables, tables
from bitlite.quant.weights.weight_quant import WeightSettings, quantize_graph_weights

ROWS, WIDTH, FAR = 200, 32, 7


def network():
    """A table of which one row lies far from all others, and its rows' sum."""
    rng = np.random.default_rng(0)
    graph = Graph("net")
    build = Builder(graph)
    ids = build.input("ids", np.int64, (1, 8))
    table = rng.normal(0, 1, (ROWS, WIDTH)).astype(np.float32)
    table[FAR] *= 8
    y = build.emit("Gather", [build.constant(table, "table"), ids], {"axis": 0}, name="lookup")[0]
    graph.outputs = build.emit("Reduce", [y], {"axes": [1], "mode": "sum", "keep_dims": False}, name="sum")
    return graph


def samples(always):
    rng = np.random.default_rng(1)
    rows = [rng.integers(8, ROWS, (1, 8)) for _ in range(30)]
    for row in rows:
        row[0, 0] = always
    return [{"ids": row.astype(np.int64)} for row in rows]


def noise_of_rows(always, bits=5):
    source = network()
    graph = source.copy()
    quantize_graph_weights(graph, WeightSettings(bits))
    fit_tables(source, graph, count_rows(source, samples(always), Workforce(1)))
    real, coded = source.nodes[0].required(0).value, graph.nodes[0].required(0)
    assert coded.qparams.bits == bits and coded.value.dtype == np.int8
    return np.square(coded.real() - real).sum(axis=1)


def test_a_row_that_every_sample_reads_is_not_cut_off_and_one_that_none_reads_costs_no_codes():
    read, unread = noise_of_rows(FAR), noise_of_rows(3)
    others = [k for k in range(ROWS) if k != FAR]
    assert read[FAR] < unread[FAR] / 4
    assert unread[others].mean() < read[others].mean() / 2


def test_rows_are_counted_from_the_end_too():
    source = network()
    graph = source.copy()
    quantize_graph_weights(graph, WeightSettings(5))
    rows = [{"ids": np.where(s["ids"] == FAR, FAR - ROWS, s["ids"])} for s in samples(FAR)]
    fit_tables(source, graph, count_rows(source, rows, Workforce(1)))
    real = source.nodes[0].required(0).value
    assert np.square(graph.nodes[0].required(0).real() - real).sum(axis=1)[FAR] == noise_of_rows(FAR)[FAR]


def test_counts_of_samples_add_up():
    counts, graph = RowCounts(), network()
    t = tables(graph)[graph.nodes[0]]
    before = []
    counts.fold(before, counts.look(np.array([3, 3, 1])))
    counts.fold(before, counts.look(np.array([1, 5])))
    counts.take(t, before[0])
    counts.take(t, counts.look(np.array([5])))
    rows, times = counts.of[t]
    assert rows.tolist() == [1, 3, 5] and times.tolist() == [2, 2, 2]


@pytest.mark.parametrize("bits", [4, 8])
def test_codes_stay_within_their_bits(bits):
    source = network()
    graph = source.copy()
    quantize_graph_weights(graph, WeightSettings(bits, container="onnx"))
    fit_tables(source, graph, count_rows(source, samples(FAR), Workforce(1)))
    coded = graph.nodes[0].required(0)
    if coded.quant.axis is None:
        assert np.abs(coded.value.astype(int)).max() <= 2 ** (bits - 1) - 1
