"""A signal during a long run of kernels is answered soon, and the session goes on afterwards."""

from __future__ import annotations

import signal
import threading

import numpy as np
import pytest
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.native.session import Session


class Stopped(Exception):
    pass


def products(layers: int, rows: int, width: int) -> Graph:
    """A chain of products with the identity: float32[rows, width]."""
    graph = Graph("g")
    build = Builder(graph)
    x = build.input("x", np.float32, (rows, width))
    weight = build.constant(np.eye(width, dtype=np.float32), "w")
    for k in range(layers):
        x = build.emit("FullyConnected", [x, weight], {"keep_dims": True}, name=f"n{k}")[0]
    graph.outputs = [x]
    return graph


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sizes", [(400, 512, 512), (1, 5000, 2048)], ids=["many steps", "one large step"])
def test_a_signal_ends_a_long_run_and_not_the_session(sizes, threads):
    def stop(*_):
        raise Stopped

    session = Session(products(*sizes), threads)
    x = np.ones(sizes[1:], np.float32)
    out = np.zeros_like(x)
    bound = session.bind({"x": x}, {session.outputs[0].name: out})
    before = signal.signal(signal.SIGUSR1, stop)
    timer = threading.Timer(0.03, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1))
    try:
        timer.start()
        with pytest.raises(Stopped):
            bound.run()
            timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not out[-1].all(), "the run went on to its end"
    bound.run()
    assert np.array_equal(out, x)
