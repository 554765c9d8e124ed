"""Attributes and values that once made a reader or a reference crash, or ask for terabytes."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import Error, UnsupportedError
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.converter.schema.op import reader
from bitlite.converter.schema.reading import Reading, read_operator

X = np.ones((1, 3, 4, 5), np.float32)
W = np.ones((3, 4, 3, 3), np.float32)
HUGE = 2**40
CASES = {
    "transposed conv of terabytes": ("ConvTranspose", [X, W], {"strides": [2**31, 2]}, (1,)),
    "transposed conv without stride": ("ConvTranspose", [X, W], {"strides": [0, 2]}, (1,)),
    "transposed conv with negative output padding": ("ConvTranspose", [X, W], {"output_padding": [-1, 0]}, (1,)),
    "pads of a terabyte": ("Conv", [X, W[:, :3]], {"pads": [HUGE, 0, HUGE, 0]}, (1,)),
    "pool kernel and pads of a terabyte": ("MaxPool", [X], {"kernel_shape": [HUGE, 1], "pads": [HUGE, 0, HUGE, 0]}, ()),
    "pool without stride": ("AveragePool", [X], {"kernel_shape": [2, 2], "strides": [0, 1]}, ()),
    "a norm of order zero": ("LpPool", [X], {"kernel_shape": [2, 2], "p": 0}, ()),
    "samples of a terabyte": (
        "RoiAlign", [X, np.ones((1, 4), np.float32), np.int64([0])], {"sampling_ratio": HUGE}, (1, 2),
    ),
    "regions of three numbers": ("RoiAlign", [X, np.ones((1, 3), np.float32), np.int64([0])], {}, (1, 2)),
    "unpooling to terabytes": (
        "MaxUnpool", [X, np.zeros(X.shape, np.int64)], {"kernel_shape": [2, HUGE], "strides": [2, 2]}, (),
    ),
    "places of another shape": (
        "MaxUnpool", [X, np.zeros((1, 3, 4, 0), np.int64)], {"kernel_shape": [2, 2], "strides": [2, 2]}, (),
    ),
    "scales that are no numbers": ("Resize", [X, None, np.float32([1, 1, np.nan, 2])], {"mode": "linear"}, ()),
    "sizes of terabytes": ("Resize", [X, None, None, np.int64([1, 3, 2**30, 2**30])], {"mode": "nearest"}, ()),
    "a mode that is none": (
        "Resize", [X, None, None, np.int64([1, 3, 8, 8])], {"coordinate_transformation_mode": "x"}, (3,),
    ),
    "a region that is no number": (
        "Resize", [X, np.float32([0, 0, np.nan, 0, 1, 1, 1, 1]), None, np.int64([1, 3, 8, 8])],
        {"coordinate_transformation_mode": "tf_crop_and_resize"}, (1, 3),
    ),
    "nothing to resize": ("Resize", [X[..., :0], None, np.float32([1, 1, 2, 2])], {"mode": "nearest"}, ()),
    "a size of one number": ("AffineGrid", [np.ones((1, 2, 3), np.float32), np.int64(4)], {}, ()),
    "blocks of terabytes": ("DepthToSpace", [X], {"blocksize": HUGE}, ()),
    "an order of axes that is one number": ("Transpose", [X], {"perm": 2.5}, ()),
    "an axis that is a fraction": ("GatherElements", [X, np.zeros(X.shape, np.int64)], {"axis": 1.0}, ()),
    "an axis that is text": ("Concat", [X], {"axis": "1"}, ()),
    "an equation without sense": ("Einsum", [X], {"equation": "->..."}, ()),
}  # fmt: skip


@pytest.mark.parametrize("name", list(CASES))
def test_what_cannot_be_computed_is_an_error_in_one_line(onnx_check, name):
    op, inputs, attrs, const = CASES[name]
    with pytest.raises(Error) as raised:
        onnx_check(op, inputs, attrs, const=const, opset=20, want=[])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("axis", [-(2**31), -5, 5, "1"])
@pytest.mark.parametrize(
    ("container", "op"), [("ms", "ScaleFusion"), ("ms", "Stack"), ("tflite", "PACK"), ("onnx", "Softmax")]
)
def test_an_axis_outside_is_refused_before_anything_is_made_of_it(container, op, axis):
    build = Builder(Graph())
    inputs = [build.input("x", np.float32, (2, 3, 4)), build.input("scale", np.float32, (3,))]
    reading = Reading(op, "node", inputs, [], {"axis": axis}, build)
    function = reader(container, op)
    assert function is not None
    with pytest.raises(UnsupportedError, match=r"axis .* is outside -\d\.\.\d"):
        read_operator(reading, function)
