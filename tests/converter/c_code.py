"""Compiles generated C with the machine's compiler and calls it."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
from bitlite.converter.formats import c

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
SANITIZED = ("-fsanitize=undefined", "-fno-sanitize-recover=all")


def write(graph, folder, example=None):
    """The files of the graph in `folder`, which is made."""
    folder.mkdir(parents=True)
    c.write(graph, str(folder), example)
    return folder


def library(folders, path, flags=("-O1", *SANITIZED)):
    """One shared object of the models in `folders`, which round alike: kernels of one name are the same."""
    sources, weights = {}, []
    for folder in folders:
        files = {file.name: file for file in Path(folder).glob("*.c") if file.name != "main.c"}
        if len(folders) > 1:
            weights += [files.pop(name) for name in list(files) if name.endswith("_weights.c")]
        sources |= files
    together = Path(f"{path}_weights.c")  # one compilation for all
    together.write_text("".join(f'#include "{file}"\n' for file in weights) or "typedef int none;\n")
    command = ["gcc", "-pipe", *STRICT, *flags, "-fPIC", "-shared", str(together), *map(str, sources.values())]
    command += ["-lm", "-o", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:3000]
    return ctypes.CDLL(str(path))


def call(loaded, name, inputs, outputs):
    """What NAME_run gives for the arrays `inputs`; `outputs` are tensors, whose guard elements must stay."""
    guard = 7
    results = [np.full(int(np.prod(t.static_shape)) + guard, guard, t.dtype) for t in outputs]
    arrays = [np.ascontiguousarray(a) for a in inputs]
    getattr(loaded, f"{name}_run")(*(a.ctypes.data_as(ctypes.c_void_p) for a in (*arrays, *results)))
    for t, a in zip(outputs, results):
        assert (a[-guard:] == guard).all(), f"{t.name}: written beyond its end"
    return [a[:-guard].reshape(t.static_shape) for t, a in zip(outputs, results)]


def make(folder, *arguments):
    """(exit status, what was printed) of make."""
    done = subprocess.run(["make", "-s", *arguments], cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr
