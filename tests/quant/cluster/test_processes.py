"""Worker processes: results in order, whatever ends first and whatever is killed; nothing is left of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import shard_tasks
from bitlite.converter.errors import ClusterError, DataError
from bitlite.quant.cluster.pool import WorkerPool
from bitlite.quant.cluster.processes import Processes

DEMO = str(Path(__file__).parents[3] / "demo" / "digits.onnx")


@pytest.fixture(scope="module")
def pool():
    with WorkerPool(Processes(2)) as pool:
        yield pool


def shards(count):
    return ((k,) for k in range(count))


@pytest.mark.parametrize("lanes", [None, range(9)])
def test_results_come_in_the_order_of_shards_whoever_is_first(pool, lanes):
    state = pool.state(shard_tasks.text, b"n")
    got = list(pool.each(shard_tasks.late_first, state, shards(9), lanes=lanes))
    assert got == [f"n{k}" for k in range(9)]


def test_no_task_waits_behind_one_that_takes_long(pool, tmp_path):
    tasks = ((k, str(tmp_path / "last"), 8) for k in range(9))
    state = pool.state(shard_tasks.text, b"n")
    assert all(pool.each(shard_tasks.wait_for_last, state, tasks, ahead=9))


def test_a_killed_worker_costs_its_shard_only(pool, tmp_path):
    state = pool.state(shard_tasks.text, b"n")
    tasks = ((k, str(tmp_path / "killed")) for k in range(9))
    assert list(pool.each(shard_tasks.die_once, state, tasks)) == [f"n{k}" for k in range(9)]
    assert (tmp_path / "killed").exists()


def test_a_task_that_ends_every_worker_is_given_up(pool):
    with pytest.raises(ClusterError, match="4 worker processes ended on one task"):
        list(pool.each(shard_tasks.die, pool.state(shard_tasks.text, b"n"), shards(1)))


def test_an_error_keeps_its_kind_and_hint(pool):
    results = pool.each(shard_tasks.refuse, pool.state(shard_tasks.text, b"n"), shards(9))
    assert next(results) == 0
    assert next(results) == 1
    with pytest.raises(DataError, match=r"^sample2.bin: is damaged; try another$"):
        next(results)


def test_tasks_of_a_lane_run_in_one_process(pool):
    state = pool.state(shard_tasks.text, b"n")
    first, second = (list(pool.each(shard_tasks.process, state, shards(2), lanes=[0, 1])) for _ in range(2))
    assert first == second
    assert len(set(first)) == 2
    assert os.getpid() not in first


def test_a_script_without_a_guard_runs_once(tmp_path):
    script = tmp_path / "convert.py"
    script.write_text(
        "import bitlite, numpy as np\n"
        "print('begins')\n"
        "data = [np.full((1, 1, 8, 8), k, 'f4') for k in range(8)]\n"
        f"bitlite.convert({DEMO!r}, 'm', quant_type='PostTraining', calibration_data=data, workers=2, quiet=True)\n"
        "print('ends')\n"
    )
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == ["begins", "ends"], done.stderr
    assert not done.stderr and (tmp_path / "m.ms").exists()
