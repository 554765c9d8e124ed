from __future__ import annotations

import pytest
from bitlite.converter.errors import GraphError, UsageError
from bitlite.converter.ir import Node
from bitlite.converter.passes import ALL, GENERAL, NONE, Change, Refusal, run_passes
from bitlite.converter.passes.remove_identities import remove_identities


def two_reshapes(net):
    x = net.input(2, 3)
    y = net.emit("Reshape", net.emit("Reshape", x, net.ints(2, 3), name="same"), net.ints(6), name="flat")
    return net.done(y)


def test_each_pass_is_named_by_its_function_and_says_its_pattern():
    assert len({p.__name__ for p in ALL}) == len(ALL)
    for function in ALL:
        assert "⇒" in function.__doc__.splitlines()[0], function.__name__
    assert set(NONE) <= set(GENERAL) <= set(ALL)


def test_an_unknown_name_to_skip_names_the_nearest(net):
    with pytest.raises(UsageError, match=r"remove_identity.*'remove_identities'"):
        run_passes(two_reshapes(net), GENERAL, skip=["remove_identity"])


def test_a_skipped_pass_does_not_run(net):
    graph = two_reshapes(net)
    assert run_passes(graph, (remove_identities,), skip=["remove_identities"]) == []
    assert [n.name for n in graph.nodes] == ["same", "flat"]


def test_passes_repeat_until_nothing_changes(net):
    graph = two_reshapes(net)
    seen = []

    def one_at_a_time(graph):
        """a ⇒ b"""
        seen.append(len(graph.nodes))
        for node in graph.nodes[:1] if len(graph.nodes) == 2 else []:
            graph.replace(node.outputs[0], node.inputs[0])
            graph.nodes.remove(node)
            yield Change("one_at_a_time", node.name, "went")

    records = run_passes(graph, (one_at_a_time,))
    assert seen == [2, 1]
    assert [r.what for r in records] == ["went"]


def test_a_broken_graph_names_the_pass_and_the_node(net):
    def break_it(graph):
        """a ⇒ b"""
        node = graph.nodes[-1]
        node.inputs[0] = Node("Reshape", "stray", [], [node.outputs[0]]).outputs[0]
        yield Change("break_it", node.name, "broken")

    with pytest.raises(GraphError, match="pass break_it broke the graph after node 'flat'"):
        run_passes(two_reshapes(net), (break_it,))


def test_a_refusal_is_reported_once_and_only_if_it_still_holds(net):
    graph = two_reshapes(net)

    def shy(graph):
        """a ⇒ b"""
        for node in graph.nodes:
            yield Refusal("shy", node.name, "not today")

    records = run_passes(graph, (shy, remove_identities))
    assert [r.node for r in records if isinstance(r, Refusal)] == ["flat"]


def test_dumps_are_numbered_and_only_written_for_changes(net, tmp_path):
    run_passes(two_reshapes(net), (remove_identities,), dump_dir=tmp_path / "ir")
    assert sorted(p.name for p in (tmp_path / "ir").iterdir()) == ["00_before.txt", "01_remove_identities.txt"]
    assert "Reshape" in (tmp_path / "ir" / "00_before.txt").read_text()
