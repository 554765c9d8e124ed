"""A model ready to run: `Session.run({name: array}) → {name: array}` on every format alike."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..converter.errors import DataError, GraphError
from ..converter.ir import Graph, Node, Tensor
from ..converter.ir.limits import TENSOR, size_of
from ..converter.numeric.qparams import QuantParam
from ..converter.schema.builder import specialize
from ..converter.schema.rebatch import batch_of, rebatch
from ..converter.text import html_table
from .plan import Plan

_PLANS_KEPT = 8
_BYTES_KEPT = 512 << 20  # of their scratch memory
_NO_ROOM = "a run needs more memory than there is"


@dataclass(frozen=True)
class Port:
    """An input or output: `shape` has None where the model leaves a size open; `layout` is what the file declares."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: np.dtype
    layout: str = ""
    quant: QuantParam | None = None

    @classmethod
    def of(cls, t: Tensor) -> Port:
        return cls(t.name, t.shape, t.dtype, t.layout, t.quant)


class Session:
    """Runs a graph. Several threads may call `run` at once; the GIL is released while kernels run.

    A streaming model keeps its states from run to run in the session, each session its own; `reset` starts anew. Its
    runs follow one another, whatever the thread.

    Args:
        graph: the IR; not changed.
        threads: the most that one run uses, ≥ 1.
        isa: the highest instruction set to use, instead of BITLITE_ISA and the best there is.
        keep_packed: weight-only quantized matrices of fully connected layers stay packed in memory: smaller, and faster
            for a few rows at a time; slower for many.
    Raises:
        DataError: threads is not a positive number.
    """

    def __init__(self, graph: Graph, threads: int = 1, isa: str = "", keep_packed: bool = False) -> None:
        if not isinstance(graph, Graph):
            hint = "bitlite.load(path) for a file, bitlite.read(path) for its graph"
            raise DataError(f"a Session runs a Graph, not {type(graph).__name__} {str(graph)[:80]!r}", hint=hint)
        if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 1024:
            raise DataError(f"threads={threads!r}, allowed are 1 to 1024")
        self.graph, self.threads, self._isa, self.keep_packed = graph, threads, isa, keep_packed
        states = graph.state_pairs
        self.inputs = tuple(Port.of(t) for t in graph.inputs[: len(graph.inputs) - len(states)])
        self.outputs = tuple(Port.of(t) for t in graph.outputs[: len(graph.outputs) - len(states)])
        self._input_names = [p.name for p in self.inputs]
        self._output_names = [p.name for p in self.outputs]
        self._names = tuple(self._input_names), tuple(self._output_names)
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._states: list[np.ndarray] = []
        self.reset()
        self._plans: dict[tuple[tuple[int, ...], ...], Plan] = {}
        self._fast: Any = None
        self._default: Plan | None = None
        # Inputs of a size that nobody may ever feed are planned for when somebody does.
        if all(t.is_static and size_of(t.shape, t.dtype.itemsize) <= TENSOR for t in graph.inputs):
            self._default = self._plan(tuple(t.static_shape for t in graph.inputs))
            if self._default.whole is not None and not states:
                self._fast = self._default.whole.run_exact

    def __repr__(self) -> str:
        ends = (", ".join(f"{p.name}: {p.dtype}{_shown(p)}" for p in ports) for ports in (self.inputs, self.outputs))
        return f"Session({self.graph.name!r}, {' → '.join(ends)}, threads={self.threads})"

    def _repr_html_(self) -> str:
        """What a notebook shows: inputs and outputs, then operators and how many of them run through numpy."""
        ports = [("input", p) for p in self.inputs] + [("output", p) for p in self.outputs]
        rows = [(kind, p.name, p.dtype, _shown(p), p.layout) for kind, p in ports]
        slow = len(self.refusals)
        caption = f"{self.graph.name}: {len(self.graph.nodes)} operators{f', {slow} through numpy' if slow else ''}"
        return html_table(f"{caption}, threads={self.threads}", ("", "name", "type", "shape", "layout"), rows)

    @property
    def refusals(self) -> dict[str, str]:
        """Node name → why it runs through numpy rather than a native kernel."""
        return dict(self._default.refusals) if self._default else {}

    @property
    def dequantized(self) -> dict[str, str]:
        """With keep_packed: node name → why its quantized weight is held as floats."""
        return dict(self._default.dequantized) if self._default else {}

    @property
    def arena_bytes(self) -> int:
        """Bytes of scratch memory of one run at the declared shapes."""
        return self._default.arena_bytes if self._default else 0

    def reset(self) -> None:
        """Puts the states of a streaming model back to what they are before the first run."""
        with self._turn:
            self._states = list(self.graph.states)

    def run(self, feeds: Mapping[str, Any] | np.ndarray) -> dict[str, np.ndarray]:
        """Runs once.

        Args:
            feeds: input name → array in the layout that the file declares; a bare array when there is one input. Sizes
                may differ from the declared ones where the graph permits. Where only the number of samples does (0
                as well), each sample gives what it gives alone; not so with DynamicQuant, whose scales are of all
                samples of a run.
        Returns:
            output name → array.
        Raises:
            DataError: a name is missing or unknown, or an array does not fit, naming what is expected.
        """
        if self._fast is not None:
            try:
                outputs = self._fast(feeds, *self._names)
            except (MemoryError, IndexError) as error:
                raise _unrunnable(error) from error
            if outputs is not None:
                return outputs
        with _told():
            arrays = self._arrays(feeds)
            return dict(zip(self._output_names, self._advance(arrays)))

    def bind(self, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> Bound:
        """Binds arrays to the graph: each `Bound.run()` reads the inputs and fills the outputs, without a copy.

        The arrays must be C-contiguous, of the exact dtypes; outputs must be writable and overlap nothing. Models with
        states cannot be bound.

        Raises:
            DataError: they are not, or the graph cannot run with them.
        """
        if self._states:
            raise DataError("a model with states keeps them in run(); it cannot be bound")
        with _told():
            arrays = self._arrays(inputs)
        if any(a is not inputs[n] for a, n in zip(arrays, self._input_names)):
            raise DataError("bound inputs must be C-contiguous arrays of the declared dtypes")
        unknown = set(outputs) ^ set(self._output_names)
        if unknown:
            raise DataError(f"output {unknown.pop()!r}: bind exactly the outputs {self._output_names}")
        plan = self._plan(tuple(a.shape for a in arrays))
        for name, t in zip(self._output_names, plan.graph.outputs):  # a plan may have another name for it
            a = outputs[name]
            if not isinstance(a, np.ndarray) or a.dtype != t.dtype or not a.flags.c_contiguous or not a.flags.writeable:
                raise DataError(f"output {name!r} must be a writable C-contiguous array of {t.dtype}")
            if t.is_static and a.shape != t.shape:
                raise DataError(f"output {name!r} has shape {a.shape}, the model gives {t.shape}")
        targets = [outputs[n] for n in self._output_names]
        others = [*zip(self._input_names, arrays), *zip(self._output_names, targets)]
        for k, (name, target) in enumerate(zip(self._output_names, targets)):
            for other, array in others[: len(arrays) + k]:
                if np.may_share_memory(target, array):  # exact for contiguous arrays
                    raise DataError(f"output {name!r} and {other!r} overlap in memory", hint="arrays of their own")
        return Bound(plan, arrays, targets)

    def profile(self, feeds: Mapping[str, Any] | np.ndarray) -> list[tuple[str, str, int]]:
        """Runs once, measuring: (node name, operator, nanoseconds) per executed node, in order."""
        spent: list[tuple[str, str, int]] = []

        def note(node: Node, ns: int) -> None:
            spent.append((node.name, node.op, int(ns)))

        with _told():
            arrays = self._arrays(feeds)
            self._advance(arrays, note)
        return spent

    def _advance(
        self, arrays: Sequence[np.ndarray], note: Callable[[Node, int], None] | None = None
    ) -> list[np.ndarray]:
        """Runs once, and keeps the states."""
        if not self._states:
            return self._plan(tuple(a.shape for a in arrays)).run(arrays, note)
        with self._turn:
            if all(a.shape[:1] == (0,) for a in arrays):  # nothing is streamed: the states stay
                given = [*arrays, *(a[:0] for a in self._states)]
                return self._plan(tuple(a.shape for a in given)).run(given, note)[: len(self._output_names)]
            given = [*arrays, *self._states]
            results = self._plan(tuple(a.shape for a in given)).run(given, note)
            # An output may be a view of an input, which its owner changes.
            self._states = [np.array(a) for a in results[len(self._output_names) :]]
        return results[: len(self._output_names)]

    def _arrays(self, feeds: Mapping[str, Any] | np.ndarray) -> list[np.ndarray]:
        if isinstance(feeds, np.ndarray):
            if len(self.inputs) != 1:
                raise DataError(f"the model has {len(self.inputs)} inputs, give a dict with {self._input_names}")
            feeds = {self._input_names[0]: feeds}
        if not isinstance(feeds, Mapping):
            raise DataError(f"inputs are a dict name → array, not {type(feeds).__name__}; names: {self._input_names}")
        unknown = [n for n in feeds if n not in self._input_names]
        missing = [n for n in self._input_names if n not in feeds]
        if unknown or missing:
            what = f"no input is named {unknown[0]!r}" if unknown else f"input {missing[0]!r} is missing"
            raise DataError(f"{what}; the model's inputs are {self._input_names}")
        return [_fit(port, feeds[port.name]) for port in self.inputs]

    def _keep(self, shapes: tuple[tuple[int, ...], ...], plan: Plan) -> None:
        """Keeps the plan for runs to come, in place of the oldest; one whose memory is beyond what is kept is not."""
        if plan.arena_bytes > _BYTES_KEPT:
            return
        kept = [*self._plans.items(), (shapes, plan)][-_PLANS_KEPT:]
        while sum(p.arena_bytes for _, p in kept) > _BYTES_KEPT:
            kept.pop(0)
        self._plans = dict(kept)

    def _plan(self, shapes: tuple[tuple[int, ...], ...]) -> Plan:
        plan = self._plans.get(shapes)
        if plan is not None:
            return plan
        with self._lock:
            plan = self._plans.get(shapes)
            if plan is None:
                try:
                    fixed = self._fixed({t.name: s for t, s in zip(self.graph.inputs, shapes)})
                    meta = self.graph.meta
                    plan = Plan(fixed, self.threads, meta.get("rounding", "rne_f32"), self._isa, self.keep_packed)
                except GraphError as error:
                    given = ", ".join(f"{t.name} {list(s)}" for t, s in zip(self.graph.inputs, shapes))
                    raise DataError(f"the graph cannot run with {given}: {error}") from error
                self._keep(shapes, plan)
        return plan

    def _fixed(self, shapes: dict[str, tuple[int, ...]]) -> Graph:
        """The graph for these shapes; see `run` of other numbers of samples."""
        batch = batch_of(self.graph, shapes)
        if batch is not None:
            with contextlib.suppress(GraphError):
                return rebatch(self.graph, shapes, batch)
        return specialize(self.graph, shapes)


@dataclass(frozen=True)
class Bound:
    """Arrays bound to a plan; see `Session.bind`."""

    _plan: Plan
    _inputs: Sequence[np.ndarray]
    _outputs: Sequence[np.ndarray]

    def run(self) -> None:
        """Reads the inputs as they are now and fills the outputs.

        Raises:
            DataError: a value cannot be run on, or an array was changed in shape or made read-only since it was bound.
        """
        if self._plan.whole is None:
            self._run_parts()
            return
        try:
            self._plan.whole.run_into(self._inputs, self._outputs)
        except ValueError as error:
            raise DataError(f"a bound array has changed: {error}") from error
        except (MemoryError, IndexError) as error:
            raise _unrunnable(error) from error

    def _run_parts(self) -> None:
        for t, array in zip(self._plan.graph.inputs, self._inputs):
            if array.shape != t.shape:
                raise DataError(f"a bound array has changed: {t.name}: shape {array.shape}, expected {t.shape}")
        with _told():
            values = self._plan.run(self._inputs)
        for t, target, value in zip(self._plan.graph.outputs, self._outputs, values):
            if target.shape != value.shape or not target.flags.writeable:
                actual = f"shape {target.shape}, expected {value.shape}"
                actual = actual if target.flags.writeable else "not writable"
                raise DataError(f"a bound array has changed: {t.name}: {actual}")
            target[...] = value


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What running says of memory, values and sizes, as a DataError."""
    try:
        yield
    except (MemoryError, IndexError) as error:
        raise _unrunnable(error) from error
    except GraphError as error:
        raise DataError(f"the graph cannot run on these values: {error}") from error


def _unrunnable(error: MemoryError | IndexError) -> DataError:
    """What a program says of memory or of an index among its values."""
    if isinstance(error, MemoryError):
        return DataError(_NO_ROOM)
    return DataError(f"the model cannot run on these values: {error}")


def _shown(port: Port) -> str:
    return "" if port.shape is None else str(["?" if d is None else d for d in port.shape]).replace("'", "")


def _fit(port: Port, value: Any) -> np.ndarray:
    """The value as a C-contiguous array of the port's dtype and rank. Raises DataError."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(f"input {port.name!r} is not an array: {error}") from error
    wanted = port.dtype
    if array.dtype != wanted:
        if not np.can_cast(array.dtype, wanted, "same_kind"):
            raise DataError(f"input {port.name!r} has dtype {array.dtype}, the model takes {wanted}")
        array = array.astype(wanted)
    if port.shape is not None and array.ndim != len(port.shape):
        shown = ["?" if d is None else d for d in port.shape]
        raise DataError(f"input {port.name!r} has shape {list(array.shape)}, the model takes {shown}")
    return np.ascontiguousarray(array) if array.ndim else array
