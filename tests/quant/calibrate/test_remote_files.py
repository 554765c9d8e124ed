"""Samples at URLs: the same as in a folder, read by workers, and named where one is bad."""

import fsspec
import numpy as np
import pytest
from bitlite.converter.errors import DataError
from bitlite.quant.calibrate import data_files
from bitlite.quant.calibrate.data import Dataset, DataSpec, InputSpec
from bitlite.quant.calibrate.observe import ChannelReach
from bitlite.quant.calibrate.spread import observe_all
from bitlite.quant.cluster.pool import WorkerPool, Workforce
from bitlite.quant.cluster.processes import Processes
from bitlite.tools.options.port_types import Paired
from bitlite.tools.options.types import Text

INPUTS = [InputSpec("x", (1, 8, 8, 3), np.dtype(np.float32))]


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(3)
    for k in range(6):
        np.save(tmp_path / f"{k:02}.npy", rng.standard_normal((2, 8, 8, 3)).astype(np.float32))
    (tmp_path / ".hidden").touch()
    return tmp_path


@pytest.fixture
def memory(folder):
    store = fsspec.filesystem("memory")
    for file in folder.iterdir():
        store.pipe(f"/samples/{file.name}", file.read_bytes())
    yield "memory://samples"
    store.rm("/samples", recursive=True)


def opened(url, count=12):
    return Dataset(DataSpec({0: str(url)}, count=count), INPUTS)


def test_a_url_gives_the_samples_of_the_folder(folder, memory):
    for url in (memory, f"file://{folder}"):
        ours, theirs = list(opened(url)), list(opened(folder))
        assert len(ours) == 12
        assert all((a["x"] == b["x"]).all() for a, b in zip(ours, theirs))
    assert len(list(opened(f"{memory}/03.npy", 2))) == 2


def test_workers_read_urls_themselves(network, folder):
    graph = network()
    tensors = [t for node in graph.nodes for t in node.outputs]

    def reach(path, workers):
        see = ChannelReach()
        observe_all(graph, opened(path), tensors, see, workers)
        return [see.of[t].tobytes() for t in tensors]

    with WorkerPool(Processes(2)) as pool:
        assert reach(f"file://{folder}", Workforce(1, pool)) == reach(folder, Workforce(1))


def test_a_bad_sample_is_named_by_its_url(memory):
    store = fsspec.filesystem("memory")
    store.pipe("/samples/03.npy", store.cat("/samples/03.npy")[:-8])
    with pytest.raises(DataError, match=r"^memory:///?samples/03\.npy: is cut off"):
        opened(memory)


@pytest.mark.parametrize("url", ["memory://nowhere", "nosuch://bucket/x"])
def test_a_url_that_leads_nowhere_is_named(url):
    with pytest.raises(DataError, match=url):
        opened(url)


@pytest.mark.parametrize(
    "text, pairs",
    [
        ("https://host:80/a", {0: "https://host:80/a"}),
        ("x:s3://bucket/a,y:/b", {"x": "s3://bucket/a", "y": "/b"}),
        ("x:/a", {"x": "/a"}),
    ],
)
def test_a_pair_splits_in_front_of_a_url(text, pairs):
    assert Paired(Text(), "NAME:DIR", ",").parse(text) == pairs


def test_of_a_stack_only_the_samples_asked_for_are_read(tmp_path, monkeypatch):
    stack = np.arange(10 * 192, dtype=np.float32).reshape(10, 8, 8, 3)
    np.save(tmp_path / "stack.npy", stack)
    read, fitted = [], data_files.fit
    monkeypatch.setattr(data_files, "fit", lambda array, *rest: read.append(1) or fitted(array, *rest))
    got = [sample["x"] for sample in opened(tmp_path / "stack.npy", 10).only([3, 7])]
    assert (np.concatenate(got) == stack[[3, 7]]).all()
    assert len(read) == 2
