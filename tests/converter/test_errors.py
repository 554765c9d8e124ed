"""What an error's line says."""

import builtins
from types import FunctionType

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import InternalError, ModelError, UsageError, bugs_named
from bitlite.converter.formats import tflite, tflite_write
from bitlite.converter.ir import Graph
from bitlite.converter.ops import OPS
from bitlite.converter.schema.builder import Builder


@pytest.mark.parametrize(
    ("message", "file", "line"),
    [
        ("is empty", "m.ms", "m.ms: is empty"),
        ("m.ms: is empty", "m.ms", "m.ms: is empty"),
        ("is a directory", "dir", "dir: is a directory"),
        ("is empty", "", "is empty"),
    ],
)
def test_the_file_stands_in_front_unless_the_message_names_it(message, file, line):
    assert str(ModelError(message, file=file)) == line


def test_the_hint_follows():
    assert str(UsageError("--bits=9: not in 1..8", hint="--bits=8")) == "--bits=9: not in 1..8; try --bits=8"


BUGS = (AssertionError, AttributeError, TypeError, KeyError, NameError)
NUMPY = (ValueError, IndexError, ZeroDivisionError, OverflowError)


def raising(kind):
    """A function of bitlite's own, as far as a traceback tells."""

    def broken(*_, **__):
        raise kind("slip")

    return FunctionType(
        broken.__code__, {"__name__": "bitlite.slip", "__builtins__": builtins}, closure=broken.__closure__
    )


@pytest.fixture
def relu(tmp_path):
    graph = Graph()
    build = Builder(graph)
    graph.outputs = build.emit("Relu", [build.input("x", np.float32, (2, 4))])
    tflite_write.write(graph, str(tmp_path / "m.tflite"))
    return str(tmp_path / "m.tflite")


@pytest.mark.parametrize("kind", BUGS + NUMPY)
def test_an_exception_in_a_reader_is_a_bug_and_not_a_damaged_file(relu, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(tflite, "read", raising(kind))
    for work in (bitlite.load, lambda path: bitlite.convert(path, tmp_path / "out")):
        with pytest.raises(InternalError, match=f"internal error: {kind.__name__}.*slip.*a bug in bitlite") as raised:
            work(relu)
        assert relu in str(raised.value) and "BITLITE_TRACE=1" in str(raised.value)
        assert isinstance(raised.value.__cause__, kind) and not isinstance(raised.value, bitlite.Error)


@pytest.mark.parametrize("kind", BUGS + NUMPY)
def test_of_a_row_only_what_numpy_rejects_is_the_fault_of_the_file(relu, monkeypatch, kind):
    monkeypatch.setitem(OPS, "Relu", type(OPS["Relu"])(**vars(OPS["Relu"]) | {"infer": raising(kind)}))
    with pytest.raises(ModelError if kind in NUMPY else InternalError, match="slip"):
        bitlite.load(relu)


def test_what_the_callers_code_raises_stays_what_it_is(relu, tmp_path):
    def samples():
        yield np.zeros((2, 4), np.float32)
        raise LookupError("my own")

    with pytest.raises(LookupError, match="my own"), bugs_named("m"):
        list(samples())
    with pytest.raises(LookupError, match="my own"):
        bitlite.convert(relu, tmp_path / "out", quant_type="PostTraining", calibration_data=samples)
