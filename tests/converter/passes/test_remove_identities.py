from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.passes.remove_dead_code import remove_dead_code
from bitlite.converter.passes.remove_identities import remove_identities


def quiet(net, kind, x):
    one = np.ones((1, x.shape[-1]), np.float32)
    return {
        "reshape": lambda: net.emit("Reshape", x, net.ints(*x.shape)),
        "transpose": lambda: net.emit("Transpose", x, perm=list(range(x.rank))),
        "concat": lambda: net.emit("Concat", x, axis=1),
        "cast": lambda: net.emit("Cast", x, dtype="float32"),
        "mul": lambda: net.emit("Mul", x, net.build.constant(one)),
        "mul_from_left": lambda: net.emit("Mul", net.build.constant(one), x),
        "add": lambda: net.emit("Add", x, net.build.constant(one * 0)),
        "sub": lambda: net.emit("Sub", x, net.build.constant(one * 0)),
        "relu_twice": lambda: net.emit("Relu", x),
        "wider_clip": lambda: net.emit("Clip", x, min=-2.0, max=np.inf),
        "identity": lambda: net.emit("Identity", x),
    }[kind]()


KINDS = [
    "reshape",
    "transpose",
    "concat",
    "cast",
    "mul",
    "mul_from_left",
    "add",
    "sub",
    "relu_twice",
    "wider_clip",
    "identity",
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_node_that_gives_back_its_input_goes(net, rewrite, kind):
    x = net.emit("Relu", net.input(2, 4))
    got = rewrite(net.done(net.emit("Exp", quiet(net, kind, x), name="end")), remove_identities)
    assert got.ops == ["Relu", "Exp"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_output_keeps_its_name(net, rewrite, kind):
    x = net.emit("Relu", net.input(2, 4))
    got = rewrite(net.done(quiet(net, kind, x)), remove_identities)
    assert got.ops == ["Relu"]


def test_an_input_that_is_the_output_keeps_both_names(net, rewrite):
    got = rewrite(net.done(net.emit("Reshape", net.input(2, 4), net.ints(2, 4))), remove_identities)
    assert got.ops == ["Reshape"]
    assert "both names that must stay" in got.reasons()


def test_adding_zeros_that_broadcast_is_kept(net, rewrite):
    zeros = net.build.constant(np.zeros((3, 1, 4), np.float32))
    got = rewrite(net.done(net.emit("Add", net.input(2, 4), zeros)), remove_identities)
    assert got.ops == ["Add"]


def test_a_neutral_operand_with_an_activation_is_kept(net, rewrite):
    zeros = net.build.constant(np.zeros(4, np.float32))
    got = rewrite(net.done(net.emit("Add", net.input(2, 4), zeros, act="relu")), remove_identities)
    assert got.ops == ["Add"]


def test_of_two_reshapes_the_last_stays(net, rewrite):
    x = net.input(None, 3, 4)
    y = net.emit("Reshape", net.emit("Reshape", x, net.ints(-1, 12), name="a"), net.ints(-1, 2, 6), name="b")
    got = rewrite(net.done(y), remove_identities)
    assert [n.name for n in got.graph.nodes] == ["b"]
    assert got.graph.nodes[0].origin == ("a", "b")


def test_a_cast_that_loses_digits_stays(net, rewrite):
    x = net.input(2, 4)
    y = net.emit("Cast", net.emit("Cast", x, dtype="int32"), dtype="float32")
    assert rewrite(net.done(y), remove_identities).ops == ["Cast", "Cast"]


def test_a_cast_through_a_wider_type_becomes_one(net, rewrite):
    x = net.input(2, 4, dtype=np.int32)
    y = net.emit("Cast", net.emit("Cast", x, dtype="float64"), dtype="int64")
    assert rewrite(net.done(y), remove_identities).ops == ["Cast"]


def test_a_clamp_behind_a_fused_one_goes_only_when_it_is_wider(net, rewrite):
    x = net.input(1, 4)
    y = net.emit("Clip", net.emit("Add", x, x, act="relu6"), min=0.0, max=8.0)
    z = net.emit("Clip", net.emit("Add", x, x, act="relu"), min=0.0, max=8.0)
    assert rewrite(net.done(y, z), remove_identities).ops == ["Add", "Add", "Clip"]


def test_dead_nodes_go_and_unread_inputs_stay(net, rewrite):
    x = net.input(1, 4)
    net.input(3, name="unread")
    net.emit("Exp", net.emit("Relu", x, name="dead"), name="deader")
    got = rewrite(net.done(net.emit("Exp", x, name="alive")), remove_dead_code)
    assert [n.name for n in got.graph.nodes] == ["alive"]
    assert [c.node for c in got.changes] == ["dead", "deader"]


def test_axes_that_come_and_go(net, rewrite):
    x = net.emit("Exp", net.input(2, 4))
    y = net.emit("Squeeze", net.emit("ExpandDims", x, axes=[1]), axes=[1])
    z = net.emit("Squeeze", net.emit("ExpandDims", net.emit("Neg", net.input(1, 4, name="z")), axes=[1]), axes=[0])
    got = rewrite(net.done(net.emit("Neg", y), net.emit("Exp", z)), remove_identities)
    assert got.ops == ["Exp", "Neg", "Neg", "Exp"]


def test_of_two_clamps_the_tighter_stays(net, rewrite):
    x = net.emit("Tanh", net.input(2, 40))
    tighter = net.emit("Clip", net.emit("Relu", x), min=0.0, max=0.5)
    crossed = net.emit("Clip", net.emit("Clip", x, min=-0.5, max=0.5), min=0.0, max=1.0)
    got = rewrite(net.done(tighter, crossed), remove_identities)
    assert got.ops == ["Tanh", "Clip", "Clip", "Clip"]


def test_empty_parts_leave_a_concat(net, rewrite):
    none, some = net.const(2, 0), net.const(2, 1)
    joined = net.emit("Concat", none, net.input(2, 3), none, some, axis=-1)
    got = rewrite(net.done(net.emit("Exp", joined)), remove_identities)
    assert got.node("Concat").inputs[1] is some
