"""Control flow: If takes its branch, or computes both and chooses; Loop, Scan and TFLite's WHILE are unrolled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import Error, ModelError, Setting, UnsupportedError
from ..ir import Node, Tensor
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads
from ..schema.reading import Reading
from ._support.integer import same_codes
from ._support.types import fail, value_dtype
from .recurrent.tflite_loop import read_tflite_loop

_MOST_ROUNDS = 1024
_MOST_NODES = 50_000


def _truth(t: Tensor | None) -> bool | None:
    """A constant condition; None where it is computed while running."""
    return None if t is None or t.data is None or t.data.size != 1 else bool(t.data.reshape(-1)[0])


def _infer_assert(node: Node) -> Inferred:
    x, condition = node.required(0), node.required(1)
    if condition.dtype != np.bool_:
        fail(node, f"the condition must be boolean, not {condition.dtype}")
    return [(value_dtype(x), x.shape)]


def _checked(x: np.ndarray, condition: np.ndarray, *, expected: bool, message: str) -> np.ndarray:
    if condition.size != 1 or bool(condition.reshape(-1)[0]) is not expected:
        raise ValueError(message)
    return x


@op(
    "Assert",
    attrs={"expected": True, "message": REQUIRED},
    infer=_infer_assert,
    arity=2,
    quant=Quant(output="same"),
    integer=same_codes(_checked),
    foldable=False,
    cases=[Case(((2, 3), np.array(True)), {"message": "false"})],
)
def assert_(x: np.ndarray, condition: np.ndarray, *, expected: bool, message: str) -> np.ndarray:
    """x, if the one boolean is `expected`; a ValueError with the message otherwise."""
    return _checked(x, condition, expected=expected, message=message)


@reads("onnx", "If")
def read_onnx_if(r: Reading) -> list[Tensor]:
    return _chosen(r, *(_part(r, r.attr(f"{side}_branch")) for side in ("then", "else")))


@reads("tflite", "IF")
def read_tflite_if(r: Reading) -> list[Tensor]:
    given = [r.input(i) for i in range(1, len(r.inputs))]
    return _chosen(r, *(_part(r, r.attr(f"{side}_subgraph_index", 0), given) for side in ("then", "else")))


def _part(r: Reading, *of: Any) -> Callable[[], list[Tensor]]:
    return lambda: r.subgraph(*of)


def _chosen(r: Reading, then: Callable[[], list[Tensor]], otherwise: Callable[[], list[Tensor]]) -> list[Tensor]:
    """A constant condition takes its branch. Otherwise both are computed, and where their types agree one is chosen.

    Of two branches one may be made for other sizes than the inputs have: then the other is computed, and a run whose
    condition asks for the one that does not fit fails.
    """
    condition = r.input(0)
    known = _truth(condition)
    if known is not None:
        return then() if known else otherwise()
    branches = [_branch(r, then), _branch(r, otherwise)]
    yes, no = branches
    if isinstance(yes, Error) and isinstance(no, Error):
        raise yes
    if isinstance(yes, Error):
        return _only(r, condition, no, yes, expected=False)
    if isinstance(no, Error):
        return _only(r, condition, yes, no, expected=True)
    for a, b in zip(yes, no):
        if a.dtype != b.dtype or a.shape is None or None in a.shape or a.shape != b.shape:
            r.refuse(
                f"its branches give {a.dtype}{a.shape} and {b.dtype}{b.shape}, chosen while running",
                hint=(Setting("input_shape"), _sizes_wanted(r)),
            )
    if condition.shape != ():
        condition = r.emit("Reshape", condition, r.constant(np.zeros(0, np.int64)))
    return [r.emit("Where", condition, a, b) for a, b in zip(yes, no)]


def _sizes_wanted(r: Reading) -> str:
    """What a condition may follow from: the open sizes of the model's inputs."""
    open_ended = [t.type_text() + f" {t.name!r}" for t in r.build.graph.inputs if not t.is_static]
    return f" with all sizes of {', '.join(open_ended)}" if open_ended else ", if the condition follows from sizes"


def _branch(r: Reading, read: Callable[[], list[Tensor]]) -> Any:
    """What the branch gives, or the error that says why it cannot be read."""
    try:
        with r.build.attempt():
            return read()
    except (ModelError, UnsupportedError) as error:
        return error


def _only(r: Reading, condition: Tensor, results: list[Tensor], why: Error, *, expected: bool) -> list[Tensor]:
    """The results of the one branch that can be read, where the condition asks for it."""
    reason = str(why).removeprefix(f"{r.file}: ")
    needed = f"{_text(r, condition)} must be {str(expected).lower()}: the other branch cannot be read ({reason})"
    return [r.emit("Assert", t, condition, expected=expected, message=needed) for t in results]


def _text(r: Reading, condition: Tensor) -> str:
    """ "sr == 16000" where the condition compares with one number, else its name."""
    maker = next((n for n in r.build.graph.nodes if condition in n.outputs), None)
    if maker is not None and maker.op == "Equal":
        a, b = maker.inputs
        for t, value in ((a, b), (b, a)):
            if (
                t is not None
                and value is not None
                and t.data is None
                and value.data is not None
                and value.data.size == 1
            ):
                return f"{t.name} == {value.data.reshape(-1)[0]}"
    return f"{condition.name!r}"


def _room(r: Reading, rounds: int, nodes: int) -> None:
    """One more round of so many nodes: refused past the limits on rounds and on nodes of all rounds in the model."""
    r.build.unrolled += nodes + 1
    if rounds > _MOST_ROUNDS or r.build.unrolled > _MOST_NODES:
        r.refuse(f"it is unrolled; at most {_MOST_ROUNDS} rounds and {_MOST_NODES} nodes of all rounds are read")


def _stacked(r: Reading, parts: list[Tensor], axis: int = 0) -> Tensor:
    """One output of each round, side by side along a new axis."""
    if not parts:
        r.refuse("it runs no round, so the shape of what it collects is not known")
    rank = r.rank(parts[0]) + 1
    axis = r.axis(axis, rank)
    wide = [r.emit("ExpandDims", t, axes=[axis]) for t in parts]
    return wide[0] if len(wide) == 1 else r.emit("Concat", *wide, axis=axis)


@reads("onnx", "Loop")
def read_onnx_loop(r: Reading) -> list[Tensor]:
    """Inputs: the most rounds, the first condition, the carried values. Body: (round, condition, values) → (condition,
    values, what is collected). Both the count and every condition must be known while reading."""
    body: Any = r.attr("body")
    most, condition = r.optional(0), r.optional(1)
    if most is not None and most.data is None:
        r.refuse(f"its number of rounds ({most.name!r}) is computed while running")
    count = None if most is None else int(r.const(0).reshape(-1)[0])
    go = True if condition is None else _truth(condition)
    values = [r.input(i) for i in range(2, len(r.inputs))]
    collected: list[list[Tensor]] = [[] for _ in range(len(body.output) - 1 - len(values))]
    rounds = 0
    while go and (count is None or rounds < count):
        # Exporters of a while loop write the largest integer as the count, and the condition ends it.
        _room(r, rounds if condition is not None else max(count or 0, rounds), len(body.node))
        results = r.subgraph(body, [r.constant(rounds, np.int64), r.constant(True, np.bool_), *values])
        go = _truth(results[0])
        values = results[1 : 1 + len(values)]
        for entry, t in zip(collected, results[1 + len(values) :]):
            entry.append(t)
        rounds += 1
    if go is None:
        r.refuse("its condition is computed while running")
    wanted = len(r.outputs) - len(values)
    return [*values, *(_stacked(r, parts) for parts in collected[: max(wanted, 0)])]


@reads("onnx", "Scan")
def read_onnx_scan(r: Reading) -> list[Tensor]:
    """Inputs: carried values, then what is cut into an entry per round. Body: (values, entries) → (values, entries)."""
    if r.version < 9:
        r.refuse("Scan of opset 8 (with a batch axis) is not read")
    body: Any = r.attr("body")
    many = r.attr("num_scan_inputs")
    carried = len(r.inputs) - many
    if many < 1 or carried < 0:
        r.refuse(f"num_scan_inputs={many} does not fit {len(r.inputs)} inputs")
    values, sources = [r.input(i) for i in range(carried)], [r.input(carried + i) for i in range(many)]
    gives = len(body.output) - carried
    axes, backwards = r.attr("scan_input_axes", [0] * many), r.attr("scan_input_directions", [0] * many)
    out_axes, out_backwards = r.attr("scan_output_axes", [0] * gives), r.attr("scan_output_directions", [0] * gives)
    if any(len(v) != many for v in (axes, backwards)) or any(len(v) != gives for v in (out_axes, out_backwards)):
        r.refuse("its axes and directions do not fit its inputs and outputs")
    lengths = set()
    for t, axis in zip(sources, axes):
        rank = r.rank(t)
        if not -rank <= axis < rank:
            r.refuse(f"axis {axis} is not an axis of {t.shape}")
        lengths.add(t.known_shape[axis])
    if len(lengths) != 1 or None in lengths:
        r.refuse(f"the number of its rounds is not known or not one: {lengths}", hint=Setting("input_shape"))
    count = lengths.pop()
    collected: list[list[Tensor]] = [[] for _ in range(gives)]
    for k in range(count):
        _room(r, count, len(body.node))
        at = [r.constant(count - 1 - k if back else k, np.int64) for back in backwards]
        entries = [r.emit("Gather", t, i, axis=axis) for t, i, axis in zip(sources, at, axes)]
        results = r.subgraph(body, [*values, *entries])
        values = results[:carried]
        for parts, t in zip(collected, results[carried:]):
            parts.append(t)
    ordered = [parts[::-1] if back else parts for parts, back in zip(collected, out_backwards)]
    return [*values, *(_stacked(r, parts, axis) for parts, axis in zip(ordered, out_axes))]


@reads("tflite", "WHILE")
def read_tflite_while(r: Reading) -> list[Tensor]:
    """A loop over the steps of a recurrent layer is that layer. Any other is unrolled: each condition must be known
    while reading."""
    layer = read_tflite_loop(r)
    if layer is not None:
        return layer
    test, body = (r.attr(f"{key}_subgraph_index", 0) for key in ("cond", "body"))
    values, rounds = [r.input(i) for i in range(len(r.inputs))], 0
    while go := _truth(r.subgraph(test, values)[0]):
        _room(r, rounds, len(r.subgraph(body, held=True).nodes))
        values = r.subgraph(body, values)
        rounds += 1
    if go is None:
        r.refuse("its condition is computed while running")
    return values
