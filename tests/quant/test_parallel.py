"""Samples in parallel: in order, a bounded number ahead, errors where they belong."""

import threading

import pytest
from bitlite.quant.parallel import Workers


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch", [1, 4])
def test_results_come_in_order_and_few_are_ahead(threads, batch):
    started = []
    lock = threading.Lock()

    def one(k):
        with lock:
            started.append(k)
        return k * k

    with Workers(threads) as workers:
        for n, result in enumerate(workers.each(one, iter(range(50)), batch)):
            assert result == n * n
            assert len(started) <= n + (threads + 2) * batch
    assert sorted(started) == list(range(50))


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_is_raised_in_its_place(threads):
    def one(k):
        if k == 3:
            raise ValueError("third")
        return k

    results = []
    with pytest.raises(ValueError, match="third"), Workers(threads) as workers:
        for k in workers.each(one, range(20)):
            results.append(k)
    assert results == [0, 1, 2]
