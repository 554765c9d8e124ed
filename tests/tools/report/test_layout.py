"""Layered drawings: readers below what they read, boxes apart, chains straight."""

import random
from xml.etree import ElementTree

import pytest
from bitlite.tools.report.layout import HIGH, WIDE, layered
from bitlite.tools.report.picture import svg


def chain(count):
    return [[k - 1] if k else [] for k in range(count)]


def tangled(count, seed):
    rng = random.Random(seed)
    return [sorted({rng.randrange(k) for _ in range(rng.randint(0, 3))}) if k else [] for k in range(count)]


@pytest.mark.parametrize("inputs", [chain(5), [[], [0], [0], [1, 2]], tangled(60, 1), tangled(60, 2), [[], [], []]])
def test_readers_lie_below_and_boxes_do_not_touch(inputs):
    layout = layered(inputs)
    for node, sources in enumerate(inputs):
        assert all(layout.at[s][1] < layout.at[node][1] for s in sources)
        for x, y in layout.at[:node]:
            assert abs(x - layout.at[node][0]) >= WIDE or abs(y - layout.at[node][1]) >= HIGH
    assert all(WIDE / 2 - 1 <= x <= layout.width - WIDE / 2 + 1 and 0 <= y <= layout.height for x, y in layout.at)
    assert set(layout.edges) == {(s, n) for n, sources in enumerate(inputs) for s in sources}


def test_a_chain_is_straight_and_a_shortcut_goes_around_it():
    layout = layered([[], [0], [1], [2, 0]])
    assert len({x for x, _ in layout.at[1:3]}) == 1
    around = layout.edges[0, 3][1:-1]
    assert around and all(abs(x - layout.at[1][0]) > WIDE / 2 for x, _ in around)


def test_a_thousand_layers_and_an_edge_over_all_of_them():
    layout = layered([*chain(1000), [999, 0]])
    assert len(layout.edges[0, 1000]) == 1001


def test_the_picture_is_well_formed_whatever_names_hold():
    rows = [
        {
            "name": f'<b>&"{k}\x1b',
            "op": "Conv",
            "inputs": [k - 1],
            "shape": [1, None],
            "dtype": "int8",
            "computes": "int8",
        }
        for k in range(3)
    ]
    root = ElementTree.fromstring(svg(rows, title="<m>"))
    nodes = [g for g in root.iter("{http://www.w3.org/2000/svg}g") if g.get("data-node")]
    assert len(nodes) == 3 and "\x1b" not in svg(rows)
