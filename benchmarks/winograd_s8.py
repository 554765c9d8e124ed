"""3x3 convolutions on int8 codes by Winograd's algorithm beside plain products: one thread, a CPU that has the former.

    python benchmarks/winograd_s8.py [--repeats 60]

Both give the same bits, so a layer takes whichever is faster. Plain products are timed on a layer of the same size that
cannot take the algorithm: one of 1x9, with as many products; from 117 channels on also 3x3 with weights whose sums
its 32 bits do not hold. The layers run in turns; printed are the least times of the step in µs.
"""

from __future__ import annotations

import argparse

import numpy as np
from bitlite.converter.ir import Graph, Tensor
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.schema.builder import Builder
from bitlite.native.session import Session

SIZES = [(56, 32), (56, 64), (32, 16), (28, 128), (14, 256), (8, 64)]
"""Rows and columns, channels in and out."""


def _codes(t: Tensor, scale: float, zero: int) -> Tensor:
    t.dtype, t.quant = np.dtype(np.int8), QuantParam(np.float64(scale), np.int32(zero))
    return t


def layer(size: int, channels: int, kernel: tuple[int, int], largest: int) -> Session:
    """One convolution on codes, with weights up to `largest`; all of them where that is 127."""
    graph, rng = Graph("layer"), np.random.default_rng(0)
    build = Builder(graph)
    x = _codes(build.input("x", np.float32, (1, size, size, channels)), 0.05, -3)
    values = rng.integers(-largest, largest + 1, (channels, *kernel, channels)).astype(np.int8)
    if largest == 127:
        values[:] = 127
    w = _codes(build.constant(values, "w"), 0.01, 0)
    pad = [side // 2 for side in kernel]
    attrs = {"stride": [1, 1], "dilation": [1, 1], "pad": [pad[0], pad[0], pad[1], pad[1]]}
    y = build.emit("Conv", [x, w], attrs, name="conv")[0]
    _codes(y, 0.5, 4)
    graph.outputs = [y]
    return Session(graph, threads=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=60)
    repeats = parser.parse_args().repeats
    print(f"{'layer':>16s} {'winograd':>9s} {'1x9':>9s} {'ratio':>6s} {'plain 3x3':>10s}")
    for size, channels in SIZES:
        layers = [layer(size, channels, (3, 3), 20), layer(size, channels, (1, 9), 20)]
        if channels > 116:
            layers.append(layer(size, channels, (3, 3), 127))
        feed = {"x": np.random.default_rng(1).integers(-128, 128, (1, size, size, channels)).astype(np.int8)}
        least = [np.inf] * len(layers)
        for _ in range(repeats):
            for k, session in enumerate(layers):
                least[k] = min(least[k], sum(ns for *_, ns in session.profile(feed)) / 1000)
        shown = f"{least[2]:10.1f}" if len(least) > 2 else ""
        print(f"{f'{size}x{size}x{channels}':>16s} {least[0]:9.1f} {least[1]:9.1f} {least[1] / least[0]:6.2f} {shown}")


if __name__ == "__main__":
    main()
