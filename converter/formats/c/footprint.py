"""Flash and RAM of a generated model, told before a linker does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .program import Program
from .values import is_single

_POINTER = 4  # bytes of a pointer, int or float of a 32-bit core
_CALL = 22  # bytes of code that a step takes in the function that calls it


@dataclass(frozen=True)
class Footprint:
    """Bytes on a 32-bit core; code as gcc -O2 makes it for a Cortex-M4 with its float unit.

    library: routines of libgcc and libm that kernels call. buffers: inputs and outputs, which the caller holds.
    """

    weights: int
    arguments: int
    code: int
    library: int
    arena: int
    buffers: int

    @property
    def flash(self) -> int:
        return self.weights + self.arguments + self.code + self.library

    def __str__(self) -> str:
        return (
            f"flash {self.flash:,} bytes (weights {self.weights:,}, code and tables about"
            f" {self.flash - self.weights:,}), RAM {self.arena:,} bytes, and {self.buffers:,} of inputs and outputs"
        )

    def table(self) -> str:
        """The figures as Markdown."""
        rows = [
            ("flash", "weights", self.weights), ("flash", "tables of arguments", self.arguments),
            ("flash", "code, about (gcc -O2, Cortex-M4)", self.code),
            ("flash", "of libgcc and libm, about", self.library), ("RAM", "arena", self.arena),
            ("RAM", "inputs and outputs, the caller's", self.buffers),
        ]  # fmt: skip
        return "\n".join(["| | | bytes |", "|---|---|---|", *(f"| {a} | {b} | {n:,} |" for a, b, n in rows)])


def footprint(program: Program) -> Footprint:
    """What the program takes."""
    code = _CALL * sum(step.op != "view" for step in program.steps)
    gemmlowp = program.rounding == "gemmlowp"
    code += sum(KERNEL_BYTES[kernel][gemmlowp] for kernel in program.kernels)
    used = {step.op for step in program.steps}
    ports = {port.tensor for port in (*program.inputs, *program.outputs)}
    return Footprint(
        weights=sum(-(-values.nbytes // _POINTER) * _POINTER for values in program.constants.values()),
        arguments=sum(_leaves(arguments) for arguments in program.arguments),
        code=code,
        library=sum(size for _, size, users in _LIBRARY if not users.isdisjoint(used)),
        arena=program.memory.size,
        buffers=sum(t.nbytes for t in ports),
    )


def _leaves(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(map(_leaves, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_leaves, value))
    return 8 if isinstance(value, float) and not is_single(value) else _POINTER


# Code of each kernel, by rounding profile (rne_f32, gemmlowp), and what kernels take of libgcc and libm, each once:
# benchmarks/c_code_sizes.py measures both.
KERNEL_BYTES: dict[str, tuple[int, int]] = {
    "add_s8": (336, 1044),
    "average_pool_f32": (736, 736),
    "average_pool_s8": (860, 932),
    "binary_f32": (404, 404),
    "clip_f32": (60, 60),
    "conv_f32": (732, 732),
    "conv_s8": (1700, 1688),
    "conv_s8_f32": (1812, 1812),
    "copy": (212, 212),
    "depthwise_f32": (776, 776),
    "depthwise_s8": (892, 944),
    "dequantize_s8": (84, 84),
    "fill_f32": (24, 24),
    "fill_s8": (12, 12),
    "lookup_s8": (48, 48),
    "max_pool_f32": (548, 548),
    "max_pool_s8": (600, 600),
    "maximum_s8": (152, 152),
    "minimum_s8": (152, 152),
    "mul_s8": (300, 392),
    "quantize_s8": (196, 184),
    "reduce_f32": (152, 152),
    "reduce_s8": (512, 512),
    "requantize_s8": (240, 240),
    "softmax_f32": (292, 292),
    "softmax_s8": (348, 348),
    "unary_f32": (888, 888),
}
_LIBRARY = (
    ("doubles in software", 2108, {"softmax_s8", "average_pool_s8"}),
    ("memcpy", 308, {"copy", "memcpy"}),
    ("memset", 164, {"fill_s8"}),
    ("expf", 656, {"softmax_f32"}),
    ("functions of math.h", 9292, {"unary_f32"}),
)
