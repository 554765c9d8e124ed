"""Methods of choosing an activation's range, one a file: what stands here is what `activation_quant_method` takes.

A file defines `method(h, bits, *, symmetric) -> (low, high)`, a pure function of a tensor's statistics, of the bits of
its codes, and of whether codes must be symmetric about zero; the range holds 0. A tensor without negative values has
all codes for [0, hi]; a two-sided one is clipped on each side where that side's tail asks for it (MSE, PERCENTILE,
REMOVAL_OUTLIER), or at ±T cut to min..max by the methods that are defined on |x| (KL, SYMKL, JSD, ADMM, ACIQ).
"""

from __future__ import annotations

import os


def names() -> list[str]:
    """MAX_MIN for max_min.py; none of the files is imported."""
    files = (file for folder in __path__ for file in os.listdir(folder))
    return sorted(file[:-3].upper() for file in files if file.endswith(".py") and not file.startswith("_"))
