"""Einsum of two factors is a product, which every container and runtime has."""

from __future__ import annotations

import bitlite
import numpy as np
import pytest
from bitlite.converter.formats.onnx import read
from onnx import helper, save

PRODUCTS = [
    ("bct,bcs->bts", (2, 3, 4), (2, 3, 5)),
    ("bts,bcs->bct", (2, 4, 5), (2, 3, 5)),
    ("bqhd,bkhd->bhqk", (2, 3, 4, 5), (2, 6, 4, 5)),
    ("bhqk,bkhd->bqhd", (2, 4, 3, 6), (2, 6, 4, 5)),
    ("bhwc,hkc->bhwk", (2, 3, 4, 5), (3, 6, 5)),
    ("...ij,jk->...ik", (2, 3, 4), (4, 5)),
    ("bnij,bnjk->bnik", (1, 2, 3, 4), (5, 2, 4, 3)),
    ("abc,abc->", (2, 3, 4), (2, 3, 4)),
    ("i, j->ji", (3,), (4,)),
    ("bij,b->bij", (2, 3, 4), (2,)),
]
OTHERS = [
    ("bij->bi", (2, 3, 4)),
    ("ii->i", (3, 3)),
    ("ab,bc,cd->ad", (2, 3), (3, 4), (4, 5)),
    ("ij,jk->i", (2, 3), (3, 4)),
    ("ij,jk->ik", (2, 1), (3, 4)),
]


@pytest.fixture
def network(tmp_path):
    def made(equation, shapes, declared=None):
        names, path = [f"x{k}" for k in range(len(shapes))], tmp_path / "m.onnx"
        size = np.einsum(equation, *map(np.zeros, shapes)).shape
        ends = [helper.make_tensor_value_info(n, 1, s) for n, s in zip(names, declared or shapes)]
        end = [helper.make_tensor_value_info("y", 1, size if declared is None else None)]
        graph = helper.make_graph([helper.make_node("Einsum", names, ["y"], equation=equation)], "g", ends, end)
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return str(path), dict(zip(names, (np.random.default_rng(1).normal(size=s).astype(np.float32) for s in shapes)))

    return made


@pytest.mark.parametrize("equation, a, b", PRODUCTS)
def test_two_factors_are_a_product(network, equation, a, b):
    path, feed = network(equation, (a, b))
    want = np.einsum(equation.replace(" ", ""), *feed.values())
    got = bitlite.load(path).run(feed)["y"]
    assert "Einsum" not in [n.op for n in read(path).nodes] and got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_axes_in_another_order_are_transposed(network):
    path, feed = network("abc->cab", ((2, 3, 4),))
    assert [n.op for n in read(path).nodes] == ["Transpose"]
    np.testing.assert_array_equal(bitlite.load(path).run(feed)["y"], feed["x0"].transpose(2, 0, 1))


@pytest.mark.parametrize("equation, shapes", [(e, s) for e, *s in OTHERS])
def test_others_stay_as_they_are(network, equation, shapes):
    path, feed = network(equation, shapes)
    assert [n.op for n in read(path).nodes] == ["Einsum"]
    want = np.einsum(equation, *feed.values())
    np.testing.assert_allclose(bitlite.load(path).run(feed)["y"], want, rtol=1e-5, atol=1e-5)


def test_open_sizes_are_a_product_where_no_axes_are_joined(network):
    path, feed = network("bct,bcs->bts", ((2, 3, 4), (2, 3, 5)), (("n", 3, "t"), ("n", 3, "s")))
    assert "MatMul" in [n.op for n in read(path).nodes]
    np.testing.assert_allclose(bitlite.load(path).run(feed)["y"], np.einsum("bct,bcs->bts", *feed.values()), atol=1e-5)


@pytest.mark.parametrize("ending", ["ms", "tflite"])
def test_a_product_is_written_where_no_einsum_is(network, tmp_path, ending):
    path, feed = network("bct,bcs->bts", ((2, 3, 4), (2, 3, 5)))
    target = str(tmp_path / f"m.{ending}")
    bitlite.convert(path, target, output_format=ending.upper())
    got = next(iter(bitlite.load(target).run(feed).values()))
    np.testing.assert_allclose(got, np.einsum("bct,bcs->bts", *feed.values()), rtol=1e-5, atol=1e-5)
