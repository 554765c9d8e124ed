"""What workers find is what threads find, bit by bit."""

import numpy as np
import pytest
from bitlite.converter.errors import DataError
from bitlite.quant.calibrate.data import Dataset, DataSpec, InputSpec
from bitlite.quant.calibrate.observe import ChannelExtremes, ChannelMeans, Histograms
from bitlite.quant.calibrate.spread import observe_all, shard_rows
from bitlite.quant.cluster.pool import WorkerPool, Workforce
from bitlite.quant.cluster.processes import Processes

INPUTS = [InputSpec("x", (1, 8, 8, 3), np.dtype(np.float32))]


@pytest.fixture(scope="module")
def pool():
    with WorkerPool(Processes(2)) as pool:
        yield pool


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(3)
    for k in range(10):
        np.save(tmp_path / f"{k:02}.npy", rng.standard_normal((2, 8, 8, 3)).astype(np.float32) * 2.0**k)
    return tmp_path


def tensors_of(graph):
    return [t for node in graph.nodes for t in node.outputs]


def found(graph, samples, workers):
    tensors = tensors_of(graph)
    histograms, extremes, means = Histograms(), ChannelExtremes(), ChannelMeans()
    for see in (histograms, extremes, means):
        observe_all(graph, samples, tensors, see, workers)
    return [
        (histograms.of[t].to_json(), extremes.low[t].tobytes(), extremes.high[t].tobytes(), means.of(t).tobytes())
        for t in tensors
    ]


@pytest.mark.parametrize("source", ["files", "arrays"])
def test_statistics_of_two_processes(network, folder, pool, source):
    graph = network()
    spec = DataSpec({0: str(folder)}, count=17)
    if source == "arrays":
        spec = DataSpec(source=[np.load(file) for file in sorted(folder.iterdir())], count=17)
    samples = Dataset(spec, INPUTS)
    assert found(graph, samples, Workforce(1, pool)) == found(graph, samples, Workforce(2))


def test_a_damaged_file_is_named(network, folder, pool):
    samples = Dataset(DataSpec({0: str(folder)}, count=20), INPUTS)
    (folder / "06.npy").write_bytes((folder / "06.npy").read_bytes()[:-8])
    with pytest.raises(DataError, match=r"06\.npy"):
        found(network(), samples, Workforce(1, pool))


def test_a_sample_that_makes_a_tensor_infinite_has_its_number(network, folder, pool):
    np.save(folder / "06.npy", np.full((2, 8, 8, 3), 3e38, np.float32))
    samples = Dataset(DataSpec({0: str(folder)}, count=20), INPUTS)
    with pytest.raises(DataError, match=r"^sample 12: tensor 'first"):
        found(network(), samples, Workforce(1, pool))


@pytest.mark.parametrize("total", [1, 4, 100, 50_000, 10**8])
def test_shards_cover_all_samples_and_are_not_too_many(total):
    rows = shard_rows(total)
    assert [r.start for r in rows] == [0, *(r.stop for r in rows[:-1])]
    assert rows[-1].stop == total
    assert len(rows) <= 4096
