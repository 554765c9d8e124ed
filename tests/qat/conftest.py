"""What the tests of training share; without torch none of them is collected, without scikit-learn not the tutorial."""

from __future__ import annotations

import importlib.util

import pytest

_TORCH = importlib.util.find_spec("torch")
collect_ignore_glob = [] if _TORCH is not None and _TORCH.origin else ["test_*.py"]

if importlib.util.find_spec("sklearn") is None:
    collect_ignore_glob.append("test_tutorial.py")

if _TORCH is not None and _TORCH.origin:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def trained():
    """function(module, inputs, steps, rate): some steps of Adam towards random classes."""

    def run(module, x, steps=8, rate=1e-3):
        target = torch.arange(len(x)) % 4
        module.train()
        optimizer = torch.optim.Adam(module.parameters(), rate)
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(module(x)[:, :4], target)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        module.eval()
        return losses

    return run
