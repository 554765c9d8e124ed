from __future__ import annotations

import math

import numpy as np
import pytest
from bitlite.converter.ir import Graph
from bitlite.converter.passes import GENERAL, Change, match, run_passes
from bitlite.converter.passes.edit import Edit
from bitlite.converter.passes.fuse_gelu import fuse_gelu
from bitlite.converter.passes.fuse_hard_swish import fuse_hard_swish
from bitlite.converter.passes.fuse_l2_norm import fuse_l2_norm
from bitlite.converter.passes.fuse_layer_norm import fuse_layer_norm
from bitlite.converter.passes.fuse_prelu import fuse_prelu
from bitlite.converter.passes.fuse_softmax import fuse_softmax
from bitlite.converter.passes.fuse_swish import fuse_swish
from bitlite.converter.passes.split_hard_sigmoid import split_hard_sigmoid
from bitlite.converter.schema.builder import Builder


def number(net, value):
    return net.build.constant(np.float32(value), "c")


def start(net, *shape):
    return net.emit("Tanh", net.input(*(shape or (2, 3, 8))), name="start")


def gate(net, x, how):
    if how == "act":
        return net.emit("Add", x, number(net, 3), act="relu6")
    plus = net.emit("Add", number(net, 3), x, name="plus")
    return net.emit("Relu6", plus) if how == "relu6" else net.emit("Clip", plus, min=0.0, max=6.0)


@pytest.mark.parametrize("how", ["act", "relu6", "clip"])
@pytest.mark.parametrize("form", ["div_last", "mul_last", "div_gate", "scaled_x"])
def test_hard_swish_in_every_writing(net, rewrite, how, form):
    x = start(net)
    r = gate(net, x, how)
    if form == "div_last":
        y = net.emit("Div", net.emit("Mul", x, r), number(net, 6))
    elif form == "mul_last":
        y = net.emit("Mul", number(net, 1 / 6), net.emit("Mul", r, x))
    elif form == "div_gate":
        y = net.emit("Mul", x, net.emit("Div", r, number(net, 6)))
    else:
        y = net.emit("Mul", net.emit("Mul", x, number(net, 1 / 6)), r)
    got = rewrite(net.done(y), fuse_hard_swish)
    assert got.ops == ["Tanh", "HardSwish"]
    assert got.graph.outputs[0].name == y.name


def test_hard_swish_from_a_hard_sigmoid(net, rewrite):
    x = start(net)
    y = net.emit("Mul", x, net.emit("HardSigmoid", x, alpha=1 / 6, beta=0.5))
    z = net.emit("Mul", x, net.emit("HardSigmoid", x, alpha=0.2, beta=0.5))
    assert rewrite(net.done(y, z), fuse_hard_swish).ops == ["Tanh", "HardSwish", "HardSigmoid", "Mul"]


def test_a_gate_that_others_read_is_no_hard_swish(net, rewrite):
    x = start(net)
    r = gate(net, x, "relu6")
    y = net.emit("Mul", net.emit("Mul", x, r), number(net, 1 / 6))
    assert "HardSwish" not in rewrite(net.done(y, net.emit("Exp", r)), fuse_hard_swish).ops


def test_a_wrong_factor_is_no_hard_swish(net, rewrite):
    x = start(net)
    y = net.emit("Mul", net.emit("Mul", x, gate(net, x, "relu6")), number(net, 0.2))
    assert "HardSwish" not in rewrite(net.done(y), fuse_hard_swish).ops


def test_swish_but_not_of_another_value_or_with_a_factor(net, rewrite):
    x = start(net)
    y = net.emit("Mul", net.emit("Sigmoid", x), x)
    z = net.emit("Mul", net.emit("Exp", x), net.emit("Sigmoid", x))
    f = net.emit("Mul", net.emit("Mul", x, net.emit("Sigmoid", x)), number(net, 2))
    got = rewrite(net.done(y, z, f), fuse_swish)
    assert got.ops == ["Tanh", "Swish", "Exp", "Sigmoid", "Mul", "Swish", "Mul"]


@pytest.mark.parametrize("form", ["div", "mul", "half_first"])
def test_gelu_by_erf(net, rewrite, form):
    x = start(net)
    inner = (
        net.emit("Div", x, number(net, math.sqrt(2)))
        if form == "div"
        else net.emit("Mul", x, number(net, math.sqrt(0.5)))
    )
    one = net.emit("Add", net.emit("Erf", inner), number(net, 1))
    half = number(net, 0.5)
    if form == "half_first":
        y = net.emit("Mul", net.emit("Mul", x, half), one)
    else:
        y = net.emit("Mul", net.emit("Mul", x, one), half)
    got = rewrite(net.done(y), fuse_gelu)
    assert got.ops == ["Tanh", "Gelu"]
    assert not got.node("Gelu").attrs["approximate"]


@pytest.mark.parametrize("form", ["pow", "muls"])
def test_gelu_by_tanh(net, rewrite, form):
    x = start(net)
    cube = net.emit("Pow", x, number(net, 3)) if form == "pow" else net.emit("Mul", net.emit("Mul", x, x), x)
    inner = net.emit("Add", x, net.emit("Mul", cube, number(net, 0.044715)))
    curve = net.emit("Tanh", net.emit("Mul", inner, number(net, math.sqrt(2 / math.pi))), name="curve")
    y = net.emit("Mul", net.emit("Mul", x, number(net, 0.5)), net.emit("Add", curve, number(net, 1)))
    got = rewrite(net.done(y), fuse_gelu)
    assert got.ops == ["Tanh", "Gelu"]
    assert got.node("Gelu").attrs["approximate"]


def layer_norm(net, x, form, axes=(-1,)):
    mean = net.emit("Reduce", x, mode="mean", axes=list(axes), keep_dims=True)
    d = net.emit("Sub", x, mean)
    if form == "squared_difference":
        square = net.emit("SquaredDifference", x, mean)
    elif form == "mul":
        square = net.emit("Mul", d, d)
    else:
        square = net.emit("Pow", d, number(net, 2))
    variance = net.emit("Reduce", square, mode="mean", axes=list(axes), keep_dims=True)
    shifted = net.emit("Add", variance, number(net, 1e-5))
    if form == "mul":
        return net.emit("Mul", d, net.emit("Rsqrt", shifted))
    if form == "reciprocal":
        return net.emit("Mul", net.emit("Reciprocal", net.emit("Sqrt", shifted)), d)
    return net.emit("Div", d, net.emit("Sqrt", shifted))


@pytest.mark.parametrize("form", ["pow", "mul", "squared_difference", "reciprocal"])
def test_layer_norm_in_every_writing(net, rewrite, form):
    y = layer_norm(net, start(net), form)
    y = net.emit("Add", net.emit("Mul", y, net.const(8)), net.const(8), name="last")
    got = rewrite(net.done(y), fuse_layer_norm)
    assert got.ops == ["Tanh", "LayerNorm"]
    assert len(got.node("LayerNorm").inputs) == 3
    assert got.node("LayerNorm").outputs[0].name == "last"
    assert got.node("LayerNorm").attrs["epsilon"] == pytest.approx(1e-5)


def test_layer_norm_over_two_axes(net, rewrite):
    got = rewrite(
        net.done(net.emit("Mul", layer_norm(net, start(net), "pow", (1, 2)), net.const(3, 8))), fuse_layer_norm
    )
    assert got.ops == ["Tanh", "LayerNorm"]
    assert got.node("LayerNorm").attrs["axis"] == -2


def test_layer_norm_as_keras_writes_it(net, rewrite):
    x = start(net)
    mean = net.emit("Reduce", x, mode="mean", axes=[2], keep_dims=True)
    variance = net.emit("Reduce", net.emit("SquaredDifference", x, mean), mode="mean", axes=[2], keep_dims=True)
    r = net.emit("Mul", net.emit("Rsqrt", net.emit("Add", variance, number(net, 1e-3))), net.const(8))
    y = net.emit("Add", net.emit("Mul", x, r), net.emit("Sub", net.const(8), net.emit("Mul", mean, r)))
    got = rewrite(net.done(y), fuse_layer_norm)
    assert got.ops == ["Tanh", "LayerNorm"]


def test_a_norm_over_the_first_axis_or_with_a_leaking_mean_stays(net, rewrite):
    x = start(net)
    y = layer_norm(net, x, "pow", (1,))
    assert "LayerNorm" not in rewrite(net.done(y), fuse_layer_norm).ops


def test_a_mean_that_is_an_output_keeps_the_parts(net, rewrite):
    y = layer_norm(net, start(net), "pow")
    mean = next(n for n in net.graph.nodes if n.op == "Reduce").outputs[0]
    assert "LayerNorm" not in rewrite(net.done(y, mean), fuse_layer_norm).ops


def test_softmax_with_its_maximum_and_not_without(net, rewrite):
    x = start(net)
    minus = net.emit("Sub", x, net.emit("Reduce", x, mode="max", axes=[1], keep_dims=True))
    e = net.emit("Exp", minus)
    y = net.emit("Div", e, net.emit("Reduce", e, mode="sum", axes=[-2], keep_dims=True))
    bare = net.emit("Exp", x)
    z = net.emit("Div", bare, net.emit("Reduce", bare, mode="sum", axes=[1], keep_dims=True))
    got = rewrite(net.done(y, z), fuse_softmax)
    assert got.ops == ["Tanh", "Softmax", "Exp", "Reduce", "Div"]
    assert got.node("Softmax").attrs["axis"] == 1


@pytest.mark.parametrize("form", ["tensorflow", "sqrt", "l2", "sum_square"])
def test_l2_norm_in_every_writing(net, rewrite, form):
    x = start(net)
    eps = number(net, 1e-12)
    total = net.emit("Reduce", net.emit("Mul", x, x), mode="sum", axes=[-1], keep_dims=True)
    if form == "tensorflow":
        y = net.emit("Mul", x, net.emit("Rsqrt", net.emit("Maximum", total, eps)))
    elif form == "sqrt":
        y = net.emit("Div", x, net.emit("Clip", net.emit("Sqrt", total), min=1e-6))
    elif form == "l2":
        y = net.emit("Div", x, net.emit("Reduce", x, mode="l2", axes=[-1], keep_dims=True))
    else:
        total = net.emit("Reduce", x, mode="sum_square", axes=[-1], keep_dims=True)
        y = net.emit("Div", x, net.emit("Maximum", net.emit("Sqrt", total), eps))
    net.done(y)
    net.graph.prune()
    assert rewrite(net.graph, fuse_l2_norm).ops == ["Tanh", "LpNorm"]


def group_norm(net, x, groups=2, scale=1.0):
    parts = net.emit("Reshape", x, net.ints(x.shape[0], groups, -1))
    ones = net.build.constant(np.full(groups, scale, np.float32))
    norm = net.emit("InstanceNorm", net.last(parts), ones, net.build.constant(np.zeros(groups, np.float32)))
    return net.emit("Reshape", net.first(norm), net.ints(*x.shape))


def test_group_norm_as_pytorch_exports_it(net, rewrite):
    x = net.first(net.conv(net.last(net.input(2, 3, 6, 5)), 4))
    y = net.emit("Add", net.emit("Mul", group_norm(net, x), net.const(4, 1, 1)), net.const(4, 1, 1), name="last")
    y = net.first(net.conv(net.last(y), 2))
    got = rewrite(net.done(y), *GENERAL)
    assert got.ops == ["Transpose", "Conv", "GroupNorm", "Conv", "Transpose"]
    assert got.node("GroupNorm").attrs["groups"] == 2


def test_groups_that_are_scaled_stay(net, rewrite):
    x = net.first(net.conv(net.last(net.input(2, 3, 6, 5)), 4))
    assert "InstanceNorm" in rewrite(net.done(group_norm(net, x, scale=2.0)), *GENERAL).ops


@pytest.mark.parametrize(("alpha", "operators"), [(1 / 6, "Tanh Add Mul"), (0.2, "Tanh Mul Add Mul")])
def test_hard_sigmoid_in_parts_and_back(net, rewrite, alpha, operators):
    x = start(net)
    y = net.emit("Mul", net.emit("HardSigmoid", x, alpha=alpha, beta=0.5), net.emit("Exp", x))
    got = rewrite(net.done(y), split_hard_sigmoid)
    assert got.ops == [*operators.split(), "Exp", "Mul"]


def test_hard_swish_is_found_in_the_parts_of_its_gate(net, rewrite):
    x = start(net)
    y = net.emit("Mul", x, net.emit("HardSigmoid", x, alpha=1 / 6, beta=0.5))
    assert rewrite(net.done(y), split_hard_sigmoid, fuse_hard_swish).ops == ["Tanh", "HardSwish"]


@pytest.mark.parametrize("op", ["Mul", "Div"])
def test_a_long_chain_of_products_asks_each_node_once(op):
    graph = Graph("chain")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 8))
    for k in range(2000):
        x = build.emit(op, [x, build.constant(np.float32(1 + k * 1e-5), "c")], name=f"n{k}")[0]
    graph.outputs = [x]
    edit = Edit(graph)
    nodes = [len(match.product_of(edit, node).nodes) for node in edit.nodes()]
    assert max(nodes) <= 8 and nodes[3] == 3
    assert not [r for r in run_passes(graph, (fuse_gelu, fuse_swish, fuse_hard_swish)) if isinstance(r, Change)]


def below_zero(net, x, how):
    if how == "relu of -x":
        return net.emit("Relu", net.emit("Neg", x))
    if how == "x - abs":
        return net.emit("Sub", x, net.emit("Abs", x))
    return net.emit("Minimum", x, number(net, 0)) if how == "minimum" else net.emit("Clip", x, max=0.0)


FORMS = {"minimum": 1.0, "clip": 1.0, "relu of -x": -1.0, "x - abs": 0.5}


@pytest.mark.parametrize("how", FORMS)
@pytest.mark.parametrize("last", ["Add", "reversed Add", "Sub"])
def test_prelu_in_every_writing(net, rewrite, how, last):
    x = start(net)
    slopes = np.linspace(-0.5, 0.5, 8, dtype=np.float32)
    factor = FORMS[how] * (-1 if last == "Sub" else 1)
    below = net.emit("Mul", net.build.constant(slopes * np.float32(factor), "slope"), below_zero(net, x, how))
    above = net.emit("Relu", x)
    y = net.emit("Add", below, above) if last == "reversed Add" else net.emit(last, above, below)
    got = rewrite(net.done(y), fuse_prelu)
    assert got.ops == ["Tanh", "PRelu"]
    np.testing.assert_allclose(got.node("PRelu").inputs[1].data, slopes, atol=1e-7)


def test_prelu_of_one_slope_is_a_leaky_relu(net, rewrite):
    x = start(net)
    y = net.emit("Add", net.emit("Relu", x), net.emit("Mul", net.emit("Minimum", x, number(net, 0)), number(net, 0.2)))
    got = rewrite(net.done(y), fuse_prelu)
    assert got.ops == ["Tanh", "LeakyRelu"]
    assert got.node("LeakyRelu").attrs["alpha"] == pytest.approx(0.2)


def test_prelu_with_a_slope_that_is_computed_but_not_with_a_factor(net, rewrite):
    x, slope = start(net), net.input(8)
    y = net.emit("Add", net.emit("Relu", x), net.emit("Mul", slope, net.emit("Minimum", x, number(net, 0))))
    z = net.emit("Add", net.emit("Relu", x), net.emit("Mul", slope, net.emit("Relu", net.emit("Neg", x))))
    assert rewrite(net.done(y, z), fuse_prelu).ops == ["Tanh", "PRelu", "Relu", "Neg", "Relu", "Mul", "Add"]


@pytest.mark.parametrize("what", ["other value", "other bound", "read elsewhere", "wider slope"])
def test_what_resembles_a_prelu_stays(net, rewrite, what):
    x = start(net)
    below = net.emit("Minimum", net.emit("Exp", x) if what == "other value" else x, number(net, 0))
    if what == "other bound":
        below = net.emit("Minimum", x, number(net, 1))
    above = net.emit("Relu", x)
    y = net.emit("Add", above, net.emit("Mul", below, net.const(*((4, 2, 3, 8) if what == "wider slope" else (8,)))))
    outputs = [y, net.emit("Exp", above)] if what == "read elsewhere" else [y]
    ops = rewrite(net.done(*outputs), fuse_prelu).ops
    assert "PRelu" not in ops
    assert "Add" in ops
