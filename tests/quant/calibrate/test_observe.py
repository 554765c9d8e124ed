"""Statistics taken by native code equal those of the reference."""

import numpy as np
import pytest
from bitlite.converter.errors import DataError
from bitlite.quant.calibrate.histogram import Histogram
from bitlite.quant.calibrate.observe import ChannelMeans, ChannelReach, Histograms, MeansAside, histogram_of, observe

RNG = np.random.default_rng(0)
ARRAYS = {
    "normal": RNG.standard_normal((3, 50, 7)).astype(np.float32),
    "relu": np.maximum(RNG.standard_normal((1, 900)), 0).astype(np.float32),
    "constant": np.full((4, 5), 2.5, np.float32),
    "zeros": np.zeros((4, 5), np.float32),
    "negative": -RNG.random((33, 3)).astype(np.float32),
    "tiny": np.float32([[-1e-42, 1.0, 0.0, -0.0]]),
    "large": RNG.standard_normal((10, 10)).astype(np.float32) * np.float32(1e37),
    "one": np.float32([[3.0]]),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("bins", [512, 2048])
def test_histograms_are_those_of_the_reference(name, bins):
    a, b = histogram_of(ARRAYS[name], bins), Histogram.of(ARRAYS[name], bins)
    assert a.to_json() == b.to_json()


@pytest.mark.parametrize("channels", [1, 3, 64, 65, 200])
def test_channels(channels):
    from bitlite import _native

    x = RNG.standard_normal((131, channels)).astype(np.float32)
    low, high, total = _native.observe_channels(x, channels)
    assert np.array_equal(low, x.min(0)) and np.array_equal(high, x.max(0))
    assert np.allclose(total, x.sum(0, dtype=np.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("isa", ["scalar", "avx2", ""])
def test_statistics_are_the_same_bits_on_every_instruction_set(monkeypatch, isa):
    from bitlite import _native

    def results():
        histograms = [histogram_of(x).to_json() for x in ARRAYS.values()]
        return histograms, [a.tolist() for a in _native.observe_channels(ARRAYS["normal"], 7)]

    monkeypatch.setenv("BITLITE_ISA", "scalar")
    expected = results()
    monkeypatch.setenv("BITLITE_ISA", isa)
    assert results() == expected


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (9, 3), (131, 1), (131, 7), (70, 64), (33, 200)])
def test_codes(shape):
    from bitlite import _native

    x = RNG.integers(-128, 128, shape).astype(np.int8)
    x[x < -100] = -128
    x[:, 0] = 5
    total, least = _native.observe_codes(x, shape[1])
    low, high = x.min(0), x.max(0)
    assert np.array_equal(total, x.sum(0, dtype=np.int64))
    assert np.array_equal(least, np.where(low == high, 0, (x == low).sum(0)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 5, 1303])
def test_a_value_that_is_not_finite_is_refused(bad, at):
    x = np.zeros((163, 8), np.float32)
    x.flat[at] = bad
    with pytest.raises(DataError):
        histogram_of(x)


def test_all_samples_of_all_tensors_are_seen(network, samples):
    graph = network(softmax=False)
    tensors = [graph.inputs[0], *(n.outputs[0] for n in graph.nodes)]
    reach, means, histograms = ChannelReach(), ChannelMeans(), Histograms()
    for see in (reach, means, histograms):
        assert observe(graph, samples, tensors, see, threads=2) == len(samples)
    x = np.concatenate([s["x"] for s in samples]).reshape(-1, 3)
    largest = np.sort([np.abs(s["x"]).reshape(-1, 3).max(0) for s in samples], axis=0)[::-1]
    assert np.array_equal(reach.of[tensors[0]], largest[: ChannelReach.KEPT])
    assert np.allclose(means.of(tensors[0]), x.mean(0, dtype=np.float64))
    assert histograms.of[tensors[0]].count == x.size
    first = graph.nodes[0].outputs[0]
    assert max(histograms.of[first].high, -histograms.of[first].low) == reach.of[first].max()


def test_means_beside_other_statistics_are_those_of_their_samples_alone(network, samples):
    graph = network(softmax=False)
    tensors, rows = [n.outputs[0] for n in graph.nodes], [1, 4, 5]
    aside, means = MeansAside(tensors[:2], rows), ChannelMeans()
    observe(graph, samples, tensors, Histograms(), 2, (aside,))
    observe(graph, [s for k, s in enumerate(samples) if k in rows], tensors, means)
    assert aside.taken == len(rows)
    for t in aside.tensors:
        assert np.array_equal(aside.means.of(t), means.of(t))
