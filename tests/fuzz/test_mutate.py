"""A short campaign of each kind; `python fuzz/mutate.py KIND` runs the long one."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

_PATH = Path(__file__).parents[2] / "fuzz" / "mutate.py"


@pytest.fixture(scope="module")
def mutate():
    sys.path.insert(0, str(_PATH.parent))
    try:
        return importlib.import_module("mutate")
    finally:
        sys.path.remove(str(_PATH.parent))


@pytest.mark.parametrize(
    ("kind", "count"), [("tflite", 200), ("onnx", 200), ("ms", 200), ("mindir", 200), ("caffe", 200), ("config", 600)]
)
def test_a_mutated_file_is_refused_or_valid(mutate, kind, count, capfd):
    sources = mutate.seeds(kind)
    _, findings = mutate.campaign(kind, count, seed=2, sources=sources[:: max(1, len(sources) // 120)])
    assert not findings, capfd.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tflite", "onnx", "ms", "mindir", "caffe", "config"])
def test_none_of_many_mutations_escapes(mutate, kind, capfd):
    sources = mutate.seeds(kind)
    _, findings = mutate.campaign(kind, 1500, seed=3, sources=sources[:: max(1, len(sources) // 300)])
    assert not findings, capfd.readouterr().out


def test_a_mutation_is_the_same_bytes_each_time(mutate):
    sources = mutate.seeds("config")
    assert mutate.mutated(sources, "config", 3, 17) == mutate.mutated(sources, "config", 3, 17)
    assert len({mutate.mutated(sources, "config", 3, i) for i in range(20)}) > 15


def test_what_escapes_is_a_finding(mutate, monkeypatch):
    def broken(kind, data, path):
        if data.count(b"\n") % 2:
            raise KeyError("escaped")
        return True

    monkeypatch.setattr(mutate, "attempt", broken)
    _, findings = mutate.campaign("config", 20, echo=lambda *a, **k: None)
    assert findings
    assert all("KeyError" in what for _, what in findings)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["tflite", "onnx", "ms", "config"])
def test_the_seeds_of_the_guided_fuzzer_are_refused_or_valid(mutate, kind, tmp_path):
    files = sorted((_PATH.parent / "corpus" / kind).iterdir())
    assert files
    taken = sum(mutate.attempt(kind, file.read_bytes(), str(tmp_path / "m")) for file in files)
    assert taken > 0
