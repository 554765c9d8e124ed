"""Recurrent layers on every instruction set against their numpy references, which define them."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite import _native
from bitlite.converter.execute import execute
from bitlite.converter.ir import Node, Tensor
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.ops.recurrent import rnn
from bitlite.native.lower import Lowering, program, refusal

ISAS = _native.isas()
GATES = {"Lstm": 4, "Gru": 3, "Rnn": 1}
KINDS = [("Lstm", {}), ("Gru", {}), ("Gru", {"linear_before_reset": True}), ("Rnn", {})]
DEFAULTS = {"direction": "forward", "activations": None, "alpha": None, "beta": None, "clip": 0.0, "dynamic": False}
OWN = {"Lstm": {"input_forget": False, "cell_clip": 0.0}, "Gru": {"linear_before_reset": False}, "Rnn": {}}


class Layer:
    """A node over random weights, its inputs, and what the reference makes of them."""

    def __init__(
        self, op, attrs=None, steps=5, batch=2, size=3, hidden=5, bias=True, states=False, peephole=False, lengths=None,
        fixed_states=False, codes=None, seed=0,
    ):  # fmt: skip
        rng = np.random.default_rng(seed)
        attrs = DEFAULTS | OWN[op] | {"hidden_size": hidden} | (attrs or {})
        d, rows = 2 if attrs["direction"] == "bidirectional" else 1, GATES[op] * hidden

        def random(*shape, limit=1.0):
            return rng.uniform(-limit, limit, shape).astype(np.float32)

        def constant(name, data):
            return Tensor(name, data.dtype, data.shape, data)

        limit = 2 / np.sqrt(hidden)
        weights = [random(d, rows, size), random(d, rows, hidden, limit=limit)]
        inputs = [Tensor("x", np.dtype("f4"), (steps, batch, size))]
        for name, w in zip("wr", weights):
            inputs.append(constant(name, w) if codes is None else _coded(name, w, rng, codes))
        inputs.append(constant("b", random(d, 2 * rows, limit=0.5)) if bias else None)
        self.arrays = [random(steps, batch, size, limit=2), None, None, None]
        given = None if lengths is None else np.array(lengths, np.int64)
        inputs.append(None if given is None else Tensor("lengths", given.dtype, given.shape))
        self.arrays.append(given)
        for name in ("h0", "c0")[: 2 if op == "Lstm" else 1]:
            state = random(d, batch, hidden)
            inputs.append(constant(name, state) if fixed_states else Tensor(name, state.dtype, state.shape))
            self.arrays.append(None if fixed_states else state)
            if not states:
                inputs[-1] = self.arrays[-1] = None
        if op == "Lstm":
            inputs.append(constant("p", random(d, 3 * hidden)) if peephole else None)
            self.arrays.append(None)
        shapes = [(steps, d, batch, hidden)] + [(d, batch, hidden)] * (2 if op == "Lstm" else 1)
        outputs = [Tensor(f"y{i}", np.dtype("f4"), shape) for i, shape in enumerate(shapes)]
        self.node = Node(op, "layer", inputs, outputs, attrs)

    def step(self):
        step = Lowering().lower(self.node, {})
        assert not isinstance(step, str), step
        return step

    def reference(self):
        arrays = [a if t is None or t.data is None else t.data for t, a in zip(self.node.inputs, self.arrays)]
        return execute(self.node, arrays)

    def native(self, isa, threads=1):
        fed = [(t, a) for t, a in zip(self.node.inputs, self.arrays) if a is not None]
        runner = program([self.step()], [t for t, _ in fed], self.node.outputs, threads, isa)
        return runner.run([a for _, a in fed])

    def check(self, atol=2e-6):
        want = self.reference()
        for isa in ISAS:
            results = [self.native(isa, threads) for threads in (1, 2, 3)]
            for k, expected in enumerate(want):
                np.testing.assert_allclose(results[0][k], expected, rtol=0, atol=atol, err_msg=f"output {k} {isa}")
                for other in results[1:]:
                    np.testing.assert_array_equal(other[k], results[0][k], err_msg=f"{isa}: threads change bits")


def _coded(name, w, rng, kind):
    """int8 codes: "channel" has scales per row, "tensor" one scale, "zeros" per row with zero points."""
    axis = None if kind == "tensor" else 1
    rows = 1 if kind == "tensor" else w.shape[1]
    scale = np.abs(w).max(axis=None if axis is None else (0, 2)).reshape(-1).astype(np.float64) / 120
    zero = rng.integers(-7, 8, rows) if kind == "zeros" else np.zeros(rows)
    codes = np.rint(w / scale.reshape(1, -1, 1)) + zero.reshape(1, -1, 1)
    quant = QuantParam(scale, zero.astype(np.int32), axis)
    codes = np.clip(codes, -128, 127).astype(np.int8)
    return Tensor(name, codes.dtype, codes.shape, codes, quant)


@pytest.mark.parametrize("op, attrs", KINDS)
@pytest.mark.parametrize("direction", rnn.DIRECTIONS)
@pytest.mark.parametrize("hidden", [1, 5, 16, 17, 40])
def test_a_layer_is_its_reference(op, attrs, direction, hidden):
    Layer(op, attrs | {"direction": direction}, hidden=hidden, states=True).check()
    Layer(op, attrs | {"direction": direction}, hidden=hidden, batch=1, bias=False, steps=1, size=1).check()


@pytest.mark.parametrize("op, attrs", KINDS)
@pytest.mark.parametrize("direction", rnn.DIRECTIONS)
def test_sequences_end_at_their_lengths(op, attrs, direction):
    attrs = attrs | {"direction": direction}
    Layer(op, attrs, steps=6, batch=4, lengths=[3, 0, 6, 1], states=True).check()
    Layer(op, attrs, steps=70, batch=3, lengths=[70, 0, 33], hidden=9).check()


@pytest.mark.parametrize("op, attrs", KINDS)
@pytest.mark.parametrize("direction, batch", [("forward", 1), ("reverse", 3), ("bidirectional", 2)])
def test_layers_whose_steps_several_threads_share(op, attrs, direction, batch):
    Layer(op, attrs | {"direction": direction}, steps=40, batch=batch, size=30, hidden=166).check(5e-6)


def test_many_sequences_and_wide_inputs():
    Layer("Lstm", steps=9, batch=37, size=70, hidden=33).check(5e-6)
    Layer("Gru", steps=90, batch=1, size=300, hidden=8).check(5e-6)
    lengths = np.random.default_rng(0).integers(0, 10, 13)
    Layer("Gru", {"direction": "bidirectional"}, steps=9, batch=13, lengths=lengths, states=True).check()


def test_peepholes_clips_and_coupled_gates():
    for direction in rnn.DIRECTIONS:
        Layer("Lstm", {"direction": direction}, peephole=True, hidden=19, states=True).check()
        Layer("Lstm", {"direction": direction, "clip": 0.4, "cell_clip": 0.3}, peephole=True, states=True).check()
        Layer("Lstm", {"direction": direction, "input_forget": True, "clip": 0.7}, hidden=18).check()
    Layer("Gru", {"clip": 0.5}).check()
    Layer("Gru", {"clip": 0.5, "linear_before_reset": True}).check()
    Layer("Rnn", {"clip": 0.5}).check()


def test_other_activations():
    Layer("Rnn", {"activations": ["Relu"]}).check()
    Layer("Rnn", {"activations": ["Sigmoid", "Tanh"], "direction": "bidirectional"}).check()
    Layer("Lstm", {"activations": ["HardSigmoid", "relu", "Tanh"]}).check()
    hard = {"activations": ["HardSigmoid", "HardSigmoid"], "alpha": [0.3, 0.25], "beta": [0.4]}
    for linear in (False, True):
        Layer("Gru", hard | {"linear_before_reset": linear}).check()
        Layer("Gru", {"activations": ["Sigmoid", "Relu"], "linear_before_reset": linear}).check()


def test_constant_states_need_not_be_fed():
    for op, attrs in KINDS:
        Layer(op, attrs | {"direction": "bidirectional"}, states=True, fixed_states=True).check()


def test_what_the_kernel_does_not_know_goes_to_numpy():
    assert "softsign" in refusal(Layer("Rnn", {"activations": ["Softsign"]}).step())
    assert "not a constant" in refusal(_with_a_computed_weight(Layer("Lstm")).step())
    assert refusal(Layer("Lstm").step()) is None


def _with_a_computed_weight(layer):
    w = layer.node.inputs[1]
    layer.node.inputs[1] = Tensor("w", w.dtype, w.shape)
    return layer


DYNAMIC = [(op, attrs, codes) for op, attrs in KINDS for codes in ("channel", "tensor", "zeros")]


@pytest.fixture
def same_activations(monkeypatch):
    """Makes the reference take sigmoid and tanh from the extension: the rest must then agree to the bit."""

    def of(isa):
        def native(op):
            def function(x, a, b):
                flat = np.ascontiguousarray(x).reshape(-1)
                tensors = [{"name": n, "dtype": "float32", "shape": [flat.size], "data": None} for n in "xy"]
                step = {"op": op, "name": op, "inputs": [0], "outputs": [1], "attrs": {}}
                return _native.Program(tensors, [step], [0], [1], threads=1, isa=isa).run([flat])[0].reshape(x.shape)

            return function

        for name in ("sigmoid", "tanh"):
            monkeypatch.setitem(rnn._FUNCTIONS, name, (native(name), 0.0, 0.0))

    return of


def check_bits(layer, same_activations):
    for isa in ISAS:
        same_activations(isa)
        want = layer.reference()
        for threads in (1, 2, 3):
            for actual, expected in zip(layer.native(isa, threads), want):
                np.testing.assert_array_equal(actual, expected, err_msg=f"{isa} {threads}")


@pytest.mark.parametrize("op, attrs, codes", DYNAMIC)
@pytest.mark.parametrize(
    "shape",
    [
        {"direction": "bidirectional", "lengths": [4, 0, 7], "batch": 3, "steps": 7, "states": True},
        {"direction": "reverse", "lengths": [3, 7], "steps": 7, "hidden": 21, "size": 9},
        {"batch": 1, "steps": 40, "hidden": 37, "size": 19},
        {"steps": 9, "hidden": 16, "size": 4, "batch": 20},
    ],
)
def test_integer_products_are_the_reference_to_the_bit(op, attrs, codes, shape, same_activations):
    shape = dict(shape)
    attrs = attrs | {"dynamic": True, "direction": shape.pop("direction", "forward")}
    layer = Layer(op, attrs, codes=codes, peephole=op == "Lstm", **shape)
    check_bits(layer, same_activations)


@pytest.mark.parametrize("op, attrs", KINDS)
@pytest.mark.parametrize("direction, batch", [("forward", 2), ("reverse", 13), ("bidirectional", 9)])
def test_integer_products_shared_by_threads_are_the_reference_to_the_bit(op, attrs, direction, batch, same_activations):
    size = {"Lstm": 230, "Gru": 270, "Rnn": 460}[op]
    lengths = np.arange(batch) % 7
    attrs = attrs | {"dynamic": True, "direction": direction}
    layer = Layer(op, attrs, codes="zeros", steps=6, hidden=size, size=8, batch=batch, lengths=lengths, states=True)
    check_bits(layer, same_activations)


def test_codes_of_a_layer_that_does_not_quantize_its_input_are_weights():
    layer = Layer("Lstm", codes="channel")
    layer.check()
    want = layer.reference()
    layer.node.attrs["dynamic"] = True
    assert not all(np.array_equal(a, b) for a, b in zip(layer.reference(), want))


def test_a_range_of_nothing_and_values_beyond_numbers():
    layer = Layer("Lstm", {"dynamic": True}, codes="channel", bias=False)
    layer.arrays[0][:] = 0
    layer.check(0)
    layer = Layer("Lstm", hidden=17)
    layer.arrays[0][2, 1] = np.nan
    actual, want = layer.native(ISAS[-1])[0], layer.reference()[0]
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(want))
