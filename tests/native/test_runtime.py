"""Planning, memory, threads and the Python boundary of native programs."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from bitlite import _native
from bitlite.native.lower import with_bounds


def tensor(name, shape, data=None, dtype="float32", **quant):
    return {"name": name, "dtype": dtype, "shape": list(shape), "data": data, **quant}


def step(op, inputs, outputs, name=None, **attrs):
    return {"op": op, "name": name or op, "inputs": inputs, "outputs": outputs, "attrs": with_bounds(attrs)}


def chain(length: int, n: int, op: str = "neg", **kw) -> _native.Program:
    tensors = [tensor(f"t{i}", (n,)) for i in range(length + 1)]
    return _native.Program(tensors, [step(op, [i], [i + 1], f"s{i}") for i in range(length)], [0], [length], **kw)


X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_a_graph_without_steps_copies_inputs_and_constants():
    c = np.float32([7, 8])
    p = _native.Program([tensor("x", (2, 3)), tensor("c", (2,), c)], [], [0], [0, 1, 0])
    x, constant, again = p.run([X])
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(again, X)
    np.testing.assert_array_equal(constant, c)
    assert not np.shares_memory(x, X)
    assert p.arena_bytes == 0


def test_unary_chains_run_in_place():
    p = chain(4, 1024)
    x = np.float32(np.arange(1024))
    np.testing.assert_array_equal(p.run([x])[0], x)
    # All intermediates lie in the output.
    assert p.arena_bytes <= 4096
    assert p.step_names == ["s0", "s1", "s2", "s3"]


def test_an_input_is_never_overwritten():
    x = X.copy()
    p = _native.Program([tensor("x", (2, 3)), tensor("y", (2, 3))], [step("neg", [0], [1])], [0], [1])
    p.run([x])
    np.testing.assert_array_equal(x, X)


def test_a_value_that_is_read_later_is_not_overwritten():
    # y = -x; z = |y|; w = y + z: |y| must not lie on y.
    tensors = [tensor(n, (2, 3)) for n in "xyzw"]
    steps = [step("neg", [0], [1]), step("abs", [1], [2]), step("add", [1, 2], [3])]
    w = _native.Program(tensors, steps, [0], [3]).run([X])[0]
    np.testing.assert_array_equal(w, np.zeros((2, 3)))


def test_a_view_is_not_overwritten_while_its_source_is_needed():
    tensors = [tensor("x", (2, 3)), tensor("y", (2, 3)), tensor("v", (6,)), tensor("z", (6,)), tensor("u", (6,))]
    tensors += [tensor("w", (6,))]
    steps = [
        step("neg", [0], [1]),
        step("reshape", [1], [2]),
        step("square", [2], [3]),
        step("reshape", [1], [4]),
        step("add", [3, 4], [5]),
    ]
    got = _native.Program(tensors, steps, [0], [5]).run([X])[0]
    np.testing.assert_array_equal(got, (np.square(X) - X).reshape(-1))


@pytest.mark.parametrize("source", ["input", "constant", "computed"])
def test_outputs_that_are_views(source):
    tensors = [tensor("x", (2, 3)), tensor("c", (2, 3), X), tensor("y", (2, 3)), tensor("v", (6,)), tensor("w", (3, 2))]
    steps = [step("neg", [0], [2])]
    start = {"input": 0, "constant": 1, "computed": 2}[source]
    steps += [step("reshape", [start], [3]), step("reshape", [3], [4])]
    want = -X if source == "computed" else X
    y, v, w = _native.Program(tensors, steps, [0], [2, 3, 4]).run([X])
    np.testing.assert_array_equal(y, -X)
    np.testing.assert_array_equal(v, want.reshape(-1))
    np.testing.assert_array_equal(w, want.reshape(3, 2))


def test_random_graphs_agree_with_numpy_and_reuse_memory():
    functions = {"neg": np.negative, "abs": np.abs, "floor": np.floor}
    pairs = {"add": np.add, "sub": np.subtract, "maximum": np.maximum}
    for seed in range(30):
        rng = np.random.default_rng(seed)
        values = [rng.standard_normal((rng.integers(1, 50), 7)).astype(np.float32) for _ in range(2)]
        shapes = [v.shape for v in values]
        tensors, steps = [tensor("a", shapes[0]), tensor("b", shapes[1])], []
        for i in range(20):
            k = int(rng.integers(len(values)))
            kind = rng.integers(3)
            if kind == 0:
                op = rng.choice(list(functions))
                values.append(functions[op](values[k]))
                inputs = [k]
            elif kind == 1:
                peers = [j for j, v in enumerate(values) if v.shape == values[k].shape]
                j, op = int(rng.choice(peers)), rng.choice(list(pairs))
                values.append(pairs[op](values[k], values[j]))
                inputs = [k, j]
            else:
                op = "reshape"
                values.append(values[k].reshape(values[k].shape[::-1]))
                inputs = [k]
            tensors.append(tensor(f"t{i}", values[-1].shape))
            steps.append(step(str(op), inputs, [len(values) - 1], f"s{i}"))
        outputs = sorted({len(values) - 1, *map(int, rng.integers(0, len(values), 3))})
        p = _native.Program(tensors, steps, [0, 1], outputs)
        for _ in range(2):
            for got, want in zip(p.run(values[:2]), (values[o] for o in outputs)):
                np.testing.assert_array_equal(got, want, err_msg=f"seed {seed}")
        assert p.arena_bytes <= 1.1 * p.arena_lower_bound


def test_run_into_writes_to_the_given_arrays():
    p = chain(2, 6, "abs")
    x, y = -np.arange(6, dtype=np.float32), np.empty(6, np.float32)
    p.run_into([x], [y])
    np.testing.assert_array_equal(y, -x)
    with pytest.raises(ValueError, match="overlap"):
        p.run_into([x], [x])
    y.flags.writeable = False
    with pytest.raises(ValueError, match="not writable"):
        p.run_into([x], [y])


def test_arrays_that_do_not_fit_are_refused():
    p = chain(1, 6)
    with pytest.raises(ValueError, match="0 arrays given, expected 1"):
        p.run([])
    with pytest.raises(ValueError, match=r"t0: shape \(5,\), expected \[6\]"):
        p.run([np.zeros(5, np.float32)])
    with pytest.raises(ValueError, match="t0: type float64, expected float32"):
        p.run([np.zeros(6)])
    with pytest.raises(ValueError, match="not C-contiguous"):
        p.run([np.zeros(12, np.float32)[::2]])
    with pytest.raises(TypeError, match="not a numpy array"):
        p.run([[1.0] * 6])


def test_errors_name_the_step_and_the_reason():
    x, y = tensor("x", (2, 3)), tensor("y", (2, 3))
    cases = [
        ([x, y], [step("reshape", [0], [7], "s")], [0], [0], r"s \(reshape\): output: tensor index 7 is not in 0..1"),
        ([x, y], [step("nothing", [0], [1], "s")], [0], [1], r"s \(nothing\): no native kernel"),
        ([x, y], [step("neg", [1], [1], "s")], [0], [1], "input y has no value yet"),
        ([x, y], [step("neg", [0], [0], "s")], [0], [0], "output x already has a value"),
        ([x, y], [], [0], [1], "outputs: y has no value"),
        ([x, y], [step("neg", [0], [1], "s", unheard_of=1)], [0], [1], "attribute unheard_of is not known"),
        ([tensor("x", (2, -3))], [], [0], [0], "negative extent"),
        ([tensor("x", (2**40, 2**40))], [], [0], [0], "too large"),
        ([tensor("x", (2,), dtype="complex64")], [], [0], [0], "type complex64 is not supported"),
        ([tensor("x", (2,), np.zeros(3, np.float32))], [], [], [0], "does not have the declared shape"),
        ([tensor("x", (2, 3), scale=[1, 2])], [], [0], [0], "several scales need an axis"),
    ]
    for tensors, steps, inputs, outputs, message in cases:
        with pytest.raises(ValueError, match=message):
            _native.Program(tensors, steps, inputs, outputs)
    with pytest.raises(ValueError, match="threads=0"):
        _native.Program([x], [], [0], [0], threads=0)


def test_check_step_gives_the_reason_that_planning_would_give():
    tensors = [tensor("x", (1, 4, 4, 3)), tensor("w", (8, 3, 3, 3), np.zeros((8, 3, 3, 3), np.float32))]
    tensors += [tensor("y", (1, 2, 2, 8)), None]  # other tensors are not looked at
    good = step("conv", [0, 1], [2], stride=[1, 1], dilation=[1, 1], pad=[0, 0, 0, 0], group=1)
    assert _native.check_step(tensors, good) is None
    bad = step("conv", [0, 1], [2], stride=[2, 2], dilation=[1, 1], pad=[0, 0, 0, 0], group=1)
    assert "output shape" in _native.check_step(tensors, bad)
    with pytest.raises(ValueError, match="output shape"):
        _native.Program(tensors[:3], [bad], [0], [2])


def big_program(threads: int) -> tuple[_native.Program, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    w = [rng.standard_normal((32, 3, 3, c)).astype(np.float32) for c in (3, 32)]
    tensors = [tensor("x", (1, 40, 40, 3)), tensor("w0", w[0].shape, w[0]), tensor("a", (1, 40, 40, 32))]
    tensors += [tensor("w1", w[1].shape, w[1]), tensor("y", (1, 40, 40, 32))]
    attrs = {"stride": [1, 1], "dilation": [1, 1], "pad": [1, 1, 1, 1], "group": 1, "act": "relu"}
    steps = [step("conv", [0, 1], [2], "c0", **attrs), step("conv", [2, 3], [4], "c1", **attrs)]
    x = rng.standard_normal((1, 40, 40, 3)).astype(np.float32)
    p = _native.Program(tensors, steps, [0], [4], threads=threads)
    return p, x, p.run([x])[0]


def test_results_do_not_depend_on_the_number_of_threads():
    _, _, one = big_program(1)
    for threads in (2, 3, 5):
        np.testing.assert_array_equal(big_program(threads)[2], one)


@pytest.mark.parametrize("threads", [1, 2])
def test_one_program_runs_in_several_python_threads(threads):
    p, x, want = big_program(threads)
    scaled = [np.float32(k) * x for k in range(4)]
    wants = [p.run([s])[0] for s in scaled]
    np.testing.assert_array_equal(wants[1], want)
    failures = []

    def work(k):
        for _ in range(20):
            if not np.array_equal(p.run([scaled[k]])[0], wants[k]):
                failures.append(k)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert not failures


def _child(queue):
    queue.put(big_program(2)[2])


def test_a_forked_child_gets_its_own_threads():
    _, _, want = big_program(2)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    np.testing.assert_array_equal(queue.get(timeout=60), want)
    child.join(timeout=60)
    assert child.exitcode == 0


def test_profile_times_every_step():
    p, x, _ = big_program(1)
    ns = p.profile([x])
    assert len(ns) == len(p.step_names) == 2
    assert all(t > 0 for t in ns)


def test_constants_that_were_packed_are_not_kept():
    p, _, _ = big_program(1)
    assert p.constant_bytes == 0


def test_the_environment_limits_the_instruction_set():
    code = "from bitlite import _native; print(_native.isa())"

    def under(level):
        env = os.environ | {"BITLITE_ISA": level}
        return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)

    assert _native.isas()[0] == "scalar"
    for level in _native.isas():
        assert under(level).stdout.strip() == level
    refused = under("mmx")
    assert refused.returncode != 0
    assert "unknown instruction set 'mmx'" in refused.stderr
    assert "scalar" in refused.stderr


def test_a_program_can_be_limited_by_argument():
    assert chain(1, 4, isa="scalar").isa == "scalar"
    with pytest.raises(ValueError, match="allowed: scalar"):
        chain(1, 4, isa="pentium")


def test_empty_tensors_run():
    p = chain(2, 0)
    assert p.run([np.empty(0, np.float32)])[0].shape == (0,)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("kernel, stride, act", [(3, 1, "relu6"), (5, 2, "relu"), (3, 2, "hard_swish")])
def test_fused_convolutions_give_the_bits_of_single_ones(threads, residual, kernel, stride, act):
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    out = -(-48 // stride)
    total = max((out - 1) * stride + kernel - 48, 0)
    pad = [total // 2, total - total // 2] * 2
    same = {"stride": [1, 1], "dilation": [1, 1], "pad": [0] * 4, "group": 1, "act": act}
    middle = {"stride": [stride] * 2, "dilation": [1, 1], "pad": pad, "group": 96, "act": act}
    tensors = [
        tensor("x", (2, 48, 48, 16)),
        tensor("w0", (96, 1, 1, 16), normal(96, 1, 1, 16)),
        tensor("b0", (96,), normal(96)),
        tensor("a", (2, 48, 48, 96)),
        tensor("w1", (96, kernel, kernel, 1), normal(96, kernel, kernel, 1)),
        tensor("b", (2, out, out, 96)),
        tensor("w2", (16, 1, 1, 96), normal(16, 1, 1, 96)),
        tensor("b2", (16,), normal(16)),
        tensor("c", (2, out, out, 16)),
        tensor("r", (2, out, out, 16)),
        tensor("y", (2, out, out, 16)),
    ]
    steps = [step("conv", [0, 1, 2], [3], "expand", **same), step("conv", [3, 4], [5], "depthwise", **middle)]
    steps += [step("conv", [5, 6, 7], [8], "project", **(same | {"act": "none"}))]
    inputs, last = [0], 8
    if residual:
        steps.append(step("add", [9, 8], [10], "sum", act="relu"))
        inputs, last = [0, 9], 10
    arrays = [normal(*tensors[i]["shape"]) for i in inputs]
    fused = _native.Program(tensors, steps, inputs, [last], threads=threads)
    assert fused.step_names == ["+".join(s["name"] for s in steps)]
    # As graph outputs, the values between are computed one by one.
    apart = _native.Program(tensors, steps, inputs, [s["outputs"][0] for s in steps], threads=1)
    assert apart.step_names == [s["name"] for s in steps]
    np.testing.assert_array_equal(fused.run(arrays)[0], apart.run(arrays)[-1])
    # Neither of the large values between exists as a whole.
    assert fused.arena_bytes < 2 * out * out * 96 * 4


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("act", ["relu", "hard_swish"])
def test_concatenated_convolutions_write_their_columns_with_the_bits_of_single_ones(threads, act):
    rng = np.random.default_rng(1)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    tensors = [
        tensor("x", (2, 40, 40, 8)),
        tensor("w0", (20, 1, 1, 8), normal(20, 1, 1, 8)),
        tensor("a", (2, 40, 40, 20)),
        tensor("w1", (24, 3, 3, 8), normal(24, 3, 3, 8)),
        tensor("b1", (24,), normal(24)),
        tensor("b", (2, 40, 40, 24)),
        tensor("r", (2, 40, 40, 24)),
        tensor("c", (2, 40, 40, 24)),
        tensor("y", (2, 40, 40, 44)),
    ]
    wide = {"stride": [1, 1], "dilation": [1, 1], "pad": [1] * 4, "group": 1, "act": "none"}
    steps = [
        step("conv", [0, 1], [2], "narrow", **(wide | {"pad": [0] * 4, "act": act})),
        step("conv", [0, 3, 4], [5], "wide", **wide),
        step("add", [5, 6], [7], "sum", act=act),
        # Not in the order in which they are computed.
        step("concat", [7, 2], [8], "both", axis=3),
    ]
    arrays = [normal(*tensors[i]["shape"]) for i in (0, 6)]
    fused = _native.Program(tensors, steps, [0, 6], [8], threads=threads)
    assert fused.step_names == ["wide+sum+narrow+both"]
    apart = _native.Program(tensors, steps, [0, 6], [2, 7, 8])
    assert apart.step_names == ["narrow", "wide+sum", "both"]
    np.testing.assert_array_equal(fused.run(arrays)[0], apart.run(arrays)[2])


@pytest.mark.parametrize("size", [np.int8, np.int16, np.float32, np.int64])
@pytest.mark.parametrize("planes", [2, 3, 4, 5])
def test_planes_become_rows(planes, size):
    x = np.arange(2 * planes * 9 * 11).reshape(2, planes, 9, 11).astype(size)
    tensors = [tensor("x", x.shape) | {"dtype": x.dtype.name}]
    tensors.append(tensor("y", (2, 9, 11, planes)) | {"dtype": x.dtype.name})
    p = _native.Program(tensors, [step("transpose", [0], [1], "t", perm=[0, 2, 3, 1])], [0], [1])
    np.testing.assert_array_equal(p.run([x])[0], x.transpose(0, 2, 3, 1))


def test_an_add_that_broadcasts_stays_an_add():
    w = np.ones((4, 1, 1, 3), np.float32)
    tensors = [tensor("x", (1, 5, 5, 3)), tensor("w", w.shape, w), tensor("a", (1, 5, 5, 4))]
    tensors += [tensor("r", (4,)), tensor("y", (1, 5, 5, 4))]
    steps = [step("conv", [0, 1], [2], "c"), step("add", [2, 3], [4], "s")]
    p = _native.Program(tensors, steps, [0, 3], [4])
    assert p.step_names == ["c", "s"]
    x, r = np.ones((1, 5, 5, 3), np.float32), np.float32([1, 2, 3, 4])
    np.testing.assert_array_equal(p.run([x, r])[0], np.broadcast_to(3 + r, (1, 5, 5, 4)))
