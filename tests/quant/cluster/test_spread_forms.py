"""Forms of a search that workers make: the same trials in the same order, whoever makes them and whatever is killed."""

import multiprocessing
from pathlib import Path

import bitlite
import numpy as np
import pytest
from bitlite.quant.search.spread_forms import SpreadForms
from bitlite.quant.search.trials import Trials

DEMO = Path(__file__).parents[3] / "demo" / "digits.onnx"
DATA = [np.random.default_rng(k).random((1, 1, 8, 8), np.float32) for k in range(30)]
KINDS = {
    "PostTraining": {"layer_bits": {"type:Gemm": 4}, "activation_bits": {"type:Gemm": 16}},
    "WeightQuant": {"quant_weight_channel": 0, "gain_gate": False},
}


def tried(found):
    """Of each trial what does not hang on time; as text, for a figure that is not known equals none."""
    return [(t.form.key, t.bytes, repr(t.loss)) for t in found.trials]


def front(folder):
    return {path.name: path.read_bytes() for path in folder.glob("m-*.ms")}


@pytest.fixture
def apart(monkeypatch):
    """The forms that workers were asked for."""
    asked, call = [], SpreadForms.__call__

    def counted(self, forms):
        def told():
            for form in forms:
                asked.append(form)
                yield form

        return call(self, told())

    monkeypatch.setattr(SpreadForms, "__call__", counted)
    return asked


def pareto(tmp_path, name, kind, **options):
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    found = bitlite.search(
        DEMO, DATA, folder / "m", quant_type=kind, pareto=str(folder / "front"), quiet=True, **KINDS[kind], **options
    )
    return tried(found), front(folder / "front"), (folder / "m.ms").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_front_is_the_same_made_by_two_processes_and_after_both_were_killed(tmp_path, kind, apart, monkeypatch):
    expected, files, best = pareto(tmp_path, "here", kind)
    assert not apart
    measured, calls = Trials._measured, []

    def killing(self, *arguments):
        calls.append(arguments)
        if len(calls) == 4:
            for process in multiprocessing.active_children():
                process.kill()
                process.join()
        return measured(self, *arguments)

    monkeypatch.setattr(Trials, "_measured", killing)
    trials, found, written = pareto(tmp_path, "there", kind, workers=2)
    assert trials == expected and written == best
    assert len(apart) >= 5 and len(calls) > 4
    both = files.keys() & found.keys()  # what is on the front hangs on times, too
    assert len(both) > 2 and all(files[name] == found[name] for name in both)


def test_a_form_that_meets_the_goal_ends_the_trials_as_on_one_machine(tmp_path, apart):
    options = {"quant_type": "PostTraining", "quiet": True}
    plain = bitlite.convert(DEMO, tmp_path / "m", calibration_data=DATA, cost=False, **options)
    options["max_drop"] = f"{plain.fidelity.worst.sqnr + 6:.1f}dB"
    expected = tried(bitlite.search(DEMO, DATA, tmp_path / "here", **options))
    assert tried(bitlite.search(DEMO, DATA, tmp_path / "there", workers=2, **options)) == expected
    assert apart
    assert (tmp_path / "here.ms").read_bytes() == (tmp_path / "there.ms").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_search_goes_on_with_workers_where_it_was(tmp_path, kind, apart, monkeypatch):
    expected, _, best = pareto(tmp_path, "here", kind)
    measured, calls = Trials._measured, []

    def interrupted(self, *arguments):
        calls.append(arguments)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return measured(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trials, "_measured", interrupted)
        part, _, _ = pareto(tmp_path, "there", kind, workers=2)
    assert part == expected[:4]
    apart.clear()
    trials, _, written = pareto(tmp_path, "there", kind, workers=2, resume=True)
    assert trials == expected and written == best
    assert apart and {form.key for form in apart}.isdisjoint(key for key, _, _ in part)
