"""Walks of small networks, which by themselves stay on threads of the process that asks, go to the workers."""

import pytest
from bitlite.quant.ptq import prefix_runner


@pytest.fixture(autouse=True)
def walk_there(request, monkeypatch):
    if "walk_where_it_pays" not in request.fixturenames:
        monkeypatch.setattr(prefix_runner, "walks_there", lambda *walk: walk[-1].pool is not None)


@pytest.fixture
def walk_where_it_pays():
    """As a conversion has it."""
