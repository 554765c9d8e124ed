"""C99 for microcontrollers: one model with its weights and the kernels that it uses, as a folder of files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import OutputError
from ...ir import Graph
from ...schema.writing import Written
from . import source
from .footprint import Footprint, footprint
from .names import comment
from .program import Program, program_of
from .sizes import with_fixed_sizes

_KERNELS = Path(__file__).parent / "kernels"
_PROJECT = Path(__file__).parent / "project"
_INCLUDE = re.compile(r'^#include "(\w+\.(?:h|inc))"', re.MULTILINE)
__all__ = ["MARK", "with_fixed_sizes", "write"]
MARK = "Written by bitlite"
"""What the first lines of every written file say."""

_ROUNDING = {
    "rne_f32": (
        "a sum times a float32 multiplier, half to even. On a core without a float unit (Cortex-M0, M3) that is a soft"
        " float product for each output value; a model of `target=mslite` rounds by integers alone and is faster there."
    ),
    "gemmlowp": "integers alone, as the MindSpore Lite kernels round.",
}

Example = tuple[Sequence[np.ndarray], Sequence[np.ndarray]]


def write(graph: Graph, path: str, example: Example | None = None) -> Written:
    """Writes the files of the model into the folder `path`, which is there and is nobody's yet.

    Args:
        example: inputs and outputs of one run, in the graph's order: what main.c compares with. Without it there is no
            main.c.
    Raises:
        UnsupportedError: an operator, type or size has no form in C (before anything is written).
        OutputError: the folder cannot be written to.
    """
    program = program_of(graph, os.path.basename(os.path.normpath(path)))
    files = files_of(program, f"{MARK} {comment(str(graph.meta.get('bitlite', '')))}".rstrip() + ".", example)
    try:
        for name, text in files.items():
            Path(path, name).write_text(text, encoding="ascii")
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror or error}", file=path) from None
    stored = {name: ("plain", values.nbytes) for name, values in program.constants.items()}
    return Written(sum(map(len, files.values())), stored, str(footprint(program)))


def files_of(program: Program, note: str, example: Example | None) -> dict[str, str]:
    """File name → text."""
    name = program.name
    head, body = source.weights(program, note)
    files = {
        f"{name}.h": source.header(program, note),
        f"{name}.c": source.source(program, note),
        f"{name}_weights.h": head,
        f"{name}_weights.c": body,
    }
    for kernel, text in _kernel_files(program).items():
        files[kernel] = f"/* {note} */\n{text}"
    objects = [file[:-2] + ".o" for file in files if file.endswith(".c")]
    values = {"note": note, "name": name, "upper": name.upper(), "title": program.title, "objects": " ".join(objects)}
    files["Makefile"] = _filled("Makefile", values)
    files["README.md"] = _filled("README.md", values | _readme(program, footprint(program)))
    if example is not None:
        files[f"{name}_example.h"] = source.example(program, note, *example)
        files["main.c"] = _filled("main.c", values | _main(program))
    return files


def _kernel_files(program: Program) -> dict[str, str]:
    """The kernels that the program calls, and what they include."""
    files: dict[str, str] = {}
    scale = "scale_gemmlowp.h" if program.rounding == "gemmlowp" else "scale_rne.h"
    waiting = ["bitlite_kernels.h", *(f"{kernel}.c" for kernel in program.kernels)]
    while waiting:
        name = waiting.pop(0)
        written = name if name.startswith("bitlite_") else f"bitlite_{name}"
        if written in files:
            continue
        text = (_KERNELS / (scale if name == "bitlite_scale.h" else name)).read_text(encoding="ascii")
        waiting += _INCLUDE.findall(text)
        files[written] = _INCLUDE.sub(_prefixed, text)
    return files


def _prefixed(include: re.Match[str]) -> str:
    name = include[1]
    return f'#include "{name if name.startswith("bitlite_") else f"bitlite_{name}"}"'


def _filled(name: str, values: dict[str, str]) -> str:
    text = (_PROJECT / name).read_text(encoding="ascii")
    return re.sub(r"@(\w+)@", lambda m: values[m[1]], text)


def _main(program: Program) -> dict[str, str]:
    upper = program.name.upper()
    buffers, compare = [], []
    for port in program.outputs:
        low = port.macro.lower()
        buffers.append(f"static {port.type} {low}[{upper}_{port.macro}_SIZE];")
        kind = "reals" if port.type == "float" else "codes"
        width = " * (int)sizeof(int32_t)" if port.type == "int32_t" else ""
        compare.append(f'  compare_{kind}("{low}", {low}, expected_{low}, {upper}_{port.macro}_SIZE{width});')
    arguments = [f"example_{port.macro.lower()}" for port in program.inputs]
    arguments += [port.macro.lower() for port in program.outputs]
    run = f"{program.name}_run({', '.join(arguments)});"
    return {"buffers": "\n".join(buffers), "run": run, "compare": "\n".join(compare)}


def _readme(program: Program, memory: Footprint) -> dict[str, str]:
    upper, p = program.name.upper(), program.name
    ports = [*program.inputs, *program.outputs]
    use = [f"    static {port.type} {port.macro.lower()}[{upper}_{port.macro}_SIZE];" for port in ports]
    use += [f"    {p}_run({', '.join(port.macro.lower() for port in ports)});"]
    codes = "A code stands for the real number (code - ZERO_POINT) * SCALE.\n"
    return {
        "kernels": ", ".join(f"`bitlite_{kernel}.c`" for kernel in program.kernels) or "none",
        "memory": memory.table(),
        "use": "\n".join(use),
        "codes": codes if any(port.tensor.quant is not None for port in ports) else "",
        "rounding": _ROUNDING[program.rounding],
    }
