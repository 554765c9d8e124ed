from __future__ import annotations

from bitlite.converter.passes.edit import Edit, trail
from bitlite.converter.schema.verify import verify


def chain(net):
    x = net.input(2, 3)
    a = net.emit("Exp", x, name="a")
    b = net.emit("Neg", a, name="b")
    return net.done(net.emit("Abs", b, name="c"))


def test_dropping_a_node_takes_what_only_it_needed(net):
    graph = chain(net)
    edit = Edit(graph)
    a, b, c = graph.nodes
    edit.set_inputs(c, [graph.inputs[0]])
    assert not edit.alive(b) and not edit.alive(a)
    edit.finish()
    assert graph.nodes == [c]


def test_new_nodes_stand_where_they_were_placed(net):
    graph = chain(net)
    edit = Edit(graph)
    a, b, _ = graph.nodes
    late = edit.emit("Sqrt", [a.outputs[0]], after=a)
    early = edit.emit("Square", [graph.inputs[0]], at=a)
    edit.set_inputs(b, [late.outputs[0]])
    edit.finish()
    assert [n.op for n in graph.nodes] == ["Square", "Exp", "Sqrt", "Neg", "Abs"]
    assert edit.readers(early.outputs[0]) == []


def test_order_is_repaired_when_a_node_reads_a_later_one(net):
    graph = chain(net)
    edit = Edit(graph)
    a, b, c = graph.nodes
    late = edit.emit("Sqrt", [graph.inputs[0]], after=c)
    edit.set_inputs(b, [late.outputs[0]])
    edit.finish()
    verify(graph)
    assert a not in graph.nodes


def test_an_alias_of_an_output_gives_its_name_to_the_maker(net):
    graph = chain(net)
    edit = Edit(graph)
    _, b, c = graph.nodes
    assert edit.alias(c.outputs[0], b.outputs[0]) and edit.drop(c)
    edit.finish()
    verify(graph)
    assert [t.name for t in graph.nodes[-1].outputs] == ["c"]


def test_an_alias_between_two_outputs_is_refused(net):
    graph = chain(net)
    graph.outputs = [graph.nodes[1].outputs[0], graph.nodes[2].outputs[0]]
    edit = Edit(graph)
    assert not edit.alias(graph.outputs[1], graph.outputs[0])


def test_names_are_new(net):
    edit = Edit(chain(net))
    assert [edit.name("a"), edit.name("a"), edit.name("new")] == ["a_1", "a_2", "new"]


def test_a_trail_names_each_source_once(net):
    a, b, _ = chain(net).nodes
    b.origin = ("a", "b")
    assert trail(a, b) == ("a", "b")
