"""What makes one form of a graph better than another: classes where enough samples tell, else the worst output."""

import pytest
from bitlite.quant.ptq.fidelity import Output
from bitlite.quant.ptq.trials import improves


def outputs(*pairs):
    return [Output("y", sqnr, 0.99, same) for sqnr, same in pairs]


@pytest.mark.parametrize(
    ("new", "old", "better"),
    [
        pytest.param([(12.0, None), (30.0, None)], [(10.0, None), (40.0, None)], True, id="the worst output counts"),
        pytest.param([(10.5, None)], [(10.0, None)], False, id="half a decibel is not worth a form"),
        pytest.param([(17.0, 0.70)], [(12.0, 0.95)], False, id="classes lost are not made up for"),
        pytest.param([(12.0, 0.95)], [(12.5, 0.70)], True, id="classes come first"),
        pytest.param([(20.0, 0.98)], [(16.0, 1.0)], True, id="one sample more or less says nothing"),
        pytest.param([(16.0, 1.0)], [(20.0, 0.98)], False, id="nor does it in favour"),
    ],
)
def test_which_form_is_better(new, old, better):
    assert improves(outputs(*new), outputs(*old), 64) is better


def test_what_costs_nothing_need_not_gain_much():
    new, old = outputs((10.1, 0.9)), outputs((10.0, 0.9))
    assert improves(new, old, 64, 0.004) and not improves(new, old, 64, 0.1)
    assert not improves(old, new, 64, 0.004)
