"""The command writes the same bytes whatever the instruction set, numpy's features and the number of threads."""

import os
import subprocess
import sys

import numpy as np
from bitlite.converter.formats import ms
from bitlite.converter.passes import for_target, run_passes
from numpy._core import _multiarray_umath as umath

NUMPY_PLAIN = " ".join(name for name in umath.__cpu_dispatch__ if umath.__cpu_features__.get(name))
RUNS = {
    "first": ({}, []),
    "again": ({}, []),
    "one thread": ({}, ["--threads=1"]),
    "three threads": ({}, ["--threads=3"]),
    "scalar": ({"BITLITE_ISA": "scalar"}, []),
    "avx2": ({"BITLITE_ISA": "avx2"}, []),
    "numpy without SIMD": ({"NPY_DISABLE_CPU_FEATURES": NUMPY_PLAIN, "OPENBLAS_CORETYPE": "Nehalem"}, []),
}


def test_the_same_bytes(network, tmp_path):
    graph, samples, config = network(), tmp_path / "samples", tmp_path / "config.cfg"
    run_passes(graph, for_target("ms", "NHWC"))
    ms.write(graph, str(tmp_path / "float.ms"))
    samples.mkdir()
    rng = np.random.default_rng(3)
    for k in range(20):
        rng.standard_normal((1, 8, 8, 3)).astype(np.float32).tofile(samples / f"{k:02}.bin")
    config.write_text(f"image_path={samples}\nbatch_count=20\n")
    files = {}
    for name, (env, flags) in RUNS.items():
        command = [sys.executable, "-m", "bitlite.tools.converter_lite", f"--modelFile={tmp_path}/float.ms",
                   f"--outputFile={tmp_path}/int8", "--quantType=PostTraining", "--bitNum=8", "--quiet",
                   f"--configFile={config}", *flags]  # fmt: skip
        subprocess.run(command, env={**os.environ, **env}, check=True)
        files[name] = (tmp_path / "int8.ms").read_bytes()
    assert [name for name in files if files[name] != files["first"]] == []
