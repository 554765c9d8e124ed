"""What an operator is: one `Op` row, declared beside its reference in `ops/<family>.py`, and the tables of rows.

A family file declares

    @op("Conv", attrs={"stride": REQUIRED, …}, infer=infer_conv, kernel="conv", quant=Quant(weight=1, bias=2))
    def conv(x, w, b=None, *, stride, …) -> np.ndarray: the numpy reference

    @reads("tflite", "CONV_2D")         # container operator → IR, through a `Reading`
    @writes("ms", "Conv")               # IR → container operator, through that container's writer

and nothing else in the project needs to know the operator.
"""

from __future__ import annotations

import contextlib
import numbers
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import GraphError, Setting, UnsupportedError
from ..ir import Graph, Node, Shape, Tensor

REQUIRED: Any = object()
"""Marks an attribute that has no default."""

# One (dtype, shape) per output; a shape is None when not even its rank is known.
Inferred = list[tuple[np.dtype, "Shape | None"]]


@dataclass(frozen=True)
class Quant:
    """What quantization may do to an operator.

    Args:
        weight: index of the input that is a weight when constant, or several of them, None when there is none.
        axis: the weight's output-channel axis, a function of the node for rows where attributes move it, or None for
            one scale per tensor.
        bias: index of the bias input, stored int32 at s_x·s_w in an int8 graph.
        conv_family: the channel gate of WeightQuant applies.
        output: "own" (its range is observed), "same" (input codes in other places: shares scale and zero point with
            input 0, and with every activation input when there are several), "within" (computed, and within the
            input's range: shares them, too), "fixed" (`fixed` holds scale and zero_point for int8); a function of the
            node where attributes decide.
        fixed: (scale, zero_point) of an int8 output whose range is known, as for softmax.
        int8: there is an int8 meaning; False keeps the node in float between casts.
        int16: it has kernels on codes of 16 bits, too, which LiteRT has as well; what only moves codes needs none.
        no_int8_form: why a node has none though its operator has; "" where it has one.
        clamps: the int8 kernel computes codes and clamps them to the bits that its output has; others move or look up
            codes that are in range already.
        rounds: the int8 kernel's rounding follows the profile, as that of every layer does.
        passes_channels: per input the channel of the output that its first channel becomes (the others follow in
            order), where scaling channels of the inputs by positive factors scales those of the output alike; None
            where channels do not come through.
        mixes_channels: of a layer with a weight [O, taps, I]: "full" where each output channel sums over all input
            channels, "each" where it takes its own alone, "" where neither.
        finds_largest: its integers are the places of the largest values along attribute `axis`: of classes, by scores.
        table: a unary function of its real input: int8 runs as a 256-entry table.
        mslite: why an int8 graph for MindSpore Lite leaves the node in float: its kernel is missing there or computes
            other codes; "" where it computes the same; a function of the node where that depends on it.
        mslite_close: what its kernel there gives otherwise are roundings alone.
        mslite_static: its kernel there looks at sizes before open ones are known, and refuses.
        addends: (node, weight) → a view [..., K] of the weight whose rows are what one sum of products takes, in the
            order in which integer kernels take them; None where they multiply and add one by one.
    """

    weight: int | tuple[int, ...] | None = None
    axis: int | Callable[[Node], int | None] | None = 0
    bias: int | None = None
    conv_family: bool = False
    output: str | Callable[[Node], str] = "own"
    fixed: tuple[float, int] | None = None
    int8: bool = True
    int16: bool = False
    no_int8_form: Callable[[Node], str] | None = None
    finds_largest: bool = False
    table: bool = False
    clamps: bool = False
    rounds: bool = False
    passes_channels: Callable[[Node], Sequence[int] | None] | None = None
    mixes_channels: Callable[[Node], str] | None = None
    mslite: str | Callable[[Node], str] = "left in float for the real runtime"
    mslite_close: bool = False
    mslite_static: bool = False
    addends: Callable[[Node, np.ndarray], np.ndarray | None] | None = None

    @property
    def weights(self) -> tuple[int, ...]:
        return () if self.weight is None else self.weight if isinstance(self.weight, tuple) else (self.weight,)

    @property
    def bias_index(self) -> int:
        """Index of the bias input. Raises GraphError where the row names none."""
        if self.bias is None:
            raise GraphError("an operator with a quantized weight and no input for a bias")
        return self.bias

    def channel_axis(self, node: Node) -> int | None:
        """The weight's output-channel axis at this node, counted from the front; None per tensor."""
        axis = self.axis(node) if callable(self.axis) else self.axis
        w = node.input(self.weights[0]) if self.weights else None
        return axis + w.rank if axis is not None and axis < 0 and w is not None and w.rank else axis

    def output_of(self, node: Node) -> str:
        """The case of `output` at this node."""
        return self.output(node) if callable(self.output) else self.output

    def preserves_qparams(self, node: Node) -> bool:
        """Whether the node's output has its input's scale and zero point."""
        return self.output_of(node) in ("same", "within")

    def foreign_to_mslite(self, node: Node) -> str:
        """The reason of `mslite` at this node."""
        return self.mslite(node) if callable(self.mslite) else self.mslite


@dataclass(frozen=True)
class Case:
    """One example of an operator, run by every generic test.

    Args:
        inputs: per input a shape (random float32), an array (a constant), or None (absent).
        attrs: attributes that differ from the row's defaults.
        const: indices of the shapes that are constants (weights) rather than graph inputs.
        tolerance: of the output's range, for comparisons between float implementations.
    """

    inputs: tuple[Any, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    const: tuple[int, ...] = ()
    tolerance: float = 1e-5


@dataclass(frozen=True)
class Op:
    """A row. See the module's docstring for how one is written.

    Args:
        attrs: name → default (REQUIRED when there is none).
        reference: numpy function of the input arrays (None where absent) with the attributes as keywords; returns an
            array or a tuple of arrays. It is the executable definition.
        infer: node → dtype and shape per output, from the inputs' types and whatever of them is constant. May bring
            attributes into their resolved form (pads of a "same" convolution once the spatial shape is known).
        arity: (fewest, most) inputs; most is None when there is no limit.
        kernel: the native step, None when the reference runs it.
        const_inputs: input index → attribute under which the native step takes that input's constant value as a list;
            where it is not constant the reference runs.
        permute: how a transposition of the data moves through, see `passes/permuted_nodes.py`; None when it cannot.
        foldable: may be computed while converting when all inputs are constants.
        known_value: the outputs' values where types alone decide them (Shape of a static tensor), else None.
        integer: the reference for stored integers, `function(node, arrays) → arrays`, or None where the generic meaning
            (dequantize, compute, quantize) is the definition; see `execute.py`.
    """

    name: str
    attrs: dict[str, Any]
    reference: Callable[..., Any]
    infer: Callable[[Node], Inferred]
    arity: tuple[int, int | None]
    outputs: int | None = 1
    kernel: str | None = None
    quant: Quant | None = None
    const_inputs: dict[int, str] = field(default_factory=dict)
    permute: Callable[..., Any] | None = None
    foldable: bool = True
    known_value: Callable[[Node], tuple[np.ndarray, ...] | None] | None = None
    integer: Callable[[Node, Sequence[Any]], Any] | None = None
    cases: tuple[Case, ...] = ()
    writers: dict[str, Callable[..., Any]] = field(default_factory=dict)

    def check(self, node: Node) -> None:
        """Raises GraphError when the node's inputs or attributes are not this row's."""
        low, high = self.arity
        n = len(node.inputs)
        if n < low or (high is not None and n > high):
            raise GraphError(f"{node.name} ({self.name}) has {n} inputs, allowed are {low} to {high or 'any number'}")
        unknown = [k for k in node.attrs if k not in self.attrs]
        missing = [k for k in self.attrs if k not in node.attrs]
        if unknown or missing:
            what = f"unknown attribute {unknown[0]!r}" if unknown else f"no attribute {missing[0]!r}"
            raise GraphError(f"{node.name} ({self.name}) has {what}")
        for key, default in self.attrs.items():
            kind = _KINDS.get(type(default))
            if kind is not None and not isinstance(node.attrs[key], kind):
                what = f"attribute {key!r} is {node.attrs[key]!r}, allowed are values like {default!r}"
                raise GraphError(f"{node.name} ({self.name}): {what}")


_KINDS: dict[type, type | tuple[type, ...]] = {
    bool: (bool, np.bool_, numbers.Integral),
    int: numbers.Integral,
    float: numbers.Real,
    str: str,
    list: (list, tuple),
}
"""What an attribute may be, by its default; a default of None or REQUIRED says nothing."""

ARITHMETIC = (ValueError, IndexError, ZeroDivisionError, OverflowError, MemoryError)
"""What numpy says to sizes, axes and values that do not belong together: the check that a shape rule and a reference
are themselves. A TypeError, KeyError, AttributeError or AssertionError is no such answer, but a bug."""


@contextlib.contextmanager
def computing(node: Node) -> Iterator[None]:
    """Raises what numpy rejects while a row's function computes the node as a GraphError that names the node."""
    try:
        yield
    except ARITHMETIC as error:
        shapes = [None if t is None else t.shape for t in node.inputs]
        raise GraphError(
            f"{node.name} ({node.op}): inputs of shapes {shapes} and attributes do not fit together: {error}"
        ) from error


OPS: dict[str, Op] = {}
READERS: dict[str, dict[str, Callable[..., Any]]] = {name: {} for name in ("tflite", "onnx", "ms", "mindir", "caffe")}


def op(
    name: str,
    *,
    attrs: dict[str, Any] | None = None,
    infer: Callable[[Node], Inferred],
    arity: int | tuple[int, int | None] = 1,
    outputs: int | None = 1,
    kernel: str | None = None,
    quant: Quant | None = None,
    const_inputs: dict[int, str] | None = None,
    permute: Callable[..., Any] | None = None,
    foldable: bool = True,
    known_value: Callable[[Node], tuple[np.ndarray, ...] | None] | None = None,
    integer: Callable[[Node, Sequence[Any]], Any] | None = None,
    cases: Sequence[Case] = (),
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declares a row; the decorated function is its reference. See `Op`."""

    def declare(reference: Callable[..., Any]) -> Callable[..., Any]:
        if name in OPS:
            raise GraphError(f"operator {name} is declared twice")
        span = (arity, arity) if isinstance(arity, int) else arity
        OPS[name] = Op(
            name=name,
            attrs=attrs or {},
            reference=reference,
            infer=infer,
            arity=span,
            outputs=outputs,
            kernel=kernel,
            quant=quant,
            const_inputs=const_inputs or {},
            permute=permute,
            foldable=foldable,
            known_value=known_value,
            integer=integer,
            cases=tuple(cases),
        )
        return reference

    return declare


def reads(container: str, *names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declares how a container's operators become IR: `function(r: Reading) -> Tensor | sequence of Tensor`.

    ONNX names are bare for the default domain and "domain::Name" otherwise.
    """

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            if READERS[container].setdefault(name, function) is not function:
                raise GraphError(f"{container} operator {name} is read twice")
        return function

    return declare


def writes(container: str, *names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declares how IR operators become a container's: `function(w: Writing, node) -> None`; the rows stand above."""

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            if OPS[name].writers.setdefault(container, function) is not function:
                raise GraphError(f"{name} is written to {container} twice")
        return function

    return declare


def row(name: str) -> Op:
    """The row of an IR operator. Raises GraphError when there is none."""
    definition = OPS.get(name)
    if definition is None:
        raise GraphError(
            f"there is no operator {name!r}" if OPS else "no row is declared: converter.ops is not imported"
        )
    return definition


def reader(container: str, name: str) -> Callable[..., Any] | None:
    """What reads a container's operator, None where nothing does."""
    return READERS[container].get(name)


def unread(what: str, *, file: str, node: str, hint: str = "") -> UnsupportedError:
    """The error of a file whose operator no row reads. what: "operator Foo"."""
    return UnsupportedError(
        f"{what} is not read", file=file, node=node, hint=(hint, Setting("check"), ", which lists every operator")
    )


def quant_spec(node: Node) -> Quant:
    """How the node is quantized; that of an operator which never is where its row has no such cell."""
    return row(node.op).quant or Quant(int8=False)


def infer(node: Node) -> Inferred:
    """Output types of a node by its row. Raises GraphError where inputs and attributes do not belong together."""
    with computing(node):
        return row(node.op).infer(node)


def evaluate(node: Node, arrays: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
    """Runs the node's numpy reference on reals; quantized integers must be given as what they stand for.

    Raises:
        GraphError: the values and attributes do not belong together.
    """
    with computing(node):
        result = row(node.op).reference(*arrays, **node.attrs)
    return tuple(np.asarray(a) for a in result) if isinstance(result, (tuple, list)) else (np.asarray(result),)


__all__ = [
    "ARITHMETIC",
    "OPS",
    "READERS",
    "REQUIRED",
    "Case",
    "Graph",
    "Inferred",
    "Node",
    "Op",
    "Quant",
    "Shape",
    "Tensor",
    "computing",
    "evaluate",
    "infer",
    "op",
    "reader",
    "reads",
    "row",
    "writes",
]
