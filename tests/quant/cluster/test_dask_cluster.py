"""Real Dask processes on loopback: a scheduler and three workers."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import bitlite
import numpy as np
import pytest
import shard_tasks
from bitlite.converter.errors import ClusterError, DataError, UsageError
from bitlite.quant.calibrate.data import Dataset, DataSpec, InputSpec
from bitlite.quant.cluster.dask_cluster import DaskCluster, DaskOptions
from bitlite.quant.cluster.pool import WorkerPool
from bitlite.quant.ptq.post_training import quantize_graph
from bitlite.quant.ptq.settings import Settings
from bitlite.quant.ptq.spread_prefix import SpreadPrefix
from bitlite.quant.search.trials import Trials
from distributed import Client

WORKERS = 3
DEMO = Path(__file__).parents[3] / "demo" / "digits.onnx"
DIGITS = [np.full((1, 1, 8, 8), k, np.float32) for k in range(8)]


def start(command, *arguments):
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}
    line = [sys.executable, "-m", "distributed.cli.dask_" + command, *arguments, "--host=127.0.0.1", "--no-dashboard"]
    return subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def running(folder, workers, *options):
    """A scheduler and its workers: the address, and the processes, the scheduler's first."""
    file = folder / "scheduler.json"
    processes = [start("scheduler", "--port=0", f"--scheduler-file={file}", *options)]
    try:
        while not file.exists() or not file.read_text():  # it is there before it is written
            assert processes[0].poll() is None
            time.sleep(0.05)
        place = json.loads(file.read_text())["address"]
        processes += [start("worker", place, "--nthreads=1", "--no-nanny", *options) for _ in range(workers)]
        yield place, processes
    finally:
        for process in processes[::-1]:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with running(tmp_path_factory.mktemp("dask"), WORKERS) as (place, _):
        yield place


@pytest.fixture(scope="module")
def pool(address):
    cluster = DaskCluster(DaskOptions(address, timeout=60))
    cluster._client.wait_for_workers(WORKERS, timeout=60)
    with WorkerPool(cluster) as pool:
        yield pool


def shards(count):
    return ((k,) for k in range(count))


def test_results_come_in_the_order_of_shards_whoever_is_first(pool):
    state = pool.state(shard_tasks.text, b"n")
    assert list(pool.each(shard_tasks.late_first, state, shards(20))) == [f"n{k}" for k in range(20)]


@pytest.mark.parametrize("direct", [True, False])
def test_lanes_are_called_with_and_without_the_scheduler_in_between(address, monkeypatch, direct):
    async def reachable(self, worker):
        return direct

    monkeypatch.setattr(DaskCluster, "_reachable", reachable)
    with WorkerPool(DaskCluster(DaskOptions(address, timeout=60))) as pool:
        state = pool.state(shard_tasks.text, b"n")
        for _ in range(2):  # the first time nobody has the state open
            found = pool.each(shard_tasks.shout, state, shards(6), lanes=[0, 1, 2, 0, 1, 2])
            assert list(found) == [f"n{k}" for k in range(6)]
        with pytest.raises(DataError, match=r"^sample2.bin: is damaged; try another$"):
            list(pool.each(shard_tasks.refuse, state, shards(6), lanes=[0, 1, 2, 0, 1, 2]))


def test_every_worker_opens_a_state_before_the_first_task(pool, address):
    state = pool.state(shard_tasks.text, b"opened everywhere")
    assert list(pool.each(shard_tasks.shout, state, shards(1))) == ["opened everywhere0"]
    with Client(address, set_as_default=False) as client:
        found = client.run(shard_tasks.is_open, state.key)
    assert len(found) == WORKERS and all(found.values())


def test_a_worker_that_has_no_state_any_more_opens_it_with_its_next_task(pool, address):
    state = pool.state(shard_tasks.text, b"n")
    list(pool.each(shard_tasks.shout, state, shards(1)))
    with Client(address, set_as_default=False) as client:
        client.run(shard_tasks.forget)
    assert list(pool.each(shard_tasks.late_first, state, shards(20))) == [f"n{k}" for k in range(20)]


def test_lanes_are_no_more_than_cores_of_a_machine(address):
    with WorkerPool(DaskCluster(DaskOptions(address, timeout=60))) as pool:
        assert pool.slots == WORKERS
        assert pool.lanes == min(WORKERS, os.cpu_count())


def test_an_error_keeps_its_kind_and_hint(pool):
    results = pool.each(shard_tasks.refuse, pool.state(shard_tasks.text, b"n"), shards(9))
    with pytest.raises(DataError, match=r"^sample2.bin: is damaged; try another$"):
        list(results)


def test_a_conversion_has_the_same_bytes_also_when_a_worker_is_killed_in_the_middle(
    pool, address, network, samples, monkeypatch
):
    data = Dataset(DataSpec(source=samples.rows, count=24), [InputSpec("x", (1, 8, 8, 3), np.dtype(np.float32))])

    def constants(pool):
        result = quantize_graph(network(), data, Settings(measure=True, pool=pool))
        return [t.value.tobytes() for t in result.graph.constants()], result.rows

    expected = constants(None)
    assert constants(pool) == expected
    calls, each = [], SpreadPrefix.each
    with Client(address, set_as_default=False) as client:
        processes = client.run(os.getpid)
        assert len(processes) == WORKERS

        def killing(self, *arguments):
            calls.append(arguments)
            if len(calls) == 5:
                os.kill(min(processes.values()), signal.SIGKILL)
            return each(self, *arguments)

        monkeypatch.setattr(SpreadPrefix, "each", killing)
        assert constants(pool) == expected
        assert len(calls) > 5
        assert len(client.nthreads()) == WORKERS - 1


def test_forms_of_a_search_are_made_by_workers_also_when_one_is_killed(tmp_path, pool, address, monkeypatch):
    options = {"quant_type": "WeightQuant", "quant_weight_channel": 0, "gain_gate": False, "quiet": True}
    random = np.random.default_rng(1)
    data = [random.random((1, 1, 8, 8), np.float32) for _ in range(24)]

    def tried(name, **more):
        found = bitlite.search(DEMO, data, tmp_path / name, pareto=str(tmp_path / f"{name}-front"), **options, **more)
        return [(t.form.key, t.bytes, repr(t.loss)) for t in found.trials], (tmp_path / f"{name}.ms").read_bytes()

    expected = tried("here")
    calls, measured = [], Trials._measured
    with Client(address, set_as_default=False) as client:
        processes = client.run(os.getpid)

        def killing(self, *arguments):
            calls.append(arguments)
            if len(calls) == 3:
                os.kill(min(processes.values()), signal.SIGKILL)
            return measured(self, *arguments)

        monkeypatch.setattr(Trials, "_measured", killing)
        assert tried("there", cluster=address) == expected
        assert len(calls) > 4
        assert len(client.nthreads()) == len(processes) - 1


def test_an_address_where_nobody_is_has_a_line():
    with pytest.raises(ClusterError, match=r"^cluster tcp://127.0.0.1:9: no scheduler answers within 0.5 s"):
        DaskCluster(DaskOptions("tcp://127.0.0.1:9", timeout=0.5))


@pytest.mark.parametrize("address", ["foo", "localhost:8786", "http://localhost:8786"])
def test_what_is_no_address_is_refused_before_dask_is_asked(tmp_path, address):
    with pytest.raises(UsageError, match="is no address"):
        bitlite.convert("m.onnx", tmp_path / "m", cluster=address)


def test_a_worker_of_another_version_is_refused_by_name(address, monkeypatch):
    monkeypatch.setattr("bitlite.converter.version.__version__", "99")
    with pytest.raises(ClusterError, match=r"^worker tcp://\S+: bitlite \S+, and 99 here: its results would differ"):
        DaskCluster(DaskOptions(address, timeout=60))


def test_a_scheduler_that_ends_in_the_middle_has_a_line_and_leaves_no_file(tmp_path, monkeypatch):
    calls, each = [], SpreadPrefix.each
    with running(tmp_path, 1) as (place, processes):
        with Client(place, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)

        def killing(self, *arguments):
            calls.append(arguments)
            if len(calls) == 3:
                processes[0].kill()
                processes[0].wait()
            return each(self, *arguments)

        monkeypatch.setattr(SpreadPrefix, "each", killing)
        (tmp_path / "out").mkdir()
        options = {"quant_type": "PostTraining", "calibration_data": DIGITS, "cluster": place, "cluster_timeout": 5}
        with pytest.raises(ClusterError, match=rf"^the cluster at {place}: the scheduler has gone$"):
            bitlite.convert(DEMO, tmp_path / "out" / "m", **options)
    assert len(calls) >= 3
    assert not list((tmp_path / "out").iterdir())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """(certificate, key), signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    pem, key = str(folder / "cert.pem"), str(folder / "key.pem")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=bitlite"]
    subprocess.run([*made, "-out", pem, "-keyout", key], check=True, capture_output=True)
    return pem, key


def test_a_conversion_over_tls_gives_the_same_file_and_nobody_joins_without_a_certificate(tmp_path, certificate):
    pem, key = certificate
    options = {"quant_type": "PostTraining", "calibration_data": DIGITS}
    bitlite.convert(DEMO, tmp_path / "here", **options)
    tls = f"--tls-ca-file={pem}", f"--tls-cert={pem}", f"--tls-key={key}", "--protocol=tls"
    with running(tmp_path, 1, *tls) as (place, _):
        assert place.startswith("tls://")
        options |= {"cluster": place, "cluster_timeout": 30}
        bitlite.convert(DEMO, tmp_path / "there", **options, cluster_tls=[pem, pem, key])
        with pytest.raises((ClusterError, UsageError), match=rf"^cluster {place}: "):
            bitlite.convert(DEMO, tmp_path / "none", **options | {"cluster_timeout": 1})
    assert (tmp_path / "there.ms").read_bytes() == (tmp_path / "here.ms").read_bytes()
    assert not (tmp_path / "none.ms").exists()


def test_a_certificate_that_is_not_there_is_named(certificate):
    with pytest.raises(UsageError, match=r"nowhere\.pem: no such file"):
        DaskCluster(DaskOptions("tls://127.0.0.1:9", tls=(certificate[0], "nowhere.pem", certificate[1])))
