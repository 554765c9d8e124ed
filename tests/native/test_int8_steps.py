"""What int8 steps refuse, and the addition that one takes in."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite import _native
from bitlite.native.lower import with_bounds
from int8_steps import ISAS, T, codes, const, refusal


def test_refusals_say_why():
    x, w = np.zeros((1, 4, 4, 8), np.int8), np.zeros((8, 3, 3, 8), np.int8)
    y = np.zeros((1, 2, 2, 8), np.int8)
    q = [T(x, 0.1, 0), const(w, 0.1, 0), None]
    assert refusal("conv", q, [T(y, 0.1, 0)], {}) is None
    assert "scale" in refusal("conv", [T(x, 0.1, 0), const(w, -0.1, 0), None], [T(y, 0.1, 0)], {})
    assert "not a clamp" in refusal("conv", q, [T(y, 0.1, 0)], {"act": "tanh"})
    assert "rounding" in refusal("conv", q, [T(y, 0.1, 0)], {"rounding": "up"})
    assert "does not follow" in refusal("conv", q, [T(np.zeros((1, 3, 2, 8), np.int8), 0.1, 0)], {})
    assert "zero point" in refusal("conv", [T(x, 0.1, 200), *q[1:]], [T(y, 0.1, 0)], {})
    assert "not known" in refusal("conv", q, [T(y, 0.1, 0)], {"colour": 1})
    assert "not quantized" in refusal("add", [T(x), T(x, 0.1, 0)], [T(x, 0.1, 0)], {})
    assert "table" in refusal("lut", [T(x, 0.1, 0), const(np.zeros(255, np.int8))], [T(x, 0.1, 0)], {})


@pytest.mark.parametrize("op", ["conv", "fully_connected", "matmul"])
@pytest.mark.parametrize("rounding", ["rne_f32", "gemmlowp"])
@pytest.mark.parametrize("side", [0, 1])
def test_fused_addition_gives_the_bits_of_two_steps(op, rounding, side):
    rng = np.random.default_rng(23)
    shape = {"conv": (1, 6, 5, 24), "fully_connected": (7, 24), "matmul": (7, 24)}[op]
    weight = codes(rng, (24, 3, 3, 24) if op == "conv" else (24, 24))
    tensors = [
        T(np.zeros(shape, np.int8), 0.05, -3),
        const(weight, 0.002, 0),
        const(rng.integers(-999, 999, 24, np.int32)),
    ]
    tensors += [T(np.zeros(shape, np.int8), s, z) for s, z in ((0.03, 4), (0.02, 9), (0.04, -7))]
    specs = [t.spec(f"t{i}") for i, t in enumerate(tensors)]
    attrs = with_bounds({"act": "relu", "rounding": rounding}) | ({"pad": [1] * 4} if op == "conv" else {})
    steps = [
        {"op": op, "name": "a", "inputs": [0, 1, 2], "outputs": [3], "attrs": attrs},
        {
            "op": "add",
            "name": "b",
            "inputs": [3, 4] if side else [4, 3],
            "outputs": [5],
            "attrs": with_bounds({"act": "relu6"}),
        },
    ]
    feeds = [codes(rng, shape), codes(rng, shape)]
    for isa in ISAS:
        fused = _native.Program(specs, steps, [0, 4], [5], threads=1, isa=isa)
        apart = _native.Program(specs, steps, [0, 4], [5, 3], threads=1, isa=isa)
        assert (fused.step_names, apart.step_names) == (["a+b"], ["a", "b"])
        np.testing.assert_array_equal(fused.run(feeds)[0], apart.run(feeds)[0])


def test_fused_addition_of_the_layers_own_input_does_not_overwrite_it():
    rng = np.random.default_rng(24)
    shape = (1, 40, 40, 64)
    weight = codes(rng, (64, 3, 3, 64))
    tensors = [T(np.zeros(shape, np.int8), 0.05, -3), const(weight, 0.002, 0), const(codes(rng, 256))]
    tensors += [T(np.zeros(shape, np.int8), s, z) for s, z in ((0.05, 4), (0.03, 4), (0.04, -7))]
    specs = [t.spec(f"t{i}") for i, t in enumerate(tensors)]
    steps = [
        {"op": "lut", "name": "l", "inputs": [0, 2], "outputs": [3], "attrs": {}},
        {"op": "conv", "name": "a", "inputs": [3, 1], "outputs": [4], "attrs": {"pad": [1] * 4}},
        {"op": "add", "name": "b", "inputs": [3, 4], "outputs": [5], "attrs": {}},
        {"op": "lut", "name": "m", "inputs": [5, 2], "outputs": [6], "attrs": {}},
    ]
    specs.append(T(np.zeros(shape, np.int8), 0.05, 4).spec("t6"))
    feed = [codes(rng, shape)]
    fused = _native.Program(specs, steps, [0], [6])
    apart = _native.Program(specs, steps, [0], [6, 4])
    assert fused.step_names[1].startswith("a+b")
    np.testing.assert_array_equal(fused.run(feed)[0], apart.run(feed)[0])


TAILED = {
    "conv": ((2, 30, 21, 24), (40, 5, 5, 24), {"pad": [2] * 4}),
    "strided": ((1, 31, 40, 3), (16, 3, 3, 3), {"pad": [1] * 4, "stride": [2, 2]}),
    "pointwise": ((1, 40, 40, 64), (24, 1, 1, 64), {}),
    "groups": ((1, 20, 20, 32), (48, 3, 3, 16), {"pad": [1] * 4, "group": 2}),
    "depthwise": ((2, 40, 24, 20), (20, 3, 3, 1), {"pad": [1] * 4, "group": 20}),
}


@pytest.mark.parametrize("layer", TAILED)
@pytest.mark.parametrize("tail", ["lut", "prelu", "hard_swish", "add, lut"])
def test_what_computes_each_element_for_itself_goes_over_what_a_layer_has_just_written(layer, tail):
    if tail == "add, lut" and layer == "depthwise":
        pytest.skip("a depthwise layer takes no addition")
    rng = np.random.default_rng(25)
    shape, kernel, attrs = TAILED[layer]
    stride = attrs.get("stride", [1, 1])
    out = (shape[0], -(-shape[1] // stride[0]), -(-shape[2] // stride[1]), kernel[0])
    real = np.zeros(out, np.float32)

    def result(scale, zero):
        return T(real) if tail == "hard_swish" else T(real.astype(np.int8), scale, zero)

    extra = codes(rng, 256) if "lut" in tail else codes(rng, (kernel[0],))
    tensors = [
        T(np.zeros(shape, np.int8), 0.05, -3),
        const(codes(rng, kernel), 0.002, 0),
        const(extra, 0.01, -3),
        result(0.03, 4),
        result(0.02, 9),
        T(np.zeros(out, np.int8), 0.06, 3),
        result(0.07, -2),
    ]
    specs = [t.spec(f"t{i}") for i, t in enumerate(tensors)]
    steps = [{"op": "conv", "name": "a", "inputs": [0, 1], "outputs": [3], "attrs": attrs}]
    if tail == "add, lut":
        steps.append({"op": "add", "name": "b", "inputs": [3, 5], "outputs": [6], "attrs": {}})
    last = {
        "op": tail.split(", ")[-1],
        "name": "c",
        "inputs": [steps[-1]["outputs"][0], 2],
        "outputs": [4],
        "attrs": {},
    }
    steps.append(last | {"inputs": last["inputs"][:1]} if tail == "hard_swish" else last)
    fed = [0, 5] if tail == "add, lut" else [0]
    feeds = [codes(rng, tensors[i].data.shape) for i in fed]
    for isa in ISAS:
        for threads in (1, 2, 3):
            fused = _native.Program(specs, steps, fed, [4], threads=threads, isa=isa)
            between = steps[-2]["outputs"][0]
            apart = _native.Program(specs, steps, fed, [4, between], threads=threads, isa=isa)
            assert len(apart.step_names) == len(fused.step_names) + (len(fused.step_names) == 1)
            assert threads > 1 or fused.step_names == ["a+b+c" if tail == "add, lut" else "a+c"]
            np.testing.assert_array_equal(fused.run(feeds)[0], apart.run(feeds)[0], err_msg=f"{isa} {threads}")
