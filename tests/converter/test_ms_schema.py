"""The MindSpore Lite schema: numbers seen in real files, and everything in it can be read."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.formats.flat import decode, encode
from bitlite.converter.formats.ms_schema import SCHEMA

# Union numbers checked on the bytes of files of the real converter.
PRIMITIVES = """
Activation 2 AddFusion 5 AvgPoolFusion 17 BiasAdd 23 Cast 28 Concat 31 Conv2DFusion 35 Conv2dTransposeFusion 36
Eltwise 52 FullConnection 67 Gather 69 MatMulFusion 89 MaxPoolFusion 92 MulFusion 99 PadFusion 107 QuantDTypeCast 113
ReduceFusion 118 Reshape 119 Resize 120 ScaleFusion 127 Softmax 138 Split 145 Squeeze 147 StridedSlice 151
SubFusion 152 Transpose 162 Unsqueeze 165 DynamicQuant 203 FillV2 221"""


def test_primitives_have_their_numbers():
    numbers = SCHEMA.unions["PrimitiveType"].members
    words = PRIMITIVES.split()
    assert [numbers[name] for name in words[::2]] == [int(n) for n in words[1::2]]
    assert sorted(numbers.values()) == list(range(222))


def test_enumerations_have_their_numbers():
    enums = SCHEMA.enums
    activation = enums["ActivationType"]
    assert [activation[n] for n in ("RELU", "SIGMOID", "RELU6", "TANH", "HSWISH", "GELU")] == [1, 2, 3, 10, 12, 19]
    assert (activation.RELU6, activation.name(13), activation.name(99)) == (3, "HSIGMOID", "#99")
    assert [enums["PadMode"][n] for n in ("PAD", "SAME", "VALID")] == [0, 1, 2]
    assert [enums["Format"][n] for n in ("NCHW", "NHWC", "KHWC")] == [0, 1, 7]
    assert [enums["QuantType"][n] for n in ("QUANT_NONE", "QUANT_WEIGHT", "QUANT_ALL", "QUANT_DYNAMIC")] == [0, 4, 5, 6]
    assert [enums["WeightQuantCompressType"][n] for n in ("INDEXING", "SPARSE", "FSE", "BITPACKING")] == [1, 2, 3, 4]
    assert enums["ResizeMethod"].UNKNOWN == -1
    with pytest.raises(AttributeError, match="PadMode has no member SAMEISH"):
        _ = enums["PadMode"].SAMEISH


def test_every_table_is_read_with_its_defaults():
    for table in SCHEMA.tables:
        empty = decode(b"".join(encode({}, SCHEMA, root=table)), SCHEMA, table)
        assert empty.fields() == SCHEMA.new(table).fields()


def test_defaults_other_than_zero():
    rows = SCHEMA.row_array("QuantParam", 2, zeroPoint=[1, -1])
    assert rows.dtype.names[:2] == ("scale", "zeroPoint")
    assert rows["scale"].tolist() == [1, 1] and rows["zeroPoint"].tolist() == [1, -1]
    expected = {"numBits": 8, "varCorr": 1.0, "narrowRange": True, "dstDtype": 32, "roundType": 1, "multiplier": 1}
    assert {name: rows[0][name].item() for name in expected} == expected
    assert (SCHEMA.new("CNode").deviceType, SCHEMA.new("Flatten").axis, SCHEMA.new("GLU").axis) == (-1, 1, -1)
    assert SCHEMA.new("ExternalData").length == -1
    with pytest.raises(KeyError, match="CNode has no field axis"):
        SCHEMA.new("CNode", axis=1)
    with pytest.raises(KeyError, match="QuantParam has no field bits"):
        SCHEMA.row_array("QuantParam", 1, bits=np.zeros(1))


def test_slots_of_the_tables_that_every_file_has():
    def slots(table):
        return {f.name: f.slot for f in SCHEMA.fields(table)}

    assert slots("Primitive") == {"value": 0}
    assert slots("Tensor")["quantParams"] == 7 and slots("Tensor")["weightQuantCompressType"] == 11
    assert slots("MetaGraph")["allTensors"] == 7 and slots("MetaGraph")["subGraph"] == 8
    assert slots("CNode")["quantType"] == 5 and slots("Conv2DFusion")["activation_type"] == 10
