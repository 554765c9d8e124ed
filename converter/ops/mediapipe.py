"""MediaPipe's own operators in TFLite files, which hold their options as C structures."""

from __future__ import annotations

import struct

from ..errors import Setting
from ..ir import Tensor, is_quantized
from ..schema.op import reads
from ..schema.reading import Reading

_SAME, _VALID = 1, 2
"""TfLitePadding; 0 is "unknown"."""


@reads("tflite", "Convolution2DTransposeBias")
def read_tflite_conv_transpose_bias(r: Reading) -> Tensor:
    """Inputs: x, weight [O,kh,kw,C], bias. Options: TfLiteTransposeConvParams, of which padding and strides count.

    SAME leaves `stride * (n - 1) + k - max(0, k - 1 - (n - 1) % stride)`, which is not TRANSPOSE_CONV's rule.
    """
    raw = bytes(r.attr("custom_options"))
    if len(raw) < 12:
        r.refuse(f"its options have {len(raw)} bytes, at least 12 are needed")
    padding, wide, high = struct.unpack_from("<3i", raw)
    if padding not in (_SAME, _VALID) or min(wide, high) < 1:
        r.refuse(f"padding {padding} is not 1 (SAME) or 2 (VALID), or a stride of {[high, wide]} is not positive")
    x, weight, bias = (r.input(i) for i in range(3))
    if any(is_quantized(t) for t in (x, bias)):
        r.refuse("it computes on floats alone")
    if r.rank(x) != 4 or r.rank(weight) != 4 or x.shape is None or None in x.shape[1:3]:
        r.refuse("it takes an image whose sizes are known", hint=Setting("input_shape"))
    w = r.permuted(weight, [3, 1, 2, 0])
    pad: list[int] = []
    for n, k, stride in zip(x.sizes(1, 3), w.sizes(1, 3), (high, wide)):
        total = max(0, k - 1 - (n - 1) % stride) if padding == _SAME else 0
        pad += [total // 2, total - total // 2]
    window = {"stride": [high, wide], "dilation": [1, 1], "pad": pad, "output_padding": [0, 0]}
    return r.emit("ConvTranspose", x, w, bias, **window)
