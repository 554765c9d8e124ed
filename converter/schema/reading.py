"""What a container's operator looks like to the row that reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from ..errors import GraphError, Hint, ModelError, Setting, UnsupportedError
from ..ir import Shape, Tensor
from .builder import Builder
from .op import ARITHMETIC, REQUIRED

# Sizes, axes and pads are few; only a damaged file has more of them than this.
_MOST_INTS = 1 << 16


class Reading:
    """One operator of a container while it becomes IR.

    Attributes:
        op: the container's name of the operator; name: the node's own name (made up where the container has none).
        inputs: its inputs as IR tensors, None where absent. outputs: the declared outputs (name, and dtype, shape,
            quant where the container says them).
        numbers: inputs that are no tensors, by position: a number, a text, None, or a list of such or of tensors.
        options: attribute name → value as the container stores it.
        version: opset (ONNX) or operator version (TFLite).
        subgraph: reads a graph that the operator holds (a body, a branch), → its outputs.
        build: the graph's builder.
    """

    def __init__(
        self,
        op: str,
        name: str,
        inputs: Sequence[Tensor | None],
        outputs: Sequence[Tensor],
        options: dict[str, Any],
        build: Builder,
        *,
        file: str = "",
        version: int = 1,
        subgraph: Callable[..., Any] | None = None,
        numbers: Mapping[int, Any] | None = None,
    ) -> None:
        self.op, self.name, self.inputs, self.outputs = op, name, list(inputs), list(outputs)
        self.options, self.build, self.file, self.version = options, build, file, version
        self.subgraph: Callable[..., Any] = subgraph or self._no_subgraph
        self.numbers = dict(numbers or {})

    def _no_subgraph(self, *_: Any, **__: Any) -> NoReturn:
        self.refuse("operators of this container hold no graphs")

    def input(self, index: int) -> Tensor:
        """A required input."""
        tensor = self.optional(index)
        if tensor is None:
            raise ModelError(f"input {index} is missing", file=self.file, node=f"{self.name} ({self.op})")
        return tensor

    def optional(self, index: int) -> Tensor | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def attr(self, key: str, default: Any = REQUIRED) -> Any:
        """A stored attribute, or `default`; ModelError when it is required and absent."""
        value = self.options.get(key)
        if value is not None:
            return value
        if default is REQUIRED:
            raise ModelError(f"attribute {key!r} is missing", file=self.file, node=f"{self.name} ({self.op})")
        return default

    def arg(self, index: int, key: str, default: Any = REQUIRED) -> Any:
        """What some files have as an attribute and others as an input: a number, a text or a list of numbers."""
        value = self.numbers.get(index)
        if value is None and self.optional(index) is not None:
            array = self.const(index, key)
            if array.size > _MOST_INTS:
                raise ModelError(f"{key!r} has {array.size} elements", file=self.file, node=f"{self.name} ({self.op})")
            value = array.tolist()
        return self.attr(key, default) if value is None else value

    def whole(self, index: int | None, key: str, default: Any = REQUIRED) -> int:
        """An integer, as `arg` has it; of an attribute alone where `index` is None."""
        values = self.wholes(index, key, default)
        if len(values) != 1:
            self._unfit(key, values, "one integer")
        return values[0]

    def text(self, key: str, default: str) -> str:
        """An attribute that is a word."""
        value = self.attr(key, default)
        if not isinstance(value, str):
            self._unfit(key, value, "a text")
        return value

    def wholes(self, index: int | None, key: str, default: Any = REQUIRED) -> list[int]:
        """Integers, one or more; a single one is a list of it. [] only where the default is."""
        value = self.attr(key, default) if index is None else self.arg(index, key, default)
        values = value if isinstance(value, (list, tuple)) else [value]
        if any(not isinstance(v, (int, np.integer)) for v in values) or (not values and value is not default):
            self._unfit(key, value, "integers")
        return [int(v) for v in values]

    def real(self, index: int | None, key: str, default: Any = REQUIRED) -> float:
        """A number, as `whole`."""
        value = self.attr(key, default) if index is None else self.arg(index, key, default)
        if not isinstance(value, (int, float)):
            self._unfit(key, value, "a number")
        return float(value)

    def _unfit(self, key: str, value: Any, wanted: str) -> NoReturn:
        shown = value if isinstance(value, (int, float, str, list, tuple)) else type(value).__name__
        raise ModelError(f"{key!r} is {shown!r} and must be {wanted}", file=self.file, node=f"{self.name} ({self.op})")

    def tensors(self, index: int) -> list[Tensor]:
        """An input that is a list of tensors."""
        value = self.numbers.get(index)
        if not isinstance(value, list) or not value or not all(isinstance(t, Tensor) for t in value):
            raise ModelError(
                f"input {index} must be a list of tensors", file=self.file, node=f"{self.name} ({self.op})"
            )
        return value

    def const(self, index: int, what: str = "") -> np.ndarray:
        """The real value of an input that must be known while reading."""
        tensor = self.input(index)
        if tensor.data is None:
            self.refuse(
                f"{what or f'input {index}'} ({tensor.name!r}) is computed at run time and must be a constant",
                hint=(Setting("input_shape"), " if it follows from a symbolic dimension"),
            )
        return tensor.real()

    def ints(self, index: int, what: str = "") -> list[int]:
        """A constant input (sizes, axes, pads) as a flat list of int."""
        values = self.const(index, what)
        if values.size > _MOST_INTS:
            raise ModelError(
                f"{what or f'input {index}'} has {values.size} elements, and at most {_MOST_INTS} can be meant",
                file=self.file,
                node=f"{self.name} ({self.op})",
            )
        return [int(v) for v in values.reshape(-1)]

    def constant(self, data: Any, dtype: Any = None, name: str = "") -> Tensor:
        return self.build.constant(data, name or f"{self.name}/const", dtype)

    def emit(self, op: str, *inputs: Tensor | None, **attrs: Any) -> Tensor:
        """Appends a node with one output (or more: the first is returned)."""
        return self.emit_many(op, inputs, **attrs)[0]

    def emit_many(self, op: str, inputs: Sequence[Tensor | None], **attrs: Any) -> list[Tensor]:
        """Appends a node and returns all of its outputs."""
        try:
            return self.build.emit(op, inputs, attrs, name=self.name)
        except GraphError as error:
            raise ModelError(str(error), file=self.file, node=f"{self.name} ({self.op})") from error

    def complex(self, re: Tensor, im: Tensor) -> Tensor:
        """What stands for complex numbers of these two parts, of one shape."""
        view = Tensor(self.build.name(f"{self.name}/complex"), np.dtype(np.complex64), re.shape)
        self.build.complex[view] = re, im
        return view

    def parts(self, index: int) -> tuple[Tensor, Tensor]:
        """The real and imaginary parts of an input."""
        x = self.input(index)
        if x not in self.build.complex:
            self.refuse(f"{x.name!r} holds no complex numbers that are read")
        return self.build.complex[x]

    def channels_last(self, x: Tensor) -> Tensor:
        """NC… → N…C for the spatial family."""
        rank = self.rank(x)
        return self._transposed(x, [0, *range(2, rank), 1]) if rank > 2 else x

    def channels_first(self, x: Tensor) -> Tensor:
        """N…C → NC…"""
        rank = self.rank(x)
        return self._transposed(x, [0, rank - 1, *range(1, rank - 1)]) if rank > 2 else x

    def _transposed(self, x: Tensor, perm: list[int]) -> Tensor:
        """A Transpose that leaves the source node's name to the operator itself."""
        return self.build.emit("Transpose", [x], {"perm": perm}, name=f"{self.name}/transpose", origin=(self.name,))[0]

    def permuted(self, x: Tensor, perm: Sequence[int]) -> Tensor:
        """x with its axes in the order `perm`: of a constant a lazy view (the same one each time), else a Transpose."""
        if list(perm) == list(range(len(perm))):
            return x
        return self.build.permuted(x, tuple(perm)) if x.is_const else self.emit("Transpose", x, perm=list(perm))

    def rank(self, x: Tensor) -> int:
        if x.shape is None:
            self.refuse(f"the rank of {x.name!r} is not known", hint=Setting("input_shape", "name:dims"))
        return len(x.shape)

    def axis(self, axis: int, rank: int) -> int:
        """`axis`, which may count from the end, counted from the front of `rank` axes; refuses one outside."""
        if not isinstance(axis, int) or not -rank <= axis < rank:
            self.refuse(f"axis {axis} is outside {-rank}..{rank - 1}")
        return axis % rank

    def refuse(self, reason: str, hint: Hint = "") -> NoReturn:
        """The operator is well formed, and not read."""
        raise UnsupportedError(reason, hint=hint, file=self.file, node=f"{self.name} ({self.op})")


class InputShapes:
    """Sizes that a user asks for graph inputs, by name or by position; -1 leaves one as the file has it."""

    def __init__(self, given: Mapping[Any, Sequence[int]] | None, file: str) -> None:
        self._left, self._file, self._names = dict(given or {}), file, []

    def take(self, name: str, shape: Shape | None) -> Shape | None:
        """The shape of the next input, called `name`, which the file declares as `shape`. Raises ModelError."""
        key = name if name in self._left else len(self._names)
        self._names.append(name)
        wanted = self._left.pop(key, None)
        if wanted is None:
            return shape
        if shape is not None and len(wanted) != len(shape):
            known = ["?" if d is None else d for d in shape]
            raise ModelError(f"input {name!r} is {known}, and {list(wanted)} is asked for", file=self._file)
        return tuple((shape[i] if shape else None) if d == -1 else d for i, d in enumerate(wanted))

    def finish(self) -> None:
        """Raises ModelError when a shape was given for what is no input."""
        for key in self._left:
            what = f"no input is named {key!r}" if isinstance(key, str) else f"there is no input {key}"
            raise ModelError(f"{what}; its inputs are {self._names}", file=self._file)


def read_operator(reading: Reading, function: Callable[[Reading], Any]) -> list[Tensor]:
    """Runs a row's reader and gives its results the declared outputs' names. Returns one tensor per declared output."""
    first = len(reading.build.graph.nodes)
    try:
        given = function(reading)
    except GraphError as error:
        raise ModelError(str(error), file=reading.file, node=f"{reading.name} ({reading.op})") from error
    except ARITHMETIC as error:
        raise ModelError(
            f"its inputs and attributes do not fit together: {error}",
            file=reading.file,
            node=f"{reading.name} ({reading.op})",
        ) from error
    results = [given] if isinstance(given, Tensor) else list(given)
    if len(results) < len(reading.outputs):
        reading.refuse(f"output {len(results)} ({reading.outputs[len(results)].name!r}) is not produced")
    graph = reading.build.graph
    names = (reading.name, *(node.name for node in graph.nodes[first:]))
    graph.meta.setdefault("operators", {}).update(dict.fromkeys(names, reading.op))
    fresh = {t for node in graph.nodes[first:] for t in node.outputs}
    for tensor, declared in zip(results, reading.outputs):
        # The plain integers of codes are seldom read, so that a name of theirs would be lost.
        codes = reading.build.codes.get(tensor)
        tensor = codes if codes in fresh else tensor
        if tensor in fresh and declared.name:
            tensor.name = reading.build.rename(tensor.name, declared.name)
            fresh.discard(tensor)
            if declared.quant is not None:
                tensor.quant, tensor.dtype = declared.quant, declared.dtype
                try:
                    tensor.check_quant()
                except GraphError as error:
                    raise ModelError(str(error), file=reading.file, node=f"{reading.name} ({reading.op})") from error
    return results[: len(reading.outputs)]


def undefined(name: str, file: str) -> ModelError:
    """A tensor is read that is neither a graph input, nor a constant, nor produced by an earlier operator."""
    return ModelError(f"tensor {name!r} is read before anything produces it", file=file)


def name_outputs(build: Builder, ends: Sequence[tuple[str, Tensor]]) -> list[Tensor]:
    """The graph's outputs under the names that the file declares: what is also a constant, another output or
    an input of another name passes through an Identity.
    """
    outputs: list[Tensor] = []
    taken = set(build.graph.inputs)
    for name, tensor in ends:
        if tensor in build.graph.inputs and tensor.name == name and tensor not in outputs:
            outputs.append(tensor)  # an input handed on under its own name
            continue
        if tensor in taken or tensor.is_const:
            if tensor.is_const and tensor.name == name:
                tensor.name = build.name(f"{name}/value")
                build.reserve((name,), anew=True)
            tensor = build.emit("Identity", [tensor], name=f"{name}/identity", fold=False)[0]
        if tensor.name != name:
            tensor.name = build.rename(tensor.name, name)
        taken.add(tensor)
        outputs.append(tensor)
    return outputs
