"""Models of which parts compute on codes already: those keep their scales, the rest is quantized to fit them."""

import numpy as np
import pytest
from bitlite.quant.ptq.post_training import quantize_graph
from bitlite.quant.ptq.settings import Settings


@pytest.mark.parametrize("kept", [("first",), ("mix", "sum"), ("each", "mix", "sum", "pool"), ("side", "join", "mean")])
def test_the_rest_joins_without_casts(kept, network, samples, outputs, sqnr):
    want = outputs(network())
    graph = network()
    part = quantize_graph(graph, samples, Settings(kept=frozenset(n for n in graph.nodes if n.name in kept))).graph
    scales = {n.name: n.outputs[0].quant for n in part.nodes if n.outputs[0].quant is not None}
    assert not scales.keys() & set(kept)
    result = quantize_graph(part.copy(), samples, Settings())
    ops = [n.op for n in result.graph.nodes]
    assert ops.count("Quantize") == 1 and ops.count("Dequantize") == 1
    for node in result.graph.nodes:
        if node.name in scales:
            assert node.outputs[0].quant == scales[node.name]
    assert {n.name for n in result.graph.nodes if n.outputs[0].dtype == np.int8} >= set(kept)
    assert sqnr(want, outputs(result.graph)) > 60


def test_a_clamp_that_a_cast_does_is_not_corrected_away(network, samples, outputs, sqnr):
    want = outputs(network())
    graph = network()
    kept = frozenset(n for n in graph.nodes if n.name in ("first", "side"))
    part = quantize_graph(graph, samples, Settings(kept=kept)).graph
    readers = part.consumers()
    for node in part.nodes:
        casts = readers.get(node.outputs[0], ())
        if node.attrs.get("act") == "relu" and casts and all(n.op == "Quantize" for n in casts):
            node.attrs["act"] = "none"
    assert sqnr(want, outputs(part)) > 65
    assert sqnr(want, outputs(quantize_graph(part, samples, Settings()).graph)) > 65
