"""Runs again of what follows a change give what runs of the whole changed graph give."""

import numpy as np
import pytest
from bitlite.converter.ir import Tensor
from bitlite.converter.numeric.qparams import choose_asymmetric
from bitlite.native.session import Session
from bitlite.quant.ptq.placement import weight_index
from bitlite.quant.ptq.reruns import Reruns, kept_samples
from bitlite.quant.ptq.simulated import with_codes


@pytest.mark.parametrize(
    ("activations", "weights"),
    [
        pytest.param((), (), id="nothing changed"),
        pytest.param(("x",), (), id="an input"),
        pytest.param(("side", "sum"), ("each",), id="tensors and a weight"),
        pytest.param((), ("classify",), id="the last weight"),
    ],
)
def test_only_what_follows_runs_again(network, samples, activations, weights):
    graph = network(softmax=False)
    codes = {t: choose_asymmetric(-1.5, 1.5, 8) for t in graph.tensors() if t.name in activations}
    layers = {n: n.required(weight_index(n)).value * 1.25 for n in graph.nodes if n.name in weights}
    few = list(samples.only(range(3)))
    with Reruns(graph, few, threads=2) as reruns:
        got = reruns.values(graph.outputs, codes, layers)
    for node, data in layers.items():
        w = node.required(weight_index(node))
        node.inputs[weight_index(node)] = Tensor(w.name, data.dtype, data.shape, data)
    session = Session(with_codes(graph, codes))
    for row, sample in zip(got, few):
        assert np.allclose(row[0], next(iter(session.run(dict(sample)).values())), rtol=1e-5, atol=1e-5)


def test_as_many_samples_as_fit_are_kept(network):
    graph = network()
    assert kept_samples(graph, 2, 16) == 16
    graph.nodes[0].outputs[0].shape = (1, 1 << 10, 1 << 10, 64)
    assert kept_samples(graph, 2, 16) == 2
