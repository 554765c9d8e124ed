"""What workers find is what threads find, bit by bit."""

import multiprocessing
from types import SimpleNamespace

import numpy as np
import pytest
from bitlite.converter.errors import DataError
from bitlite.quant.calibrate.data import Dataset, DataSpec, InputSpec
from bitlite.quant.calibrate.observe import ChannelMeans, ChannelReach, Histograms
from bitlite.quant.calibrate.spread import observe_all, shard_rows
from bitlite.quant.cluster.pool import WorkerPool, Workforce
from bitlite.quant.cluster.processes import Processes
from bitlite.quant.ptq.post_training import quantize_graph
from bitlite.quant.ptq.prefix_runner import walks_there
from bitlite.quant.ptq.settings import Settings
from bitlite.quant.ptq.spread_prefix import SpreadPrefix

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
    histograms, reach, means = Histograms(), ChannelReach(), ChannelMeans()
    for see in (histograms, reach, means):
        observe_all(graph, samples, tensors, see, workers)
    return [(histograms.of[t].to_json(), reach.of[t].tobytes(), means.of(t).tobytes()) for t in tensors]


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


def converted(network, samples, pool, **settings):
    result = quantize_graph(network(), samples, Settings(pool=pool, **settings))
    return [t.value.tobytes() for t in result.graph.constants()], result.rows


@pytest.mark.parametrize("how", ["sequential", "lockstep", "off"])
@pytest.mark.parametrize("measure", [False, True])
def test_layers_rounded_corrected_and_measured_by_two_processes(network, folder, pool, how, measure):
    samples = Dataset(DataSpec({0: str(folder)}, count=20), INPUTS)
    settings = {"bias_correction": how, "measure": measure, "bits": 4}
    assert converted(network, samples, pool, **settings) == converted(network, samples, None, **settings)


def test_a_walk_whose_workers_are_killed_goes_on_elsewhere(network, folder, pool, tmp_path, monkeypatch):
    """Between the calls for two layers, every process that keeps a part is killed."""
    samples = Dataset(DataSpec({0: str(folder)}, count=20), INPUTS)
    expected = converted(network, samples, None, measure=True)
    calls, each = [], SpreadPrefix.each

    def killing(self, *arguments):
        calls.append(arguments)
        if len(calls) in (5, 11):
            for process in multiprocessing.active_children():
                process.kill()
                process.join()
        return each(self, *arguments)

    monkeypatch.setattr(SpreadPrefix, "each", killing)
    assert converted(network, samples, pool, measure=True) == expected
    assert len(calls) > 11


@pytest.mark.parametrize(("lanes", "threads", "there"), [(1, 1, False), (2, 2, False), (2, 1, True), (16, 2, True)])
def test_a_walk_goes_to_workers_where_that_gains_more_than_the_way_costs(
    network, walk_where_it_pays, lanes, threads, there
):
    graph, pool = network(), SimpleNamespace(lanes=lanes)
    assert walks_there(graph, 5, 10**6, Workforce(threads, pool)) == there
    assert not walks_there(graph, 5, 8, Workforce(threads, pool))
    assert not walks_there(graph, 5, 10**6, Workforce(threads))


def test_a_walk_that_stays_here_asks_workers_for_statistics_alone(
    network, folder, pool, walk_where_it_pays, monkeypatch
):
    samples = Dataset(DataSpec({0: str(folder)}, count=20), INPUTS)
    expected = converted(network, samples, None)
    monkeypatch.setattr(SpreadPrefix, "each", None)
    assert converted(network, samples, pool) == expected


@pytest.mark.parametrize("slots", [1, 3, 16, 5000])
@pytest.mark.parametrize("total", [1, 4, 100, 50_000, 10**8])
def test_shards_cover_all_samples_are_alike_and_not_too_many(total, slots):
    rows = shard_rows(total, slots)
    assert [r.start for r in rows] == [0, *(r.stop for r in rows[:-1])]
    assert rows[-1].stop == total
    assert len(rows) <= 4096
    assert max(map(len, rows)) - min(map(len, rows)) <= 1
    assert len(rows) <= slots or len(rows) % slots == 0
