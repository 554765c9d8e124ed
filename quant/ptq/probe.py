"""Whether weights of very few bits leave a network that still computes: a run on noise, where there are no data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...converter.errors import Error
from ...converter.ir import Graph, Tensor
from ...converter.numeric.qparams import QuantParam
from ...native.session import Session
from ..calibrate.observe import float_isa
from ..weights.weight_math import Weight, quantize_weight

Codes = tuple[NDArray, QuantParam]
_SAMPLES = 4
# dB by which the plain grids must be ahead: far above what the last bits of float kernels can tip where the fitted ones
# give noise; where they compute, more than noise inputs mislead by (1.5 dB seen).
_MARGIN_IN_NOISE, _MARGIN = 0.5, 3.0


def keep_usable(
    graph: Graph, tensors: Sequence[Tensor], weights: Sequence[Weight], codes: list[Codes], bits: int
) -> list[Codes]:
    """`codes`, or the plain min..max grids where `codes` gives a network whose output is noise, and they less so.

    A fitted grid keeps the energy of the weights; where errors pile up beyond the signal, as in MobileNets at 2 and 3
    bits, that energy is all noise, and the real converter's grid, which rounds most weights to zero, loses less. Both
    are run on seeded normal noise and compared with the float network: below 0 dB the better one is taken, above the
    plain ones only when they are far better.
    """
    try:
        reference = _outputs(graph)
        fitted = _with_codes(graph, tensors, codes)
        before = _sqnr(reference, fitted)
        plain = [quantize_weight(weight, bits, fitted=False) for weight in weights]
        after = _sqnr(reference, _with_codes(graph, tensors, plain))
    except Error:
        return codes  # what cannot run here (open sizes, operators without a reference) is not judged
    return plain if after > before + (_MARGIN_IN_NOISE if before < 0 else _MARGIN) else codes


def _with_codes(graph: Graph, tensors: Sequence[Tensor], codes: Sequence[Codes]) -> list[NDArray]:
    """Outputs of the graph while its weights are these codes."""
    kept = [(t.data, t.dtype, t.quant) for t in tensors]
    try:
        for t, (q, params) in zip(tensors, codes):
            t.data, t.dtype, t.quant = q, q.dtype, params
        return _outputs(graph)
    finally:
        for t, (data, dtype, quant) in zip(tensors, kept):
            t.data, t.dtype, t.quant = data, dtype, quant


def _outputs(graph: Graph) -> list[NDArray]:
    session = Session(graph, isa=float_isa())
    rng = np.random.default_rng(0)
    outputs = []
    for _ in range(_SAMPLES):
        feeds = {}
        for port in session.inputs:
            shape = tuple(1 if d is None else d for d in port.shape or ())
            noise = rng.standard_normal(shape)
            feeds[port.name] = noise.astype(port.dtype) if port.dtype.kind == "f" else np.zeros(shape, port.dtype)
        outputs += [v.astype(np.float64) for v in session.run(feeds).values() if v.dtype.kind == "f"]
    return outputs


def _sqnr(reference: Sequence[NDArray], actual: Sequence[NDArray]) -> float:
    """Signal to noise over all outputs in dB; -inf when something is not finite."""
    signal = sum(float(np.sum(a * a)) for a in reference)
    noise = sum(float(np.sum((a - b) ** 2)) for a, b in zip(reference, actual))
    if not np.isfinite(noise):
        return -np.inf
    return 10 * np.log10((signal + 1e-30) / (noise + 1e-30))
