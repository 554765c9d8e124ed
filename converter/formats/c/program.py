"""A graph as the steps of a C program: which kernels run on which memory with which arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import UnsupportedError
from ...ir import Graph, Tensor
from ...schema.writing import Emitted
from ..operators import write_operators
from . import arena
from .names import Identifiers, comment, identifier
from .values import TYPES, array_type

_LAYER = 32  # characters of a layer's name in that of its constants
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Port:
    """An input or output of the generated function: its C name, and the name of its macros."""

    tensor: Tensor
    name: str
    macro: str

    @property
    def type(self) -> str:
        return TYPES[self.tensor.dtype.name]


@dataclass
class Program:
    """What is written.

    Attributes:
        name: C identifier that all public names begin with. title: the model's name, for comments.
        constants: C name → values, in the order in which steps use them.
        kernels: names of kernels that steps call, in order of first use. rounding: "rne_f32" or "gemmlowp".
    """

    name: str
    title: str
    rounding: str
    inputs: list[Port]
    outputs: list[Port]
    steps: list[Emitted]
    memory: arena.Memory
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    kernels: list[str] = field(default_factory=list)
    arguments: list[Mapping[str, Any]] = field(default_factory=list)
    _places: dict[Tensor, str] = field(default_factory=dict)
    _stored: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)

    def place(self, t: Tensor, offset: int = 0) -> str:
        """A pointer to the value, `offset` elements in."""
        owner = self.memory.owner(t)
        base = self._places.get(owner)
        kind = TYPES[t.dtype.name]
        if base is None:
            at = self.memory.offsets[owner] + offset * t.dtype.itemsize
            return f"({kind} *)(memory.bytes + {at})" if kind != "int8_t" else f"memory.bytes + {at}"
        return f"{base} + {offset}" if offset else base

    def store(self, values: np.ndarray, wish: str, names: Identifiers) -> str:
        """The C name of a constant; values that are there already are not stored again."""
        values = np.ascontiguousarray(values)
        key = (array_type(values), values.shape[1:] if values.ndim == 2 else (), values.tobytes())
        if key not in self._stored:
            self._stored[key] = names.take(wish, f"{self.name}_")
            self.constants[self._stored[key]] = values
        return self._stored[key]


def program_of(graph: Graph, name: str) -> Program:
    """Lowers a graph.

    Raises:
        UnsupportedError: an operator, a type or a size has no form in C.
    """
    _check(graph)
    writing = write_operators(graph, "c")
    steps = _with_copies(graph, _needed(writing.emitted, graph.outputs))
    names = Identifiers()
    inputs = _ports(graph.inputs, "input", names)
    outputs = _ports(graph.outputs, "output", names)
    memory = arena.plan(steps, graph.inputs, graph.outputs)
    prefix = identifier(name)
    program = Program(
        prefix, comment(graph.name or name), graph.meta.get("rounding", "rne_f32"), inputs, outputs, steps, memory
    )
    for port in (*inputs, *outputs):
        program._places[memory.owner(port.tensor)] = port.name
    for step in steps:
        _add(program, step, names)
    return program


def _check(graph: Graph) -> None:
    if graph.states:
        name = graph.state_pairs[0][0].name
        raise UnsupportedError(f"it keeps states from run to run ({name!r} first), which C code does not")
    values = (*graph.inputs, *(t for node in graph.nodes for t in node.outputs))
    for t in values:
        if 0 in t.static_shape:
            raise UnsupportedError(f"{t.name!r} has shape {t.shape}, and C has no arrays of nothing")
    for t in (*graph.inputs, *graph.outputs):
        if t.dtype.name not in TYPES:
            raise UnsupportedError(f"{t.name!r} is {t.dtype}; C code takes and gives {', '.join(TYPES)}")
    if (widest := max((t.nbytes for t in values), default=0)) > _MOST_BYTES:
        raise UnsupportedError(f"a value of {widest >> 20} MB is beyond the 32-bit offsets of C code")


def _needed(emitted: Sequence[Emitted], outputs: Sequence[Tensor]) -> list[Emitted]:
    """Steps whose results somebody reads: a cast that a layer behind it does itself is none."""
    wanted, kept = set(outputs), []
    for step in reversed(emitted):
        if any(t in wanted for t in step.outputs):
            wanted.update(t for t in step.inputs if t is not None)
            kept.append(step)
    return kept[::-1]


def _with_copies(graph: Graph, steps: list[Emitted]) -> list[Emitted]:
    """The steps with a copy where an output would be the memory of an input, a constant or another output."""
    source: dict[Tensor, Tensor] = {}
    for step in steps:
        if step.op == "view":
            x = step.required(0)
            source[step.outputs[0]] = source.get(x, x)
    taken = set(graph.inputs)
    for y in graph.outputs:
        owner = source.get(y, y)
        if owner in taken or owner.is_const:
            for step in steps:
                if step.op == "view" and step.outputs[0] is y:
                    step.op, step.fields = "memcpy", {}
            if owner is y:
                raise UnsupportedError(
                    f"output {y.name!r} is an input or a constant; C code needs one that is computed"
                )
        taken.add(owner)
    return steps


def _ports(tensors: Sequence[Tensor], kind: str, names: Identifiers) -> list[Port]:
    several = len(tensors) > 1
    return [
        Port(t, names.take(t.name), f"{kind.upper()}_{i}" if several else kind.upper()) for i, t in enumerate(tensors)
    ]


def _add(program: Program, step: Emitted, names: Identifiers) -> None:
    """Stores what the step reads: constants among its inputs and arguments."""
    for t in step.inputs:
        if t is not None and t.is_const and t not in program._places:
            program._places[t] = program.store(t.value, t.name, names)
    stored = {
        key: program.store(value, f"{identifier(step.name)[:_LAYER]}_{key}", names)
        if isinstance(value, np.ndarray)
        else value
        for key, value in step.fields.items()
    }
    program.arguments.append({key: "NULL" if value is None else value for key, value in stored.items()})
    if step.op not in ("view", "memcpy", *program.kernels):
        program.kernels.append(step.op)
