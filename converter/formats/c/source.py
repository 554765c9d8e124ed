"""The text of a generated model: header, source, weights and example."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir import Tensor
from .names import comment
from .program import Port, Program
from .values import array_type, elements, initializer, number


def header(program: Program, note: str) -> str:
    """The header of the model."""
    p, upper = program.name, program.name.upper()
    ports = [*program.inputs, *program.outputs]
    wide = max((len(f"{upper}_{port.macro}_ZERO_POINT") for port in ports), default=0)
    lines = [
        f"/* {note}",
        f" * Model: {program.title} */",
        f"#ifndef {upper}_H",
        f"#define {upper}_H",
        "",
        "#include <stdint.h>",
        "",
    ]
    lines += ["#ifdef __cplusplus", 'extern "C" {', "#endif", ""]
    lines += [f"/* Bytes of RAM that {p}_run works in, beside what is passed to it. */"]
    lines += [f"#define {upper}_ARENA_BYTES {max(program.memory.size, arena_least())}", ""]
    for port in ports:
        lines += [f"/* {_described(port)} */"]
        lines += [f"#define {f'{upper}_{port.macro}_SIZE':<{wide}} {_count(port.tensor)}"]
        if port.tensor.quant is not None:
            q = port.tensor.quant
            lines += [f"#define {f'{upper}_{port.macro}_SCALE':<{wide}} {number(np.float32(q.scale[0]))}"]
            lines += [f"#define {f'{upper}_{port.macro}_ZERO_POINT':<{wide}} {int(q.zero_point[0])}"]
        lines += [""]
    lines += [
        "/* Runs the model once. It allocates nothing and keeps nothing from run to run; runs share the arena, so",
        " * there may be one at a time. */",
        f"{_signature(program)};",
        "",
    ]
    return "\n".join([*lines, "#ifdef __cplusplus", "}", "#endif", "", "#endif", ""])


def arena_least() -> int:
    """Bytes of an arena that holds nothing: C has no array of none."""
    return 4


def source(program: Program, note: str) -> str:
    """The model, step by step."""
    p, upper = program.name, program.name.upper()
    lines = [
        f"/* {note} */",
        f'#include "{p}.h"',
        "",
        "#include <math.h>",
        "#include <stddef.h>",
        "#include <string.h>",
        "",
    ]
    lines += ['#include "bitlite_kernels.h"', f'#include "{p}_weights.h"', ""]
    if program.memory.offsets:
        lines += [
            "static union {",
            f"  int8_t bytes[{upper}_ARENA_BYTES];",
            "  int32_t words;",
            "  float reals;",
            "} memory;",
            "",
        ]
    calls = []
    for i, (step, arguments) in enumerate(zip(program.steps, program.arguments)):
        if step.op == "view":
            continue
        ends = [program.place(t) for t in step.inputs if t is not None]
        ends += [program.place(step.outputs[0], step.extra.get("into", 0))]
        calls += [f"  /* {comment(step.source.name)} ({step.source.op}) */"]
        if step.op == "memcpy":
            calls += [f"  memcpy({ends[1]}, {ends[0]}, {step.outputs[0].nbytes});"]
            continue
        lines += [f"static const bitlite_{step.op}_args step_{i} = {{"]
        lines += [f"    .{key} = {initializer(value)}," for key, value in arguments.items()] + ["};", ""]
        calls += [f"  bitlite_{step.op}(&step_{i}, {', '.join(ends)});"]
    return "\n".join([*lines, f"{_signature(program)} {{", *calls, "}", ""])


def weights(program: Program, note: str) -> tuple[str, str]:
    """Header and source of the constants, which linkers put into flash."""
    p, guard = program.name, f"{program.name.upper()}_WEIGHTS_H"
    declared = [f"extern const {_declared(program, name)};" for name in program.constants]
    head = [
        f"/* {note} */",
        f"#ifndef {guard}",
        f"#define {guard}",
        "",
        "#include <stdint.h>",
        "",
        '#include "bitlite_scale.h"',
        "",
    ]
    body = [f"/* {note} */", "#include <math.h>", "", f'#include "{p}_weights.h"', ""]
    for name, values in program.constants.items():
        body += [f"const {_declared(program, name)} = {{", elements(values), "};", ""]
    return "\n".join([*head, *declared, "", "#endif", ""]), "\n".join(body)


def example(program: Program, note: str, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> str:
    """One run, as the runtime computes it on the machine of the conversion."""
    lines = [f"/* {note} */", "#include <math.h>", "#include <stdint.h>", ""]
    for kind, ports, values in (("example", program.inputs, inputs), ("expected", program.outputs, outputs)):
        for port, array in zip(ports, values):
            lines += [
                f"static const {port.type} {kind}_{port.macro.lower()}[] = {{",
                elements(array.reshape(-1)),
                "};",
                "",
            ]
    return "\n".join(lines)


def _declared(program: Program, name: str) -> str:
    values = program.constants[name]
    count = len(values) if array_type(values) == "bitlite_scale" else values.size
    return f"{array_type(values)} {name}[{count}]"


def _signature(program: Program) -> str:
    upper = program.name.upper()
    parts = [f"const {port.type} {port.name}[{upper}_{port.macro}_SIZE]" for port in program.inputs]
    parts += [f"{port.type} {port.name}[{upper}_{port.macro}_SIZE]" for port in program.outputs]
    return f"void {program.name}_run({', '.join(parts)})"


def _described(port: Port) -> str:
    t = port.tensor
    shape = ", ".join(map(str, t.static_shape))
    real = "; real = (code - ZERO_POINT) * SCALE" if t.quant is not None else ""
    return comment(f"{t.name}: {port.type} [{shape}]{real}")


def _count(t: Tensor) -> int:
    return int(np.prod(t.static_shape, dtype=np.int64))
