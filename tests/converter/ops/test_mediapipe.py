"""MediaPipe's operators: no package brings them alone, so standard operators of LiteRT say what they compute."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from bitlite.converter.errors import UnsupportedError
from bitlite.converter.formats.tflite import read
from conftest import compare, run_graph
from tflite_models import run_litert, tflite_model

SAME, VALID = 1, 2


def conv_transpose_bias(tmp_path, x, w, b, options):
    path = tmp_path / "m.tflite"
    custom = {"custom": "Convolution2DTransposeBias", "custom_options": options}
    path.write_bytes(tflite_model("CUSTOM", [x, w, b], const=(1, 2), **custom))
    return read(str(path))


@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize(("kernel", "stride"), [((2, 2), (2, 2)), ((3, 3), (2, 2)), ((4, 3), (2, 1)), ((1, 2), (2, 3))])
@pytest.mark.parametrize("size", [(4, 5), (1, 2)])
def test_a_transposed_convolution_with_bias(tmp_path, padding, kernel, stride, size):
    rng = np.random.default_rng(6)
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((2, *size, 3), (4, *kernel, 3), (4,)))
    options = struct.pack("<3i", padding, stride[1], stride[0])
    graph = conv_transpose_bias(tmp_path, x, w, b, options)
    [got] = run_graph(graph, {"x0": x})
    # TRANSPOSE_CONV without padding gives all that the window reaches; SAME takes from both ends of each axis.
    reach = [s * (n - 1) + k for n, k, s in zip(size, kernel, stride)]
    options = ("TransposeConvOptions", {"padding": 1, "stride_h": stride[0], "stride_w": stride[1]})
    out = np.int32([2, *reach, 4])
    [full] = run_litert(
        tflite_model("TRANSPOSE_CONV", [out, w, x], options, const=(0, 1), outputs=(np.float32,)), {"x2": x}
    )
    cut = [max(0, k - (n - 1) % s - 1) if padding == SAME else 0 for n, k, s in zip(size, kernel, stride)]
    rows, columns = (slice(c // 2, r - (c - c // 2)) for c, r in zip(cut, reach))
    compare(got, full[:, rows, columns] + b)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (b"", "0 bytes"),
        (b"\1\0\0\0\2\0\0\0", "8 bytes"),
        (struct.pack("<3i", 0, 2, 2), "padding 0"),
        (struct.pack("<3i", 1, 0, 2), "not positive"),
    ],
)
def test_damaged_options_are_refused(tmp_path, options, said):
    x, w, b = (np.ones(s, np.float32) for s in ((1, 2, 2, 3), (4, 2, 2, 3), (4,)))
    with pytest.raises(UnsupportedError, match=said):
        conv_transpose_bias(tmp_path, x, w, b, options)
